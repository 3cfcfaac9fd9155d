"""Components of a user's own project: found by file, by module, by entry point; checked by the laws; kept with a run."""

import json
import subprocess
import sys

import pytest

from nas import plugins
from nas.testing import check, kind_of
from search_spaces import UserError

CONTROLLER = '''
"""Simulated annealing."""
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from controller import Proposal
from search_spaces import Space, _noise, _ops, _sampling


class State(NamedTuple):
    seeds: Tensor
    step: Tensor
    arch: Tensor
    score: Tensor


@dataclass(frozen=True)
class SimulatedAnnealing:
    """Moves to a neighbor that scores better, and now and then to one that does not."""

    space: Space
    cooling: float = 0.9

    def begin(self, task, seeds, prior=None):
        arch = _sampling.sample(self.space, seeds, 0, 1)[:, 0]
        return State(seeds, torch.zeros_like(seeds), arch, torch.full(seeds.shape, -torch.inf))

    def propose(self, state, batch):
        fresh = _sampling.sample(self.space, state.seeds, state.step, batch)
        coin = _noise.uniform(state.seeds, state.step, *fresh.shape[1:], stream=1)
        near = torch.where(coin < 0.3, fresh, state.arch[:, None])
        archs = torch.where(self.space.valid(near)[..., None], near, fresh)
        return Proposal(torch.where((state.step == 0)[:, None, None], fresh, archs))

    def learn(self, state, proposal, results):
        score = results.score.nan_to_num(-1e9)
        best, at = score.max(1)
        heat = 10 * self.cooling ** state.step.float()
        luck = _noise.uniform(state.seeds, state.step, stream=2)
        take = ((best - state.score) / heat).exp() > luck
        arch = proposal.archs.gather(1, at[:, None, None].expand(-1, 1, proposal.archs.shape[-1])).squeeze(1)
        return state._replace(
            step=state.step + 1, arch=torch.where(take[:, None], arch, state.arch), score=torch.where(take, best, state.score)
        )
'''

SPACE = '''
"""A chain of layers."""
from dataclasses import dataclass

import torch
from torch import nn

from search_spaces import UserError

_LAYERS = ("skip", "conv", "pool")


@dataclass(frozen=True)
class Chain:
    """Three layers, each a convolution, a pooling or nothing."""

    width: int = 8

    name = "chain"
    choices = (3, 3, 3)
    decisions = ("layer 1", "layer 2", "layer 3")
    operations = (_LAYERS,) * 3

    def valid(self, archs):
        return ((archs >= 0) & (archs < 3)).all(-1)

    def canonical(self, archs):
        return archs

    def build(self, arch, task):
        layers = [nn.Conv2d(task.input_shape[0], self.width, 3, padding=1)]
        for choice in arch.tolist():
            if choice == 1:
                layers += [nn.ReLU(), nn.Conv2d(self.width, self.width, 3, padding=1), nn.BatchNorm2d(self.width)]
            if choice == 2:
                layers += [nn.MaxPool2d(3, 1, padding=1)]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(self.width, task.num_classes))

    def describe(self, arch):
        return "-".join(_LAYERS[c] for c in arch.tolist())

    def parse(self, text):
        names = text.split("-")
        if len(names) != 3 or not set(names) <= set(_LAYERS):
            raise UserError(f"Architecture '{text}' takes three of {', '.join(_LAYERS)}, joined by '-'.")
        return torch.tensor([_LAYERS.index(n) for n in names])
'''

EVALUATOR = '''
"""Scores that are made up."""
from dataclasses import dataclass

import torch

from controller import Results
from nas import Defaults
from search_spaces import Space, Task
from search_spaces.nasbench201 import NasBench201


@dataclass(frozen=True)
class Convolutions:
    """Counts 3x3 convolutions."""

    space: Space
    task: Task
    training = None
    defaults = Defaults(budget=12, batch=2)
    description = "score: 3x3 convolutions"

    @classmethod
    def of(cls, name, **settings):
        return cls(NasBench201(), Task(name, (3, 8, 8), 2))

    def load(self, seeds):
        def evaluate(proposal):
            score = (proposal.archs == 3).sum(-1).float()
            return Results(score, torch.ones_like(score))

        return evaluate

    def report(self, archs):
        return None
'''


