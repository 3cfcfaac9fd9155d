"""The figures of docs/meta_learning.md: each learner is trained on digits and drawn at work on test classes."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from torch import Tensor

from nas.few_shot import evaluate, named, run, training
from nas.few_shot import learner as learners
from nas.few_shot.backbone import Params
from nas.few_shot.episodes import Episodes, Size, Source
from nas.few_shot.learner import Learner
from nas.few_shot.learners.matching import attention
from nas.few_shot.learners.nearest_centroid import NearestCentroid
from nas.few_shot.learners.siamese import pair_logits
from nas.few_shot.run import Config

WAY, QUERIES, EPISODES = 5, 5, 40
STEPS = {"snail": 450, "mann": 450, "reptile": 450, "relation": 450}
"""Of training; the others take 150. These learn nothing, or little, in as few."""
INNER = {
    "maml": "test_steps", "anil": "test_steps", "reptile": "test_steps", "probabilistic_maml": "inner_steps",
    "learned_optimizer": "inner_steps", "leo": "code_steps",
}  # fmt: skip
"""The setting that says how many steps are taken on a support."""
MOST = {"reptile": 50}
READERS = ("neural_process", "snail", "mann")


class Trained(NamedTuple):
    learner: Learner
    source: Source
    before: Params
    after: Params
    losses: list[float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/meta"))
    parser.add_argument("--learners", default=",".join(named.names()))
    parser.add_argument("--share", type=float, default=1.0, help="of the steps of training, to try it out")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.learners.split(","):
        found = train(name, args.share)
        draw = DRAW.get(name, inner_loop)
        figure, axes = plt.subplots(1, 2, figsize=(6, 2.6), layout="constrained")
        draw(found, *axes)
        figure.savefig(args.out / f"{name}.png", dpi=100)
        plt.close(figure)
        print(
            f"{name}: {accuracy(found.learner, found.after, found.source, found.learner.problem.shot):.1f}%", flush=True
        )


def train(name: str, share: float) -> Trained:
    """5-way, with one image a class; the readers are trained with five, so that they can be seen reading."""
    halving = "stride" if named.component(name).transductive else "max_pool"
    shot = 5 if name in READERS else 1
    config = Config("digits", name, WAY, shot, QUERIES, arch=f"32:32:0:0:{halving}")
    setup = run.prepare(dataclasses.replace(config, steps=max(1, round(share * STEPS.get(name, 150)))))
    learner, source = setup.learner, setup.source
    first = state = training.begin(learner, config.seed)
    losses = []
    while state.step < setup.config.steps:
        state, loss = training.advance(learner, source, setup.config.plan, state)
        losses.append(loss)
    return Trained(learner, source, first.params, state.params, losses)


def accuracy(learner: Learner, params: Params, source: Source, shot: int) -> float:
    """On test classes, in percent."""
    return 100 * float(evaluate.correct(learner, params, source, "test", Size(EPISODES, WAY, shot, QUERIES)).mean())


def one_episode(found: Trained, shot: int) -> Episodes:
    return found.source.draw("test", Size(1, WAY, shot, QUERIES), 1, 0)


def both(found: Trained, axes: tuple[Axes, ...], draw: Callable[[Params, Axes], Any]) -> None:
    """The same before and after training."""
    for ax, params, when in zip(axes, (found.before, found.after), ("before training", "after"), strict=True):
        with torch.no_grad():
            draw(params, ax)
        ax.set_title(when, fontsize=9)


def embeddings(found: Trained, *axes: Axes) -> None:
    """Queries of a test episode by the first two principal components of their embeddings, and the mean of each class."""
    episode = one_episode(found, 5)
    images = learners.flat(torch.cat([episode.support, episode.query], 2))[0]

    def draw(params: Params, ax: Axes) -> None:
        embedded = learners.before_head(found.learner.embedding, params, images).flatten(1)
        if isinstance(found.learner, NearestCentroid):
            embedded = torch.nn.functional.normalize(embedded, dim=-1)
        centered = embedded - embedded.mean(0)
        plane = (centered @ torch.linalg.svd(centered, full_matrices=False).Vh[:2].T).unflatten(0, (WAY, -1))
        for k, points in enumerate(plane):
            ax.scatter(*points[5:].T, s=9, color=f"C{k}")
            ax.scatter(*points[:5].mean(0)[:, None], s=90, marker="X", color=f"C{k}", edgecolor="black")
        ax.set_xticks([])
        ax.set_yticks([])

    both(found, axes, draw)


def heat_map(found: Trained, axes: tuple[Axes, ...], values: Callable[[Params], Tensor], columns: str) -> None:
    """Numbers from 0 to 1 of each query, whose class is that of its row."""

    def draw(params: Params, ax: Axes) -> None:
        ax.imshow(values(params), aspect="auto", vmin=0, vmax=1, cmap="viridis", interpolation="nearest")
        ax.set_xlabel(columns, fontsize=8)
        ax.set_xticks([])
        ax.set_yticks([])

    both(found, axes, draw)
    axes[0].set_ylabel("queries, class by class", fontsize=8)


def matching(found: Trained, *axes: Axes) -> None:
    episode, scale = one_episode(found, 2), found.learner.scale  # pyright: ignore[reportAttributeAccessIssue]

    def weights(params: Params) -> Tensor:
        known = found.learner.adapt(params, episode.support).flatten(1, 2)
        query = found.learner.embedding(params, learners.flat(episode.query)[0])[None]
        # Each support image as a class of its own: the attention that falls on it.
        return attention(query, known[:, :, None], scale).exp()[0]

    heat_map(found, axes, weights, "support, two images a class")


def relation(found: Trained, *axes: Axes) -> None:
    episode = one_episode(found, 1)

    def scores(params: Params) -> Tensor:
        adapted = found.learner.adapt(params, episode.support)
        return found.learner.logits(params, adapted, learners.flat(episode.query)).sigmoid()[0]

    heat_map(found, axes, scores, "relation score with each class")


def siamese(found: Trained, *axes: Axes) -> None:
    episode = one_episode(found, 1)
    alike = torch.eye(WAY, dtype=torch.bool).repeat_interleave(QUERIES, 0)

    def draw(params: Params, ax: Axes) -> None:
        known = found.learner.adapt(params, episode.support)
        names = found.learner.embedding.names
        query = learners.over_tasks(
            found.learner.embedding, {n: params[n] for n in names}, learners.flat(episode.query)
        )
        chance = pair_logits(params["pair.alpha"], params["pair.bias"], query, known).sigmoid()[0, :, :, 0]
        groups = [chance[alike].numpy(), chance[~alike].numpy()]
        ax.hist(groups, bins=12, range=(0, 1), density=True, label=["of one class", "of two"])
        ax.set_xlabel("probability of being alike", fontsize=8)
        ax.set_yticks([])

    both(found, axes, draw)
    axes[0].legend(fontsize=7)


def inner_loop(found: Trained, *axes: Axes) -> None:
    """Accuracy after so many steps on the support, from the learned start and from an untrained one; the loss of training."""
    name = found.learner.__class__.__module__.rpartition(".")[2]
    most = MOST.get(name, 5)
    counts = range(0, most + 1, max(1, most // 5))
    for params, label in ((found.after, "learned start"), (found.before, "untrained start")):
        values = []
        for count in counts:
            asked: Any = dataclasses.replace(found.learner, **{INNER[name]: count})  # pyright: ignore[reportArgumentType]
            values.append(accuracy(asked, params, found.source, 1))
        axes[0].plot(list(counts), values, marker="o", markersize=3, label=label)
    axes[0].axhline(100 / WAY, color="gray", linewidth=0.8, linestyle=":")
    axes[0].set_xlabel("steps on the support", fontsize=8)
    axes[0].set_ylabel("accuracy, %", fontsize=8)
    axes[0].legend(fontsize=7)
    training_loss(found, axes[1])


def step_sizes(found: Trained, *axes: Axes) -> None:
    """Of Meta-SGD: the learned step size of each weight, by layer."""
    rates = {n.removeprefix("rate:"): r.flatten() for n, r in found.after.items() if n.startswith("rate:")}
    layers = {"convolutions": ".0.weight", "batch norms": ".1.", "classifier": "head."}
    for label, part in layers.items():
        chosen = torch.cat([r for n, r in rates.items() if part in n and (part == "head." or "head." not in n)])
        axes[0].hist(chosen.numpy(), bins=40, range=(-0.2, 1.0), density=True, histtype="step", label=label)
    axes[0].set_xlabel("learned step size; it was 0.4", fontsize=8)
    axes[0].set_yticks([])
    axes[0].legend(fontsize=7)
    training_loss(found, axes[1])


def reading(found: Trained, *axes: Axes) -> None:
    """Accuracy after so many images of each class; the loss of training."""
    shots = range(1, 6)
    values = [accuracy(found.learner, found.after, found.source, shot) for shot in shots]
    axes[0].plot(list(shots), values, marker="o", markersize=3)
    axes[0].axhline(100 / WAY, color="gray", linewidth=0.8, linestyle=":")
    axes[0].set_xlabel("images of each class that were read", fontsize=8)
    axes[0].set_ylabel("accuracy, %", fontsize=8)
    training_loss(found, axes[1])


def training_loss(found: Trained, ax: Axes) -> None:
    """The mean of every twenty steps."""
    losses = torch.tensor(found.losses)
    means = losses[: len(losses) // 20 * 20].unflatten(0, (-1, 20)).mean(1)
    ax.plot([20 * (i + 1) for i in range(len(means))], means.tolist())
    ax.set_xlabel("steps of training", fontsize=8)
    ax.set_ylabel("loss", fontsize=8)


DRAW: dict[str, Callable[..., None]] = {
    "prototypical": embeddings, "nearest_centroid": embeddings, "matching": matching, "relation": relation,
    "siamese": siamese, "meta_sgd": step_sizes, **dict.fromkeys(READERS, reading),
}  # fmt: skip

if __name__ == "__main__":
    main()
