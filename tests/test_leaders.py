"""The last evaluations of a run that trains tell its leaders apart, within the budget, to the bit, by validation images alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from controller import Proposal, Results
from nas import tasks
from nas.evaluators._training_cache import TrainingCache
from nas.run import budget, choice, finish, leaders, noise, session, stages, step_log, store, trained_network
from nas.run.config import RunConfig, leader_trainings
from nas.run.session import Setup
from nas.run.summary import summary
from nas.types import Defaults
from search_spaces import Space, Task, UserError, _noise, _ops
from search_spaces.nasbench201 import NasBench201

SMALL = {
    "epochs": "1",
    "channels": "4",
    "examples": "128",
    "final_epochs": "1",
    "final_channels": "4",
    "final_cells": "1",
}


SPACE = NasBench201()
TASK = Task("lucky", (1, 8, 8), 10)


@dataclass(frozen=True)
class Lucky:
    """Trains nothing: the first score of an architecture is luck, and every other seed says the contrary."""

    space: Space = SPACE
    task: Task = TASK
    fails: frozenset[int] = frozenset()
    """Indices whose other trainings fail."""
    asked: list[tuple[int, int]] = field(default_factory=list)
    """(repeat, architectures) of each call with another seed."""
    evaluated: list[int] = field(default_factory=list)

    defaults = Defaults(budget=32, batch=4)
    description = "luck"
    validation_images = 400
    data_notes = ()

    @property
    def training(self) -> Any:
        return self

    final_space = property(lambda self: self.space)

    def luck(self, archs: Tensor) -> Tensor:
        return 50 + 10 * _uniform(self.equivalents(archs))

    def truth(self, archs: Tensor) -> Tensor:
        return 70 - 20 * _uniform(self.equivalents(archs))

    def load(self, seeds: Tensor) -> Any:
        def evaluate(proposal: Proposal) -> Results:
            self.evaluated.append(proposal.archs.shape[1])
            return Results(self.luck(proposal.archs), torch.ones(proposal.archs.shape[:2]))

        return evaluate

    def report(self, archs: Tensor) -> None:
        return None

    def cache_to(self, folder: Any) -> None: ...

    def failures(self) -> list[str]:
        return []

    def training_loss(self, arch: Tensor) -> list[float]:
        return []

    def equivalents(self, archs: Tensor) -> Tensor:
        # 25 functions: the best of 26 evaluations are the same several times.
        return torch.cat([archs[..., :2], torch.zeros_like(archs[..., 2:])], -1)

    def retrain(self, archs: Tensor, repeat: int) -> Tensor:
        if repeat == 0:
            return self.luck(archs)
        self.asked.append((repeat, len(archs)))
        failed = [int(i) in self.fails for i in _ops.index(self.equivalents(archs), self.space.choices)]
        return self.truth(archs).masked_fill(torch.tensor(failed), torch.nan)


def _uniform(archs: Tensor) -> Tensor:
    index = _ops.index(archs, NasBench201.choices)
    return _noise.uniform(index.flatten(), 0, 1)[:, 0].view(index.shape)


def searched(folder, evaluator, choose=True, **asked):
    """A run that ended and chose, and its history."""
    config = RunConfig(controller="random_search", **{"task": "digits", "batch": 4, "leaders": None} | asked)
    setup = session.load(replace(config, task="own201/digits"))._replace(evaluator=evaluator)
    run = session.start(folder, config, setup)
    list(session.resume(run, setup))
    if choose:
        leaders.choose(run, evaluator)
    return run, setup, step_log.history(run)


def functions(evaluator, archs):
    return [tuple(arch) for arch in evaluator.equivalents(archs).tolist()]


@pytest.mark.parametrize(("asked", "announced"), [(None, [stages.LEADERS]), (0, []), (1, [])])
def test_leaders_are_announced_where_some_are_trained_again(tmp_path, asked, announced):
    run, setup, _ = searched(tmp_path / "run", ours := Lucky(), evals=32, leaders=asked, choose=False)
    told = []
    with run:
        finish.write_report(run, setup, lambda stage: told.append((stage, len(ours.asked))))
    # Once, before the first training.
    assert told == [*((stage, 0) for stage in announced), (stages.FINAL, len(ours.asked))]
    assert bool(ours.asked) == bool(announced)


def test_a_search_by_a_table_announces_no_training(tmp_path):
    run, setup, _ = searched(tmp_path / "run", tasks.find("own201/digits"), evals=8, choose=False)
    told = []
    with run:
        finish.finish(run, setup, told.append)
    assert told == []


def test_where_the_first_score_is_luck_the_best_of_the_leaders_by_their_other_seeds_is_handed_out(tmp_path):
    ours, count = Lucky(), 6
    run, _, past = searched(tmp_path / "run", ours, evals=32, seeds=count)
    with run:
        chosen, rows = choice.choices(run, past), summary(run)["best"]
    for s in range(count):
        archs = past.archs[s, past.score[s].argsort(descending=True, stable=True)]
        four = list(dict.fromkeys(functions(ours, archs)))[:4]
        told_apart = [functions(ours, ours.space.parse(leader.arch)[None])[0] for leader in chosen[s].leaders]
        assert set(told_apart) == set(four)
        assert set(told_apart[:2]) == set(four[2:])
        assert told_apart[0] == four[3]
        assert functions(ours, ours.space.parse(rows[s]["proposed_as"] or rows[s]["arch"])[None]) == four[3:]
        assert [len(leader.scores) for leader in chosen[s].leaders] == [3, 3, 2, 2]
    assert ours.asked == [(1, 4 * count), (2, 2 * count)]


@pytest.mark.parametrize(
    ("evals", "asked", "trained"), [(7, None, 0), (8, None, 2), (32, None, 6), (56, None, 14), (32, 3, 5), (32, 0, 0)]
)
def test_the_search_and_the_leaders_take_the_budget_together(tmp_path, evals, asked, trained):
    ours = Lucky()
    run, _, past = searched(tmp_path / "run", ours, evals=evals, leaders=asked)
    with run:
        assert summary(run)["leader_trainings"] == trained
    assert past.score.shape[1] == sum(ours.evaluated) == evals - trained
    assert sum(count for _, count in ours.asked) == trained


def test_a_budget_of_time_keeps_a_share_for_the_leaders():
    config = RunConfig(minutes=10, leaders=None)
    past = step_log.History(torch.zeros(1, 0, 1).long(), torch.zeros(1, 26), torch.zeros(1, 26), 469.0, 2)
    assert not budget.spent(config, past)
    # The 27th would end at 488 s: the six trainings of four leaders would end at 600.6 s.
    assert budget.spent(config, past._replace(wall=470.0))
    assert budget.leaders_of(config, past._replace(wall=470.0)) == 4
    assert not budget.spent(replace(config, leaders=0), past._replace(wall=470.0))


def test_leaders_that_take_more_than_a_quarter_of_the_budget_are_refused_with_what_would_do():
    with pytest.raises(UserError, match=r"--leaders 8 takes 14 of the 32 evaluations; .* --evals 56"):
        RunConfig(evals=32, leaders=8)
    assert RunConfig(evals=56, leaders=8).leaders == 8
    with pytest.raises(UserError, match="--leaders is -1"):
        RunConfig(leaders=-1)


def test_the_trainings_of_successive_halving_by_hand():
    assert [leader_trainings(n) for n in (0, 1, 2, 3, 4, 5, 8)] == [0, 0, 2, 5, 6, 10, 14]


def test_a_run_of_an_earlier_version_has_no_leaders():
    text = RunConfig(evals=32, leaders=None).to_json().replace(', "leaders": null', "")
    assert "leaders" not in text
    assert RunConfig.from_json(text).leaders == 0


def test_a_leader_whose_training_failed_is_never_handed_out(tmp_path):
    ours = Lucky()
    run, _, past = searched(tmp_path / "one", ours, evals=32)
    best = choice.choices(run, past)[0].leaders[0]
    run.connection.close()
    index = int(_ops.index(ours.equivalents(ours.space.parse(best.arch)), ours.space.choices))
    run, _, past = searched(tmp_path / "two", Lucky(fails=frozenset([index])), evals=32)
    with run:
        chosen = choice.choices(run, past)[0].leaders
    assert chosen[0].arch != best.arch
    assert [leader.scores[-1] for leader in chosen if leader.arch == best.arch] == [None]


def test_a_search_chooses_alike_alone_and_in_company(tmp_path):
    both, _, past = searched(tmp_path / "both", Lucky(), evals=24, seeds=2)
    with both:
        together = choice.choices(both, past)
    for seed in (0, 1):
        run, _, past = searched(tmp_path / f"{seed}", Lucky(), evals=24, first_seed=seed)
        with run:
            assert choice.choices(run, past) == [together[seed]]


def test_a_run_that_was_given_more_evaluations_chooses_as_one_that_had_them_from_the_start(tmp_path):
    whole, _, past = searched(tmp_path / "whole", Lucky(), evals=32)
    with whole:
        expected = choice.choices(whole, past)
    short, setup, _ = searched(tmp_path / "short", Lucky(), evals=24)
    with short:
        more, _ = session.extend(short, setup, evals=32)
        list(session.resume(more, setup))
        assert choice.choices(more, step_log.history(more)) is None
        leaders.choose(more, setup.evaluator)
        assert choice.choices(more, step_log.history(more)) == expected


def test_searches_by_a_table_have_no_leaders(tmp_path, nas):
    config = RunConfig(task="own201/digits", controller="random_search", evals=32)
    setup = session.load(config)
    with session.start(tmp_path / "run", config, setup) as run:
        list(session.resume(run, setup))
        finish.finish(run, setup)
        document = summary(run)
    assert (document["evaluations"], document["leader_trainings"]) == (32, 0)
    assert "noise" not in document["best"][0]
    refused = nas("search", "--task", "own201/digits", "--leaders", "4")
    assert refused.returncode == 2
    assert "--leaders is 4" in refused.stderr


def _digits_run(folder) -> tuple[store.Run, Setup]:
    config = RunConfig(controller="random_search", evals=8, batch=3, training_options=SMALL, leaders=2)
    setup = session.load(config)
    run = session.start(folder, config, setup)
    list(session.resume(run, setup))
    return run, setup


def test_a_run_killed_while_its_leaders_train_ends_in_the_same_bits_and_trains_none_twice(tmp_path, monkeypatch):
    whole, setup = _digits_run(tmp_path / "whole")
    with whole:
        finish.write_report(whole, setup)
        expected = choice.choices(whole, step_log.history(whole))
        first = trained_network.load(whole.folder)
        page = finish.page(whole, setup, first)
    killed, setup = _digits_run(tmp_path / "killed")
    killed.close()
    trained, real = [], TrainingCache._train_chunk

    def counted(self, indices, *rest):
        if len(trained) == 1:
            trained.append(None)
            raise KeyboardInterrupt
        trained.append((self.recipe.seed, *indices))
        real(self, indices, *rest)

    monkeypatch.setattr(TrainingCache, "_train_chunk", counted)
    monkeypatch.setattr("nas.evaluators._training_cache.batch_limit", lambda device: 1)
    with store.open_run(killed.folder, write=True) as run, pytest.raises(KeyboardInterrupt):
        finish.write_report(run, session.load(run.config))
    with store.open_run(killed.folder, write=True) as run:
        setup = session.load(run.config)
        assert not list(session.resume(run, setup))
        finish.write_report(run, setup)
        assert choice.choices(run, step_log.history(run)) == expected
        assert "told its leaders apart" in page
        assert "## How sure the choice is" in page
    assert len(trained) == 3
    assert len({x for x in trained if x}) == 2
    assert {seed for seed, _ in filter(None, trained)} == {409}
    second = trained_network.load(killed.folder)
    assert first.arch == second.arch
    assert all(torch.equal(first.state_dict[name], second.state_dict[name]) for name in first.state_dict)


def test_the_choice_never_sees_the_test_images(tmp_path):
    found = []
    for name, blind in (("seeing", False), ("blind", True)):
        run, setup = _digits_run(tmp_path / name)
        data = setup.evaluator.data
        if blind:
            data = data._replace(x_test=torch.zeros_like(data.x_test), y_test=torch.zeros_like(data.y_test))
        evaluator = replace(tasks.find("digits", **SMALL), data=data)
        with run:
            leaders.choose(run, evaluator)
            found.append(choice.choices(run, step_log.history(run)))
    assert found[0] == found[1]


def test_another_seed_is_another_training_and_the_search_own_is_cached(tmp_path):
    ours = tasks.find("digits", **SMALL)
    archs = torch.tensor([[3, 3, 3, 1, 1, 3], [2, 2, 2, 2, 2, 2]])
    scores = ours.load(torch.tensor([0]))(Proposal(archs[None])).score[0]
    assert torch.equal(ours.retrain(archs, 0), scores)
    again = tasks.find("digits", **SMALL | {"seed": "409"})
    assert torch.equal(ours.retrain(archs, 1), again.load(torch.tensor([0]))(Proposal(archs[None])).score[0])
    assert not torch.equal(ours.retrain(archs, 1), scores)


def test_the_noise_of_a_search_by_hand():
    # 90% of 96 images, two hits and two misses more: 88.4 of 100.
    assert noise.standard_error(90, 96) == pytest.approx(100 * math.sqrt(0.884 * 0.116 / 100))
    # Deviations of +-1 about 11 and +-2 about 20: (2 + 8) over one degree of freedom each.
    assert noise.between_seeds([[10, 12], [18, 22], [7.0], [math.nan, 3.0]]) == pytest.approx(math.sqrt(5))
    assert noise.between_seeds([[10], []]) is None
    found = noise.estimate([90, 90, 86, 85, 60], 90, 96, [[90]])
    assert (found.tied, found.distinct) == (2, 5)
    assert found.margin == pytest.approx(1.959964 * math.sqrt(2) * found.validation)
    assert found.within == 4  # Noise is 8.88 points.
    wider = noise.estimate([90, 90, 86, 85, 60], 90, 96, [[10, 12], [18, 22]])
    assert wider.margin == pytest.approx(1.959964 * math.sqrt(2 * (wider.validation**2 + 5)))
    assert found.sentence().startswith(
        "4 of 5 architectures are within noise of the best score, 2 share it. Two equally good ones differ by "
        "less than 8.88 points"
    )
