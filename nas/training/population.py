"""Networks that PyTorch trains: grouped into one module where that fills the machine, separate where they are large.

Shapes: `P` networks, `N` images, `C` channels, `K` classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nas.training.batched_cells import Cell, ResidualBlock
from nas.training.batched_layers import Conv, ConvNorm, Norm, Stem, images_of
from nas.training.network_batch import AutogradNetworks, Select
from nas.training.running_statistics import MOMENTUM
from search_spaces import Task, _cells, _products


class GroupedNetworks(AutogradNetworks):
    """The three-stage networks of `P` architectures: images `[N, *task.input_shape]` to logits `[P, N, K]`."""

    def __init__(
        self, operations: Sequence[Sequence[str]], task: Task, channels: int, cells: int, stem_stride: int = 1
    ):
        super().__init__()
        P = len(operations)
        self.stem = Stem(P, task.input_shape[0], channels, stem_stride)
        body: list[nn.Module] = []
        for stage in range(3):
            if stage:
                body.append(ResidualBlock(P, channels << (stage - 1), channels << stage))
            body.extend(Cell(operations, channels << stage) for _ in range(_cells.cells_of(stage, cells)))
        # A list and not `Sequential`: each layer takes and returns the rows with their grid.
        self.body = nn.ModuleList(body)
        self.norm = Norm(P, channels << 2)
        self.weight = nn.Parameter(torch.empty(P, task.num_classes, channels << 2))
        self.bias = nn.Parameter(torch.empty(P, task.num_classes))

    def forward(self, images: Tensor) -> Tensor:
        rows, grid = self.stem(images)
        for layer in self.body:
            rows, grid = layer(rows, grid)
        # Pooling sums in one order; the order of `mean` depends on the number of channels, so on the other networks.
        pooled = F.avg_pool2d(images_of(F.relu(self.norm(rows)), grid), (grid.height, grid.width))
        features_PNC = pooled.view(grid.images, len(self.weight), -1).transpose(0, 1)
        # Exact products here too: the sums of a batched product depend on its sizes, and the bias's gradient on its layout.
        bias_PNK = _products.spread(self.bias[:, None], 1, grid.images)
        return _products.product(features_PNC, self.weight.transpose(1, 2)) + bias_PNK

    def weights_of(self, p: int, select: Select) -> dict[str, Tensor]:
        out = {"head.4.weight": select(self.weight)[p], "head.4.bias": select(self.bias)[p]}
        for name, conv, at in self._convs(p):
            out[f"{name}.weight"] = select(conv.weight)[at]
        for name, norm, at in self._norms(p):
            out |= {f"{name}.weight": select(norm.weight)[at], f"{name}.bias": select(norm.bias)[at]}
        return out

    def statistics_of(self, p: int) -> dict[str, Tensor]:
        out = {}
        for name, norm, at in self._norms(p):
            out |= {f"{name}.running_mean": norm.running_mean[at], f"{name}.running_var": norm.running_var[at]}
            # PyTorch counts the batches; with a fixed momentum nothing reads the count.
            out[f"{name}.num_batches_tracked"] = torch.tensor(0)
        return out

    def running_statistics(self, steps: int) -> Iterator[tuple[Tensor, Tensor, float]]:
        norms = (module for module in self.modules() if isinstance(module, Norm))
        return ((norm.running_mean, norm.running_var, (1 - MOMENTUM) ** steps) for norm in norms)

    def _convs(self, p: int) -> Iterator[tuple[str, Conv, int]]:
        """The convolutions of network `p`, by the names of `_cells.three_stages`, and its place in each."""
        yield from ((f"{name}{first}", layer.conv, at) for name, first, _, layer, at in self._pairs(p))
        for number, layer in enumerate(self.body):
            if isinstance(layer, ResidualBlock):
                yield f"body.{number}.downsample.1", layer.downsample, p

    def _norms(self, p: int) -> Iterator[tuple[str, Norm, int]]:
        yield from ((f"{name}{second}", layer.norm, at) for name, _, second, layer, at in self._pairs(p))
        yield "head.0", self.norm, p

    def _pairs(self, p: int) -> Iterator[tuple[str, str, str, ConvNorm | Stem, int]]:
        """Every convolution with its batch norm: a prefix, the names of the two below it, and the network's place."""
        yield "stem", ".0", ".1", self.stem, p
        for number, layer in enumerate(self.body):
            if isinstance(layer, ResidualBlock):
                yield f"body.{number}.conv_a", ".1", ".2", layer.conv_a, p
                yield f"body.{number}.conv_b", ".1", ".2", layer.conv_b, p
                continue
            for e, edge in enumerate(layer.edges):  # pyright: ignore[reportArgumentType]
                name = edge.names[p]
                if name in edge.convs:
                    yield f"body.{number}.edges.{e}", ".1", ".2", edge.convs[name], edge.cells[name].index(p)


class SeparateNetworks(AutogradNetworks):
    """Networks of any space, one after the other: for spaces without grouped layers, and for images that leave the cache."""

    def __init__(self, networks: Sequence[nn.Module]):
        super().__init__()
        # Channels last is the layout in which oneDNN's convolutions need no reordering.
        self.networks = nn.ModuleList(networks).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(self, images: Tensor) -> Tensor:
        images = images.contiguous(memory_format=torch.channels_last)
        return torch.stack([network(images) for network in self.networks])

    def weights_of(self, p: int, select: Select) -> dict[str, Tensor]:
        return {name: select(value) for name, value in self.networks[p].named_parameters()}

    def statistics_of(self, p: int) -> dict[str, Tensor]:
        """What the network's own `state_dict` holds beside its parameters: not its buffers that are not persistent."""
        network = self.networks[p]
        trained = dict(network.named_parameters(remove_duplicate=False))
        state = network.state_dict(keep_vars=True)
        return {name: value for name, value in state.items() if name not in trained and torch.is_tensor(value)}

    def running_statistics(self, steps: int) -> Iterator[tuple[Tensor, Tensor, float]]:
        """Each by its own momentum and its own count: a network of somebody's may use a batch norm twice a step, or never."""
        for norm in self.modules():
            # Without a momentum all batches count alike, and the first values not at all.
            if not isinstance(norm, _BatchNorm) or norm.momentum is None or norm.num_batches_tracked is None:
                continue
            if norm.running_mean is not None and norm.running_var is not None:
                yield norm.running_mean, norm.running_var, (1 - norm.momentum) ** int(norm.num_batches_tracked)


class MixedPrecisionNetworks(SeparateNetworks):
    """The same, trained in bfloat16 with weights, gradients and running statistics in float32; they answer in float32."""

    def forward(self, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.training):
            logits_PNK = super().forward(images)
        return logits_PNK.float()
