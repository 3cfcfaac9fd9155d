"""Priors in a comparison: cells of one are not cells of another, none is tried on what it knows, old cells are made anew."""

import json

import numpy
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from nas.compare import comparison, curves, trial_cache
from nas.run import priors, session
from nas.run.config import RunConfig
from search_spaces import UserError

TASK = "own201/digits"


def specs(*controllers, task=TASK, seeds=3, evals=6):
    return comparison.specs(task, list(controllers), (), seeds, evals, None, 1)


@pytest.fixture
def prior(tmp_path):
    """The shipped prior as a file of its own, changed or not."""

    def write(scale=1.0, **about):
        with safe_open(priors.SHIPPED, "pt") as file:
            header = file.metadata()
        params = load_file(priors.SHIPPED)
        path = tmp_path / "prior.safetensors"
        means = "spaces/nasbench201/family_means"
        save_file(params | {means: params[means] * scale}, path, header | about)
        return path

    return write


def test_a_comparison_with_a_prior_is_a_search_that_began_with_it(tmp_path):
    (spec,) = specs("in_context:prior=shipped")
    trace = trial_cache.read(trial_cache.run(spec, tmp_path))
    wanted = RunConfig(task=TASK, prior="shipped", seeds=3, evals=6)
    setup = session.load(wanted)
    with session.start(tmp_path / "run", wanted, setup) as run:
        *_, last = session.resume(run, setup)
    assert torch.equal(trace.score.amax(1), last.found.score)


def test_cells_of_two_priors_and_of_none_are_three(tmp_path, prior):
    cells, scores = set(), []
    for controller in (
        lambda: f"in_context:prior={prior()}",
        lambda: "in_context",
        lambda: f"in_context:prior={prior(-1.0)}",
    ):
        (spec,) = specs(controller())
        cells.add(trial_cache.run(spec, tmp_path))
        scores.append(trial_cache.read(spec.path(tmp_path)).score)
    assert len(cells) == 3
    assert not any(torch.equal(a, b) for i, a in enumerate(scores) for b in scores[:i])


def test_a_prior_is_not_compared_on_what_it_was_trained_on(prior):
    path = prior(tasks=json.dumps(["own201/digits@2"]))
    with pytest.raises(UserError, match=f"was trained on 'own201/digits@2', so that '{TASK}' is no test of it"):
        specs(f"in_context:prior={path}")
    assert specs(f"in_context:prior={path}", task="own201/rsscn7_aerial")


def test_a_prior_is_for_those_that_take_one():
    both = comparison.with_priors(["evolution", "in_context"], ("none", "shipped"))
    assert both == ["evolution", "in_context:prior=none", "in_context:prior=shipped"]
    assert comparison.with_priors(["in_context:members=3"], ()) == ["in_context:members=3"]
    with pytest.raises(UserError, match="--prior is 'shipped', but none of evolution, ppo takes one"):
        comparison.with_priors(["evolution", "ppo"], ("shipped",))


def test_a_cell_of_another_version_is_told_and_made_anew(tmp_path, nas, monkeypatch):
    words = (
        "compare",
        "--tasks",
        TASK,
        "--controllers",
        "random_search",
        "--seeds",
        "2",
        "--evals",
        "3",
        "--no-figures",
    )
    monkeypatch.setattr(trial_cache, "version", lambda: "0.0.1")
    assert nas(*words, "--out", tmp_path / "out").stderr == ""
    (path,) = tmp_path.glob("out/trials/*")
    old = path.read_bytes()
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    said = nas(*words, "--out", tmp_path / "out")
    assert "1 comparisons in" in said.stderr
    assert "(0.0.1); they are made anew" in said.stderr
    assert trial_cache.read_version(path) == trial_cache.version() != "0.0.1"
    assert path.read_bytes() != old
    assert nas(*words, "--out", tmp_path / "out").stderr == ""


def test_the_best_after_some_evaluations_is_that_of_a_shorter_search(tmp_path):
    (long,) = comparison.make(specs("random_search", evals=6), tmp_path / "long")
    (short,) = comparison.make(specs("random_search", evals=4), tmp_path / "short")
    at_4, at_6 = curves.best_after(long, (4, 6))
    assert at_4 == curves.best_after(short, (4,))[0]
    assert at_6["score"]["median"] == pytest.approx(numpy.median(long.best[:, -1]), abs=1e-4)
    assert set(at_6["report"]) == {"mean", "std", "q25", "median", "q75"}


@pytest.mark.parametrize("at", ["0", "7", "many", "3,-1", "²"])
def test_evaluations_beyond_the_budget_are_refused(at, nas):
    done = nas("compare", "--tasks", TASK, "--controllers", "random_search", "--evals", "6", "--report-after", at)
    assert done.returncode == 2
    assert "it takes 1 to 6, the number of --evals" in done.stderr
