"""NAS-Bench-201's published protocol beside its published figures: random search, regularized evolution and REINFORCE.

Follows the authors' scripts (D-X-Y/AutoDL-Projects: exps/NAS-Bench-201-algos for table 5 of Dong & Yang 2020, exps/NATS-algos for
table 4 of NATS-Bench, Dong et al. 2021) and `simulate_train_eval` of nats_bench: an evaluation is the validation accuracy of one
training of 12 epochs, and costs the seconds of that training and of one validation. Its tables: protocol_tables.py.

Shapes: `S` runs, `N` architectures, `D` decisions.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from controller import Controller, Proposal, Results
from controller.evolution import Evolution
from controller.random_search import RandomSearch
from controller.reinforce import Reinforce
from nas import tables, tasks
from nas.loop import search
from search_spaces import Space, _noise, _ops

DATA = ("cifar10", "cifar100", "ImageNet16-120")


class Figure(NamedTuple):
    """Test accuracy after 200 epochs over 500 runs, in percent."""

    mean: float
    std: float


TABLE_5 = {
    "random_search": (Figure(93.70, 0.36), Figure(71.04, 1.07), Figure(44.57, 1.25)),
    "evolution": (Figure(93.92, 0.30), Figure(71.84, 0.99), Figure(45.54, 1.03)),
    "reinforce": (Figure(93.85, 0.37), Figure(71.71, 1.09), Figure(45.24, 1.18)),
}
"""NAS-Bench-201, table 5: search on CIFAR-10 for 12,000 s, test on each dataset."""
NATS = {
    "random_search": (Figure(93.86, 0.23), Figure(71.55, 0.97), Figure(45.28, 0.97)),
    "evolution": (Figure(94.02, 0.31), Figure(72.23, 0.84), Figure(45.77, 0.80)),
    "reinforce": (Figure(93.90, 0.26), Figure(71.86, 0.89), Figure(45.64, 0.78)),
}
"""NATS-Bench, table 4, topology space: each dataset searched by itself."""
PUBLISHED_RUNS = 500
SECONDS = {"cifar10": 20_000.0, "cifar100": 40_000.0, "ImageNet16-120": 120_000.0}
"""NATS-Bench's budgets."""

TRAIN_IMAGES = {"cifar10": 25_000, "cifar100": 50_000, "ImageNet16-120": 151_700}
VALID_IMAGES = {"cifar10": 25_000, "cifar100": 5_000, "ImageNet16-120": 3_000}
"""nats_bench's seconds are CIFAR-10's times the number of images: so in the three architectures its repository holds."""
VALID_SHARE = 0.39
"""Seconds of validating as many images as an epoch trains on, over the seconds of that epoch. Tables do not hold them: this is
the mean of those three architectures (0.33, 0.35 and 0.49). On CIFAR-10 it is 3% of an evaluation, elsewhere 0.3% and less."""
NOISE_LEVELS = (80.0, 82.0)
"""Validation accuracies between which the deviation over seeds is measured: it falls from 0.65 to 0.36 and 0.26."""


@dataclass(frozen=True)
class NodeFirstEvolution(Evolution):
    """Evolution whose mutation draws a node of the cell first and then one of its edges, as the authors' scripts do."""

    def mutate(self, parents_SBD: Tensor, words_SB2: Tensor) -> Tensor:
        # 18 slots: the first node's edge has 6 of them, each edge of the second 3, each of the third 2.
        slots = torch.tensor([0] * 6 + [1] * 3 + [2] * 3 + [3] * 2 + [4] * 2 + [5] * 2)
        place_SB1 = slots[(words_SB2[..., :1] * len(slots)) >> 32]
        options = self.space.choices[0]
        shift_SB1 = 1 + ((words_SB2[..., 1:] * (options - 1)) >> 32)
        return parents_SBD.scatter(-1, place_SB1, (parents_SBD.gather(-1, place_SB1) + shift_SB1) % options)


def published_controllers(space: Space, reinforce_lr: float = 0.01) -> dict[str, Controller]:
    """As the scripts of NATS-Bench set them."""
    reinforce = Reinforce(space, lr=reinforce_lr, baseline_decay=0.9, policy_net="independent")
    return {
        "random_search": RandomSearch(space),
        "evolution": NodeFirstEvolution(space, population=10, tournament=3),
        "reinforce": reinforce,
    }


