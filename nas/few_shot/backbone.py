"""The network under a learner: an architecture of a space without its classifier, as functions of explicit weights.

Shapes: `N` images, `E` numbers of an embedding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from search_spaces import Space, Task, UserError

Params = dict[str, Tensor]
"""Weights and statistics by name."""


@runtime_checkable
class _KeepsMaps(Protocol):
    """A network that can leave out its last halvings."""

    def keep_maps(self, least: int) -> None: ...


class Network:
    """A module as functions of its weights; nothing of it changes.

    With `batch_statistics` every batch norm takes the statistics of the batch that it is given, in training and after it: what
    Finn et al. 2017 call transductive. Otherwise they are averaged over training, and the averages are used after it.
    """

    def __init__(self, make: Callable[[], nn.Module], batch_statistics: bool = False):
        self._make, self.batch_statistics = make, batch_statistics
        # Here and not at the first call, which may be inside of `vmap`, where nothing can be drawn at random. Of its weights
        # none is used.
        with torch.random.fork_rng(devices=[]):
            self.module = self.fresh()
        self.statistics = frozenset(name for name, _ in self.module.named_buffers())
        """Names of what is averaged and not learned by gradient."""
        self.names = [name for name, value in self.module.state_dict().items() if value.is_floating_point()]
        """Of all weights and statistics."""

    def fresh(self) -> nn.Module:
        """A module of its own."""
        module = self._make()
        if self.batch_statistics:
            _replace_batch_norms(module)
        return module

    def init(self, seed: int) -> Params:
        """Weights and statistics as `seed` draws them; the generator of the process is left as it was."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            state = self.fresh().state_dict()
        # Batch norm's counter of batches: its value changes nothing at a fixed momentum.
        return {name: state[name].clone() for name in self.names}

    def train(self, params: Params, *inputs: Tensor) -> tuple[Tensor, Params]:
        """The output in training, and the statistics after it."""
        moved = {name: params[name].clone() for name in params if name in self.statistics}
        self.module.train()
        inputs = tuple(channels_last(x) if x.dim() == 4 else x for x in inputs)
        return torch.func.functional_call(self.module, params | moved, inputs), moved

    def __call__(self, params: Params, *inputs: Tensor) -> Tensor:
        """The output after training."""
        # With statistics of the batch both modes are one.
        self.module.train(self.batch_statistics)
        return torch.func.functional_call(self.module, params, inputs)


def channels_last(images: Tensor) -> Tensor:
    """Images `[N, C, H, W]` in the order of memory in which a CPU pools and normalizes fastest.

    `contiguous` would leave images of one channel as they are, whose strides say nothing then, and every layer would go on
    channels first: with Conv-4 on images of 20 x 20 three times the time of an answer, and 1.8 times that of a step in bf16.
    """
    return torch.empty_like(images, memory_format=torch.channels_last).copy_(images)


class _BatchNorm(nn.Module):
    """Batch norm by the statistics of the batch, written out.

    `torch.nn.functional.batch_norm` would do, but under `vmap` its second derivatives are wrong (measured in torch 2.13 against
    finite differences; tests/test_few_shot_learners.py), and MAML learns by these.
    """

    def __init__(self, features: int, eps: float):
        super().__init__()
        self.weight, self.bias, self.eps = nn.Parameter(torch.ones(features)), nn.Parameter(torch.zeros(features)), eps

    def forward(self, x: Tensor) -> Tensor:
        centered = x - x.mean((0, 2, 3), keepdim=True)
        scale = (centered.square().mean((0, 2, 3), keepdim=True) + self.eps).rsqrt()
        return centered * (scale * self.weight.view(-1, 1, 1)) + self.bias.view(-1, 1, 1)


def _replace_batch_norms(module: nn.Module) -> None:
    for name, inner in module.named_children():
        if isinstance(inner, nn.BatchNorm2d):
            setattr(module, name, _BatchNorm(inner.num_features, inner.eps))
        else:
            _replace_batch_norms(inner)


class Backbone(NamedTuple):
    """An architecture of a space, for images of one shape."""

    space: Space
    arch: Tensor
    """int64 `[D]`."""
    input_shape: tuple[int, int, int]
    """Channels, height, width."""

    def embedding(self, *, batch_statistics: bool = False) -> Network:
        """Images `[N, C, H, W]` to `[N, E]`."""
        return Network(self._module, batch_statistics)

    def maps(self, least: int = 1) -> Network:
        """Images `[N, C, H, W]` to feature maps `[N, F, h, w]`; of a backbone of blocks with h and w of at least `least`."""
        return Network(lambda: self._module(least))

    def classifier(self, classes: int, *, batch_statistics: bool = False) -> Network:
        """Images `[N, C, H, W]` to logits `[N, classes]`; the names of the linear layer begin with `head.`."""
        size = self.size()[0]
        return Network(lambda: _Classifier(self._module(), size, classes), batch_statistics)

    def size(self, least: int = 0) -> tuple[int, ...]:
        """The shape of one image's embedding, or of its `maps(least)`."""
        with torch.no_grad():
            return tuple(self._module(least).eval()(torch.zeros(1, *self.input_shape)).shape[1:])

    def _module(self, least: int = 0) -> nn.Module:
        network = self.space.build(self.arch, Task("few-shot", self.input_shape, 2))
        head = getattr(network, "head", None)
        if not isinstance(head, nn.Sequential) or not isinstance(head[-1], nn.Linear):
            raise UserError(
                f"A network of space '{self.space.name}' has no `head` that ends in a linear layer, so that no embedding can be "
                "cut out; few-shot takes conv4 and spaces of cells."
            )
        layers = list(head)[:-1]
        if least:
            if isinstance(network, _KeepsMaps):
                network.keep_maps(least)
            ends = [i for i, layer in enumerate(layers) if isinstance(layer, nn.Flatten | nn.AdaptiveAvgPool2d)]
            layers = layers[: ends[0]] if ends else layers
        network.head = nn.Sequential(*layers)
        return network


class _Classifier(nn.Module):
    """An embedding and a linear layer."""

    def __init__(self, embedding: nn.Module, size: int, classes: int):
        super().__init__()
        self.embedding, self.head = embedding, nn.Linear(size, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.embedding(images))
