"""Spaces of whole networks: NAS-Bench-Macro and TransNAS-Bench-101's macro space by their benchmarks' figures, and `mobile`."""

import pytest
import torch

from search_spaces import Task, UserError, _ops
from search_spaces.mobile import Mobile
from search_spaces.nasbench_macro import NasBenchMacro
from search_spaces.transnas_macro import TransNasMacro

MACRO, TRANSNAS, MOBILE = NasBenchMacro(), TransNasMacro(), Mobile()
CIFAR10 = Task("cifar10", (3, 32, 32), 10)


def parameters(network):
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(("column", "which"), [("cifar10/params", 0), ("cifar10/flops", 1)])
def test_costs_equal_the_benchmark_s_for_every_network(table, column, which):
    archs = _ops.enumerate_all(MACRO.choices)
    ours = MACRO.cost(archs, CIFAR10)[which]
    torch.testing.assert_close(ours / 1e6, table("nasbench-macro").by_index(column, MACRO.choices), rtol=1e-6, atol=0)


def test_layers_that_do_nothing_may_stand_anywhere_in_their_stage_but_first():
    archs = torch.stack([MACRO.parse(text) for text in ("10 012 021".replace(" ", ""), "01002102")])
    assert [MACRO.describe(arch) for arch in MACRO.canonical(archs)] == ["10012021", "01020120"]
    every = _ops.enumerate_all(MACRO.choices)
    # Of the rest of a stage with two layers nothing, one of two kinds, or two of four: seven ways; with one layer all three.
    assert len(MACRO.canonical(every).unique(dim=0)) == 9 * (3 * 7) ** 2


def test_a_canonical_network_of_layers_computes_the_same():
    one, other = MACRO.parse("10001012"), MACRO.parse("10010012")
    assert torch.equal(MACRO.canonical(one), MACRO.canonical(other))
    task = Task("small", (1, 8, 8), 3)
    networks = []
    for arch in (one, other):
        torch.manual_seed(0)  # The same weights in the same order, as a layer that does nothing draws none.
        networks.append(NasBenchMacro(4, 8).build(arch, task).eval())
    x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    assert torch.equal(networks[0](x), networks[1](x))


def test_there_are_as_many_skeletons_as_the_paper_counts(table):
    """3,256 (section 3.1); the table at hand lacks one."""
    archs = _ops.enumerate_all(TRANSNAS.choices)
    assert TRANSNAS.valid(archs).sum() == 3256
    known = table("transnas-macro").archs.long()
    assert TRANSNAS.valid(known).all()
    assert len(known) == 3255


def test_modules_change_width_and_size_as_their_digits_say():
    space = TransNasMacro(channels=4, stem_stride=1)
    network = space.build(space.parse("64-1234-basic"), Task("small", (3, 16, 16), 5))
    features = network.body(network.stem(torch.zeros(2, 3, 16, 16)))
    assert features.shape == (2, 16, 4, 4)
    conv = lambda i, o, k: i * o * k**2 + 2 * o  # noqa: E731
    stem = conv(3, 2, 3) + conv(2, 4, 3)
    same, wider = 4 * conv(4, 4, 3), conv(4, 8, 3) + 3 * conv(8, 8, 3) + conv(4, 8, 1)
    smaller, both = 4 * conv(8, 8, 3) + conv(8, 8, 1), conv(8, 16, 3) + 3 * conv(16, 16, 3) + conv(8, 16, 1)
    assert parameters(network) == stem + same + wider + smaller + both + 16 * 5 + 5


@pytest.mark.parametrize(
    "text", ["", "64-111-basic", "64-1111-basic", "64-2222-basic", "64-1204-basic", "1234567", "64-1234-x"]
)
def test_what_is_no_skeleton_is_told(text):
    with pytest.raises(UserError, match="takes 4 to 6 digits"):
        TRANSNAS.parse(text)


@pytest.mark.parametrize("text", ["", "0120112", "012011203", "31201120"])
def test_what_is_no_row_of_layers_is_told(text):
    with pytest.raises(UserError, match="takes 8 digits"):
        MACRO.parse(text)


def test_a_mobile_network_by_hand():
    """Width 0.5 of 16 channels is 8; expansion 3, kernels 3, one block a stage: 8, 16, 32 and 64 channels, a head of 128."""
    text = MOBILE.describe(torch.zeros(len(MOBILE.choices), dtype=torch.long))
    network = MOBILE.build(MOBILE.parse(text), CIFAR10)
    conv = lambda i, o, k, groups=1: i // groups * o * k**2 + 2 * o  # noqa: E731
    block = lambda i, o: conv(i, 3 * i, 1) + conv(3 * i, 3 * i, 3, 3 * i) + conv(3 * i, o, 1)  # noqa: E731
    body = block(8, 8) + block(8, 16) + block(16, 32) + block(32, 64)
    assert parameters(network) == conv(3, 8, 3) + body + conv(64, 128, 1) + 128 * 10 + 10


def test_the_resolution_is_inside_of_the_network():
    """It takes images as they are and works on half of their side: a quarter of the multiply-accumulates."""
    arch = MOBILE.first_archs[0]
    assert MOBILE.valid(MOBILE.first_archs).all()
    found = []
    for resolution in ("1", "0.5"):
        changed = MOBILE.parse(MOBILE.describe(arch).replace("resolution=1", f"resolution={resolution}"))
        network, sides = MOBILE.build(changed, CIFAR10), []
        network[1].register_forward_hook(lambda _layer, _inputs, output, sides=sides: sides.append(output.shape[-2:]))
        assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
        found.append(tuple(sides[0]))
    assert found == [(32, 32), (16, 16)]
    small = MOBILE.build(changed, Task("tiny", (1, 9, 12), 3))
    assert small(torch.zeros(2, 1, 9, 12)).shape == (2, 3)
