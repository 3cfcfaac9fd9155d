"""A space from a table of options: it is a space, and models are told what its options do."""

from functools import partial

import pytest
import torch
from torch import nn

from nas.testing import laws_of
from search_spaces import Choices, Task, UserError, _ops, _structure

LAYERS = {
    "skip": nn.Identity,
    "conv3": partial(nn.Conv2d, kernel_size=3, padding=1),
    "conv5": partial(nn.Conv2d, kernel_size=(5, 5), padding=2),
    "pool": partial(nn.AvgPool2d, kernel_size=3, stride=1, padding=1),
}


class Chain(Choices):
    options = {"layer 1": LAYERS, "layer 2": LAYERS | {"nothing": None}, "width": {"8": 8, "16": 16}}

    def network(self, picked, task):
        width = picked["width"]
        layers = [nn.Conv2d(task.input_shape[0], width, 1)]
        for name in ("layer 1", "layer 2"):
            made = picked[name]
            if made is not None:
                layers.append(made(width, width) if getattr(made, "func", None) is nn.Conv2d else made())
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, task.num_classes))


test_laws = laws_of(Chain)


def test_all_but_the_network_is_derived():
    space = Chain()
    assert space.choices == (4, 5, 2)
    assert space.describe(torch.tensor([1, 4, 1])) == "layer 1=conv3, layer 2=nothing, width=16"
    first, second, third = space.operation_features
    assert [f.kernel for f in first] == [0.0, 1.0, 25 / 9, 1.0]
    assert [f.identity for f in first] == [1.0, 0.0, 0.0, 0.0]
    assert first[1].convolution == 1.0
    assert first[3].pooling == 1.0
    assert second[4].none == 1.0
    assert third[1].number == pytest.approx(torch.log(torch.tensor(17.0)).item() / torch.log(torch.tensor(65.0)).item())


def test_the_values_picked_make_the_network():
    network = Chain().build(torch.tensor([0, 2, 1]), Task("t", (1, 8, 8), 3))
    assert network(torch.zeros(2, 1, 8, 8)).shape == (2, 3)
    assert network[0].out_channels == 16
    assert network[2].kernel_size == (5, 5)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "has no options"),
        ({"a": {}}, "has no option"),
        ({"a": {"x=1": 1}}, "is no name"),
        ({"a, b": {"x": 1}}, "is no name"),
    ],
)
def test_a_table_that_no_line_can_name_is_refused(options, says):
    space = type("Bad", (Choices,), {"options": options})()
    with pytest.raises(UserError, match=says):
        space.choices  # noqa: B018


def test_a_text_of_another_space_is_refused():
    with pytest.raises(UserError, match="takes layer 1, layer 2, width"):
        Chain().parse("layer 1=skip")
    with pytest.raises(UserError, match="'conv9' is no option of 'layer 1'"):
        Chain().parse("layer 1=conv9, layer 2=skip, width=8")


class Merged(Chain):
    merge_equivalents = True

    @property
    def name(self):
        return "Chain"


test_laws_of_merged = laws_of(Merged)


def test_equivalents_are_found_by_what_networks_compute():
    space = Merged()
    same = [
        # A layer that hands its input on may stand anywhere, and may be left out.
        ("layer 1=skip, layer 2=conv3, width=8", "layer 1=conv3, layer 2=skip, width=8"),
        ("layer 1=conv3, layer 2=nothing, width=8", "layer 1=conv3, layer 2=skip, width=8"),
        ("layer 1=skip, layer 2=nothing, width=16", "layer 1=skip, layer 2=skip, width=16"),
    ]
    for one, other in same:
        assert torch.equal(*(space.canonical(space.parse(text)) for text in (one, other)))
    others = [
        ("layer 1=skip, layer 2=conv3, width=8", "layer 1=skip, layer 2=conv3, width=16"),
        ("layer 1=conv3, layer 2=pool, width=8", "layer 1=pool, layer 2=conv3, width=8"),
        ("layer 1=conv3, layer 2=conv3, width=8", "layer 1=conv3, layer 2=skip, width=8"),
    ]
    for one, other in others:
        assert not torch.equal(*(space.canonical(space.parse(text)) for text in (one, other)))


def test_networks_that_are_merged_compute_the_same_with_the_same_weights():
    space, task = Merged(), Task("t", (3, 8, 8), 4)
    archs = _ops.enumerate_all(space.choices)
    x = torch.randn(2, 3, 8, 8)
    merged = 0
    for arch, other in zip(archs, space.canonical(archs)):
        if torch.equal(arch, other):
            continue
        ours, theirs = space.build(arch, task), space.build(other, task)
        # Weights in the order in which they are used: names differ by the layers that do nothing.
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            a.data = b.data
        assert torch.equal(ours(x), theirs(x))
        merged += 1
    # Of 4 x 5 pairs of layers and 2 widths, 1 + 3 + 3 x 3 functions: none, one or two layers that do something.
    assert merged == 2 * (4 * 5 - 13)


def test_structure_sees_constants_branches_and_order():
    class Two(nn.Module):
        def __init__(self, factor, swap):
            super().__init__()
            self.a, self.b, self.factor, self.swap = nn.Linear(4, 4), nn.ReLU(), factor, swap

        def forward(self, x):
            return self.factor * (self.a(self.b(x)) if self.swap else self.b(self.a(x)))

    texts = [_structure.text(Two(*given)) for given in ((1, True), (1, False), (2, True), (1, True))]
    assert texts[0] == texts[3]
    assert len(set(texts)) == 3

    class Asks(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    assert _structure.text(Asks()) is None
    assert _structure.groups([None, "a", None, "a"]) == [0, 1, 2, 1]


def test_a_space_too_large_to_build_is_refused_in_a_line():
    class Large(Merged):
        options = {str(n): LAYERS for n in range(7)}

    with pytest.raises(UserError, match="up to 4,096"):
        Large().canonical(torch.zeros(7, dtype=torch.long))
