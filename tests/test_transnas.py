"""The micro space of TransNAS-Bench-101: its network by hand, its equivalent cells with weights carried over."""

import pytest
import torch
from torch import nn

from nas import tasks
from search_spaces import Task, UserError, _cell_equivalents, _cells, _ops
from search_spaces.transnas_micro import TransNasMicro, _Cell

SPACE = TransNasMicro()
TASK = Task("scene", (3, 256, 256), 47)


def parameters(text, channels=64):
    return sum(p.numel() for p in TransNasMicro(channels).build(SPACE.parse(text), TASK).parameters())


def conv(inputs, outputs, kernel):
    """Weights of a convolution and its batch norm."""
    return inputs * outputs * kernel**2 + 2 * outputs


def test_parameters_counted_by_hand():
    stem = conv(3, 32, 3) + conv(32, 64, 3)
    head = 512 * 47 + 47
    ends = [(64, 128), (128, 128), (128, 256), (256, 256), (256, 512)]
    for code, kernel in (("64-41414-0_00_200", 1), ("64-41414-0_00_300", 3)):
        body = sum(conv(i, o, kernel) + conv(o, o, kernel) for i, o in ends)
        assert parameters(code) == stem + body + head
    skips = sum(conv(i, o, 1) for i, o in ends if i != o)
    assert parameters("64-41414-0_00_100") == stem + skips + head


def test_the_image_shrinks_32_times_and_widens_8_times():
    net = TransNasMicro(channels=4).build(SPACE.parse("1_23_123"), TASK)
    features = net.body(net.stem(torch.zeros(1, 3, 256, 256)))
    assert features.shape == (1, 32, 8, 8)


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (3, 5)])
def test_every_operation_halves_every_size_alike(size):
    for choice in range(4):
        arch = torch.tensor([choice, (choice + 1) % 4, 3, (choice + 2) % 4, 1, 2])
        cell = _Cell([SPACE.operations[0][c] for c in arch.tolist()], 4, 8, 2)
        assert cell(torch.randn(2, 4, *size)).shape == (2, 8, -(-size[0] // 2), -(-size[1] // 2))


@pytest.mark.parametrize("stride", [1, 2])
def test_canonical_twins_compute_the_same_once_weights_are_carried_over(stride):
    archs = _ops.enumerate_all(SPACE.choices)
    changed = archs[(SPACE.canonical(archs) != archs).any(-1)]
    x = torch.randn(2, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    for arch in changed[:: len(changed) // 150]:
        ours, twins = (cell_with_named_weights(a, stride)(x) for a in (arch, SPACE.canonical(arch)))
        torch.testing.assert_close(ours, twins, rtol=1e-4, atol=1e-5)


def cell_with_named_weights(arch, stride):
    """A cell whose weights belong to what they compute: the same expression, the same weights."""
    names = [SPACE.operations[0][c] for c in arch.tolist()]
    computes = _cell_equivalents.node_strings(arch.tolist(), SPACE.operations[0], strided=True)
    cell = _Cell(names, 4, 4 * stride, stride).eval()
    for edge, (i, _) in enumerate(_cells.EDGES):
        words = f"{names[edge]} of {computes[i]}"
        generator = torch.Generator().manual_seed(sum(ord(c) * 31**k for k, c in enumerate(words)) % 2**40)
        for layer in cell.edges[edge].modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight.data.normal_(generator=generator)
    return cell


def test_the_optima_are_those_published(table):
    table("transnas-micro")
    best = {}
    for data in ("class_scene", "class_object", "jigsaw"):
        evaluator = tasks.find(f"transnas-micro/{data}")
        everything = _ops.enumerate_all(SPACE.choices)[None]
        best[data] = evaluator.table.column(evaluator.search_column).max().item()
        assert everything.shape[1] == evaluator.table.rows
    assert best == pytest.approx({"class_scene": 54.94, "class_object": 46.32, "jigsaw": 95.37}, abs=0.02)


@pytest.mark.parametrize("text", ["1_02_33", "64-41414-1_02_334", "", "a_02_333"])
def test_a_malformed_string_is_told(text):
    with pytest.raises(UserError, match=r"form|there are"):
        SPACE.parse(text)


@pytest.mark.parametrize("stem_stride", [1, 2, 4])
def test_the_stem_of_a_proxy_shrinks_the_image_as_asked(stem_stride):
    stem = SPACE.proxy(4, 1, stem_stride).build(SPACE.reference_arch, TASK).stem
    assert stem(torch.zeros(1, 3, 16, 16)).shape == (1, 4, 16 // stem_stride, 16 // stem_stride)
