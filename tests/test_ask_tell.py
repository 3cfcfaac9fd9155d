"""A search driven from outside: what is pending is not proposed again, parts and any order, stored and gone on with."""

import importlib.util
import math
import random
import re
import runpy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from controller import AskTell, Proposal
from controller.evolution import Evolution
from controller.models import prior_file
from nas import Search
from nas.run import priors, store, subject
from nas.testing import controller_laws, toys
from search_spaces import Task, UserError
from search_spaces.nasbench201 import NasBench201

CONTROLLERS = ("random_search", "evolution", "reinforce", "bayesian", "transfer_bo", "local_search", "tpe")


def score(architecture):
    return 50.0 + sum(architecture.indices)


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_nothing_pending_is_asked_for_again_in_any_order_of_telling(controller):
    if controller == "tpe":
        pytest.importorskip("optuna")
    s = Search("nasbench201", controller, prior="none")
    pending = s.ask(3)
    for turn in range(6):
        more = s.ask(2)
        assert len({a.indices for a in pending + more}) == len(pending) + 2
        pending += more
        # Always from the other end, and two groups at once: groups are told in parts.
        told = [pending.pop(0 if turn % 2 else -1), pending.pop(len(pending) // 2)]
        s.tell(told, [score(a) for a in told])
        assert {a.indices for a in s.pending} == {a.indices for a in pending}
    assert len(s.told) == 12


def test_asking_and_telling_in_turn_is_the_plain_search():
    space = NasBench201()
    run = toys.evaluate(space)
    archs, scores, _ = toys.walk(Evolution(space, population=4), run, torch.tensor([5]), 1, steps=24)
    s = Search(space, "evolution", task=toys.TASK, seed=5, options={"population": 4})
    for at in range(24):
        asked = s.ask()
        assert [a.indices for a in asked] == [tuple(row) for row in archs[0, at].tolist()]
        s.tell(asked, scores[0, at].tolist(), seconds=100.0)


def test_a_stored_search_goes_on_to_the_bit_with_what_is_pending(tmp_path):
    def drive(s, turns):
        for _ in range(turns):
            a = s.ask(3)
            s.tell(a[1], score(a[1]), 2.0)
            s.tell([s.pending[0]], [None])
            yield [x.indices for x in a]

    whole = Search("nasbench201", "evolution")
    expected = [*drive(whole, 6)]
    with Search("nasbench201", "evolution", folder=tmp_path / "s") as first:
        found = [*drive(first, 3)]
        first.ask(1)
        first_pending = [a.indices for a in first.pending]
    with Search("nasbench201", "evolution", folder=tmp_path / "s") as again:
        assert [a.indices for a in again.pending] == first_pending
        assert [t.architecture.indices for t in again.told] == [t.architecture.indices for t in whole.told[:6]]
        assert [t.seconds for t in again.told] == [t.seconds for t in whole.told[:6]]
        again._pending.pop()  # Of the one more that the whole search did not ask for.
        found += [*drive(again, 3)]
    assert found == expected
    with store.open_run(tmp_path / "s") as run:
        assert len(subject.trials_of(run)) == 12


def test_a_failure_is_nan_and_the_best_is_the_highest():
    s = Search("nasbench201", "random_search")
    a = s.ask(3)
    assert s.best is None
    s.tell(a, [1.0, None, 3.0])
    assert math.isnan(s.told[1].score)
    assert s.best is not None
    assert s.best.architecture.indices == a[2].indices


def test_what_was_not_asked_for_is_learned_too():
    s = Search("nasbench201", "local_search")
    text = "|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"
    s.tell([text], [99.0])
    assert s.told[0].architecture.text == text


@pytest.mark.parametrize(
    ("architectures", "scores", "seconds", "says"),
    [
        ([[0] * 6], [1.0, 2.0], 0.0, "1 architectures are told with 2 scores"),
        ([[0] * 5], [1.0], 0.0, "no architecture of space"),
        ([[9] * 6], [1.0], 0.0, "no architecture of space"),
        ([[0] * 6], ["high"], 0.0, "'high' is no score"),
        ([[0] * 6], [True], 0.0, "True is no score"),
        ([[0] * 6], [math.inf], 0.0, "inf is no score"),
        ([[0] * 6], [1.0], [-1.0], "-1.0 is no number of seconds"),
        ([[0] * 6], [1.0], [1.0, 2.0], "1 architectures are told with 2 numbers of seconds"),
        ([[0] * 6], [1.0], None, "None is no number of seconds"),
        ([[0] * 6], [1e39], 0.0, "1e\\+39 is no score; it takes a number of at most"),
        ([[0] * 6], ["0.5"], 0.0, "'0.5' is no score"),
        ([[0] * 6], [10**400], 0.0, "is no score"),
        ([[0] * 6, [1] * 6], 1.0, 0.0, "2 architectures are told with 1 scores"),
    ],
)
def test_bad_tellings_are_one_line_and_tell_nothing(architectures, scores, seconds, says):
    s = Search("nasbench201", "random_search")
    with pytest.raises(UserError, match=says):
        s.tell([torch.tensor(a) for a in architectures], scores, seconds)
    assert not s.told


@pytest.mark.parametrize(
    "given", [None, 5, 0.5, object(), [object()], {"a": 1}, [[0, 1], [2]], torch.zeros(6), "nowhere"]
)
def test_what_is_no_architecture_is_one_line(given):
    s = Search("nasbench201", "random_search")
    with pytest.raises(UserError):
        s.tell(given, 1.0)
    with pytest.raises(UserError):
        s.expect(given)
    assert not s.told
    assert not s.pending


def test_an_architecture_is_told_in_any_form_of_a_row():
    s = Search("nasbench201", "random_search")
    row = [0, 1, 2, 3, 4, 0]
    for form in (row, tuple(row), np.array(row), torch.tensor(row)):
        s.tell(form, np.float32(2.0), seconds=np.float64(1.5))
        s.tell([form], torch.tensor([2.0]), seconds=torch.tensor(1.5))
    assert [t.architecture.indices for t in s.told] == [tuple(row)] * 8
    assert {(t.score, t.seconds) for t in s.told} == {(2.0, 1.5)}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"space": None}, "space is None"),
        ({"space": NasBench201}, "is the class NasBench201"),
        ({"controller": None}, "controller is None"),
        ({"task": 5}, "task is 5"),
        ({"folder": 5}, "folder is 5"),
        ({"folder": __file__}, "is a file"),
        ({"folder": f"{__file__}/below"}, "No run can be made in"),
        ({"seed": 1.5}, "seed is 1.5"),
        ({"seed": 1 << 80}, "64 bits"),
        ({"prior": None}, "prior is None"),
        ({"options": ["population"]}, "options is"),
        ({"aims": 5}, "aims is 5"),
        ({"aims": [1, 2]}, "aims is"),
    ],
)
def test_what_no_search_is_made_of_is_one_line(given, says):
    with pytest.raises(UserError, match=says):
        Search(**{"space": "nasbench201", "controller": "evolution", **given})


