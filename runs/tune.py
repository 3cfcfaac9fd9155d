"""Chooses settings of `transfer_bo` without a look at the families on which the choice is then shown.

Called by tune.sh: BUDGET SEARCHES TASKS OUTER ...; an OUTER is `each`, a group of families joined by `+`, or `none`, which leaves
none out.

`each` measures every candidate on every family, by priors that leave that family out. It says of each family what the rule
chooses by the others alone, and what that choice is worth there: one measurement for all choices.

For a group, priors leave out the group and one inner family in turn, which is then searched. Candidates are halved round by
round, each round with priors of another draw of the training tasks, until one is left. It searches the outer families once, with
priors that leave those out alone.

Every measurement is a line of `runs/tune.jsonl`; those that are there are not made again.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy
import torch

from controller.transfer_bo import TransferBO
from runs import left_out
from runs.left_out import FOLDS

RECORD = Path("runs/tune.jsonl")
GRID: dict[str, tuple[Any, ...]] = {
    "prior_test": ("cold", "random", "none"),
    "random_restart": (True, False),
    "least_prior_weight": (0.6,),
}
"""Every combination is a candidate, and `NEVER`."""
NEVER = {"prior_test": "none", "random_restart": True, "least_prior_weight": 0.0}
"""A prior that is neither tested nor given up."""
ROUNDS = 3
"""Draws of the training tasks: 7 candidates become 3 and 1, and 1 again."""


def candidates() -> list[dict[str, Any]]:
    return [*(dict(zip(GRID, values)) for values in itertools.product(*GRID.values())), NEVER]


class Measured:
    """Measurements, made where the record has none."""

    def __init__(self, budget: int, searches: int, most: int) -> None:
        self.budget, self.searches, self.most = budget, searches, most
        lines = RECORD.read_text().splitlines() if RECORD.is_file() else []
        self.known = {key: found for key, found in map(_parsed, lines) if found is not None}
        self.code = _code()

    def log_evaluations(self, without: Sequence[str], task: str, draw: int, settings: dict[str, Any] | None) -> float:
        """Mean over searches of the logarithm of evaluations to the best 0.1%; `never` counts as twice the budget.

        Args:
            without: families that the prior is trained without.
            settings: None: no prior.
        """
        asked = {
            "code": self.code, "budget": self.budget, "searches": self.searches, "task": task, "draw": draw,
            "without": sorted(without) if settings is not None else None, "settings": settings,
        }  # fmt: skip
        key = json.dumps(asked, sort_keys=True)
        if key not in self.known:
            seeds = torch.arange(self.searches) + self.searches * draw
            start = None if settings is None else left_out.prior(tuple(sorted(without)), draw)
            make = partial(_controller, settings or {})
            found_S = left_out.evaluations(make, task, start, seeds, self.budget)
            self.known[key] = [None if numpy.isinf(x) else int(x) for x in found_S]
            with RECORD.open("a") as file:
                file.write(json.dumps(asked | {"evaluations": self.known[key]}) + "\n")
        counts = [2 * self.budget if x is None else x for x in self.known[key]]
        return float(numpy.log(counts).mean())

    def log_ratio(
        self, without: Sequence[str], fold: str, draws: Sequence[int], settings: dict[str, Any]
    ) -> list[float]:
        """Of each task of a fold, the logarithm of evaluations with the prior over those without."""
        chosen = left_out.tasks_of(fold)
        chosen = chosen[:: -(-len(chosen) // self.most)]
        return [
            float(numpy.mean([
                self.log_evaluations(without, task, d, settings) - self.log_evaluations(without, task, d, None)
                for d in draws
            ]))
            for task in chosen
        ]  # fmt: skip


def objective(by_fold: dict[str, list[float]]) -> float:
    """A third each: the mean over near families, the mean over far ones, and the worst family; lower is better."""
    mean = {fold: float(numpy.mean(ratios)) for fold, ratios in by_fold.items()}
    near = [value for fold, value in mean.items() if FOLDS[fold].near]
    far = [value for fold, value in mean.items() if not FOLDS[fold].near]
    parts = [float(numpy.mean(part)) for part in (near, far) if part]
    return float(numpy.mean([*parts, max(mean.values())]))


def choose(measured: Measured, outer: Sequence[str]) -> dict[str, Any]:
    """The candidate that is left in the end; every round prints its table."""
    left, inner = candidates(), [fold for fold in FOLDS if fold not in outer]
    for number in range(1, ROUNDS + 1):
        draws, scored = range(1, number + 1), []
        ratios = {
            (fold, at): measured.log_ratio((*outer, fold), fold, draws, settings)
            for fold in inner
            for at, settings in enumerate(left)
        }
        for at, settings in enumerate(left):
            by_fold = {fold: ratios[fold, at] for fold in inner}
            scored.append((objective(by_fold), at, settings, by_fold))
        scored.sort(key=lambda found: found[:2])
        print(f"\nRound {number}, left out: {'+'.join(outer) or 'none'}\n")
        print(f"| {' | '.join(GRID)} | objective | {' | '.join(inner)} |")
        print(f"|{'---:|' * (len(GRID) + 1 + len(inner))}")
        for _, _, settings, by_fold in scored:
            _print_row(settings, by_fold)
        left = [settings for _, _, settings, _ in scored[: max(1, len(left) // 2)]]
    return left[0]


def choose_each(measured: Measured) -> None:
    """Of each family the choice by all others, and what it is worth there."""
    every, draws = candidates(), range(1, ROUNDS + 1)
    ratios = {
        fold: [measured.log_ratio([fold], fold, draws, settings) for settings in every] for fold in FOLDS
    }  # Family by family, as each makes its priors once.
    print(f"| {' | '.join(GRID)} | objective | {' | '.join(FOLDS)} |\n|{'---:|' * (len(GRID) + 1 + len(FOLDS))}")
    for at, settings in enumerate(every):
        _print_row(settings, {fold: ratios[fold][at] for fold in FOLDS})
    for fold in FOLDS:
        by_others = [objective({f: found[at] for f, found in ratios.items() if f != fold}) for at in range(len(every))]
        at = by_others.index(min(by_others))
        print(f"\nChosen without {fold}: {json.dumps(every[at])}; there {_worth(ratios[fold][at])}", flush=True)


def _print_row(settings: dict[str, Any], by_fold: dict[str, list[float]]) -> None:
    shown = [f"{numpy.exp(numpy.mean(ratios)):.2f}" for ratios in by_fold.values()]
    words = [*(str(settings[name]) for name in GRID), f"{numpy.exp(objective(by_fold)):.3f}", *shown]
    print(f"| {' | '.join(words)} |", flush=True)


def _worth(ratios: list[float]) -> str:
    return f"{numpy.exp(numpy.mean(ratios)):.2f}, worst task {numpy.exp(max(ratios)):.2f}"


def main() -> None:
    budget, searches, most = (int(x) for x in sys.argv[1:4])
    measured = Measured(budget, searches, most)
    for group in sys.argv[4:]:
        if group == "each":
            choose_each(measured)
            continue
        outer = [] if group == "none" else group.split("+")
        best = choose(measured, outer)
        print(f"\nChosen without {group}: {json.dumps(best)}", flush=True)
        for fold in outer:
            ratios = measured.log_ratio(outer, fold, range(1, ROUNDS + 1), best)
            never = measured.log_ratio(outer, fold, range(1, ROUNDS + 1), NEVER)
            print(f"{fold}, over without a prior: {_worth(ratios)}; never given up: {_worth(never)}", flush=True)


def _controller(settings: dict[str, Any], space: Any) -> TransferBO:
    return TransferBO(space, **settings)


def _parsed(line: str) -> tuple[str, list[int | None] | None]:
    try:  # A line that a killed process left half written is measured again.
        row = json.loads(line)
        found = row.pop("evaluations")
    except (ValueError, KeyError):
        return "", None
    return json.dumps(row, sort_keys=True), found


def _code() -> str:
    """Of the controller's source: what other code measured stays in the record and is not used."""
    files = sorted([*Path("controller").rglob("*.py"), *Path("search_spaces").rglob("*.py")])
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]


if __name__ == "__main__":
    main()