LEARNER = '''
"""The mean rank of every architecture."""
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from controller import Prior, Stage, TaskRequest, TaskSet
from search_spaces import _ops


class State(NamedTuple):
    step: Tensor
    total: Tensor


@dataclass(frozen=True)
class MeanRank:
    """Adds up the scores of tasks, for the controller `portfolio`."""

    tasks: TaskSet
    space: str = "nasbench201"
    sign: float = 1.0

    quick_options: ClassVar[dict] = {"space": "transnas-micro"}

    @property
    def stages(self):
        return (Stage("add", 2, (TaskRequest(num_tasks=None),)),)

    def choices(self):
        return next(s.choices for s in self.tasks.spaces if s.name == self.space)

    def init(self, seeds):
        return State(torch.tensor(0), torch.zeros(_ops.size(self.choices())))

    def update(self, meta_state, batch):
        total = meta_state.total
        for sample in batch:
            if sample.space.name == self.space:
                where = _ops.index(sample.archs, self.choices())
                total = total.index_add(0, where, self.sign * sample.scores.nan_to_num(-3).sum(0))
        return State(meta_state.step + 1, total), {"tasks": float(len(batch))}

    def prior(self, meta_state):
        rank = (-meta_state.total).argsort().argsort().float() / len(meta_state.total)
        rank = torch.where(meta_state.total == 0, torch.nan, rank)
        return Prior({"rank": rank[None], "tasks": torch.ones_like(rank)[None]}, {"controller": "portfolio"})
'''


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A user's project: a file each for a controller, a space and an evaluator, and a package beside them."""
    monkeypatch.chdir(tmp_path)
    files = {"my_sa.py": CONTROLLER, "my_space.py": SPACE, "my_eval.py": EVALUATOR, "my_meta.py": LEARNER}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def outcomes(path):
    return {o.law: o.failure for o in check(plugins.load("component", str(path)))}


def test_a_component_is_found_by_its_file_and_by_its_module(project, monkeypatch):
    by_file = plugins.load("controller", "my_sa.py:SimulatedAnnealing")
    monkeypatch.syspath_prepend(project)
    by_module = plugins.load("controller", "my_sa:SimulatedAnnealing")
    assert by_file.__name__ == by_module.__name__ == "SimulatedAnnealing"
    assert kind_of(by_file) == "controller"


def test_a_file_may_import_what_stands_beside_it(project):
    (project / "helper_of_mine.py").write_text("COOLING = 0.5\n")
    (project / "other.py").write_text(
        CONTROLLER.replace("0.9", "helper_of_mine.COOLING").replace(
            "\nimport torch\n", "\nimport helper_of_mine\nimport torch\n"
        )
    )
    assert plugins.load("controller", "other.py:SimulatedAnnealing")(None).cooling == 0.5


def test_components_of_installed_packages_are_listed_and_searched_with(project, monkeypatch, nas):
    """An installed package is a folder on the path with metadata beside it."""
    site = project / "site"
    (site / "annealing-1.0.dist-info").mkdir(parents=True)
    (site / "annealing.py").write_text(CONTROLLER)
    (site / "annealing-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: annealing\nVersion: 1.0\n")
    (site / "annealing-1.0.dist-info/entry_points.txt").write_text(
        "[metacell.controllers]\nannealing = annealing:SimulatedAnnealing\n"
        "broken = not_there:Nothing\nevolution = annealing:SimulatedAnnealing\n"
    )
    monkeypatch.syspath_prepend(site)
    found = {row["name"]: row for row in json.loads(nas("components", "--kind", "controller", "--json").stdout)}
    assert found["annealing"]["from"] == "annealing"
    assert found["annealing"]["settings"] == {"cooling": 0.9}
    assert "cannot be imported" in found["broken"]["summary"]
    assert found["evolution"]["from"] == "metacell"
    searched = nas("search", "--task", "own201/digits", "--controller", "annealing", "--evals", 4, "--json")
    assert searched.returncode == 0, searched.stderr


