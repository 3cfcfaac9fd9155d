"""What a few-shot learner is, and what its files share. Shapes as in `episodes`; `N` queries of a task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from nas.few_shot.backbone import Backbone, Network, Params, channels_last
from nas.few_shot.episodes import Episodes
from search_spaces import _noise


class Problem(NamedTuple):
    """What a learner is made for."""

    backbone: Backbone
    way: int
    """Classes of an episode that it is tested on."""
    shot: int
    """Images of each to learn from."""
    classes: int
    """All classes of the data, those that it never sees included."""


class Gradient(NamedTuple):
    """What one step of training knows."""

    loss: Tensor
    """float32 `[]`."""
    by_name: Params
    """The direction in which the loss grows, for each weight that is learned."""
    statistics: Params
    """What is averaged over training, after this step."""


class Learner(Protocol):
    """A frozen dataclass: `problem` first, then its settings. Everything that it learns is in `Params`."""

    @property
    def problem(self) -> Problem: ...

    @property
    def lr(self) -> float:
        """The first step size of training."""
        ...

    @property
    def tasks(self) -> int:
        """Episodes of a step of training."""
        ...

    @property
    def train_way(self) -> int:
        """Classes of a training episode; 0: as many as of a test episode."""
        ...

    @property
    def train_shot(self) -> int:
        """Images of a class to learn from in training; 0: as many as in a test."""
        ...

    @property
    def train_queries(self) -> int:
        """Images of a class that a training episode asks about."""
        ...

    @property
    def optimizer(self) -> Literal["adam", "sgd"]:
        """What takes the steps of training."""
        ...

    @property
    def transductive(self) -> bool:
        """Whether the answer to a query depends on the other queries, by the statistics of batch norm."""
        ...

    @property
    def fixed_way(self) -> bool:
        """Whether it answers for `problem.way` classes alone, as a classifier with so many outputs does."""
        ...

    @property
    def embedding(self) -> Network:
        """What is known of images before any support is seen; `embedding_params` has its weights."""
        ...

    def init(self, seed: int) -> Params:
        """Weights before training."""
        ...

    def gradient(self, params: Params, episodes: Episodes, seed: int, step: int) -> Gradient:
        """Of one step of training; `seed` and `step` are those of its noise, where it has some."""
        ...

    def adapt(self, params: Params, support: Tensor) -> Any:
        """What is learned of each task from its `support` `[T, W, K, C, H, W]`: tensors that lead with `T`, in a tree."""
        ...

    def logits(self, params: Params, adapted: Any, query: Tensor) -> Tensor:
        """Of each image of `query` `[T, N, C, H, W]` for each class of its task, `[T, N, W]`."""
        ...


def gradient(
    loss: Callable[[Params], tuple[Tensor, Params]], params: Params, fixed: frozenset[str] = frozenset()
) -> Gradient:
    """The gradient of a loss with respect to all of `params` but those in `fixed`; `loss` gives new statistics too."""
    leaves = {name: p.detach().requires_grad_(name not in fixed) for name, p in params.items()}
    learned = {name: p for name, p in leaves.items() if p.requires_grad}
    value, statistics = loss(leaves)
    # A weight that no path leads to, as a bias before a softmax over one class, has no gradient.
    found = torch.autograd.grad(value, list(learned.values()), allow_unused=True)
    by_name = {n: torch.zeros_like(p) if g is None else g for (n, p), g in zip(learned.items(), found)}
    return Gradient(value.detach(), by_name, {n: s.detach() for n, s in statistics.items()})


def flat(images: Tensor) -> Tensor:
    """Images of episodes `[T, W, K, C, H, W]` as a task's list, class after class: `[T, W K, C, H, W]`."""
    return images.flatten(1, 2)


def labels(images: Tensor) -> Tensor:
    """The class of each image of `flat(images)`, int64 `[W K]`."""
    way, shot = images.shape[1:3]
    return torch.arange(way).repeat_interleave(shot)


def cross_entropy(logits: Tensor, query: Tensor) -> Tensor:
    """The mean over tasks and queries; `logits` `[T, W Q, W]` of the images `flat(query)`, `query` `[T, W, Q, C, H, W]`."""
    target = labels(query).repeat(len(logits))
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), target)


def over_tasks(network: Callable[..., Tensor], params: Params, images: Tensor) -> Tensor:
    """A network on the images of all tasks `[T, N, C, H, W]` at once: `[T, N, ...]`."""
    return network(params, channels_last(images.flatten(0, 1))).unflatten(0, images.shape[:2])


def train_together(
    train: Callable[..., tuple[Tensor, Params]], params: Params, episodes: Episodes
) -> tuple[Tensor, Tensor, Params]:
    """Support `[T, W, K, ...]` and queries `[T, W Q, ...]` through one network in one batch, and the statistics after it."""
    T, W, K = episodes.support.shape[:3]
    together = torch.cat([flat(episodes.support), flat(episodes.query)], 1)
    out, statistics = train(params, together.flatten(0, 1))
    support, query = out.unflatten(0, (T, -1)).split([W * K, together.shape[1] - W * K], 1)
    return support.unflatten(1, (W, K)), query, statistics


_PREFIX = "embedding."
"""Of the embedding's weights inside a classifier."""


def before_head(embedding: Network, params: Params, images: Tensor) -> Tensor:
    """The embedding `[N, E]` of images `[N, C, H, W]` inside a classifier."""
    return embedding(embedding_params(embedding, params), images)


def embedding_params(embedding: Network, params: Params) -> Params:
    """The weights of `embedding` among those of its learner."""
    return {n: params.get(_PREFIX + n, params.get(n)) for n in embedding.names}  # pyright: ignore[reportReturnType]


def shuffled(support: Tensor, seed: int, step: int, stream: int) -> tuple[Tensor, Tensor]:
    """A support `[T, W, K, ...]` as a sequence `[T, W K, ...]` in random order, and one-hot labels `[T, W K, W]` of its dtype.

    Learners that read one image after the other would otherwise know the class by the place. Streams 0 to 5 draw episodes.
    """
    flat_support, way = flat(support), support.shape[1]
    bits = _noise.bits(torch.tensor([seed]), step, *flat_support.shape[:2], stream=stream)[0]
    order = bits.argsort(dim=-1, stable=True)
    tasks = torch.arange(len(support))[:, None]
    one_hot = torch.nn.functional.one_hot(labels(support)[order], way).to(support.dtype)
    return flat_support[tasks, order], one_hot


def part(params: Params, prefix: str) -> Params:
    """The weights whose names begin so, without it: those of one of several networks."""
    return {name.removeprefix(prefix): p for name, p in params.items() if name.startswith(prefix)}