@dataclass(frozen=True)
class Protocol:
    """One training for each evaluation, and the seconds that nats_bench counts."""

    data: str
    seconds: float
    """Budget of a search."""
    last_counts: bool = True
    """Whether the evaluation that passes the budget is part of the search: in NATS-Bench's scripts it is."""
    drawing: int | None = 0
    """Which drawing of CIFAR-10's two trainings: our table holds their mean alone. None scores by the mean."""

    def evaluate(self, space: Space, seeds: Tensor) -> Callable[[Proposal], Results]:
        """Scores and seconds of one proposal after another."""
        table = tables.find("nasbench201")
        cost_N = _seconds(table.by_index("cifar10/train_seconds@12", space.choices), self.data).float()
        score_N2, steps = self._scores(space), itertools.count()

        def evaluate(proposal: Proposal) -> Results:
            rank_SB = _ops.index(proposal.archs, space.choices)
            # By the step: nats_bench draws anew when the same architecture is evaluated again.
            step_SB = torch.full_like(rank_SB, next(steps))
            training_SB = _noise.draw(seeds, step_SB, high=torch.full_like(rank_SB, 2))
            return Results(score_N2[rank_SB, training_SB], cost_N[rank_SB])

        return evaluate

    def _scores(self, space: Space) -> Tensor:
        """Validation accuracy of two trainings, `[N, 2]`; after 12 epochs CIFAR-100 and ImageNet16-120 were trained once."""
        mean_N = tables.find("nasbench201").by_index(f"{self.data}/valid_accuracy@12", space.choices).double()
        apart_N = torch.zeros_like(mean_N)
        if self.data == "cifar10" and self.drawing is not None:
            normal_N = torch.randn(
                len(mean_N), generator=torch.Generator().manual_seed(self.drawing), dtype=torch.double
            )
            apart_N = normal_N * _deviation(mean_N, space)
        return torch.stack([mean_N + apart_N, mean_N - apart_N], 1).float()

    def found(self, controller: Controller, runs: int) -> Tensor:
        """The architecture of the highest score that each run evaluated within its budget, `[S, D]`."""
        task = tasks.find(f"nasbench201/{self.data}@12").task
        seeds, space = torch.arange(runs), controller.space  # pyright: ignore[reportAttributeAccessIssue]
        spent_S, best_S = torch.zeros(runs, dtype=torch.double), torch.full((runs,), -torch.inf)
        arch_SD = torch.zeros(runs, len(space.choices), dtype=torch.long)
        for done in search(controller, self.evaluate(space, seeds), controller.begin(task, seeds)):
            before_S, spent_S = spent_S, spent_S + done.results.cost[:, 0].double()
            counts_S = before_S < self.seconds if self.last_counts else spent_S <= self.seconds
            better_S = counts_S & (done.results.score[:, 0] > best_S)
            best_S = torch.where(better_S, done.results.score[:, 0], best_S)
            arch_SD = torch.where(better_S[:, None], done.proposal.archs[:, 0], arch_SD)
            if bool((spent_S >= self.seconds).all()):
                break
        return arch_SD


def test_accuracy(data: str, archs: Tensor) -> Tensor:
    """Mean over the seeds trained for 200 epochs, `[S]`."""
    accuracy = tasks.find(f"nasbench201/{data}@200").report(archs)
    assert accuracy is not None
    return accuracy.double()


def difference(accuracy_S: Tensor, published: Figure) -> float:
    """Ours less the published mean, in standard errors of that difference, both sides' runs counted."""
    error = (accuracy_S.var().item() / len(accuracy_S) + published.std**2 / PUBLISHED_RUNS) ** 0.5
    return (accuracy_S.mean().item() - published.mean) / error


def _seconds(train_N: Tensor, data: str) -> Tensor:
    """Of a training of 12 epochs and one validation, from those of CIFAR-10's training."""
    base = TRAIN_IMAGES["cifar10"]
    return train_N.double() * (TRAIN_IMAGES[data] / base + VALID_SHARE * VALID_IMAGES[data] / base / 12)


def _deviation(mean_N: Tensor, space: Space) -> Tensor:
    """Standard deviation of a mean of two trainings: how far cells that compute the same differ, by level of accuracy, `[N]`."""
    canonical = space.canonical(_ops.enumerate_all(space.choices))
    _, group_N = _ops.index(canonical, space.choices).unique(return_inverse=True)
    count_G = torch.bincount(group_N).double()
    center_G = torch.zeros_like(count_G).index_add(0, group_N, mean_N) / count_G
    square_G = torch.zeros_like(count_G).index_add(0, group_N, (mean_N - center_G[group_N]).square())
    edges = torch.tensor(NOISE_LEVELS, dtype=torch.double)
    level_G = torch.bucketize(center_G, edges)
    each = [(square_G[level_G == i].sum() / (count_G[level_G == i] - 1).sum()).sqrt() for i in range(len(edges) + 1)]
    return torch.stack(each)[torch.bucketize(mean_N, edges)]
