"""A supernet by PyTorch's own operations: where there is no compiler, on other devices, and as what tests compare with.

Shapes: `P` parameters, `T` batches, `N` images, `K` classes, `D` decisions, `C` choices.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.training.supernet_program import Scored, SupernetPrograms, Weights
from search_spaces import _cells

_EPS = 1e-5
"""Of batch norm: PyTorch's default."""


class AutogradSupernet:
    """As `nas.training.supernet.Supernet`; on the types of the weights that it is given."""

    def __init__(self, programs: SupernetPrograms, device: torch.device):
        self.programs, self.device = programs, device

    def learn(
        self,
        weights: Weights,
        mixture: Tensor,
        images: Tensor,
        labels: Tensor,
        rates: list[float],
        momentum: float,
        decay: float,
    ) -> tuple[Weights, Tensor]:
        params, velocity = (t.clone().to(self.device) for t in weights)
        mixture, losses = mixture.to(params), []
        for x, y, rate in zip(images.to(params), labels.to(self.device), rates):
            leaf = params.clone().requires_grad_()
            loss = F.cross_entropy(self._logits(leaf, mixture, x), y)
            (grad,) = torch.autograd.grad(loss, leaf)
            used = self._used(mixture)
            grad = grad + decay * params
            velocity = torch.where(used, momentum * velocity + grad, velocity)
            params = torch.where(used, params - rate * (grad + momentum * velocity), params)
            losses.append(loss.detach().double().cpu())
        return weights._replace(params=params.cpu(), momentum=velocity.cpu()), torch.stack(losses)

    def score(self, weights: Weights, mixture: Tensor, images: Tensor, labels: Tensor, *, slope: bool) -> Scored:
        params = weights.params.to(self.device)
        leaf = mixture.to(params).requires_grad_(slope)
        outcome = []
        for x, y in zip(images.to(params), labels.to(self.device)):
            logits = self._logits(params, leaf, x)
            loss = F.cross_entropy(logits, y)
            # A path of nothing but `none` has no derivative.
            grad = torch.autograd.grad(loss, leaf, allow_unused=True)[0] if loss.requires_grad else None
            grad = torch.zeros_like(leaf) if grad is None else grad
            outcome.append((logits.detach().cpu(), loss.detach().double().cpu(), grad.double().cpu()))
        logits, losses, grads = (torch.stack(parts) for parts in zip(*outcome))
        return Scored(logits, losses, grads.mean(0) if slope else None)

    def gradients(self, params: Tensor, mixture: Tensor, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        (x,), (y,), leaf = images.to(self.device, params.dtype), labels.to(self.device), params.to(self.device).clone()
        mix = mixture.to(leaf).requires_grad_()
        loss = F.cross_entropy(self._logits(leaf.requires_grad_(), mix, x), y)
        # A path of nothing but `none` has no derivative.
        by_weight, by_mixture = torch.autograd.grad(loss, (leaf, mix), allow_unused=True, materialize_grads=True)
        return torch.where(self._used(mixture), by_weight, 0.0).cpu(), by_mixture.double().cpu()

    def _used(self, mixture: Tensor) -> Tensor:
        """Which parameters a mixture uses, bool `[P]`."""
        mixed = self.programs.of(mixture)
        used = torch.zeros(mixed.program.parameters, dtype=torch.bool)
        for start, length in mixed.ranges.tolist():
            used[start : start + length] = True
        return used.to(self.device)

    def _logits(self, params: Tensor, mixture: Tensor, x: Tensor) -> Tensor:
        """`_cells.three_stages` with mixed edges: images `[N, ...]` to `[N, K]`."""
        views, skeleton = self.programs.whole.program.views(params), self.programs.skeleton
        x = _norm(views, "stem.1", F.conv2d(x, views["stem.0.weight"], None, skeleton.stem_stride, 1))
        number = 0
        for stage in range(3):
            if stage:
                x = _residual(views, f"body.{number}", x)
                number += 1
            for _ in range(_cells.cells_of(stage, skeleton.cells)):
                x = self._cell(views, f"body.{number}", mixture, x)
                number += 1
        features = F.relu(_norm(views, "head.0", x)).mean((2, 3))
        return features @ views["head.4.weight"].T + views["head.4.bias"]

    def _cell(self, views: dict[str, Tensor], prefix: str, mixture: Tensor, x: Tensor) -> Tensor:
        if self.programs.partial > 1:
            return self._partial_cell(views, prefix, mixture, x)
        nodes: list[Any] = [x, *[torch.zeros_like(x) for _ in range(1, _cells.NODES)]]
        for e, (i, j) in enumerate(_cells.EDGES):
            for c, name in enumerate(self.programs.operations[e]):
                if name != "none" and bool(mixture[e, c] != 0):
                    where = f"{prefix}.edges.{e}.{name}"
                    nodes[j] = nodes[j] + mixture[e, c] * _operation(views, where, name, nodes[i])
        return nodes[-1]

    def _partial_cell(self, views: dict[str, Tensor], prefix: str, mixture: Tensor, x: Tensor) -> Tensor:
        """The first channels of an edge are mixed, the others pass with the weight of all options; then groups are shuffled."""
        K, nodes = self.programs.partial, [x, *[torch.zeros_like(x) for _ in range(1, _cells.NODES)]]
        part = x.shape[1] // K
        for e, (i, j) in enumerate(_cells.EDGES):
            first, rest = nodes[i].split([part, x.shape[1] - part], 1)
            mixed = torch.zeros_like(first)
            for c, name in enumerate(self.programs.operations[e]):
                if name != "none" and bool(mixture[e, c] != 0):
                    where = f"{prefix}.edges.{e}.{name}"
                    mixed = mixed + mixture[e, c] * _operation(views, where, name, first)
            out = torch.cat([mixed, mixture[e, : len(self.programs.operations[e])].sum() * rest], 1)
            nodes[j] = nodes[j] + out.unflatten(1, (K, part)).transpose(1, 2).flatten(1, 2)
        return nodes[-1]


def _operation(views: dict[str, Tensor], where: str, name: str, x: Tensor) -> Tensor:
    if name == "skip_connect":
        return x
    if name == "avg_pool_3x3":
        return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
    kernel = int(name[-1])
    return _norm(views, f"{where}.2", F.conv2d(F.relu(x), views[f"{where}.1.weight"], None, 1, kernel // 2))


def _residual(views: dict[str, Tensor], prefix: str, x: Tensor) -> Tensor:
    y = _norm(views, f"{prefix}.conv_a.2", F.conv2d(F.relu(x), views[f"{prefix}.conv_a.1.weight"], None, 2, 1))
    y = _norm(views, f"{prefix}.conv_b.2", F.conv2d(F.relu(y), views[f"{prefix}.conv_b.1.weight"], None, 1, 1))
    return y + F.conv2d(F.avg_pool2d(x, 2, 2, ceil_mode=True), views[f"{prefix}.downsample.1.weight"])


def _norm(views: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return F.batch_norm(x, None, None, views[f"{name}.weight"], views[f"{name}.bias"], True, 0.1, _EPS)
