"""What `nas compare` reports of searches that can be followed by hand: a made-up table, raw evaluations, simple counts."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy
import pytest
import torch

from nas import tables
from nas.compare import comparison, curves, rows, statistics, summary, trial, trial_cache, yardstick
from nas.compare.trial import Trial, TrialSpec
from nas.tables import Column
from nas.tasks import families, full_columns
from search_spaces import _noise, _ops

TASK = "made/toy@200"
COUNT = 5**6
# Distinct scores in no order of the space.
VALID = _noise.bits(torch.tensor([3]), 0, COUNT)[0].argsort().float()
TEST = 2 * COUNT - VALID
"""The better by validation, the worse by test: who reports the best test figure, or chooses by it, shows."""
SECONDS = 1 + VALID % 7
INDEX = VALID.argsort()
"""The architecture of each score."""
CACHED = (
    full_columns.everything, full_columns.judged, families.protocol, yardstick.of, yardstick.test_of,
)  # fmt: skip


@pytest.fixture(autouse=True)
def made_up(tmp_path, monkeypatch):
    def column(metric, split, unit="points"):
        return Column("toy", metric, split, 200, unit, True)

    columns = {
        "toy/valid_accuracy@200": (column("accuracy", "valid"), VALID),
        "toy/test_accuracy@200": (column("accuracy", "test"), TEST),
        "toy/train_seconds@200": (column("train_seconds", "train", "seconds"), SECONDS),
    }
    archs = _ops.enumerate_all((5,) * 6)
    tables.write(tmp_path / "made.safetensors", "nasbench201", archs, columns, "made up", "MIT")
    monkeypatch.setenv("NAS_TABLES", str(tmp_path))
    for cached in CACHED:
        cached.cache_clear()
    yield
    for cached in CACHED:
        cached.cache_clear()


def specs(*controllers, seeds=5, evals=20, seconds=None, batch=1):
    return comparison.specs(TASK, list(controllers), (), seeds, evals, seconds, batch)


def test_the_report_is_the_test_figure_of_the_incumbent_by_validation_at_each_evaluation():
    (spec,) = specs("random_search")
    ran, _ = trial.run(spec)
    for seed in range(5):
        tried = ran.index[seed].long()
        assert torch.equal(ran.score[seed], VALID[tried])
        assert torch.equal(ran.cost[seed], SECONDS[tried])
        for t in range(20):
            incumbent = tried[: t + 1][VALID[tried[: t + 1]].argmax()]
            assert ran.report[seed, t] == TEST[incumbent]


def test_a_row_by_hand(tmp_path):
    (found,) = comparison.make(specs("random_search"), tmp_path)
    row = rows.row(found)
    ran = trial_cache.read(found.spec.path(tmp_path))
    final = ran.score.amax(1).double().numpy()
    assert row["score"]["mean"] == pytest.approx(final.mean(), rel=1e-5)
    assert row["score"]["std"] == pytest.approx(final.std(ddof=1), rel=1e-5)
    assert row["score"]["iqm"] == pytest.approx(numpy.sort(final)[1:4].mean(), rel=1e-5)
    # The optimum is the largest score; the report of the final incumbents is turned.
    assert row["regret"]["mean"] == pytest.approx(COUNT - 1 - final.mean(), rel=1e-5)
    assert row["report"]["mean"] == pytest.approx((2 * COUNT - final).mean(), rel=1e-5)
    assert row["evaluations"] == 20
    assert row["seconds"] == pytest.approx(ran.cost.sum(1).mean().item(), rel=1e-5)
    assert row["seconds_an_evaluation"] == pytest.approx(row["seconds"] / 20, rel=1e-5)
    distinct = [len(set(tried.tolist())) for tried in ran.index]
    assert row["distinct_archs"] == pytest.approx(numpy.mean(distinct))


def test_bounds_and_scale_of_a_space_are_its_best_and_its_median(tmp_path):
    found, worst = comparison.make(specs("oracle", "worst"), tmp_path)
    assert (found.optimum == COUNT - 1).all()
    assert (found.median == COUNT // 2).all()
    assert found.normalised[:, 0].tolist() == [1] * 5
    assert worst.normalised[:, 0] == pytest.approx([-1] * 5)
    assert worst.best[:, -1].tolist() == [19] * 5, "the best of the 20 worst"


def made_trial(score, **more):
    score = torch.tensor(score)
    index = INDEX[score.nan_to_num(0).long()].int()
    return Trial(**({"index": index, "score": score, "cost": torch.zeros_like(score), "report": score} | more))


def summarized(score, seconds=None, **more):
    ran = made_trial(score, **more)
    spec = TrialSpec(TASK, "random_search", len(ran.score), ran.score.shape[1], seconds)
    return summary.summarize(spec, ran, {})


def test_the_best_so_far_passes_over_failed_evaluations_and_begins_at_the_worst_score():
    nan = torch.nan
    found = summarized([[nan, 3.0, nan, 2, 5], [4, nan, 6, 6, 1]])
    assert found.best.tolist() == [[1, 3, 3, 3, 5], [4, 4, 6, 6, 6]]


def test_evaluations_are_counted_from_one_and_never_is_infinite():
    found = summarized([[1.0, 3, 5, 2], [6, 1, 1, 9], [1, 1, 1, 2]])
    assert summary.first_reached(found, 5.0).tolist() == [3, 1, numpy.inf]
    assert summary.first_reached(found, 2.5).tolist() == [2, 1, numpy.inf]
    assert summary.first_reached(found, None).tolist() == [numpy.inf] * 3


def test_a_budget_of_seconds_pays_for_what_ends_within_it():
    cost = torch.tensor([[2.0, 2, 2, 2], [1, 1, 9, 1]])
    found = summarized([[1.0, 2, 3, 4], [1, 2, 3, 4]], seconds=6.0, cost=cost)
    assert found.evaluations.tolist() == [3, 2]
    assert found.best.tolist() == [[1, 2, 3, 3], [1, 2, 2, 2]]
    assert found.seconds.tolist() == [[2, 4, 6, 8], [1, 2, 11, 12]]
    assert found.distinct_archs.tolist() == [3, 2]


def test_an_architecture_tried_again_counts_once():
    index = torch.tensor([[7, 7, 3, 7], [0, 1, 2, 3], [5, 5, 5, 5]]).int()
    assert summarized([[1.0] * 4] * 3, index=index).distinct_archs.tolist() == [2, 4, 1]


def test_curves_by_hand():
    found = summarized([[COUNT - 1.0, 0, 0], [COUNT // 2, COUNT // 2, COUNT - 1]], cost=torch.ones(2, 3))
    at, regret, low, high = curves.regret([found])
    assert at.tolist() == [1, 2, 3]
    assert regret.tolist() == pytest.approx([0.5, 0.5, 0])
    assert (low <= regret).all()
    assert (regret <= high).all()
    at, share, *_ = curves.reached([found])
    assert (at.tolist(), share.tolist()) == ([1, 2, 3], [0.5, 0.5, 1])
    thresholds, share, *_ = curves.profile([found])
    assert share.tolist() == [1] * len(thresholds), "both end at the optimum"
    moments, regret, *_ = curves.by_seconds([found])
    assert (moments[0], moments[-1]) == pytest.approx((1, 3))
    assert regret[0] == pytest.approx(0.5)
    assert regret[-1] == pytest.approx(0)
    assert curves.by_seconds([summarized([[1.0, 2]])]) is None, "a table without costs has no clock"
    rows = curves.curve(found)
    away = COUNT - 1 - COUNT // 2
    assert [row["regret_mean"] for row in rows] == pytest.approx([away / 2, away / 2, 0], rel=1e-5)
    assert [row["seconds"] for row in rows] == [1, 2, 3]
    # The report of this trial is its raw scores, and so is not the best so far.
    assert [row["report_mean"] for row in rows] == [(COUNT - 1 + COUNT // 2) / 2, COUNT // 2 / 2, (COUNT - 1) / 2]
    assert [row["score_iqm"] for row in rows] == [(COUNT - 1 + COUNT // 2) / 2] * 2 + [COUNT - 1]
    row = rows[0]
    assert row["evaluations"] == 1
    assert row["seconds"] == 1
    assert row["regret_mean"] == pytest.approx((COUNT - 1 - COUNT // 2) / 2, rel=1e-5)


def test_a_trial_of_an_earlier_day_is_found_under_its_name():
    folder = Path("out")
    spec = TrialSpec("own201/digits@4", "reinforce:lr=0.03", 5, 20, None)
    words = b"own201/digits@4--reinforce:lr=0.03"
    digest = hashlib.sha256(words).hexdigest()[:8]
    assert spec.path(folder) == folder / "trials" / f"own201-digits-4--reinforce-lr-0.03-{digest}.safetensors"
    # Prior and source are told apart by the digest; seeds and budgets are not: a file of others is refused.
    assert dataclasses.replace(spec, prior="abc").path(folder) != spec.path(folder)
    long = TrialSpec("own201/digits@4", f"reinforce:{'x' * 200}=1", 5, 20, None)
    assert len(long.path(folder).name) == 100 + 1 + 8 + len(".safetensors")


def test_points_of_a_curve_are_few_and_have_both_ends():
    assert curves.points(1).tolist() == [1]
    assert curves.points(5).tolist() == [1, 2, 3, 4, 5]
    many = curves.points(1000)
    assert (many[0], many[-1], len(many)) == (1, 1000, len(set(many.tolist())))
    assert len(many) <= 30
    assert len(curves.points(10**6)) == 30


def test_figures_are_rounded_to_six_digits_and_what_is_no_number_is_none():
    assert rows.rounded(1234.5678) == 1234.57
    assert rows.rounded(0.00012345678) == 0.000123457
    assert rows.rounded(numpy.float32(0.1)) == 0.1
    assert [rows.rounded(x) for x in (None, numpy.nan, numpy.inf)] == [None] * 3


def test_a_controller_is_compared_with_each_other_one_both_ways(tmp_path):
    document = comparison.document(comparison.make(specs("oracle", "worst"), tmp_path))
    pairs = {(row["controller"], row["over"]): row["probability"] for row in document["improvements"]}
    assert pairs == {("oracle", "worst"): 1, ("worst", "oracle"): 0}
    (group, other) = document["aggregates"]
    assert group["normalised_score"] == {"iqm": 1, "low": 1, "high": 1}
    assert group["evaluations_to_top"] == {"q25": 1, "median": 1, "q75": 1, "reached": 1}
    assert other["evaluations_to_top"] == {"q25": None, "median": None, "q75": None, "reached": 0}
    json.dumps(document, allow_nan=False)


def test_the_probability_in_the_figure_is_that_of_the_statistics():
    ours, theirs = summarized([[3.0], [1.0]]), summarized([[2.0], [2.0]])
    assert rows.improvement([ours], [theirs])["probability"] == 0.5
    assert statistics.probability_of_improvement(ours.best, theirs.best) == 0.5
