"""Evaluators with a memory: explicit, stored beside the controller's state, resumed bitwise, each seed's its own."""

import pytest
import torch

from nas import plugins
from nas.run import session, state_tree, step_log, store
from nas.run.config import RunConfig
from nas.testing import check
from search_spaces import UserError

EVALUATOR = '''
from typing import NamedTuple

import torch

from controller import Results
from nas.types import Defaults
from search_spaces import Task
from search_spaces.nasbench201 import NasBench201


class Memory(NamedTuple):
    seeds: torch.Tensor
    tried: torch.Tensor
    """int64 `[S, D, C]` how often each option was evaluated."""


class Practice:
    """An architecture scores the higher the more often its options were tried; early scores are too high, and provisional."""

    space, task, training = NasBench201(), Task("practice", (1, 8, 8), 10), None
    defaults, description = Defaults(8, 2), "score: practice"

    @classmethod
    def of(cls, task, **settings):
        return cls()

    def begin(self, seeds):
        return Memory(seeds, torch.zeros(len(seeds), 6, 5, dtype=torch.long))

    def load_with_memory(self, seeds):
        def evaluate(proposal, memory):
            chosen = torch.nn.functional.one_hot(proposal.archs, 5)
            after = memory.tried + chosen.sum(1)
            score = (after[:, None] * chosen).sum((2, 3)) + memory.seeds[:, None] % 7 / 10
            early = after.sum((1, 2), keepdim=True)[..., 0].expand(score.shape) < 48
            # The early scores are the highest: whoever chooses by them is found out.
            return Results(score + 100.0 * early, torch.ones(score.shape), provisional=early), Memory(seeds, after)

        return evaluate

    def load(self, seeds):
        return lambda proposal: self.load_with_memory(seeds)(proposal, self.begin(seeds))[0]

    def report(self, archs):
        return None
'''


@pytest.fixture
def practice(tmp_path):
    (tmp_path / "practice.py").write_text(EVALUATOR)
    return f"{tmp_path / 'practice.py'}:Practice"


def _config(practice, **more):
    return RunConfig(task="practice", evaluator=practice, controller="evolution", evals=12, seeds=2, batch=2, **more)


def _searched(folder, config, stops=()):
    """The history, the state and the memory of a run that stops after so many steps, and goes on each time."""
    setup = session.load(config)
    session.start(folder, config, setup).close()
    for most in (*stops, 1000):
        with store.open_run(folder, write=True) as run:
            for done, _ in enumerate(session.resume(run, session.load(config)), 1):
                if done == most:
                    break
            state = step_log.state(run, session.initial_state(setup))
            memory = step_log.memory(run, setup.evaluator.begin(setup.seeds))
            past = step_log.history(run)
    return past, state_tree.leaves(state, memory)


def test_the_toy_keeps_every_law_of_evaluators(practice):
    outcomes = list(check(plugins.load("evaluator", practice)))
    assert len(outcomes) == 6
    assert [each for each in outcomes if each.failure] == []


def test_a_run_resumes_with_the_memory_as_if_it_had_never_stopped(practice, tmp_path):
    config = _config(practice)
    whole, at_end = _searched(tmp_path / "whole", config)
    parts, resumed = _searched(tmp_path / "parts", config, stops=(1, 3))
    assert torch.equal(whole.archs, parts.archs)
    assert torch.equal(whole.score, parts.score)
    assert at_end.keys() == resumed.keys() >= {"memory/seeds", "memory/tried"}
    assert all(torch.equal(at_end[path], resumed[path]) for path in at_end)
    assert at_end["memory/tried"].sum() == 12 * 2 * 6


def test_what_a_run_hands_out_is_no_provisional_score(practice, tmp_path):
    past, _ = _searched(tmp_path / "run", _config(practice))
    assert past.provisional is not None
    first = int((~past.provisional[0]).long().argmax())
    assert 0 < first < 12
    found = session.best(_config(practice), past)
    assert (found.at > first).all()
    assert torch.equal(found.score, past.score[:, first:].amax(1))
    # Before one counts, the best of what there is stands in.
    early = past._replace(score=past.score[:, :first], provisional=past.provisional[:, :first])
    assert torch.equal(early.candidates, early.score)


def test_a_larger_budget_goes_on_from_the_memory_before_the_cut_step(practice, tmp_path):
    config = _config(practice)
    whole, _ = _searched(tmp_path / "whole", config)
    short = RunConfig(task="practice", evaluator=practice, controller="evolution", evals=7, seeds=2, batch=2)
    _searched(tmp_path / "cut", short)
    with store.open_run(tmp_path / "cut", write=True) as run:
        longer, _ = session.extend(run, session.load(run.config), evals=12)
        for _ in session.resume(longer, session.load(longer.config)):
            pass
        past = step_log.history(longer)
    assert torch.equal(past.archs, whole.archs)
    assert torch.equal(past.score, whole.score)


def test_a_run_without_the_evaluators_memory_is_refused_in_a_line(practice, tmp_path):
    config = _config(practice)
    setup = session.load(config)
    with session.start(tmp_path / "run", config, setup) as run:
        run.connection.execute("delete from state where path = 'memory/tried'")
        with pytest.raises(UserError, match="holds no memory of its evaluator, or another's"):
            next(session.resume(run, setup))
