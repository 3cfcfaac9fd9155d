"""Which of the cells that compute the same stands for all, and the size space's network counted by hand."""

from __future__ import annotations

import pytest
import torch

from search_spaces import Task, _ops
from search_spaces.nasbench201 import NasBench201
from search_spaces.natsbench_size import NatsBenchSize
from search_spaces.transnas_micro import TransNasMicro

TASK = Task("toy", (3, 16, 16), 10)


@pytest.mark.parametrize(("space", "deep"), [(NasBench201(), False), (NasBench201(), True), (TransNasMicro(), False)])
def test_of_equivalent_cells_the_cheapest_stands_for_all_and_of_equal_ones_the_first(space, deep):
    archs = _ops.enumerate_all(space.choices)
    # By the weights of convolutions: those of a skip that halves the image do not count.
    share = {"nor_conv_1x1": 1, "nor_conv_3x3": 9}
    params = torch.tensor([share.get(name, 0) for name in space.operations[0]])[archs].sum(-1)
    chosen = _ops.index(space.equivalents(archs, deep=deep), space.choices)
    count = len(archs)
    least = torch.full((count,), 2**62).scatter_reduce(0, chosen, params, "amin")[chosen]
    assert torch.equal(params[chosen], least)
    index = torch.where(params == least, torch.arange(count), count)
    first = torch.full((count,), count).scatter_reduce(0, chosen, index, "amin")[chosen]
    assert torch.equal(chosen, first)


def test_canonical_is_the_benchmarks_notion_and_no_deeper():
    space = NasBench201()
    archs = _ops.enumerate_all(space.choices)
    assert torch.equal(space.canonical(archs), space.equivalents(archs))
    assert len(_ops.index(space.equivalents(archs, deep=True), space.choices).unique()) == 4930


def conv(inputs, outputs, kernel):
    """Weights of a convolution and its batch norm."""
    return inputs * outputs * kernel**2 + 2 * outputs


def test_the_size_space_counted_by_hand():
    space = NatsBenchSize()
    a, b, c, d, e = widths = (8, 64, 24, 40, 16)
    network = space.build(space.parse(":".join(map(str, widths))), TASK)

    def cell(inputs, outputs):
        # From the input: 0-1, 0-2 convolve and 0-3 skips, by a 1x1 convolution where the width changes; 1-2, 1-3, 2-3 convolve.
        skip = conv(inputs, outputs, 1) if inputs != outputs else 0
        return 2 * conv(inputs, outputs, 3) + skip + 3 * conv(outputs, outputs, 3)

    def halving(inputs, outputs):
        return conv(inputs, outputs, 3) + conv(outputs, outputs, 3) + inputs * outputs

    head = 2 * e + e * 10 + 10
    expected = conv(3, a, 3) + cell(a, a) + halving(a, b) + cell(b, c) + halving(c, d) + cell(d, e) + head
    assert sum(p.numel() for p in network.parameters()) == expected
    features = network.body(network.stem(torch.zeros(1, 3, 16, 16)))
    assert features.shape == (1, 16, 4, 4)


def test_the_cell_of_the_size_space_is_the_best_of_the_topology_space_on_cifar100(table):
    """Dong et al. 2021, section 3.1.2: the benchmark fixes the cell that is best on CIFAR-100."""
    cells = NasBench201()
    score = table("nasbench201").by_index("cifar100/valid_accuracy@200", cells.choices)
    best = _ops.from_index(score.nan_to_num(-torch.inf).argmax(), cells.choices)
    names = tuple(cells.operations[0][c] for c in best.tolist())
    body = NatsBenchSize().build(torch.zeros(5, dtype=torch.long), TASK).body
    assert {layer.operations for layer in body if hasattr(layer, "operations")} == {names}
