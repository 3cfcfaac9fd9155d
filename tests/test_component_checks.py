"""What components of other people hand over in a wrong form is one line before it is used or stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch

from controller import Proposal, Results
from nas import component_checks, loop
from nas.testing import evaluator_laws
from nas.types import Defaults
from search_spaces import Task, UserError, _sampling
from search_spaces.nasbench201 import NasBench201

TASK = Task("t", (3, 8, 8), 4)
SPACE = NasBench201()


class State(NamedTuple):
    seeds: Any
    step: Any


@dataclass(frozen=True)
class Random:
    space: NasBench201 = SPACE

    def begin(self, task, seeds, prior=None):
        return State(seeds, torch.zeros_like(seeds))

    def propose(self, state, batch):
        return Proposal(_sampling.sample(self.space, state.seeds, int(state.step[0]), batch))

    def learn(self, state, proposal, results):
        return state._replace(step=state.step + 1)


def results(proposal, **changed):
    score = proposal.archs.float().mean(-1)
    return Results(score, torch.ones_like(score))._replace(**changed)


def steps(controller, evaluate=results):
    seeds = torch.arange(2)
    search = loop.search(controller, evaluate, controller.begin(TASK, seeds), 3)
    return [next(search) for _ in range(2)]


def proposing(change):
    """A controller whose proposals are changed."""
    made = type("Mine", (Random,), {"propose": lambda self, state, batch: change(Random.propose(self, state, batch))})
    return made()


def archs(change):
    return proposing(lambda proposal: Proposal(change(proposal.archs)))


def test_a_component_as_it_should_be_searches():
    assert len(steps(Random())) == 2


@pytest.mark.parametrize(
    ("controller", "says"),
    [
        (proposing(lambda p: None), r"Mine proposes None; it takes a Proposal"),
        (proposing(lambda p: p.archs), r"Mine proposes a tensor int64 \[2, 3, 6\]; it takes a Proposal"),
        (archs(lambda a: a.numpy()), r"Proposal.archs of Mine takes a tensor int64 \[2, 3, 6\], not an object of type ndarray"),
        (archs(lambda a: a.float()), r"takes a tensor int64 \[2, 3, 6\], not a tensor float32 \[2, 3, 6\]"),
        (archs(lambda a: torch.cat([a, a], 1)), r"not a tensor int64 \[2, 6, 6\]"),
        (archs(lambda a: a[..., :5]), r"not a tensor int64 \[2, 3, 5\]"),
        (archs(lambda a: a * 0 + 5), r"proposes choice 5 of decision 0; space 'nasbench201' has choices 0 to 4 there"),
        (archs(lambda a: a * 0 - 1), r"proposes choice -1 of decision 0"),
        (proposing(lambda p: p._replace(epochs=torch.zeros(2, 3, dtype=torch.long))), "proposes 0 epochs; it takes 1 or"),
        (proposing(lambda p: p._replace(epochs=torch.ones(2, 3))), r"Proposal.epochs of Mine takes a tensor int64"),
        (proposing(lambda p: p._replace(weights=torch.ones(2, 3, 6))), r"takes a tensor float32 \[2, 3, 6, 5\]"),
        (proposing(lambda p: p._replace(resting=torch.ones(2, 3))), r"Proposal.resting of Mine takes a tensor bool"),
    ],
)  # fmt: skip
def test_a_proposal_of_another_form_is_one_line(controller, says):
    asked = []
    with pytest.raises(UserError, match=says) as raised:
        steps(controller, lambda proposal: asked.append(proposal))
    assert not asked, "it was evaluated all the same"
    assert "\n" not in str(raised.value)


def test_an_architecture_that_the_space_refuses_is_one_line():
    @dataclass(frozen=True)
    class Half(NasBench201):
        def valid(self, archs):
            return archs[..., 0] == 0

    controller = type("Mine", (Random,), {})(Half())
    object.__setattr__(controller, "propose", lambda state, batch: Proposal(torch.ones(2, batch, 6, dtype=torch.long)))
    with pytest.raises(
        UserError, match=r"Mine proposes \[1, 1, 1, 1, 1, 1\], which is not valid in space 'nasbench201'"
    ):
        steps(controller)


@pytest.mark.parametrize(
    ("begun", "says"),
    [
        (lambda seeds: None, "The state of Mine has no tensor"),
        (lambda seeds: State(seeds, 0), r"state.step of Mine is an object of type int; a state is a NamedTuple of tensors"),
        (lambda seeds: State(seeds, [0]), "state.step of Mine is an object of type list"),
        (lambda seeds: State(seeds, State(seeds, "x")), "state.step.step of Mine is an object of type str"),
        (lambda seeds: State(seeds, torch.zeros(5)), r"state.step of Mine has shape \[5\] in 2 searches"),
        (lambda seeds: State(seeds, torch.tensor(0)), r"state.step of Mine has shape \[\] in 2 searches"),
    ],
)  # fmt: skip
def test_a_state_of_another_form_is_one_line(begun, says):
    first = type("Mine", (Random,), {"begin": lambda self, task, seeds, prior=None: begun(seeds)})
    with pytest.raises(UserError, match=says):
        steps(first())
    later = type("Mine", (Random,), {"learn": lambda self, state, proposal, results: begun(state.seeds)})
    with pytest.raises(UserError, match=says):
        steps(later())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda r: None, "The evaluator answers None; it takes Results"),
        (lambda r: r.score, r"The evaluator answers a tensor float32 \[2, 3\]"),
        (lambda r: tuple(r), "The evaluator answers an object of type tuple"),
        (lambda r: r._replace(score=r.score.double()), r"Results.score of the evaluator .* \[2, 3\], not a tensor float64"),
        (lambda r: r._replace(score=r.score.numpy()), "not an object of type ndarray"),
        (lambda r: r._replace(score=r.score.flatten()), r"not a tensor float32 \[6\]"),
        (lambda r: r._replace(score=r.score / 0), "A score of the evaluator is infinite"),
        (lambda r: r._replace(cost=None), "Results.cost of the evaluator takes a tensor float32 .* not None"),
        (lambda r: r._replace(cost=r.cost * torch.nan), "A cost of the evaluator is nan; it takes seconds"),
        (lambda r: r._replace(cost=-r.cost), "A cost of the evaluator is -1.0; it takes seconds"),
        (lambda r: r._replace(provisional=r.cost), "Results.provisional of the evaluator takes a tensor bool"),
    ],
)  # fmt: skip
def test_results_of_another_form_are_one_line(change, says):
    learned = []
    controller = type("Mine", (Random,), {"learn": lambda self, *given: learned.append(given)})()
    with pytest.raises(UserError, match=says):
        steps(controller, lambda proposal: change(results(proposal)))
    assert not learned, "the controller learned from them all the same"


def test_an_evaluator_that_loads_nothing_is_one_line():
    with pytest.raises(UserError, match="'load' of Mine gives None; it takes a function of a Proposal"):
        loop.load(type("Mine", (), {"load": lambda self, seeds: None})(), torch.arange(2))  # pyright: ignore


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"name": property()}, "it has no 'name'"),
        ({"name": None}, "'name' is None; it takes a text of one line"),
        ({"name": "two\nlines"}, "it takes a text of one line"),
        ({"choices": [5] * 6}, "'choices' is .*; it takes a tuple of whole numbers"),
        ({"choices": (5, 5, 5, 5, 5, 0)}, "it takes a tuple of whole numbers of 1 or more"),
        ({"choices": (5,) * 7}, r"'choices' is \(5, 5, 5, 5, 5, 5, 5\), of 6 decisions"),
        ({"decisions": None}, "'decisions' is None; it takes a tuple of texts"),
        ({"operations": ("abcde",) * 6}, "it takes a tuple of names for each decision"),
        ({"operations": (tuple("abcd"),) * 6}, r"with \(4, 4, 4, 4, 4, 4\) operations"),
        ({"valid": lambda self, archs: True}, r"valid of archs \[2, 6\] gives an object of type bool; it takes bool \[2\]"),
        ({"canonical": lambda self, archs: None}, r"canonical of archs \[2, 6\] gives None; it takes int64 \[2, 6\]"),
        ({"canonical": lambda self, archs: archs.float()}, r"gives a tensor float32 \[2, 6\]"),
        ({"describe": lambda self, arch: None}, "describe gives None"),
        ({"parse": lambda self, text: None}, r"parse of '.*' gives None; it takes int64 \[6\]"),
        ({"parse": lambda self, text: torch.zeros(6).long()}, r"parse of '.*' gives \[0, 0, 0, 0, 0, 0\], and that describes"),
        ({"__hash__": None}, "it cannot be hashed; write it as @dataclass"),
    ],
)  # fmt: skip
def test_a_space_of_another_form_is_one_line(members, says):
    mine = type("Mine", (NasBench201,), members)
    with pytest.raises(UserError, match=says) as raised:
        component_checks.refuse_wrong_space(mine, "my.py:Mine")
    assert str(raised.value).startswith("Space 'my.py:Mine': ")
    assert str(raised.value).endswith("`nas check my.py:Mine` says what a space needs.")


class Evaluator:
    space = SPACE
    task = TASK
    training = None
    defaults = Defaults(8, 2)
    description = "my score"


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"space": None}, "'space' is None, no search space"),
        ({"task": None}, "'task' is None; it takes a Task"),
        ({"task": Task("", (3, 8, 8), 4)}, "'task' is ''; it takes a Task with a name"),
        ({"training": property()}, "it lacks one of space, task, training"),
        ({"defaults": {"budget": 3}}, r"'defaults' is .*; it takes Defaults\(budget, batch\)"),
        ({"description": None}, "'description' is None"),
    ],
)
def test_an_evaluator_of_another_form_is_one_line(members, says):
    component_checks.refuse_wrong_evaluator(Evaluator(), "my.py:Mine")
    with pytest.raises(UserError, match=says):
        component_checks.refuse_wrong_evaluator(type("Mine", (Evaluator,), members)(), "my.py:Mine")


@pytest.mark.parametrize("values", [torch.zeros(2, 6), torch.zeros(2).numpy(), torch.zeros(2, dtype=torch.long), 3.0])
def test_a_report_of_another_form_is_one_line(values):
    archs = torch.zeros(2, 6, dtype=torch.long)
    component_checks.refuse_wrong_report(torch.zeros(2), archs)
    component_checks.refuse_wrong_report(None, archs)
    with pytest.raises(UserError, match=r"The evaluator reports .*; it takes a tensor float32 \[2\], or None"):
        component_checks.refuse_wrong_report(values, archs)


FILE = """
from dataclasses import dataclass
from controller import Results
from controller.random_search import RandomSearch
from nas.testing import evaluator_laws
from nas.types import Defaults
from search_spaces import Task
from search_spaces.nasbench201 import NasBench201
import torch

