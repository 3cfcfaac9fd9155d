"""Spaces that cannot be listed: every law of controllers holds there, and a run goes from its first step to its export."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass

import pytest
import torch

from nas import plugins
from nas.compare import trial, trial_cache
from nas.run import priors, session, state_tree, step_log, store
from nas.run.config import RunConfig
from nas.testing import controller_laws as laws
from nas.testing import laws_of
from nas.testing.large_space import LargeSpace, SyntheticFunction
from search_spaces import UserError, _noise, _ops, _sampling
from search_spaces.nasbench201 import NasBench201
from tests import _toys

CONTROLLERS = plugins.names("controller")
FUNCTION = "nas.testing.large_space:SyntheticFunction"
SPACE = LargeSpace()


@dataclass(frozen=True)
class Picky(LargeSpace):
    """One in five is valid: no two neighbors are both off. It does not say so, and cannot be listed."""

    all_valid = False
    name = "picky"

    def valid(self, archs):
        return super().valid(archs) & ~((archs[..., 1:] == 0) & (archs[..., :-1] == 0)).any(-1)


test_laws_of_the_space = laws_of(LargeSpace)


@pytest.mark.parametrize("name", CONTROLLERS)
def test_a_controller_searches_and_resumes_where_no_space_can_be_listed(name):
    laws.spaces_without_a_list_are_searched(plugins.load("controller", name))


@pytest.mark.parametrize("space", [SPACE, Picky()], ids=["all valid", "picky"])
@pytest.mark.parametrize("name", CONTROLLERS)
def test_a_seed_searches_alike_alone_and_in_company_and_proposes_what_is_valid(name, space):
    controller, run = plugins.load("controller", name)(space), _toys.evaluate(space, failing=0.1)
    archs, _, state = _toys.walk(controller, run, torch.arange(4), 2, steps=4)
    assert space.valid(archs).all()
    fewer, _, smaller = _toys.walk(controller, run, torch.arange(2, 4), 2, steps=4)
    assert torch.equal(fewer, archs[2:])
    for (path, ours), (_, theirs) in zip(_toys.leaves(smaller), _toys.leaves(state)):
        assert ours is None or torch.equal(ours.nan_to_num(-1), theirs[2:].nan_to_num(-1)), path


@pytest.mark.parametrize("name", ["transfer_bo", "attention_policy"])
def test_the_shipped_prior_searches_a_space_without_a_list(name):
    controller = plugins.load("controller", name)(SPACE)
    evaluator = SyntheticFunction.of("hills")
    state = controller.begin(evaluator.task, torch.arange(2), priors.find("shipped", name))
    archs, *_ = _toys.walk(controller, evaluator.load(torch.arange(2)), torch.arange(2), 2, 3, state)
    assert SPACE.valid(archs).all()
    assert len({tuple(arch) for arch in archs.flatten(0, 2).tolist()}) == 12


def test_keys_are_equal_where_and_only_where_architectures_are():
    archs = _sampling.sample(SPACE, torch.arange(2), 0, 30)
    twins = archs.flip(1).contiguous()
    ours, theirs = _ops.keys(SPACE.choices, archs, twins)
    assert torch.equal(ours.flip(1), theirs)
    assert len(ours.unique()) == 60
    # Two architectures that an index of 64 bits which wraps around takes for one.
    wrapped = _ops.from_whole_indices([2**64, 0], SPACE.choices)
    assert len(_ops.keys(SPACE.choices, wrapped)[0].unique()) == 2


def test_keys_of_a_space_with_indices_are_the_indices():
    choices = NasBench201.choices
    archs = _ops.enumerate_all(choices)
    assert torch.equal(_ops.keys(choices, archs)[0], torch.arange(15_625))
    assert torch.equal(_ops.hash_32(archs, choices), torch.arange(15_625))
    assert _ops.whole_indices(archs, choices) == list(range(15_625))


def test_an_architecture_without_an_int64_index_has_a_whole_number():
    archs = _sampling.sample(SPACE, torch.tensor([0]), 0, 50)[0]
    indices = _ops.whole_indices(archs, SPACE.choices)
    assert max(indices) > 2**63
    assert torch.equal(_ops.from_whole_indices(indices, SPACE.choices), archs)
    assert _ops.whole_indices(torch.full((1, 40), 4), SPACE.choices) == [5**40 - 1]


def test_rejection_draws_all_valid_architectures_alike():
    @dataclass(frozen=True)
    class Two(LargeSpace):
        """The first two decisions differ; the others are free."""

        name = "two"
        all_valid = False

        def valid(self, archs):
            return super().valid(archs) & (archs[..., 0] != archs[..., 1])

    archs = _sampling.sample(Two(), torch.arange(4), 7, 5000).flatten(0, 1)
    count = torch.zeros(5, 5).index_put((archs[:, 0], archs[:, 1]), torch.tensor(1.0), accumulate=True)
    assert not count.diagonal().any()
    # 20 pairs of probability 1/20: 1000 +- 31 of each; five deviations.
    assert (count[~torch.eye(5, dtype=torch.bool)] - 1000).abs().max() < 155


def test_a_large_space_without_a_valid_architecture_says_so():
    class Empty(Picky):
        def valid(self, archs):
            return torch.zeros(archs.shape[:-1], dtype=torch.bool)

    with pytest.raises(UserError, match="Space 'picky' is too large to list"):
        _sampling.sample(Empty(), torch.arange(1), 0, 1)


def test_the_optimum_of_a_synthetic_function_is_100_and_the_mean_0():
    evaluator = SyntheticFunction.of("hills", units="6")
    everything = evaluator.scores(_ops.enumerate_all(evaluator.space.choices)).double()
    assert everything.max().item() == pytest.approx(100, abs=1e-4)
    assert everything.mean().item() == pytest.approx(0, abs=1e-4)


def _config(controller, evals):
    return RunConfig(task="hills", evaluator=FUNCTION, controller=controller, evals=evals, seeds=2, batch=2)


@pytest.mark.parametrize("name", ["evolution", "reinforce", "transfer_bo"])
def test_a_run_stopped_and_opened_again_ends_as_one_never_stopped(name, tmp_path):
    config = _config(name, 4)
    setup, ended = session.load(config), []
    for folder, stops in ((tmp_path / "whole", []), (tmp_path / "stopped", [1])):
        with session.start(folder, config, setup) as run:
            for stop in stops:
                steps = session.resume(run, setup)
                list(itertools.islice(steps, stop))
                steps.close()
        with store.open_run(folder, write=True) as run:
            list(session.resume(run, session.load(run.config)))
            past, state = step_log.history(run), step_log.state(run, session.initial_state(setup))
            ended.append((past.archs, past.score, state_tree.flatten(state)))
            assert list(folder.glob("events.*"))
    (archs, score, state), (again, score_again, state_again) = ended
    assert torch.equal(archs, again)
    assert torch.equal(score, score_again)
    assert state.keys() == state_again.keys()
    assert all(torch.equal(leaf.nan_to_num(-1), state_again[path].nan_to_num(-1)) for path, leaf in state.items())


def test_a_search_by_training_is_shown_and_exported(nas, tmp_path):
    options = (
        "-t",
        "epochs=1",
        "-t",
        "examples=128",
        "-t",
        "final_epochs=1",
        "--evals",
        4,
        "--batch",
        2,
        "--no-comparison",
    )
    space = ("--space", "nas.testing.large_space:LargeSpace")
    assert nas("search", "--task", "digits", *space, *options, "--name", "one").returncode == 0
    shown = json.loads(nas("show", "one", "--json").stdout)
    assert shown["finished"]
    assert SPACE.valid(SPACE.parse(shown["best"][0]["arch"]))
    assert "one" in nas("runs").stdout
    assert (tmp_path / "runs/one/export/network.pt2").is_file()


def test_controllers_are_compared_there_and_their_trials_are_read_back(nas, tmp_path):
    asked = (
        "--controllers",
        "random_search,evolution",
        "--seeds",
        3,
        "--evals",
        14,
        "--jobs",
        1,
        "--no-figures",
        "--json",
    )
    compared = nas("compare", "--tasks", f"evaluator:{FUNCTION}/hills", *asked)
    assert compared.returncode == 0, compared.stderr
    rows = json.loads(compared.stdout)["rows"]
    assert [row["distinct_archs"] for row in rows] == [14, 14]
    evaluator = SyntheticFunction.of("hills")
    for path in (tmp_path / "runs").glob("compare-*/trials/*"):
        done = trial_cache.read(path)
        assert torch.equal(evaluator.scores(done.archs.long()), done.score)
        best = trial.final_archs(evaluator, done, None)
        assert torch.equal(evaluator.scores(best), done.score.amax(1))


def test_noise_that_belongs_to_an_architecture_tells_most_apart():
    archs = _sampling.sample(SPACE, torch.tensor([1]), 0, 4000)[0]
    hashes = _ops.hash_32(archs, SPACE.choices)
    assert hashes.min() >= 0
    assert hashes.max() < 2**32
    # 4000 of 2^32: 0.002 pairs expected to share one.
    assert len(hashes.unique()) == 4000
    one_bit = (hashes[:, None] >> torch.arange(32)) & 1
    assert (one_bit.double().mean(0) - 0.5).abs().max() < 0.05
    assert _noise.draw(torch.tensor([1]), hashes[None], high=10).unique().numel() == 10
