"""The Python file of a network: only what its cell uses, with names a reader can follow, and nothing but torch to import.

A cell's node is zero if no edge reaches it; a convolution of zeros is its batch norm's shift, one number a
channel, and the file has only that. Edges that do not reach the output are left out.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from nas.export import classify_source, source_templates
from nas.export.classify_source import Reading
from nas.export.ensemble import Ensemble, joined
from nas.export.live_edges import SHORT_NAMES, Edge, live_edges
from search_spaces import Task, UserError
from search_spaces._cells import EDGES, NODES, Cell, CellNetwork, ReluConvBn, ResidualBlock

WEIGHTS = "network.safetensors"
_SAME = {
    "skip_connect": "",
    "nor_conv_1x1": "ReluConvBn(inputs, outputs, 1)",
    "nor_conv_3x3": "ReluConvBn(inputs, outputs, 3)",
    "avg_pool_3x3": "nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)",
}
"""What builds an operation of a cell that keeps the width; a skip is the node itself."""
# As natsbench_size builds cells whose input has another width than their output.
_WIDER = _SAME | {
    "skip_connect": "nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))",
    "avg_pool_3x3": f"nn.Sequential(ReluConvBn(inputs, outputs, 1), {_SAME['avg_pool_3x3']})",
}
_INDENTED = """(
            {same}
            if inputs == outputs
            else {code}
        )"""


def members(network: nn.Module) -> list[CellNetwork] | None:
    """The networks of an ensemble, or the one that it is; None where this file does not know how to write them."""
    found = list(network.members) if isinstance(network, Ensemble) else [network]
    known = [member for member in found if isinstance(member, CellNetwork)]
    return known if len(known) == len(found) else None


def weights(network: nn.Module, mean: Tensor | None, std: Tensor | None) -> dict[str, Tensor]:
    """The weights of `network` under the names of its file; `mean` and `std` `[C]` of the pixels go along."""
    states = [_network_weights(member) for member in members(network) or []]
    state = {} if mean is None or std is None else {"mean": mean.view(-1, 1, 1), "std": std.view(-1, 1, 1)}
    state |= joined(states) if isinstance(network, Ensemble) else states[0]
    return {name: tensor.detach().clone().contiguous() for name, tensor in state.items()}


def _network_weights(network: CellNetwork) -> dict[str, Tensor]:
    state = {name: tensor for name, tensor in network.state_dict().items() if not name.startswith("body.")}
    for number, layer in enumerate(network.body):
        prefix = f"body.{number}."
        if isinstance(layer, Cell):
            state |= {prefix + name: tensor for name, tensor in _cell_weights(layer).items()}
        else:
            state |= {prefix + name: tensor for name, tensor in layer.state_dict().items()}
    return state


def _cell_weights(cell: Cell) -> dict[str, Tensor]:
    state = {}
    for edge in live_edges(cell.operations):
        module = cell.edges[EDGES.index((edge.start, edge.end))]
        if edge.shift:
            assert isinstance(module, ReluConvBn)
            state[edge.name] = _shift(module)
        else:
            state |= {f"{edge.name}.{name}": tensor for name, tensor in module.state_dict().items()}
    return state


def _shift(conv: ReluConvBn) -> Tensor:
    norm = conv[2]
    assert isinstance(norm, nn.BatchNorm2d)
    zero = torch.zeros(1, norm.num_features, 1, 1, dtype=norm.weight.dtype)
    return nn.functional.batch_norm(zero, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)[0]


def write(
    network: nn.Module, task: Task, arch: str, reading: Reading | None, mirror: bool = False, weights: str = WEIGHTS
) -> str:
    """The Python file of `network`.

    Args:
        arch: how the space describes the architecture.
        reading: how it reads image files; None: it takes normalized pixels, and reads none.
        mirror: whether its logits are the mean over the image and its mirror image.
        weights: the name of the file of its weights.
    Raises `UserError` for a network with layers that this file does not know.
    """
    own = members(network) or []
    edges = [_edges(member) for member in own]
    layers = [layer for member in own for layer in member.body]
    wider = any(layer.widths[0] != layer.widths[1] for layer in layers if isinstance(layer, Cell))
    residual = any(isinstance(layer, ResidualBlock) for layer in layers)
    convs = residual or any(e.operation.startswith("nor_conv") and not e.shift for each in edges for e in each)
    # A class for each cell; members of an ensemble may have the same.
    distinct = [each for at, each in enumerate(edges) if each not in edges[:at]]
    names = ["Cell", *(f"Cell{number}" for number in range(2, len(distinct) + 1))]
    of_members = [names[distinct.index(each)] for each in edges]
    alone = not isinstance(network, Ensemble)
    head = source_templates.HEAD.format(
        arch=arch,
        # The name stands in a docstring, which a backslash or a quote of a path would break.
        task=task.name.replace("\\", "/").replace('"', "'"),
        shape=list(task.input_shape),
        classes=task.num_classes,
        pixels="pixels / 255" if reading else "normalized pixels",
        usage=classify_source.usage(reading),
        imports=classify_source.imports(reading, weights=True),
        constants=classify_source.constants(reading).rstrip(),
        weights=weights,
    )
    parts = [
        head,
        source_templates.RELU_CONV_BN if convs else "",
        source_templates.RESIDUAL if residual else "",
        *(_cell(each, wider, name) for each, name in zip(distinct, names)),
        source_templates.check(task.input_shape, reading is not None),
        _network(own[0], reading is not None, mirror) if alone else _member(own[0]),
        "" if alone else _ensemble(own[0], of_members, reading is not None, mirror),
        source_templates.LOAD.format(weights=weights),
        classify_source.classify(reading),
    ]
    return "\n\n\n".join(part.strip("\n") for part in parts if part) + "\n"


def _edges(network: CellNetwork) -> list[Edge]:
    cells = [layer for layer in network.body if isinstance(layer, Cell)]
    unknown = [type(layer).__name__ for layer in network.body if not isinstance(layer, Cell | ResidualBlock)]
    if unknown or len({cell.operations for cell in cells}) != 1:
        raise UserError(
            f"Cannot export a network with {unknown[0] if unknown else 'unlike cells'}; it takes equal cells."
        )
    return live_edges(cells[0].operations)


def _cell(edges: list[Edge], wider: bool, name: str = "Cell") -> str:
    init, forward, drawing = [], [], []
    for node in range(1, NODES):
        terms = []
        for edge in (e for e in edges if e.end == node):
            source, what = f"node_{edge.start}", _WIDER if wider and edge.start == 0 else _SAME
            if edge.shift:
                init.append(f"self.{edge.name} = nn.Parameter(torch.zeros(outputs, 1, 1))")
                terms.append(f"self.{edge.name}.expand(node_0.shape[0], -1, *node_0.shape[2:])")
                drawing.append(
                    f"{node} gains one number a channel (edge {edge.start}-{node}, a convolution of nothing)"
                )
                continue
            drawing.append(f"{edge.start} -> {node}  {SHORT_NAMES[edge.operation]}")
            code = what[edge.operation] if edge.start == 0 else what[edge.operation].replace("inputs", "outputs")
            if wider and edge.start == 0 and code != _SAME[edge.operation]:
                same = _SAME[edge.operation] or "nn.Identity()"
                code = _INDENTED.format(same=same, code=code)
            if code:
                init.append(f"self.{edge.name} = {code}")
            terms.append(f"self.{edge.name}({source})" if code else source)
        if terms:
            forward.append(f"node_{node} = " + " + ".join(terms))
    last = f"node_{NODES - 1}"
    if not any(edge.end == NODES - 1 for edge in edges):
        forward.append(f"{last} = torch.zeros_like(node_0)")
        drawing.append("nothing reaches the output: the cell gives zeros")
    forward[-1] = forward[-1].replace(f"{last} = ", "return ")
    return source_templates.CELL.format(
        name=name,
        drawing="\n".join(f"    {line}" for line in drawing),
        init="".join(f"\n        {line}" for line in init),
        forward="\n".join(f"        {line}" for line in forward),
    )


_INPUTS = {True: "(pixels - self.mean) / self.std", False: "pixels"}
"""By whether the network takes pixels / 255."""


def _network(network: CellNetwork, normalised: bool, mirror: bool) -> str:
    form = source_templates.MIRRORED if mirror else source_templates.FORWARD
    forward = form.format(of="self.head(self.body(self.stem", close=")))", inputs=_INPUTS[normalised])
    return _module(network, f"check(pixels)\n        {forward}", "Network", "", _buffers(network, normalised))


def _member(network: CellNetwork) -> str:
    """A class of the networks of an ensemble, which differ in their cell alone."""
    forward = "return self.head(self.body(self.stem(pixels)))"
    return _module(network, forward, "Member", ", cell: type[nn.Module]", "").replace("Cell(", "cell(")


def _ensemble(network: CellNetwork, cells: list[str], normalised: bool, mirror: bool) -> str:
    form = source_templates.MIRRORED if mirror else source_templates.FORWARD
    return source_templates.ENSEMBLE.format(
        count=len(cells), members=", ".join(f"Member({cell})" for cell in cells), buffers=_buffers(network, normalised),
        forward=form.format(of="self.mean_of", close=")", inputs=_INPUTS[normalised]),
    )  # fmt: skip


def _buffers(network: CellNetwork, normalised: bool) -> str:
    conv = network.stem[0]
    assert isinstance(conv, nn.Conv2d)
    return source_templates.BUFFERS.format(channels=conv.in_channels) if normalised else ""


def _module(network: CellNetwork, forward: str, name: str, arguments: str, buffers: str) -> str:
    conv, head = network.stem[0], network.head[4]
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(head, nn.Linear)
    layers = []
    for code, group in itertools.groupby(map(_layer, network.body)):
        count = len(list(group))
        layers.append(f"            {code}," if count == 1 else f"            *({code} for _ in range({count})),")
    return source_templates.NETWORK.format(
        name=name, arguments=arguments, buffers=buffers, forward=forward,
        channels=conv.in_channels, width=conv.out_channels, stride=conv.stride[0],
        body="\n".join(layers), out=head.in_features, classes=head.out_features,
    )  # fmt: skip


def _layer(layer: nn.Module) -> str:
    if isinstance(layer, Cell):
        return f"Cell({layer.widths[0]}, {layer.widths[1]})"
    assert isinstance(layer, ResidualBlock)
    conv = layer.downsample[1]
    assert isinstance(conv, nn.Conv2d)
    return f"ResidualBlock({conv.in_channels}, {conv.out_channels})"
