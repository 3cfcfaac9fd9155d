"""Drawing inside a space: every valid architecture as often as any other, one decision changed by a mutation, noise of its law.

Counts are held within six standard deviations: chance exceeds that once in 500 million times, and draws are fixed besides.
"""

from __future__ import annotations

import math

import pytest
import torch

from search_spaces import _noise, _ops, _sampling
from search_spaces.nasbench201 import NasBench201
from search_spaces.natsbench_size import NatsBenchSize
from tests.test_user_space import Chain

SEEDS = torch.arange(3)
WHOLE, HOLED = NatsBenchSize(), Chain()


def assert_even(counts, draws):
    """Every count is what equal probabilities give."""
    expected = draws / len(counts)
    assert ((counts - expected).abs() < 6 * expected**0.5).all(), counts


def test_samples_of_a_space_with_holes_are_its_valid_architectures_each_as_often():
    archs = _sampling.sample(HOLED, SEEDS, 0, 4000)
    assert HOLED.valid(archs).all()
    counts = _ops.index(archs, HOLED.choices).flatten().bincount(minlength=48)
    assert_even(counts[_sampling.valid_indices(HOLED)].double(), 12_000)
    assert len(_sampling.valid_indices(HOLED)) == 36


def test_samples_of_a_whole_space_take_every_option_as_often():
    archs = _sampling.sample(WHOLE, SEEDS, 0, 2000)
    assert _sampling.valid_indices(WHOLE) is None
    for d in range(5):
        assert_even(archs[..., d].flatten().bincount(minlength=8).double(), 6000)
    assert torch.equal(archs, _ops.sample_unchecked(SEEDS, 0, 2000, WHOLE.choices))
    assert not torch.equal(archs, _sampling.sample(WHOLE, SEEDS, 1, 2000))
    assert not torch.equal(archs, _sampling.sample(WHOLE, SEEDS, 0, 2000, stream=1))


@pytest.mark.parametrize("space", [WHOLE, HOLED, NasBench201()], ids=lambda space: space.name)
def test_a_mutation_changes_one_decision_and_every_neighbor_comes_about(space):
    start = _sampling.sample(space, torch.tensor([5]), 0, 1).expand(1, 6000, -1)
    bits = _noise.bits(torch.tensor([5]), 1, 6000, 2)
    changed = _sampling.mutate_from_bits(start, bits, space)
    assert space.valid(changed).all()
    assert ((changed != start).sum(-1) == 1).all()
    around = _ops.neighbours(start[0, 0], space.choices)
    around = around[space.valid(around)]
    counts = (changed[0][:, None] == around).all(-1).sum(0)
    assert counts.sum() == 6000
    # Where all combinations are valid the decision is drawn first; here its options are as many everywhere, so it is the same.
    assert_even(counts.double(), 6000)


def test_a_mutation_draws_the_decision_first_and_then_its_option():
    class Uneven(NatsBenchSize):
        choices = (2, 8, 3)

    start = torch.zeros(1, 9000, 3, dtype=torch.long)
    changed = _sampling.mutate_from_bits(start, _noise.bits(torch.tensor([1]), 0, 9000, 2), Uneven())[0]
    assert_even((changed != 0).sum(0).double(), 9000)
    for d, options in enumerate(Uneven.choices):
        counts = changed[changed[:, d] != 0, d].bincount(minlength=options)[1:].double()
        assert_even(counts, counts.sum().item())


def test_an_architecture_without_valid_neighbors_stays():
    class Lonely(Chain):
        def valid(self, archs):
            return (archs == torch.tensor([1, 2, 0])).all(-1)

    alone = torch.tensor([[[1, 2, 0]]])
    assert torch.equal(_sampling.mutate_from_bits(alone, _noise.bits(torch.tensor([1]), 0, 1, 2), Lonely()), alone)
    assert torch.equal(_sampling.sample(Lonely(), SEEDS, 0, 2), alone.expand(3, 2, -1))