def test_a_stranger_is_searched_with_and_keeps_every_law(project, nas):
    checked = nas("check", project / "my_sa.py:SimulatedAnnealing")
    assert checked.returncode == 0, checked.stdout
    assert "FAILS" not in checked.stdout
    assert nas("check", f"{project / 'my_space.py'}:Chain").returncode == 0
    assert nas("check", f"{project / 'my_eval.py'}:Convolutions").returncode == 0


@pytest.mark.parametrize(
    ("right", "wrong", "law"),
    [
        ("cooling: float = 0.9", "cooling: float", "default"),
        ("seeds: Tensor\n    step", "seeds: Tensor\n    note: str\n    step", "tensor that leads"),
        ("State(seeds, torch.zeros_like(seeds)", "State(seeds, torch.zeros_like(seeds).float()", "int64"),
        (
            "coin = _noise.uniform(state.seeds, state.step, *fresh.shape[1:], stream=1)",
            "coin = torch.rand(fresh.shape)",
            "asked twice",
        ),
        ("best, at = score.max(1)", "best, at = score.max(1); best = best + score.mean()", "alone and in a batch"),
        ("luck = _noise.uniform(state.seeds,", "luck = _noise.uniform(torch.arange(len(state.seeds)),", "place among"),
        ("nan_to_num(-1e9)", "nan_to_num(-1e9); assert not results.score.isnan().all(), 0", "survived"),
        ("archs = torch.where(self.space.valid(near)[..., None], near, fresh)", "archs = near + 1", "valid"),
        ("nan_to_num(-1e9)", "nan_to_num(1e9)", "never the best"),
        ("best, at = score.max(1)", "best, at = (-score).max(1)", "than random search"),
    ],
)
def test_a_law_that_is_broken_is_named(project, right, wrong, law):
    assert right in CONTROLLER
    (project / "broken.py").write_text(CONTROLLER.replace(right, wrong))
    failed = [said for said, failure in outcomes(project / "broken.py:SimulatedAnnealing").items() if failure]
    assert any(law in said for said in failed), failed


@pytest.mark.parametrize(
    ("right", "wrong", "law"),
    [
        ("width: int = 8", "width: int", "default"),
        ('"layer 3")', '"layer 2")', "named"),
        (".all(-1)", ".any(-1)", "valid"),
        ("return archs\n", "return (archs + 1) % 3\n", "idempotent"),
        ('"-".join(_LAYERS[c] for c in arch.tolist())', '"-".join(sorted(_LAYERS[c] for c in arch.tolist()))', "parse"),
        ("task.num_classes)", "3)", "logit"),
    ],
)
def test_a_law_of_spaces_that_is_broken_is_named(project, right, wrong, law):
    assert right in SPACE
    (project / "broken.py").write_text(SPACE.replace(right, wrong))
    failed = [said for said, failure in outcomes(project / "broken.py:Chain").items() if failure]
    assert any(law in said for said in failed), failed


@pytest.mark.parametrize(
    ("right", "wrong", "law"),
    [
        (".float()", ".double()", "float32"),
        (".float()", ".float() + torch.rand(proposal.archs.shape[:2])", "twice"),
        ("score: 3x3 convolutions", "", "line"),
    ],
)
def test_a_law_of_evaluators_that_is_broken_is_named(project, right, wrong, law):
    assert right in EVALUATOR
    (project / "broken.py").write_text(EVALUATOR.replace(right, wrong))
    failed = [said for said, failure in outcomes(project / "broken.py:Convolutions").items() if failure]
    assert any(law in said for said in failed), failed