@pytest.mark.parametrize("count", [0, -1, 2.5, "3", None])
def test_what_is_no_number_to_ask_for_is_one_line(count):
    with pytest.raises(UserError):
        Search("nasbench201", "evolution").ask(count)


def test_a_search_that_was_closed_loses_nothing_silently(tmp_path):
    s = Search("nasbench201", "evolution", folder=tmp_path / "s")
    asked = s.ask(2)
    s.close()
    for call in (lambda: s.tell(asked, [1.0, 2.0]), s.ask, lambda: s.expect(asked)):
        with pytest.raises(UserError, match="was closed"):
            call()


def test_what_cannot_be_stored_is_not_told(tmp_path, monkeypatch):
    s = Search("nasbench201", "evolution", folder=tmp_path / "s")
    asked = s.ask(2)
    with monkeypatch.context() as broken:
        broken.setattr("nas.run.step_log.append", lambda *_, **__: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            s.tell(asked[0], 1.0)
    assert not s.told
    assert s.pending == asked
    s.tell(asked[0], 1.0)
    s.close()
    again = Search("nasbench201", "evolution", folder=tmp_path / "s")
    assert [t.score for t in again.told] == [1.0]
    assert again.pending == asked[1:]
    again.close()


def test_more_than_the_space_holds_is_refused():
    from search_spaces import Choices

    class Four(Choices):
        options = {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 2}}

    s = Search(Four(), "evolution")
    assert len({a.indices for a in s.ask(4)}) == 4
    with pytest.raises(UserError, match="4 combinations, too few for what is asked for beside what is pending"):
        s.ask(1)


