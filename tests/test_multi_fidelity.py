"""Bayesian optimization over levels of compute: who goes on, what the model expects, what a prior from other data changes."""

from __future__ import annotations

import json
import math
import shutil

import numpy as np
import pytest
import torch

from controller import Prior, Results
from controller.models import configuration_prior, multi_fidelity_gp, prior_file
from controller.models.configuration_prior import Scores
from controller.models.multi_fidelity_gp import MultiFidelityGP, Observed, features, targets
from controller.multi_fidelity_bo import MultiFidelityBO
from nas.meta import configurations_from_runs, finished_runs
from nas.run import choice, leaders, priors, session, step_log, store
from nas.run.config import RunConfig
from nas.run.incumbent import Best
from search_spaces import Task, UserError, _ops, _sampling
from search_spaces._measured import bounded
from search_spaces.nasbench201 import NasBench201
from search_spaces.pipeline import Pipeline

CELLS, PIPELINES = NasBench201(), Pipeline()
TASK = Task("images", (3, 32, 32), 10, (4000.0,), (1, 3, 9))
SEED = torch.tensor([5])


def score_of(archs):
    return _ops.hash_32(archs, CELLS.choices).float() % 97


def walk(steps, batch=1, task=TASK, controller=None):
    controller = controller or MultiFidelityBO(CELLS)
    state, seen = controller.begin(task, SEED), []
    for _ in range(steps):
        proposal = controller.propose(state, batch)
        results = Results(score_of(proposal.archs), torch.zeros(1, batch))
        state = controller.learn(state, proposal, results)
        levels = torch.zeros(1, batch) if proposal.epochs is None else proposal.epochs
        seen += [(tuple(a.tolist()), int(e)) for a, e in zip(proposal.archs[0], levels[0])]
    return seen, state


