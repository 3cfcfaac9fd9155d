"""A space of somebody's own that cannot be searched is one line before a run is made, and its errors are said to be its."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from torch import nn

from controller.ppo import Ppo
from controller.reinforce import Reinforce
from nas import outside_code, plugins
from nas.evaluators import _trial
from nas.testing import space_laws, toys
from search_spaces import Choices, Task, UserError

TASK = Task("t", (1, 8, 8), 3)


class Sound(Choices):
    options = {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 2}}

    def network(self, picked, task):
        return nn.Sequential(nn.Flatten(), nn.Linear(64, task.num_classes))


def space(**members):
    return type("Mine", (Sound,), members)()


def raising(self, picked, task):
    raise KeyError("no\nlayer")


def frozen(self, picked, task):
    return Sound.network(self, picked, task).requires_grad_(False)


def endless(self, picked, task):
    network = Sound.network(self, picked, task)
    nn.init.constant_(network[1].bias, torch.inf)
    return network


WIDTHS = itertools.count(1)


def by_chance(self, picked, task):
    width = next(WIDTHS)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.Linear(width, task.num_classes))


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"network": raising}, r"it fails with KeyError: 'no\\nlayer'\. `nas check`"),
        ({"network": lambda self, picked, task: None}, "it builds no torch.nn.Module, but None"),
        (
            {"network": lambda self, picked, task: nn.Identity()},
            r"it gives \[2, 1, 8, 8\] for 2 images; it takes \[2, 3\]",
        ),
        ({"network": lambda self, picked, task: nn.LSTM(8, 3)}, "it fails with|it gives tuple"),
        ({"network": frozen}, "without a weight that learns"),
        ({"network": endless}, "logits are not finite"),
        ({"network": by_chance}, r"it builds 'a=., b=.' with other weights each time"),
        ({"network": Choices.network}, "has no network; write `def network"),
        ({"canonical": lambda self, archs: archs + 5}, "it has no valid `canonical`"),
        ({"canonical": lambda self, archs: archs.nosuch}, "it fails with AttributeError"),
        ({"options": {"a": {"x": 1}}}, "no decision with two options"),
        ({"options": ["a"]}, "`options` of space 'Mine' is"),
        ({"options": {"a": ["x", "y"]}}, "Decision 'a' of space 'Mine' is"),
        ({"options": {"a\nb": {"x": 1, "y": 2}}}, "is no name"),
        ({"name": None}, "The name of space Mine is None"),
        ({"name": "two\nlines"}, "takes a text of one line"),
    ],
)
def test_a_space_that_cannot_be_searched_is_one_line(members, says):
    with pytest.raises(UserError, match=says) as raised:
        _trial.refuse_broken(space(**members), TASK)
    assert "\n" not in str(raised.value)


ONE = nn.Linear(1, 7)


@pytest.mark.parametrize(
    ("last", "says"),
    [
        (lambda: nn.Linear(1, 7), None),
        (lambda: nn.LazyLinear(7), None),
        (
            lambda: nn.Sequential(nn.Linear(1, width := next(WIDTHS)), nn.Linear(width, 7)),
            "with other weights each time",
        ),
        (lambda: ONE, "share weights; build gives a new module each time"),
        (lambda: nn.Sequential(nn.Linear(1, 7), nn.Threshold(torch.inf, torch.inf)), "logits that are not finite"),
    ],
)
def test_a_law_of_spaces_is_that_networks_are_built_anew_and_alike(last, says):
    class Mine(Sound):
        def network(self, picked, task):
            return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), last())

    if says is None:
        space_laws.networks_run(Mine)
    else:
        with pytest.raises(AssertionError, match=says):
            space_laws.networks_run(Mine)


def test_a_space_of_which_some_networks_run_can_be_searched():
    def network(self, picked, task):
        return Sound.network(self, picked, task) if picked["a"] == 1 else raising(self, picked, task)

    before = torch.get_rng_state()
    _trial.refuse_broken(space(network=network), TASK)
    assert torch.equal(before, torch.get_rng_state())


def test_no_run_is_left_of_it(nas, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from search_spaces import Choices\n"
        "class Mine(Choices):\n    options = {'a': {'x': 1, 'y': 2}}\n"
        "    def network(self, picked, task): raise KeyError('oops')\n"
    )
    done = nas("search", "--task", "digits", "--space", "mine.py:Mine", "--evals", 2, "--name", "r")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "cannot be searched" in done.stderr
    assert not (tmp_path / "runs").exists() or not [*(tmp_path / "runs").iterdir()]


def test_an_error_through_somebody_s_component_names_its_line_and_is_no_error_of_ours(nas, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from controller.random_search import RandomSearch\n"
        "class Mine(RandomSearch):\n"
        "    def learn(self, state, proposal, results):\n"
        "        return {}['no\\nstate']\n"
    )
    done = nas("search", "--task", "own201/digits", "--controller", "mine.py:Mine", "--evals", 2)
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert f"Line 4 of '{tmp_path / 'mine.py'}' raised KeyError" in last
    assert "Please report it" not in done.stderr


def test_the_place_of_an_error_is_the_innermost_line_that_is_not_ours(tmp_path):
    file = tmp_path / "spaces.py"
    file.write_text("import json\nclass Mine:\n    def fail(self):\n        json.loads('{')\n")
    made = plugins._load_outside("space", f"{file}:Mine")()
    with pytest.raises(ValueError, match="property name") as raised:
        made.fail()
    assert outside_code.place_of(raised.value) == outside_code.Place(str(Path(file)), 4)
    with pytest.raises(UserError) as ours:
        plugins.load("space", "nowhere")
    assert outside_code.place_of(ours.value) is None


@pytest.mark.parametrize("controller", [Reinforce, Ppo])
def test_a_policy_searches_a_space_with_one_decision(controller):
    one = space(options={"a": {"x": 1, "y": 2, "z": 3}})
    archs, _, _ = toys.walk(controller(one), toys.evaluate(one), torch.tensor([0]), 2, steps=3)
    assert bool(one.valid(archs).all())
