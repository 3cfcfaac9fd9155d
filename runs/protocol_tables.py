"""Prints the tables of the published protocol (protocol.py). Called by protocol.sh: RUNS."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from controller import Controller
from controller.evolution import Evolution
from nas import tasks
from runs.protocol import (
    DATA,
    NATS,
    PUBLISHED_RUNS,
    SECONDS,
    TABLE_5,
    Figure,
    NodeFirstEvolution,
    Protocol,
    published_controllers,
    test_accuracy,
)

DRAWINGS = 8
"""Of the two trainings of each architecture on CIFAR-10, of which our table holds the mean."""


class Outcome(NamedTuple):
    accuracy: Tensor
    """float64 `[drawings, S]` test accuracy."""

    def cells(self, published: Figure) -> list[str]:
        """Ours, the published figure, the difference, and how far a drawing of the unknown trainings moves it."""
        pooled, one = self.accuracy, self.accuracy[0]
        error = (pooled.var(1).mean().item() / pooled.shape[1] + published.std**2 / PUBLISHED_RUNS) ** 0.5
        moved = f"{pooled.mean(1).std().item() / error:.1f}" if len(pooled) > 1 else "-"
        gap = (pooled.mean().item() - published.mean) / error
        std = pooled.std(1).mean().item() if len(pooled) > 1 else one.std().item()
        return [f"{pooled.mean():.2f} ± {std:.2f}", f"{published.mean:.2f} ± {published.std:.2f}", f"{gap:+.1f}", moved]


def outcomes(protocol: Protocol, controller: Controller, runs: int, on: tuple[str, ...]) -> list[Outcome]:
    """Of a search on one data set: test accuracy on several, over drawings of what the table does not hold."""
    drawings = range(DRAWINGS) if protocol.data == "cifar10" and protocol.drawing is not None else (protocol.drawing,)
    archs = [replace(protocol, drawing=drawing).found(controller, runs) for drawing in drawings]
    return [Outcome(torch.stack([test_accuracy(data, found) for found in archs])) for data in on]


def _print_row(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


def _header(first: str) -> None:
    _print_row(first, "test on", "ours", "published", "difference", "unknown trainings")
    print("|---|---|---:|---:|---:|---:|")


def main() -> None:
    runs = int(sys.argv[1])
    torch.set_num_threads(1)
    space = tasks.find("nasbench201/cifar10@12").space
    print(f"NATS-Bench's budgets, each dataset searched by itself, {runs} runs\n")
    _header("controller")
    for name, controller in published_controllers(space).items():
        for data, published in zip(DATA, NATS[name]):
            (outcome,) = outcomes(Protocol(data, SECONDS[data]), controller, runs, (data,))
            _print_row(name, data, *outcome.cells(published))
    print(f"\nNAS-Bench-201, table 5: search on CIFAR-10 for 12,000 s, {runs} runs\n")
    _header("controller")
    within = Protocol("cifar10", 12_000.0, last_counts=False)
    for name, controller in published_controllers(space).items():
        # That version of REINFORCE kept the evaluation that passes the budget; the two others left it out.
        protocol = replace(within, last_counts=name == "reinforce")
        for data, outcome, published in zip(DATA, outcomes(protocol, controller, runs, DATA), TABLE_5[name]):
            _print_row(name, data, *outcome.cells(published))
    print("\nWhat moves a figure of table 5\n")
    _header("variant")
    as_published, reinforce = published_controllers(space), Protocol("cifar10", 12_000.0)
    variants = [
        *(("reinforce", f"REINFORCE, learning rate {lr}", published_controllers(space, lr)["reinforce"], reinforce)
          for lr in (0.001, 0.05, 0.1, 0.5)),
        ("evolution", "evolution, edges mutated alike", Evolution(space, 10, 3), within),
        ("evolution", "evolution, tournament of 10", NodeFirstEvolution(space, 10, 10), within),
        ("evolution", "evolution, mean of two trainings", as_published["evolution"], replace(within, drawing=None)),
        ("random_search", "random, mean of two trainings", as_published["random_search"], replace(within, drawing=None)),
    ]  # fmt: skip
    for name, label, controller, protocol in variants:
        for data, outcome, published in zip(DATA, outcomes(protocol, controller, runs, DATA), TABLE_5[name]):
            _print_row(label, data, *outcome.cells(published))
    print("\nNATS-Bench's figures of ImageNet16-120 by REINFORCE with other learning rates\n")
    _header("variant")
    for lr in (0.015, 0.02):
        for data, published in zip(DATA[1:], NATS["reinforce"][1:]):
            controller = published_controllers(space, lr)["reinforce"]
            (outcome,) = outcomes(Protocol(data, SECONDS[data]), controller, runs, (data,))
            _print_row(f"REINFORCE, learning rate {lr}", data, *outcome.cells(published))


if __name__ == "__main__":
    main()
