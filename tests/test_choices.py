"""A space from a table of options: it is a space, and models are told what its options do."""

from functools import partial

import pytest
import torch
from torch import nn

from nas.testing import laws_of
from search_spaces import Choices, Task, UserError

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