def test_one_in_three_of_a_level_goes_on_and_none_twice():
    seen, _ = walk(60)
    assert seen[3] == (max((a for a, _ in seen[:3]), key=lambda a: float(score_of(torch.tensor(a)))), 3)
    for at, (arch, level) in enumerate(seen):
        if level == 1:
            # Nobody could go on.
            for lower in (1, 3):
                assert not [a for a in best_third(seen[:at], lower) if (a, 3 * lower) not in seen[:at]]
        else:
            assert arch in best_third(seen[:at], level // 3)
            assert (arch, level) not in seen[:at]
    assert {level for _, level in seen} == {1, 3, 9}


def best_third(seen, level):
    distinct = list(dict.fromkeys(arch for arch, e in seen if e == level))
    return sorted(distinct, key=lambda arch: -float(score_of(torch.tensor(arch))))[: len(distinct) // 3]


def test_a_batch_is_of_one_level():
    seen, _ = walk(40, batch=2)
    assert all(a[1] == b[1] for a, b in zip(seen[::2], seen[1::2]))
    assert {e for _, e in seen} == {1, 3, 9}


def test_a_task_without_levels_is_searched_at_its_own():
    controller = MultiFidelityBO(CELLS)
    assert controller.propose(controller.begin(Task("t", (3, 8, 8), 2), SEED), 3).epochs is None


def test_a_search_of_pipelines_begins_with_the_plain_one():
    controller = MultiFidelityBO(PIPELINES)
    first = controller.propose(controller.begin(TASK, SEED), 4)
    assert torch.equal(first.archs[0], PIPELINES.first_archs[:4])
    assert torch.equal(PIPELINES.first_archs[0], PIPELINES.reference_arch)
    assert first.epochs is not None
    assert first.epochs.tolist() == [[1] * 4]


def test_the_posterior_is_that_of_the_formula():
    archs = _sampling.sample(CELLS, SEED, 0, 7)[0]
    level, target = torch.tensor([0, 0, 0, 0, 1, 1, 2]), torch.linspace(-1, 1, 7, dtype=torch.float64)
    weights = torch.linspace(-0.3, 0.3, 30, dtype=torch.float64)
    model = MultiFidelityGP(CELLS, Observed(archs, level, target), weights)
    asked = _sampling.sample(CELLS, SEED, 1, 5)[0]
    every, levels = torch.cat([archs, asked]), torch.cat([level, torch.full((5,), 2)])
    alike = (every[:, None] == every).sum(-1).double()
    mean = _ops.one_hot(every, CELLS.choices).double() @ weights
    apart = (levels[:, None] - levels).abs().double()
    best = None
    for length in (2.0, 8.0):
        for noise in (0.05, 0.3):
            kernel = (0.5 * alike / 6 + 0.5 * torch.exp(-(6 - alike) / length)) * 0.9**apart
            kernel = (kernel + 4.0 * (apart == 0) + 0.25 * mean[:, None] * mean).numpy()
            known, rest = kernel[:7, :7] + noise * np.eye(7), target.numpy() - mean[:7].numpy()
            solved = np.linalg.solve(known, rest)
            evidence = -rest @ solved / 2 - np.linalg.slogdet(known)[1] / 2
            cross = kernel[7:, :7]
            variance = np.diag(kernel[7:, 7:] - cross @ np.linalg.solve(known, cross.T))
            if best is None or evidence > best[0]:
                best = evidence, mean[7:].numpy() + cross @ solved, np.sqrt(variance)
    assert best is not None
    found = model.posterior(asked, 2)
    np.testing.assert_allclose(found.mean.numpy(), best[1], atol=1e-9)
    np.testing.assert_allclose(found.std.numpy(), best[2], atol=1e-9)


def test_ordered_options_are_numbers_and_others_are_not():
    assert features(CELLS, torch.zeros(1, 6).long()).shape == (1, 30)
    two = PIPELINES.first_archs[:1].repeat(2, 1)
    width = PIPELINES.decisions.index("width")
    two[0, width], two[1, width] = 0, 4
    apart = (features(PIPELINES, two)[0] - features(PIPELINES, two)[1]).nonzero()[:, 0].tolist()
    assert apart == [30]
    assert features(PIPELINES, two)[:, 30].tolist() == [-1.0, 1.0]


def test_a_far_tail_is_drawn_in_and_a_failure_is_the_worst():
    score = torch.tensor([90.0, 80.0, 85.0, 10.0, math.nan, 84.0])
    found = targets(score, torch.zeros(6).long())
    # The median is 84, so that nothing lies below 84 - 3 x 6 = 66.
    clipped = torch.tensor([90.0, 80.0, 85.0, 66.0, 66.0, 84.0], dtype=torch.float64)
    torch.testing.assert_close(found, (clipped - clipped.mean()) / clipped.std(unbiased=False))


def learned(effect):
    """Scores on four data sets, in which one option of one decision is worth `effect` points."""
    archs = _sampling.sample(PIPELINES, torch.arange(4), 0, 60)
    lr = PIPELINES.decisions.index("lr")
    score = 50 + effect * (archs[..., lr] == 4).double() + 0.01 * archs[..., 0]
    about = torch.stack([configuration_prior.describe(Task("t", (3, 8, 8), k, (10.0**k,))) for k in (2, 3, 4, 5)])
    data = torch.arange(4)[:, None].expand(-1, 60).flatten()
    return Scores(archs.flatten(0, 1), data, torch.zeros_like(data), score.flatten(), about)


def test_a_prior_begins_with_what_was_good_elsewhere_and_expects_it(tmp_path):
    lr, scores = PIPELINES.decisions.index("lr"), learned(10.0)
    prior = configuration_prior.fit(PIPELINES, scores, scores.archs.unique(dim=0), 5)
    assert set(prior.params["first"][:, lr].tolist()) == {4}
    prior_file.write(tmp_path / "prior.safetensors", prior)
    read = prior_file.read(str(tmp_path / "prior.safetensors"))
    first, weights = configuration_prior.applied(read, PIPELINES, TASK)
    assert torch.equal(first, prior.params["first"])
    good, bad = PIPELINES.first_archs[:1].clone(), PIPELINES.first_archs[:1].clone()
    good[0, lr], bad[0, lr] = 4, 1
    assert (features(PIPELINES, good) @ weights).item() > (features(PIPELINES, bad) @ weights).item() + 1
    state = MultiFidelityBO(PIPELINES).begin(TASK, SEED, read)
    begun = MultiFidelityBO(PIPELINES).propose(state, 4).archs[0]
    assert torch.equal(begun, first[:4])


def test_a_prior_is_no_longer_that_of_a_data_set_that_is_left_out():
    scores = learned(10.0)
    scores.score[scores.data == 2] *= -1
    rest = scores.without(2)
    assert set(rest.data.tolist()) == {0, 1, 3}
    ours, theirs = (
        configuration_prior.fit(PIPELINES, s, scores.archs[:50], 3).params["weights"] for s in (scores, rest)
    )
    assert not torch.allclose(ours, theirs)


def test_what_was_tried_everywhere_at_the_highest_level_comes_first_whatever_is_expected():
    scores = learned(10.0)
    tried = _sampling.sample(PIPELINES, torch.tensor([9]), 0, 4)[0]
    tried[:, PIPELINES.decisions.index("lr")] = 0
    high = Scores(
        tried.repeat(4, 1), torch.arange(4).repeat_interleave(4), torch.ones(16).long(),
        torch.tensor([60.0, 70.0, 80.0, 65.0]).double().repeat(4), scores.about,
    )  # fmt: skip
    both = Scores(*(torch.cat(pair) for pair in list(zip(scores, high))[:4]), scores.about)
    prior = configuration_prior.fit(PIPELINES, both, scores.archs[:50], 3)
    assert torch.equal(prior.params["first"][0], tried[2])
    assert all(any(torch.equal(one, other) for other in tried) for one in prior.params["first"])
    # One that a data set lacks is not known to be good there.
    fewer = both.rows(~((both.archs == tried[2]).all(1) & (both.data == 3)))
    assert torch.equal(configuration_prior.fit(PIPELINES, fewer, scores.archs[:50], 3).params["first"][0], tried[1])


def test_few_configurations_make_a_portfolio_and_no_mean_function():
    scores, lr = learned(10.0), PIPELINES.decisions.index("lr")
    archs, data = scores.archs[:16].repeat(4, 1), torch.arange(4).repeat_interleave(16)
    every = Scores(archs, data, torch.zeros_like(data), 50 + 10 * (archs[:, lr] == 4).double(), scores.about)
    # Each data set lacks a quarter of them, so that none was tried everywhere.
    few = every.rows(torch.arange(64) % 16 % 4 != data)
    candidates = scores.archs[60:].unique(dim=0)
    candidates = candidates[candidates[:, lr].argsort()]
    prior = configuration_prior.fit(PIPELINES, few, candidates, 3)
    assert not prior.params["weights"].any()
    # What is expected still orders it: by nothing it would begin with the first candidate.
    assert candidates[0, lr] == 0
    assert prior.params["first"][0, lr] == 4


def test_a_portfolio_adds_what_the_first_lacks():
    value = torch.tensor([[5.0, 4.0, 0.0], [0.0, 1.0, 5.0]])
    # Alone the first and the last are alike; together they have the best of both data sets.
    assert configuration_prior.portfolio(value, 2, torch.arange(3)).tolist() == [0, 2]


def test_another_spaces_prior_changes_nothing_and_one_that_does_not_fit_is_refused():
    prior = configuration_prior.fit(PIPELINES, learned(1.0), learned(1.0).archs[:9], 2)
    first, weights = configuration_prior.applied(prior, CELLS, TASK)
    assert (len(first), len(weights)) == (0, 0)
    cut = Prior(prior.params | {"weights": prior.params["weights"][:, 1:]}, prior.about)
    with pytest.raises(UserError, match="another version"):
        configuration_prior.applied(cut, PIPELINES, TASK)
    few = learned(1.0).rows(learned(1.0).data < 2)
    with pytest.raises(UserError, match="3 data sets"):
        configuration_prior.fit(PIPELINES, few, few.archs, 2)


@pytest.mark.parametrize("most", [20_000, 70_000])
def test_a_prior_begins_under_a_bound_with_smaller_networks_of_its_recipes(most):
    task = Task("made-up", (3, 32, 32), 10)
    small = bounded(PIPELINES, lambda archs: PIPELINES.cost(archs, task)[0] <= most)
    prior = prior_file.read(str(priors.SHIPPED_PIPELINES))
    shipped = configuration_prior.applied(prior, PIPELINES, task)[0]
    assert small.valid(shipped).any() == (most > 20_000)
    assert not small.valid(shipped[0])
    first = configuration_prior.applied(prior, small, task)[0]
    assert small.valid(first).all()
    assert len(first) == len(first.unique(dim=0)) >= 4

    def recipe(arch):
        return PIPELINES.settings_of(arch)._replace(width=8, cells=0, stem=2)

    kept = [arch for arch in shipped if small.valid(arch)]
    assert all((first == arch).all(1).any() for arch in kept)

    # The best recipe comes first still, in the network with most weights that keep the bound.
    assert recipe(first[0]) == recipe(shipped[0])
    assert torch.equal(PIPELINES.cell_of(first[0]), PIPELINES.cell_of(shipped[0]))
    weights = PIPELINES.cost(PIPELINES.smaller(shipped[0]), task)[0]
    assert PIPELINES.cost(first[0], task)[0] == weights[weights <= most].max()
    assert (weights.diff() <= 0).all()
    least = PIPELINES.arch_of(PIPELINES.cell_of(shipped[0]), recipe(shipped[0]))
    assert PIPELINES.smaller(least).shape == (0, len(least))
    # What no network keeps is no beginning, and no error.
    none = bounded(PIPELINES, lambda archs: torch.zeros(archs.shape[:-1], dtype=torch.bool))
    assert len(configuration_prior.applied(prior, none, task)[0]) == 0
    other = prior._replace(params=prior.params | {"first": shipped + 9})
    with pytest.raises(UserError, match="no architecture of space 'pipeline'"):
        configuration_prior.applied(other, small, task)


def test_what_ones_own_runs_found_comes_behind_the_first_three_of_the_prior_and_the_latest_before_others():
    first, own = torch.arange(6)[:, None], torch.tensor([[10], [1], [11], [5]])
    assert configuration_prior.with_own(first, own).flatten().tolist() == [0, 1, 2, 5, 3, 11, 4, 10]
    # What the prior begins with anyway, and what was found twice, puts off nothing.
    repeats = torch.tensor([[10], [11], [0], [11], [2]])
    assert configuration_prior.with_own(first, repeats).flatten().tolist() == [0, 1, 2, 11, 3, 10, 4, 5]
    assert torch.equal(configuration_prior.with_own(first, own[:0]), first)
    assert configuration_prior.with_own(first, own[:1], 0).flatten().tolist() == [10, 0, 1, 2, 3, 4, 5]


@pytest.fixture(scope="module")
def pipelines_run(tmp_path_factory):
    """A finished run that has trained four pipelines for a moment."""
    options = {"space": "pipeline", "unit": "0.001", "final": "0.001"}
    config = RunConfig("digits", "multi_fidelity_bo", prior="none", evals=4, comparison=False, training_options=options)
    folder = tmp_path_factory.mktemp("pipelines") / "run"
    setup = session.load(config)
    with session.start(folder, config, setup) as run:
        list(session.resume(run, setup))
        leaders.choose(run, setup.evaluator)
        past = step_log.history(run)
        return folder, choice.handed_out(run, past, session.best(config, past)).archs


def test_a_search_begins_with_what_an_earlier_run_found_behind_the_first_of_the_prior(nas, pipelines_run, tmp_path):
    folder, found = pipelines_run
    learned = nas("meta-train", "--from-runs", folder, "--out", tmp_path / "mine")
    assert (learned.returncode, "has learned from 1 run" in learned.stdout) == (0, True), learned.stderr
    file = tmp_path / "mine" / "prior.safetensors"
    # Beside that of runs of cells, which has another name.
    assert "prior-pipelines/prior.safetensors" in nas("meta-train", "--from-runs", folder).stdout
    again = nas("meta-train", "--from-runs", folder, "--prior", file, "--out", tmp_path / "twice")
    assert (again.returncode, "has learned from 1 run" in again.stdout) == (0, True), again.stderr
    assert len(prior_file.read(str(tmp_path / "twice" / "prior.safetensors")).params[configuration_prior.OWN]) == 1
    shipped = configuration_prior.applied(prior_file.read(str(priors.SHIPPED_PIPELINES)), PIPELINES, TASK)[0]
    assert not (shipped[:3] == found).all(1).any()
    for prior in (file, tmp_path / "twice" / "prior.safetensors"):
        first = configuration_prior.applied(priors.find(str(prior), "multi_fidelity_bo"), PIPELINES, TASK)[0]
        assert torch.equal(first[:4], torch.cat([shipped[:3], PIPELINES.canonical(found)]))
    # On images of one's own its file says what is searched, without minutes too.
    random = np.random.default_rng(0)
    images = {f"x_{part}": random.integers(0, 255, (40, 8, 8), dtype=np.uint8) for part in ("train", "test")}
    np.savez(tmp_path / "own.npz", **images, y_train=np.arange(40) % 2, y_test=np.arange(40) % 2)
    refused = nas("search", "--task", f"npz:{tmp_path / 'own.npz'}", "--prior", file, "-t", "unit=-1")
    assert (refused.returncode, "unit is -1; it takes a number" in refused.stderr) == (2, True), refused.stderr


def test_a_run_that_goes_on_after_it_was_learned_from_counts_once_by_what_it_hands_out_then(
    pipelines_run, tmp_path, monkeypatch
):
    folder, _ = pipelines_run
    config = session.load(store.open_run(folder).config)
    other, more = tmp_path / "other", tmp_path / "more"
    shutil.copytree(folder, more)
    seeded = RunConfig(**vars(store.open_run(folder).config) | {"first_seed": 7})
    with session.start(other, seeded, session.load(seeded)) as run:
        list(session.resume(run, session.load(seeded)))
    prior = configurations_from_runs.extend(prior_file.read(str(priors.SHIPPED_PIPELINES)), [more, other], "early")
    before = configuration_prior.own(prior)
    assert (len(json.loads(prior.about["runs"])), len(before)) == (2, 2)
    with store.open_run(more, write=True) as run:
        store.set_config(run, RunConfig(**vars(run.config) | {"evals": 12}))
        list(session.resume(run, config))
    other_best = PIPELINES.canonical(PIPELINES.first_archs)
    other_best = other_best[(other_best != before[0]).any(1)][:1]
    now_best = finished_runs.read(more, 1)._replace(best=other_best)
    monkeypatch.setattr(finished_runs, "read", lambda folder, least: now_best)
    later = configurations_from_runs.extend(prior, [more], "later")
    assert json.loads(later.about["runs"]) == json.loads(prior.about["runs"])
    now = configuration_prior.own(later)
    assert torch.equal(now[1], before[1])
    assert torch.equal(now[0], other_best[0])
    with pytest.raises(UserError, match="add them to the shipped one again"):
        configurations_from_runs.extend(Prior(later.params | {"own": now[:1]}, later.about), [more], "cut")


def test_runs_of_cells_and_of_pipelines_make_a_prior_each(nas, pipelines_run, tmp_path):
    folder, _ = pipelines_run
    made = ("search", "--task", "own201/digits", "--controller", "random_search")
    assert nas(*made, "--evals", 4, "--name", tmp_path / "cells").returncode == 0
    refused = nas("meta-train", "--from-runs", folder, tmp_path / "cells", "--out", tmp_path / "out")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "searched space 'nasbench201'; this prior begins searches of space 'pipeline'" in refused.stderr
    assert not (tmp_path / "out").exists()
    refused = nas("meta-train", "--from-runs", tmp_path / "cells", folder, "--out", tmp_path / "out")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "searched space 'pipeline', and the first run did not" in refused.stderr
    # A search of cells over levels of compute makes a run of cells like any other.
    made = (*made[:4], "multi_fidelity_bo", "--evals", 40, "--name", tmp_path / "levels")
    assert nas(*made).returncode == 0
    learned = nas("meta-train", "--from-runs", tmp_path / "levels", tmp_path / "cells", "--out", tmp_path / "both")
    assert (learned.returncode, "has learned from 2 runs" in learned.stdout) == (0, True), learned.stderr
    prior = prior_file.read(str(priors.SHIPPED_PIPELINES))
    own = prior.params["first"][:1, 1:].clone()
    other = prior._replace(params=prior.params | {configuration_prior.OWN: own})
    with pytest.raises(UserError, match="another version"):
        configuration_prior.applied(other, PIPELINES, TASK)


@pytest.mark.parametrize(
    ("part", "tensor", "said"),
    [
        ("first", None, "it has no 'first'"),
        ("first", torch.zeros(22), "it has no 'first' of 2"),
        ("first", torch.zeros(0, 22), "begins with nothing"),
        ("own", torch.tensor(1), "its 'own' has not 2"),
        ("weights", torch.full((5, 3), math.nan), "holds NaN"),
        ("space", None, "names no space"),
    ],
)
def test_a_prior_over_configurations_that_lacks_a_part_is_refused(part, tensor, said, pipelines_run):
    prior = prior_file.read(str(priors.SHIPPED_PIPELINES))
    params, about = {**prior.params, part: tensor}, {**prior.about}
    if tensor is None:
        del params[part]
        about = {name: text for name, text in about.items() if name != part}
    broken = Prior(params, about)
    with pytest.raises(UserError, match=said):
        configuration_prior.applied(broken, PIPELINES, TASK)
    with pytest.raises(UserError, match=said):
        configurations_from_runs.extend(broken, [pipelines_run[0]], "")


def test_of_several_searches_the_best_is_tried_first_and_one_of_failures_says_nothing(pipelines_run, monkeypatch):
    folder, _ = pipelines_run
    archs = PIPELINES.canonical(_sampling.sample(PIPELINES, torch.arange(3), 0, 1)[:, 0])
    found = Best(archs, torch.tensor([50.0, math.nan, 60.0]), torch.ones(3).long())
    monkeypatch.setattr(finished_runs.choice, "handed_out", lambda *_: found)
    run = finished_runs.read(folder, 1)
    assert torch.equal(run.best, archs[[2, 0]])
    prior = configurations_from_runs.extend(prior_file.read(str(priors.SHIPPED_PIPELINES)), [folder], "")
    first = configuration_prior.applied(prior, PIPELINES, TASK)[0]
    assert torch.equal(first[[3, 5]], archs[[2, 0]])
    assert json.loads(prior.about["tasks"]) == ["digits"]
    failed = found._replace(score=torch.full((3,), math.nan))
    monkeypatch.setattr(finished_runs.choice, "handed_out", lambda *_: failed)
    with pytest.raises(UserError, match="has found nothing yet"):
        configurations_from_runs.extend(prior, [folder], "")


def test_the_model_prefers_what_scored_well_at_any_level():
    archs = _sampling.sample(CELLS, SEED, 0, 40)[0]
    level = torch.arange(40) % 2
    good = (archs[:, 0] == 3).double()
    model = MultiFidelityGP(
        CELLS, Observed(archs, level, targets(good + 5 * level, level)), torch.zeros(0, dtype=torch.float64)
    )
    asked = _sampling.sample(CELLS, SEED, 1, 60)[0]
    found = model.posterior(asked, 2).mean
    assert found[asked[:, 0] == 3].min() > found[asked[:, 0] != 3].max()
    assert multi_fidelity_gp.features(CELLS, asked).shape == (60, 30)