@pytest.mark.parametrize(
    ("right", "wrong", "law"),
    [
        ('space: str = "nasbench201"\n', "space: str\n", "default"),
        ("State(meta_state.step + 1, total)", "State(meta_state.step, total)", "counts the updates"),
        ("total = meta_state.total\n", "total = meta_state.total + torch.rand(())\n", "made twice"),
        ("total = meta_state.total\n", "total = meta_state.total.add_(1)\n", "made twice"),
        ('"portfolio"}', '"portfolios"}', "names a controller"),
        ("sign: float = 1.0", "sign: float = -1.0", "improves searches"),
        ("State(meta_state.step + 1, total)", "State(meta_state.step + 1, meta_state.total)", "changes its prior"),
    ],
)
def test_a_law_of_meta_learners_that_is_broken_is_named(project, right, wrong, law):
    assert right in LEARNER
    (project / "broken.py").write_text(LEARNER.replace(right, wrong))
    failed = [said for said, failure in outcomes(project / "broken.py:MeanRank").items() if failure]
    assert any(law in said for said in failed), failed


def test_a_name_of_ours_is_checked_as_each_kind_of_component_that_it_is(nas):
    checked = nas("check", "portfolio", "--json")
    assert checked.returncode == 0, checked.stdout
    assert {row["kind"] for row in json.loads(checked.stdout)["laws"]} == {"controller", "meta-learner"}


def test_a_meta_learner_of_ones_own_trains_a_prior_that_a_search_takes(project, nas):
    assert nas("check", "my_meta.py:MeanRank").returncode == 0
    command, found = ("meta-train", "--learner", "my_meta.py:MeanRank", "--split", "shipped", "--learner-option"), []
    for sign in ("1", "-1"):
        trained = nas(*command, f"sign={sign}", "--out", f"prior{sign}")
        assert trained.returncode == 0, trained.stderr
        options = ("--controller", "portfolio", "--prior", f"prior{sign}/prior.safetensors", "--evals", 3, "--json")
        searched = nas("search", "--task", "own201/digits", *options)
        assert searched.returncode == 0, searched.stderr
        found.append(json.loads(searched.stdout)["best"][0]["score"])
    assert found[0] > found[1] + 1, "what was good elsewhere is good here; what was bad there is bad here"


def test_the_folder_of_a_meta_learner_of_ones_own_has_its_name(project, nas):
    trained = nas("meta-train", "--learner", "my_meta.py:MeanRank", "--split", "shipped")
    assert "runs/MeanRank-shipped/prior.safetensors" in trained.stdout, trained.stderr


def test_laws_run_as_tests_of_pytest(project):
    (project / "test_mine.py").write_text(
        "from nas.testing import laws_of\nfrom my_sa import SimulatedAnnealing\ntest_laws = laws_of(SimulatedAnnealing)\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mine.py", "-k", "state or default"]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=project)
    assert "3 passed" in ran.stdout, ran.stdout + ran.stderr


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nothing.py:X", "There is no file 'nothing.py'"),
        ("my_sa.py:SimulatedAnealing", "Did you mean 'SimulatedAnnealing'"),
        ("my_sa.py", "names no class"),
        ("no_such_module:X", "cannot be imported: ModuleNotFoundError"),
        ("broken.py:X", "cannot be imported: SyntaxError"),
        ("anealing", "FILE.py:Class"),
        ("exits.py:A", "cannot be imported: SystemExit"),
        ("my_space.py:Chain", "is a space; a controller is asked for"),
        ("my_eval.py:Convolutions", "is an evaluator; a controller is asked for"),
        ("bare.py:SimulatedAnnealing", "Field 'cooling' of 'bare.py:SimulatedAnnealing' has no default"),
    ],
)
def test_a_component_that_is_not_there_is_one_line(project, name, says):
    (project / "broken.py").write_text("def :\n")
    (project / "exits.py").write_text("import sys\nsys.exit(0)\n")
    (project / "bare.py").write_text(CONTROLLER.replace("cooling: float = 0.9", "cooling: float"))
    with pytest.raises(UserError, match=says) as error:
        plugins.load("controller", name)
    assert "\n" not in str(error.value)


