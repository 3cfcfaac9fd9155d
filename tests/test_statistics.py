"""The statistics of a comparison: intervals whose draws are known, what stratified means, and weights by hand."""

from __future__ import annotations

import numpy
import pytest

from nas.compare import statistics


def in_turn(monkeypatch):
    """Resample `r` is run `r`, again and again: an estimate for each run."""
    draws = numpy.repeat(numpy.arange(statistics.RESAMPLES)[:, None], statistics.RESAMPLES, 1)
    monkeypatch.setattr(statistics, "_draws", lambda count, stream: draws[:, :count] % count)
    statistics._weights.cache_clear()


def test_an_interval_leaves_two_and_a_half_percent_out_at_each_end(monkeypatch):
    in_turn(monkeypatch)
    values = numpy.arange(1000.0)
    found = statistics.interval(numpy.random.default_rng(0).permutation(values)[None])
    assert found == pytest.approx((499.5, 24.975, 974.025))


def test_an_interval_of_fewer_resamples_takes_the_first(monkeypatch):
    in_turn(monkeypatch)
    assert statistics.interval(numpy.arange(1000.0)[None], 101) == pytest.approx((499.5, 2.5, 97.5))


@pytest.mark.parametrize(("above", "low", "high"), [(195, 0.975, 1), (5, 0, 0.025)])
def test_the_interval_of_an_improvement_leaves_out_as_much(above, low, high, monkeypatch):
    in_turn(monkeypatch)
    # Resample r weighs run r of ours against run r of theirs: so many of the 200 estimates are 1 and the rest 0.
    theirs = numpy.arange(200.0)
    ours = theirs + numpy.where(theirs < above, 0.5, -0.5)
    found = statistics.improvement(ours[None], theirs[None])
    statistics._weights.cache_clear()
    assert found[1:] == pytest.approx((low, high))


def test_seeds_are_drawn_within_their_task():
    """Tasks of a constant each have nothing to draw: an interval over runs of all tasks would have a width."""
    values = numpy.array([[1.0] * 20, [2.0] * 20, [5.0] * 20, [9.0] * 20])
    assert statistics.interval(values) == (3.5, 3.5, 3.5)
    ours, theirs = numpy.array([[1.0] * 10, [5.0] * 10]), numpy.array([[2.0] * 10, [4.0] * 10])
    assert statistics.improvement(ours, theirs) == pytest.approx((0.5, 0.5, 0.5), abs=1e-12)


def test_tasks_are_drawn_apart():
    """Each seed's value on the second task is that on the first turned: drawn together, every estimate would be zero."""
    values = numpy.random.default_rng(5).normal(size=20)
    found = statistics.interval(numpy.stack([values, -values]))
    assert found.value == pytest.approx(0, abs=1e-12)
    assert found.low < -0.05
    assert found.high > 0.05


def test_a_resample_draws_as_many_runs_as_there_are_each_as_often_and_tasks_apart():
    draws = statistics._draws(40, 0)
    assert draws.shape == (statistics.RESAMPLES, 40)
    assert (draws.min(), draws.max()) == (0, 39)
    # With replacement: that 40 draws are all different happens once in 10^16 times.
    assert all(len(set(row)) < 40 for row in draws.tolist())
    # Six standard deviations of a binomial of 40,000 draws among 40.
    assert (abs(numpy.bincount(draws.ravel()) - 1000) < 6 * 1000**0.5).all()
    assert not (draws == statistics._draws(40, 1)).all(1).any()


def test_weights_are_the_shares_of_the_draws():
    weights = statistics._weights(7, 3)
    draws = statistics._draws(7, 3)[: statistics.PAIR_RESAMPLES]
    assert weights.shape == (statistics.PAIR_RESAMPLES, 7)
    assert weights[5].tolist() == pytest.approx([(draws[5] == run).mean() for run in range(7)])


def test_the_estimates_of_an_improvement_are_those_of_the_drawn_runs():
    rng = numpy.random.default_rng(3)
    ours, theirs = rng.normal(size=(2, 9)), rng.normal(size=(2, 9))
    estimates = []
    for r in range(statistics.PAIR_RESAMPLES):
        drawn = [
            statistics.probability_of_improvement(
                ours[k][None, statistics._draws(9, 2 * k)[r]], theirs[k][None, statistics._draws(9, 2 * k + 1)[r]]
            )
            for k in range(2)
        ]
        estimates.append(numpy.mean(drawn))
    found = statistics.improvement(ours, theirs)
    assert found[1:] == pytest.approx(tuple(numpy.percentile(estimates, (2.5, 97.5))))
    assert found.value == statistics.probability_of_improvement(ours, theirs)


def test_the_interquartile_mean_of_few_runs_cuts_whole_runs():
    # A quarter of 3 is none, of 5 is one, of 8 are two at each end.
    assert statistics.iqm(numpy.array([1.0, 2, 9])) == 4
    assert statistics.iqm(numpy.array([100.0, 1, 2, 6, -50])) == 3
    assert statistics.iqm(numpy.array([[8.0, 7, 6, 5, 4, 3, 2, 1], [0, 0, 0, 0, 0, 0, 0, 8]])).tolist() == [4.5, 0]


def test_quartiles_are_nearest_ranks():
    assert statistics.quartiles(numpy.array([5.0])) == (5, 5, 5)
    assert statistics.quartiles(numpy.arange(1.0, 9)) == (2, 4, 6)
    assert statistics.quartiles(numpy.arange(1.0, 10)) == (3, 5, 7)
