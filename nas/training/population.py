"""Cells that PyTorch trains: as one network where that fills the machine, side by side where the networks are large.

Shapes: `P` cells, `N` images, `C` channels, `K` classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.training.batched_layers import Cell, Conv, ConvNorm, Norm, ResidualBlock, Stem, images_of
from search_spaces import Task, _products
from search_spaces._noise import uniform

Kept = Callable[[Tensor], Tensor]
"""What is kept of a parameter: itself, or its momentum."""


class NetworkBatch(Protocol):
    """`P` networks under training, each for itself."""

    def state_of(self, p: int) -> dict[str, Tensor]:
        """Views of the weights of network `p`, by the names of `Space.build`'s module."""
        ...

    def momentum_of(self, p: int) -> dict[str, Tensor]:
        """Views of the optimiser's momentum, by the same names."""
        ...

    def learn(self, steps: Iterable[tuple[Tensor, Tensor, float]], momentum: float, weight_decay: float) -> Tensor:
        """Take SGD steps on (images `[N, C, H, W]`, classes `[N]`, learning rate); the mean loss of each network, `[P]`."""
        ...

    def logits(self, images: Tensor) -> Tensor:
        """`[P, N, K]`, in evaluation."""
        ...

    def to(self, device: torch.device | str) -> NetworkBatch:
        """Itself, on `device`."""
        ...


class TorchCells(nn.Module):
    """What `GroupedNetworks` and `SeparateNetworks` share: training by autograd."""

    _momenta: dict[Tensor, Tensor] | None = None

    def weights_of(self, p: int, kept: Kept) -> dict[str, Tensor]:
        """Views of what is kept of the parameters of network `p`, by name."""
        raise NotImplementedError

    def statistics_of(self, p: int) -> dict[str, Tensor]:
        """Views of the running figures of network `p`, by name."""
        raise NotImplementedError

    def state_of(self, p: int) -> dict[str, Tensor]:
        return self.weights_of(p, lambda parameter: parameter) | self.statistics_of(p)

    def momentum_of(self, p: int) -> dict[str, Tensor]:
        momenta = self._begun()
        return self.weights_of(p, lambda parameter: momenta[parameter])

    def _begun(self) -> dict[Tensor, Tensor]:
        if self._momenta is None:
            self._momenta = {parameter: torch.zeros_like(parameter) for parameter in self.parameters()}
        return self._momenta

    def learn(self, steps: Iterable[tuple[Tensor, Tensor, float]], momentum: float, weight_decay: float) -> Tensor:
        optimiser = torch.optim.SGD(
            self.parameters(), 0.1, momentum, weight_decay=weight_decay, nesterov=True, fused=True
        )
        for parameter, buffer in self._begun().items():
            optimiser.state[parameter]["momentum_buffer"] = buffer
        self.train()
        total, count = torch.zeros(()), 0
        for x, y, rate in steps:
            optimiser.param_groups[0]["lr"] = rate
            logits_PNK = self(x)
            target = y.expand(len(logits_PNK), -1)
            loss_PN = F.cross_entropy(logits_PNK.flatten(0, 1), target.flatten(), reduction="none").view(target.shape)
            loss_P = loss_PN.mean(1)
            optimiser.zero_grad()
            loss_P.sum().backward()
            optimiser.step()
            total, count = total.to(loss_P.device) + loss_P.detach(), count + 1
        return total / count

    def logits(self, images: Tensor) -> Tensor:
        self.eval()
        with torch.inference_mode():
            return self(images)


class GroupedNetworks(TorchCells):
    """The three-stage networks of `P` cells: images `[N, *task.input_shape]` to logits `[P, N, K]`."""

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
            body.extend(Cell(operations, channels << stage) for _ in range(cells))
        self.body = nn.ModuleList(body)
        self.norm = Norm(P, channels << 2)
        self.weight = nn.Parameter(torch.empty(P, task.num_classes, channels << 2))
        self.bias = nn.Parameter(torch.empty(P, task.num_classes))

    def forward(self, images: Tensor) -> Tensor:
        rows, grid = self.stem(images)
        for layer in self.body:
            rows, grid = layer(rows, grid)
        pooled = F.avg_pool2d(
            images_of(F.relu(self.norm(rows)), grid), (grid.height, grid.width)
        )  # in one order, unlike mean
        features_PNC = pooled.view(grid.images, len(self.weight), -1).transpose(0, 1)
        bias_PNK = _products.spread(self.bias[:, None], 1, grid.images)
        return _products.product(features_PNC, self.weight.transpose(1, 2)) + bias_PNK

    def weights_of(self, p: int, kept: Kept) -> dict[str, Tensor]:
        out = {"head.4.weight": kept(self.weight)[p], "head.4.bias": kept(self.bias)[p]}
        for name, conv, at in self._convs(p):
            out[f"{name}.weight"] = kept(conv.weight)[at]
        for name, norm, at in self._norms(p):
            out |= {f"{name}.weight": kept(norm.weight)[at], f"{name}.bias": kept(norm.bias)[at]}
        return out

    def statistics_of(self, p: int) -> dict[str, Tensor]:
        out = {}
        for name, norm, at in self._norms(p):
            out |= {f"{name}.running_mean": norm.running_mean[at], f"{name}.running_var": norm.running_var[at]}
            out[f"{name}.num_batches_tracked"] = torch.tensor(0)
        return out

    def _convs(self, p: int) -> Iterator[tuple[str, Conv, int]]:
        """The convolutions of cell `p`, by the names of `_cells.three_stages`, and its place in each."""
        yield from ((f"{name}{first}", layer.conv, at) for name, first, _, layer, at in self._pairs(p))
        for number, layer in enumerate(self.body):
            if isinstance(layer, ResidualBlock):
                yield f"body.{number}.downsample.1", layer.downsample, p

    def _norms(self, p: int) -> Iterator[tuple[str, Norm, int]]:
        yield from ((f"{name}{second}", layer.norm, at) for name, _, second, layer, at in self._pairs(p))
        yield "head.0", self.norm, p

    def _pairs(self, p: int) -> Iterator[tuple[str, str, str, ConvNorm | Stem, int]]:
        """Every convolution with its batch norm: a prefix, the names of the two below it, and the cell's place."""
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


class SeparateNetworks(TorchCells):
    """Networks of any space side by side, each on its own."""

    def __init__(self, networks: Sequence[nn.Module]):
        super().__init__()
        self.networks = nn.ModuleList(networks).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(self, images: Tensor) -> Tensor:
        images = images.contiguous(memory_format=torch.channels_last)
        return torch.stack([network(images) for network in self.networks])

    def weights_of(self, p: int, kept: Kept) -> dict[str, Tensor]:
        return {name: kept(value) for name, value in self.networks[p].named_parameters()}

    def statistics_of(self, p: int) -> dict[str, Tensor]:
        return dict(self.networks[p].named_buffers())


def initialise(population: NetworkBatch, keys: Tensor) -> None:
    """Set every weight to what its cell's key says, whoever is beside it: uniform in +-1/sqrt(fan-in), PyTorch's default.

    Args:
        keys: int64 `[P]`, in [0, 2^32).
    """
    with torch.no_grad():
        for p, key in enumerate(keys):
            weights = population.state_of(p)
            for number, (name, value) in enumerate(sorted(weights.items())):
                if name == "head.4.bias":
                    bound = weights["head.4.weight"].shape[-1] ** -0.5
                elif value.dim() > 1:
                    bound = value[0].numel() ** -0.5
                else:
                    continue
                noise = uniform(key[None].cpu(), number, *value.shape)[0]
                value.copy_((2 * noise - 1) * bound)