class Plain:
    def __init__(self, space): self.space = space
    begin, propose, learn = RandomSearch.begin, RandomSearch.propose, RandomSearch.learn

class Leaves(RandomSearch):
    def propose(self, state, batch):
        raise SystemExit(0)

class Beyond(RandomSearch):
    def propose(self, state, batch):
        found = super().propose(state, batch)
        return found._replace(archs=found.archs + 9)

class Score:
    space, task, training = NasBench201(), Task("a/b", (3, 8, 8), 4), None
    defaults, description = Defaults(8, 2), "my score"
    @classmethod
    def of(cls, task): return cls()
    def load(self, seeds):
        return lambda p: Results(p.archs.float().mean(-1), torch.ones(p.archs.shape[:2]))
    def report(self, archs): return archs.float().mean(-1)

class Lists(Score):
    def report(self, archs): return archs.tolist()

class ByList(NasBench201):
    choices = [5] * 6
"""


@pytest.fixture
def mine(nas, tmp_path):
    (tmp_path / "mine.py").write_text(FILE)

    def search(*args):
        done = nas("search", "--evals", 4, "--name", tmp_path / "run", *args)
        assert len(done.stderr.splitlines()) <= 3, done.stderr
        return done

    return search


@pytest.mark.parametrize(
    ("name", "says"),
    [("Plain", "is no dataclass"), ("Leaves", "raised SystemExit: 0"), ("Beyond", "proposes choice")],
)
def test_no_wrong_controller_ends_a_search_well(mine, tmp_path, name, says, nas):
    done = mine("--task", "own201/digits", "--controller", f"{tmp_path}/mine.py:{name}")
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    if (tmp_path / "run").exists():  # Nothing that is no architecture is in it.
        assert nas("show", tmp_path / "run").returncode == 0


def test_a_task_may_be_named_as_a_table_is_and_reports_are_looked_at(mine, tmp_path):
    assert mine("--task", "x", "--evaluator", f"{tmp_path}/mine.py:Score").returncode == 0
    done = mine("--task", "x", "--evaluator", f"{tmp_path}/mine.py:Lists", "--name", tmp_path / "two")
    assert (done.returncode, "The evaluator reports an object of type list" in done.stderr) == (2, True)


def test_a_wrong_space_is_refused_where_it_is_named(mine, tmp_path):
    done = mine("--task", "digits", "-t", f"space={tmp_path}/mine.py:ByList")
    assert (done.returncode, "it takes a tuple of whole numbers" in done.stderr) == (2, True)


def test_check_says_that_a_component_exits(nas, tmp_path):
    (tmp_path / "mine.py").write_text(FILE)
    done = nas("check", f"{tmp_path}/mine.py:Leaves")
    assert (done.returncode, "SystemExit: 0" in done.stdout) == (1, True)


def test_a_file_that_changes_the_default_dtype_is_refused(nas, tmp_path):
    (tmp_path / "mine.py").write_text("import torch\ntorch.set_default_dtype(torch.float64)\n" + FILE)
    done = nas("check", f"{tmp_path}/mine.py:Beyond")
    assert (done.returncode, "sets PyTorch's default dtype to torch.float64 at import" in done.stderr) == (2, True)
    assert torch.get_default_dtype() == torch.float32


def test_a_module_that_changes_the_default_dtype_is_refused(nas, tmp_path, monkeypatch):
    (tmp_path / "wide_floats.py").write_text("import torch\ntorch.set_default_dtype(torch.float64)\n" + FILE)
    monkeypatch.syspath_prepend(tmp_path)
    done = nas("check", "wide_floats:Beyond")
    assert (done.returncode, "'wide_floats' sets PyTorch's default dtype" in done.stderr) == (2, True)


@pytest.mark.parametrize(("cost", "says"), [(-1.0, "cost is -1.0"), (torch.nan, "cost is nan")])
def test_a_law_asks_for_costs_that_a_search_takes(cost, says):
    class Mine(Evaluator):
        @classmethod
        def of(cls, task):
            return cls()

        def load(self, seeds):
            return lambda proposal: results(proposal, cost=torch.full(proposal.archs.shape[:2], cost))

    with pytest.raises(AssertionError, match=says):
        evaluator_laws.scores_have_a_seed_and_an_architecture_axis(Mine)