def test_another_search_in_its_folder_is_refused(tmp_path):
    Search("nasbench201", "evolution", folder=tmp_path / "s").close()
    with pytest.raises(UserError, match="began with first_seed 0"):
        Search("nasbench201", "evolution", folder=tmp_path / "s", seed=1)
    with pytest.raises(UserError, match="began with controller"):
        Search("nasbench201", "random_search", folder=tmp_path / "s")
    with pytest.raises(UserError, match="is of space 'nasbench201', and is opened with 'natsbench-size'"):
        Search("natsbench_size", "evolution", folder=tmp_path / "s")


def test_a_controller_that_repeats_itself_is_told_the_mean_score_of_it_and_forgets_that_again(monkeypatch):
    s = Search("nasbench201", "evolution", options={"population": 50})
    s.tell(s.ask(2), [10.0, 30.0])
    first = s.ask(1)
    seen = []

    def repeats(self, state, batch):
        seen.append(state)
        rows = [first[0].indices] if len(seen) == 1 else [(4, 4, 4, 4, 4, seen[-1].step.item())]
        return Proposal(torch.tensor([rows * batch]))

    monkeypatch.setattr(Evolution, "propose", repeats)
    assert [a.indices for a in s.ask(1)] == [(4, 4, 4, 4, 4, 2)]
    assert seen[1].score[0, :5].tolist() == [10.0, 30.0, 20.0, 20.0, -torch.inf]
    assert s._state.score[0, :3].tolist() == [10.0, 30.0, -torch.inf]


@dataclass(frozen=True)
class Wrapped(AskTell):
    """A climber of others as a controller."""

    def make(self, task, seed):
        return Climber(self.space, seed)


class Climber:
    """Changes one decision of the best so far at random."""

    def __init__(self, space, seed):
        self.choices, self.random, self.best = space.choices, random.Random(seed), ([0] * len(space.choices), -math.inf)

    def ask(self, count):
        rows = []
        for _ in range(count):
            row = [*self.best[0]]
            at = self.random.randrange(len(row))
            row[at] = self.random.randrange(self.choices[at])
            rows.append(row)
        return rows

    def tell(self, archs, scores):
        known = [(a, s) for a, s in zip(archs, scores) if not math.isnan(s)]
        self.best = max([self.best, *known], key=lambda pair: pair[1])

    def state_dict(self):
        version, numbers, gauss = self.random.getstate()
        return {"random": [version, list(numbers), gauss], "best": list(self.best)}

    def load_state_dict(self, state):
        version, numbers, gauss = state["random"]
        self.random.setstate((version, tuple(numbers), gauss))
        self.best = tuple(state["best"])


class Invalid(Wrapped):
    def make(self, task, seed):
        made = Climber(self.space, seed)
        made.choices = (99,) * 6
        return made


def test_an_optimizer_of_others_keeps_the_laws_of_controllers():
    for law in (
        controller_laws.state_is_tensors,
        controller_laws.proposals_are_functions_of_the_state,
        controller_laws.seeds_search_alike_alone_and_in_a_batch,
        controller_laws.resumes_bitwise,
    ):
        law(Wrapped)


def test_an_optimizer_that_proposes_what_is_not_there_is_one_line():
    controller = Invalid(NasBench201())
    state = controller.begin(toys.TASK, torch.arange(20))
    with pytest.raises(UserError, match="Invalid proposed"):
        controller.propose(state, 4)