def test_options_that_are_left_are_those_that_some_valid_architecture_takes():
    valid = HOLED.valid(_ops.enumerate_all(HOLED.choices))
    archs = _ops.enumerate_all(HOLED.choices)[valid]
    for d in range(3):
        for before in _ops.enumerate_all(HOLED.choices[:d]) if d else [torch.zeros(0, dtype=torch.long)]:
            same = (archs[:, :d] == before).all(1)
            possible = {int(c) for c in archs[same, d]}
            closed = _sampling.invalid_mask(HOLED, before[None] if d else before, d).flatten().tolist()
            assert [c for c, shut in enumerate(closed) if not shut] == sorted(possible)
    closed = _sampling.invalid_mask(NatsBenchSize(), torch.zeros(1, 2), 2)
    assert closed.tolist() == [False] * 8


def test_padding_is_what_lies_beyond_a_decisions_options():
    assert _sampling.padding_mask((2, 3)).tolist() == [[False, False, True], [False, False, False]]


def test_what_is_new_is_new_row_by_row_and_once():
    index = torch.tensor([[4, 7, 4, 2, 7], [1, 1, 1, 5, 3]])
    others = torch.tensor([[2, 9], [3, 3]])
    assert _ops.isin(index, others).tolist() == [[False, False, False, True, False], [False, False, False, False, True]]
    assert _ops.first_unseen(index, others).tolist() == [
        [True, True, False, False, False],
        [True, False, False, True, False],
    ]
    assert _ops.first_unseen(index, others[:, :0]).tolist() == [
        [True, True, False, True, False],
        [True, False, False, True, True],
    ]


def test_indices_count_with_the_first_decision_in_front():
    assert _ops.index(torch.tensor([[0, 0, 1], [0, 1, 0], [1, 0, 0], [3, 3, 2]]), (4, 4, 3)).tolist() == [1, 3, 12, 47]
    assert _ops.enumerate_all((2, 3)).tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]
    assert _ops.one_hot(torch.tensor([1, 2]), (2, 3)).tolist() == [0, 1, 0, 0, 1]
    assert _ops.in_range(torch.tensor([[0, 2], [2, 0], [0, -1], [1, 3]]), (2, 3)).tolist() == [
        True,
        False,
        False,
        False,
    ]


def test_normal_and_gumbel_noise_have_the_quantiles_of_their_laws():
    seeds, count = torch.arange(20), 5000
    normal = _noise.normal(seeds, 0, count).flatten().double()
    gumbel = _noise.gumbel(seeds, 0, count).flatten().double()
    deviations = 6 * math.sqrt(0.25 / (20 * count))
    for x in (-2.0, -1.0, -0.3, 0.0, 0.5, 1.5):
        assert abs((normal < x).double().mean() - torch.special.ndtr(torch.tensor(x)).item()) < deviations
        assert abs((gumbel < x).double().mean() - math.exp(-math.exp(-x))) < deviations


def test_noise_of_a_thing_is_its_own_whenever_it_is_asked_for():
    counters = torch.tensor([[5, 9, 5], [9, 5, 1]])
    drawn = _noise.draw(torch.tensor([1, 1]), counters, high=1 << 30)
    assert drawn[0, 0] == drawn[0, 2] == drawn[1, 1]
    assert drawn[0, 1] == drawn[1, 0]
    assert drawn[0, 0] != drawn[0, 1]
    others = (
        _noise.draw(torch.tensor([2, 1]), counters, high=1 << 30),
        _noise.draw(torch.tensor([1, 1]), counters, high=1 << 30, stream=1),
    )
    assert all(other[0, 0] != drawn[0, 0] for other in others)
    many = _noise.draw(torch.tensor([3]), torch.arange(9000)[None], high=3)
    assert_even(many.flatten().bincount(minlength=3).double(), 9000)


def test_integers_are_even_and_below_their_bound():
    drawn = _noise.integers(torch.tensor([4]), 0, 3000, 3, high=torch.tensor([1, 2, 7]))[0]
    for k, high in enumerate((1, 2, 7)):
        counts = drawn[:, k].bincount(minlength=high)
        assert len(counts) == high
        assert_even(counts.double(), 3000)


def test_uniform_numbers_are_multiples_of_a_float32s_24_bits_from_zero_to_below_one():
    u = _noise.uniform(torch.arange(50), 0, 2000).double()
    assert torch.equal(u * 2**24, (u * 2**24).round())
    assert 0 <= u.min() < 1e-3
    assert 1 - 1e-3 < u.max() < 1
