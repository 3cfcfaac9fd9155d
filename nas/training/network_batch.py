"""What trains `P` networks at once is a `NetworkBatch`; `AutogradNetworks` is what those trained by PyTorch share.

Shapes: `P` networks, `N` images, `C` channels, `K` classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.training.recipe import WeightAverage
from search_spaces._noise import uniform

Steps = Iterable[tuple[Tensor, Tensor, float]]
"""Images `[N, C, H, W]`, targets and learning rate of each step; targets are classes, int64 `[N]`, or shares `[N, K]`."""
Select = Callable[[Tensor], Tensor]
"""Of a parameter, itself or its momentum buffer."""


class NetworkBatch(Protocol):
    """`P` networks under training; none depends on another."""

    average: WeightAverage
    """Of the weights over epochs, where the recipe asks for one."""
    counted: list[tuple[Tensor, Tensor]]
    """Views of running statistics that `nas.training.running_statistics` has corrected, each with what it was."""

    def state_of(self, p: int) -> dict[str, Tensor]:
        """Views of the weights of network `p`, by the names of `Space.build`'s module."""
        ...

    def momentum_of(self, p: int) -> dict[str, Tensor]:
        """Views of the optimizer's momentum, by the same names."""
        ...

    def running_statistics(self, steps: int) -> Iterator[tuple[Tensor, Tensor, float]]:
        """Views of each batch norm's running mean and variance, and the share that their first values, 0 and 1, have in them.

        Args:
            steps: that the networks have taken.
        """
        ...

    def learn(self, steps: Steps, momentum: float, weight_decay: float) -> Tensor:
        """Take SGD steps; the mean cross entropy of each network, `[P]`.

        Of shares t it is - sum over k of t_k log p_k, the mean over images; a row weighs as much as it sums to.
        """
        ...

    def logits(self, images: Tensor) -> Tensor:
        """`[P, N, K]`, in evaluation."""
        ...

    def to(self, device: torch.device | str) -> NetworkBatch:
        """Itself, on `device`."""
        ...


class AutogradNetworks(nn.Module):
    """What `GroupedNetworks` and `SeparateNetworks` share: training by autograd."""

    # Made when first asked for and not in `__init__`: `to` moves parameters and would leave the buffers behind.
    _momenta: dict[Tensor, Tensor] | None = None

    def __init__(self):
        super().__init__()
        self.average = WeightAverage()
        self.counted: list[tuple[Tensor, Tensor]] = []

    def weights_of(self, p: int, select: Select) -> dict[str, Tensor]:
        """Views of what `select` gives for the parameters of network `p`, by name."""
        raise NotImplementedError

    def statistics_of(self, p: int) -> dict[str, Tensor]:
        """Views of the running statistics of network `p`, by name."""
        raise NotImplementedError

    def running_statistics(self, steps: int) -> Iterator[tuple[Tensor, Tensor, float]]:
        raise NotImplementedError

    def state_of(self, p: int) -> dict[str, Tensor]:
        return self.weights_of(p, lambda parameter: parameter) | self.statistics_of(p)

    def momentum_of(self, p: int) -> dict[str, Tensor]:
        momenta = self._momentum_buffers()
        return self.weights_of(p, lambda parameter: momenta[parameter])

    def _momentum_buffers(self) -> dict[Tensor, Tensor]:
        if self._momenta is None:
            self._momenta = {parameter: torch.zeros_like(parameter) for parameter in self.parameters()}
        return self._momenta

    def learn(self, steps: Steps, momentum: float, weight_decay: float) -> Tensor:
        # A new optimizer in each call, the buffers our own: checkpoints copy and restore them by name.
        # 0.1 is a placeholder, as each step sets its own rate.
        optimiser = torch.optim.SGD(
            self.parameters(), 0.1, momentum, weight_decay=weight_decay, nesterov=True, fused=True
        )
        for parameter, buffer in self._momentum_buffers().items():
            optimiser.state[parameter]["momentum_buffer"] = buffer
        self.train()
        total, count = torch.zeros(()), 0
        for x, y, rate in steps:
            optimiser.param_groups[0]["lr"] = rate
            logits_PNK = self(x)
            targets = y.expand(len(logits_PNK), *y.shape).flatten(0, 1)
            losses = F.cross_entropy(logits_PNK.flatten(0, 1), targets, reduction="none")
            loss_P = losses.view(len(logits_PNK), -1).mean(1)
            optimiser.zero_grad()
            # Networks share no parameters: the gradient of the sum holds every network's own.
            loss_P.sum().backward()
            optimiser.step()
            total, count = total.to(loss_P.device) + loss_P.detach(), count + 1
        return total / count

    def logits(self, images: Tensor) -> Tensor:
        self.eval()
        with torch.inference_mode():
            return self(images)


def initialise(population: NetworkBatch, keys: Tensor) -> None:
    """Set every weight by its network's key alone: uniform in +-1/sqrt(fan-in), PyTorch's default.

    Args:
        keys: int64 `[P]`, in [0, 2^32).
    """
    # Network by network and name by name, sorted: every implementation of `NetworkBatch` then draws the same noise for
    # the same weight, and one network's weights do not depend on which others stand beside it.
    with torch.no_grad():
        for p, key in enumerate(keys):
            weights = population.state_of(p)
            statistics = population.statistics_of(p) if isinstance(population, AutogradNetworks) else {}
            for number, (name, value) in enumerate(sorted(weights.items())):
                # PyTorch's default for a linear layer's bias: by the fan-in of its weight. Other vectors are batch norm's.
                if name in statistics:  # A buffer of somebody's own network may be anything, as a filter or an index.
                    continue
                if name == "head.4.bias":
                    bound = weights["head.4.weight"].shape[-1] ** -0.5
                elif value.dim() > 1:
                    bound = value[0].numel() ** -0.5
                else:
                    continue
                # Drawn on the CPU, so that a GPU begins from the same weights.
                noise = uniform(key[None].cpu(), number, *value.shape)[0]
                value.copy_((2 * noise - 1) * bound)