def test_a_search_in_a_space_of_ones_own_by_a_controller_of_ones_own_ends_in_a_network(project, nas):
    options = ("--space", "my_space.py:Chain", "--controller", "my_sa.py:SimulatedAnnealing", "-c", "cooling=0.5")
    training = ("-t", "epochs=1", "-t", "final_epochs=1", "-t", "examples=64")
    done = nas("search", *options, *training, "--evals", 3, "--name", "mine", "--json")
    assert done.returncode == 0, done.stderr
    best = json.loads(done.stdout)["best"][0]["arch"]
    assert len(best.split("-")) == 3
    exported = project / "runs/mine/export"
    assert (exported / "space.py").read_text() == SPACE
    script = "import torch, network; print(*network.load('network.safetensors')(torch.rand(3, 1, 8, 8)).shape)"
    fresh = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=exported)
    assert fresh.stdout.strip() == "3 10", fresh.stderr
    shown = nas("show", "mine")
    assert shown.returncode == 0, shown.stderr
    assert "SimulatedAnnealing" in shown.stdout


def test_an_evaluator_of_ones_own_scores_a_search(project, nas):
    done = nas(
        "search",
        "--task",
        "anything",
        "--evaluator",
        "my_eval.py:Convolutions",
        "--controller",
        "evolution",
        "--name",
        "e",
        "--json",
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["evaluations"] == 12
    assert found["best"][0]["score"] == found["best"][0]["arch"].count("nor_conv_3x3")


def test_a_run_says_when_its_component_has_changed(project, nas, monkeypatch):
    search = (
        "search",
        "--task",
        "own201/digits",
        "--controller",
        "my_sa.py:SimulatedAnnealing",
        "--name",
        "a",
        "--evals",
        3,
    )
    assert nas(*search).returncode == 0
    unchanged = nas("resume", "a")
    assert unchanged.returncode == 0
    assert "has changed" not in unchanged.stderr
    (project / "elsewhere").mkdir()
    monkeypatch.chdir(project / "elsewhere")  # The run finds its component from any folder.
    with (project / "my_sa.py").open("a") as file:
        file.write("# Another line.\n")
    refused = nas("resume", project / "runs/a")
    assert refused.returncode == 2
    assert "Python code that you have not run before as it is now" in refused.stderr
    changed = nas("resume", project / "runs/a", "--trust")
    assert changed.returncode == 0, changed.stderr
    assert len([line for line in changed.stderr.splitlines() if "has changed since the run began" in line]) == 1


def test_a_controller_from_outside_is_compared_and_another_content_is_another_trial(project, nas):
    def trials(settings=""):
        done = nas(
            "compare", "--tasks", "own201/digits", "--controllers", f"my_sa.py:SimulatedAnnealing{settings},evolution",
            "--seeds", 2, "--evals", 6, "--jobs", 1, "--no-figures", "--out", "c",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return set((project / "c" / "trials").iterdir())

    first = trials()
    assert len(first) == 2
    assert trials() == first
    assert len(trials(":cooling=0.5")) == 3
    (project / "my_sa.py").write_text(CONTROLLER + "# changed\n")
    assert len(trials()) == 4
    lacking = nas("compare", "--tasks", "own201/digits", "--controllers", "my_sa.py:Nothing")
    assert (lacking.returncode, "There are: SimulatedAnnealing" in lacking.stderr) == (2, True)


def test_a_name_that_no_component_has_is_one_line(nas):
    wrong = nas("check", "evolutoin")
    assert wrong.returncode == 2
    assert "Did you mean 'evolution'" in wrong.stderr