def test_the_programs_of_the_page_run(nas, tmp_path):
    page = (Path(__file__).parent.parent / "docs" / "your_own.md").read_text()
    for name, code in re.findall(r'^```python title="(.*?)"\n(.*?)^```', page, re.DOTALL | re.MULTILINE):
        (tmp_path / name).write_text(code)
    for name in ("my_loop.py", "my_front.py", *(["my_study.py"] if importlib.util.find_spec("optuna") else [])):
        runpy.run_path(str(tmp_path / name))
    shown = nas("show", "mine")
    assert "12 evaluations" in shown.stdout
    words = (
        "search --objective my_train.py:evaluate -t input_shape=1x8x8 -t num_classes=2 -t epochs=1 --evals 2 --name f"
    )
    assert nas(*words.split(), "--space", "my_layers.py:Layers").returncode == 0
    assert nas("check", "my_layers.py:Layers").returncode == 0
    words = "search --task own201/digits --controller my_optimizer.py:Climbing --evals 50"
    assert nas(*words.split()).returncode == 0


@pytest.mark.parametrize("controller", ["hyperband", "successive_halving", "multi_fidelity_bo"])
@pytest.mark.parametrize("form", [lambda a: a.text, lambda a: torch.tensor(a.indices)])
def test_a_text_or_a_row_is_told_of_the_epochs_that_were_asked_for(controller, form):
    task = Task("t", (3, 8, 8), 4, fidelities=(1, 3, 9))
    whole, plain = (Search("nasbench201", controller, task=task, prior="none") for _ in range(2))
    lengths = set()
    for _ in range(12):
        asked = whole.ask(4)
        assert [(a.indices, a.epochs) for a in asked] == [(a.indices, a.epochs) for a in plain.ask(4)]
        lengths |= {a.epochs for a in asked}
        whole.tell(asked, [score(a) for a in asked])
        plain.tell([form(a) for a in asked], [score(a) for a in asked])
        assert plain.pending == []
    assert lengths > {1}
    assert [t.architecture.epochs for t in plain.told] == [t.architecture.epochs for t in whole.told]


def test_of_several_lengths_that_are_pending_a_text_is_the_one_asked_for_first():
    s = Search("nasbench201", "random_search")
    short = s.ask(1)[0]
    s.tell(short, 1.0)
    s.expect([replace(short, epochs=3), replace(short, epochs=9), replace(short, epochs=27)])
    s.tell([short.text, replace(short, epochs=3), short.text], [2.0, 3.0, 4.0])
    assert sorted((t.architecture.epochs, t.score) for t in s.told[1:]) == [(3, 3.0), (9, 2.0), (27, 4.0)]
    assert s.pending == []


@pytest.mark.parametrize("aims", ["", "accuracy,latency"])
def test_what_was_told_is_the_same_to_the_bit_when_a_search_is_opened_again(aims, tmp_path):
    rng = random.Random(0)
    with Search("nasbench201", "random_search", folder=tmp_path / "s", aims=aims) as s:
        for a in s.ask(6):
            s.tell(a, {"accuracy": rng.random(), "latency": rng.random()} if aims else rng.random(), rng.random())
        # Equal in single precision, so that the first is the best in either session.
        for a, nearly in zip(s.ask(2), (2.0, 2.0 + 1e-9)):
            s.tell(a, {"accuracy": nearly, "latency": 0.1} if aims else nearly)
        told, best, front = s.told, s.best, s.front
        asked = s.ask(3)
    with Search("nasbench201", "random_search", folder=tmp_path / "s", aims=aims) as again:
        assert again.told == told
        assert again.best == best == told[6]
        assert again.front == front
        assert again.pending == asked


@pytest.mark.parametrize("aims", ["", "accuracy,latency"])
def test_a_stored_search_does_not_go_on_with_another_prior_of_the_same_name(aims, tmp_path):
    file = tmp_path / "mine.safetensors"
    prior = prior_file.read(str(priors.SHIPPED))
    prior_file.write(file, prior)

    def opened():
        return Search("nasbench201", "transfer_bo", folder=tmp_path / "s", prior=str(file), aims=aims)

    opened().close()
    opened().close()
    other = {name: t * 0.9 if t.is_floating_point() else t for name, t in prior.params.items()}
    prior_file.write(file, prior._replace(params=other))
    for _ in range(2):  # The folder is let go of again.
        with pytest.raises(UserError, match="began with another prior than"):
            opened()
    prior_file.write(file, prior)
    opened().close()
