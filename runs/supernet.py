"""Gradient search over a supernet beside random search and transfer_bo at equal cost, on the image sets of the table own201.

A supernet has the geometry of the table. Each search is a row of a JSON-lines file and is not run again; `--table` prints what is
there. Ranks are places in the table's search column, of 15,625; costs are CPU seconds of one thread, and trained cells of the
table.

Example: python runs/supernet.py --images ../shared/images --sets digits,arabic_chars28 --seeds 3
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections import Counter
from pathlib import Path

import torch
from scipy.stats import spearmanr
from torch import Tensor

from controller import Proposal
from nas import loop, plugins, tables, tasks
from nas.evaluators.supernet import Supernet
from nas.run import priors
from nas.training import supernet
from nas.training.supernet_program import Weights
from nas.training.supernet_slope import Batches, second_order
from search_spaces import _ops, _sampling
from search_spaces.nasbench201 import NasBench201

SPACE = NasBench201()
ALL = _ops.size(SPACE.choices)
SMALL = {"channels": "8", "cells": "1", "image_size": "16", "examples": "1200", "epochs": "8"}
SETS = {
    "digits": {"channels": "4", "cells": "2", "examples": "576", "epochs": "4"},
    "rsscn7_aerial": {"channels": "4", "cells": "2", "image_size": "16", "examples": "600", "epochs": "4"},
    **dict.fromkeys(("brain_tumor_mri", "fashion_mnist", "arabic_chars28"), SMALL),
}
"""How runs/own201.sh measured each."""
METHODS = {
    "random paths, best of 100": ("random_search", {}, 300),
    "reinforce (ENAS), best of 100": ("reinforce", {"lr": "0.05"}, 300),
    "darts": ("darts", {}, 201),
    "darts, warm-up": ("darts", {"warmup": "100"}, 201),
    "darts, beta-decay": ("darts", {"beta_decay": "50"}, 201),
    "darts, warm-up, perturbation": ("darts", {"warmup": "100", "select": "perturbation"}, 231),
    "darts, warm-up, best of 100": ("darts", {"warmup": "100", "select": "one_shot"}, 300),
    "gdas": ("gdas", {}, 201),
    "gdas, warm-up": ("gdas", {"warmup": "100"}, 201),
    "snas": ("snas", {}, 201),
    "drnas": ("drnas", {}, 201),
    "drnas, warm-up": ("drnas", {"warmup": "100"}, 201),
    "pc_darts": ("pc_darts", {}, 201),
    "darts, second order": ("darts", {}, 201),
    "darts, temperature to 0.2": ("darts", {"temperature": "0.2"}, 201),
    "pc_darts, a quarter of the channels": ("pc_darts", {}, 201),
}
"""Controller, settings, evaluations; the first 200 train the shared weights."""
TRAINING = {
    "darts, second order": {"slope_order": "2"},
    "pc_darts, a quarter of the channels": {"partial_channels": "4"},
}
"""Settings of the evaluator that a method has beside those of the set."""
ONE_SHOT = 200
"""Random cells whose one-shot accuracy is compared with the table."""
FREE = (SPACE.operations[0].index("skip_connect"), SPACE.operations[0].index("avg_pool_3x3"))
"""Operations without parameters, `none` apart."""


def main() -> None:
    """Runs what is missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", default="../shared/images", help="folder of npz sets; digits need none")
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--methods", default=";".join(METHODS), help="separated by ;")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--out", default="runs/supernet/rows.jsonl")
    parser.add_argument("--table", action="store_true", help="print what is there")
    parser.add_argument(
        "--transfer-seeds", type=int, default=20, help="searches by transfer_bo, for each budget and prior; 0: none"
    )
    parser.add_argument("--together", action="store_true", help="with --table: one table of all sets")
    parser.add_argument("--steps", action="store_true", help="time the steps of a supernet beside those of cells")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.steps:
        steps()
        return
    out = Path(args.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    for seed in range(0 if args.table else args.seeds):
        for name in args.sets.split(","):
            for method in args.methods.split(";"):
                if not any((r["set"], r["method"], r["seed"]) == (name, method, seed) for r in rows):
                    rows.append(
                        {
                            "set": name,
                            "method": method,
                            "seed": seed,
                            **searched(evaluator(name, args, method), name, method, seed),
                        }
                    )
                    with out.open("a") as file:
                        file.write(json.dumps(rows[-1]) + "\n")
    collapse()
    if args.together:
        show_together(rows, args)
        return
    for name in args.sets.split(","):
        show(name, [r for r in rows if r["set"] == name], args)


def evaluator(name: str, args: argparse.Namespace, method: str = "") -> Supernet:
    """That of a set, in the geometry of its table."""
    task = "digits" if name == "digits" else f"npz:{Path(args.images) / f'{name}.npz'}"
    return Supernet.of(task, device="cpu", **SETS[name], **TRAINING.get(method, {}))


def column(name: str) -> Tensor:
    """The search column of a set's table, by index; below all others where nothing was measured."""
    seeds = torch.tensor([0])
    every = Proposal(_ops.enumerate_all(SPACE.choices)[None])
    return tasks.find(f"own201/{name}").load(seeds)(every).score[0].nan_to_num(-math.inf)


def rank(score_N: Tensor, arch: Tensor) -> int:
    """The place of an architecture `[D]`."""
    return int((score_N > score_N[_ops.index(arch, SPACE.choices)]).sum()) + 1


def searched(one: Supernet, name: str, method: str, seed: int) -> dict:
    """A search, and how its weights rank random cells in the end."""
    controller, settings, evals = METHODS[method]
    component = plugins.load("controller", controller)
    made = component(
        one.space, **{k: v if k == "select" else float(v) if "." in v else int(v) for k, v in settings.items()}
    )
    seeds, best, found = torch.tensor([seed]), -math.inf, None
    score_N, began = column(name), time.process_time()
    evaluate, memory = loop.load(one, seeds)
    for number, step in enumerate(loop.search(made, evaluate, made.begin(one.task, seeds), memory=memory), 1):
        score, provisional = step.results.score.item(), bool(step.results.provisional.item())
        if not provisional and score > best:
            best, found = score, step.proposal.archs[0, 0]
        if number == evals:
            break
    seconds = time.process_time() - began
    assert found is not None
    archs = _sampling.sample(SPACE, torch.tensor([1000]), 0, ONE_SHOT)
    scores = evaluate(Proposal(archs), step.memory)[0].score[0]
    correlation = spearmanr(scores, score_N[_ops.index(archs[0], SPACE.choices)]).statistic
    free, none = int(torch.isin(found, torch.tensor(FREE)).sum()), int((found == 0).sum())
    return {
        "seconds": seconds, "cell": cell_seconds(one), "rank": rank(score_N, found), "arch": SPACE.describe(found),
        "spearman": float(correlation), "one_shot": best, "free": free, "none": none,
    }  # fmt: skip


def cell_seconds(one: Supernet) -> float:
    """CPU seconds of one trained cell of the table, the mean of four random ones, whose FLOPs are 1.03 times the space's mean."""
    archs = _sampling.sample(SPACE, torch.tensor([10]), 0, 4)
    began = time.process_time()
    one.alone.load(torch.tensor([10]))(Proposal(archs))
    return (time.process_time() - began) / 4


def timed_cell(name: str, rows: list[dict], args: argparse.Namespace) -> float:
    """CPU seconds of one trained cell: the mean of those timed beside searches, so that a table takes no images; timed now where
    none was."""
    known = [row["cell"] for row in rows if "cell" in row]
    return statistics.mean(known) if known else cell_seconds(evaluator(name, args))


def cost(rows: list[dict], cell: float) -> float:
    """Of a method on a set in trained cells: each search by the cells that were timed beside it, so that a busy machine changes
    little; `cell` seconds of one where none were."""
    beside = [row["seconds"] / row["cell"] for row in rows if "cell" in row]
    return statistics.mean(beside or [row["seconds"] / cell for row in rows])


def best_of(draws: int, share: float) -> int:
    """The rank that the best of so many random cells reaches with that probability."""
    return math.ceil(ALL * (1 - (1 - share) ** (1 / draws)))


def transfer(name: str, evals: int, prior: str, score_N: Tensor, count: int) -> float:
    """The median rank of the best of so many evaluations by transfer_bo on the table, over `count` seeds."""
    task, seeds = tasks.find(f"own201/{name}"), torch.arange(count)
    controller = plugins.load("controller", "transfer_bo")(task.space)
    state = controller.begin(task.task, seeds, priors.find(prior, "transfer_bo"))
    archs, score = [], []
    for number, step in enumerate(loop.search(controller, task.load(seeds), state), 1):
        archs.append(step.proposal.archs[:, 0])
        score.append(step.results.score[:, 0])
        if number == evals:
            break
    at = torch.stack(score).nan_to_num(-math.inf).argmax(0)
    return statistics.median(rank(score_N, torch.stack(archs)[t, s]) for s, t in enumerate(at.tolist()))


def show(name: str, rows: list[dict], args: argparse.Namespace) -> None:
    """The table of a set."""
    if not rows:
        return
    score_N, cell = column(name), timed_cell(name, rows, args)
    print(f"\n{name}: a cell of the table trains in {cell:.3f} CPU s\n")
    print(
        "| method | seeds | rank, median | ranks | skip, pooling / none, of 6 edges | one-shot Spearman | CPU s | cells |"
    )
    print("|---|---:|---:|---|---|---:|---:|---:|")
    costs = []
    for method in METHODS:
        ours = [r for r in rows if r["method"] == method]
        if ours:
            ranks = sorted(r["rank"] for r in ours)
            mean = {key: statistics.mean(r[key] for r in ours) for key in ("seconds", "spearman", "free", "none")}
            costs.append(cost(ours, cell))
            shown, edges = ", ".join(map(str, ranks)), f"{mean['free']:.1f} / {mean['none']:.1f}"
            print(
                f"| {method} | {len(ours)} | {statistics.median(ranks):.0f} | {shown} | {edges} | {mean['spearman']:.2f} | "
                f"{mean['seconds']:.1f} | {costs[-1]:.0f} |"
            )
    for cells in sorted({round(min(costs)), round(statistics.median(costs))}):
        low, middle, high = (best_of(cells, share) for share in (0.25, 0.5, 0.75))
        spent = f"{cells * cell:.1f} | {cells}"
        print(f"| random search, {cells} trained cells | exact | {middle} | quartiles {low}, {high} | | | {spent} |")
        for prior in ("none", "shipped") if args.transfer_seeds else ():
            found = transfer(name, cells, prior, score_N, args.transfer_seeds)
            print(f"| transfer_bo, prior {prior} | {args.transfer_seeds} | {found:.0f} | | | | {spent} |")


def show_together(rows: list[dict], args: argparse.Namespace) -> None:
    """One table of all sets: the median rank, its quartiles, in brackets Spearman correlation and cost in trained cells.

    The last column counts searches that are ahead of the median rank of random search at their method's cost, of all sets.
    """
    searches = Counter((row["set"], row["method"]) for row in rows)
    names = [name for name in args.sets.split(",") if any(searches[name, method] > 1 for method in METHODS)]
    cells = {name: timed_cell(name, [r for r in rows if r["set"] == name], args) for name in names}
    costs: dict[str, list[float]] = {name: [] for name in names}
    print(f"| method | {' | '.join(names)} | ahead of random search |\n|---|{'---|' * len(names)}---:|")
    for method in METHODS:
        shown, ahead, count = [], 0, 0
        for name in names:
            ours = [r for r in rows if (r["set"], r["method"]) == (name, method)]
            if len(ours) < 2:  # Which has no quartiles.
                shown.append("")
                continue
            spent = cost(ours, cells[name])
            costs[name].append(spent)
            low, middle, high = statistics.quantiles([r["rank"] for r in ours], n=4, method="inclusive")
            spearman = statistics.mean(r["spearman"] for r in ours)
            shown.append(f"**{middle:.0f}**, {low:.0f} to {high:.0f} ({spearman:.2f}, {spent:.0f})")
            ahead += sum(r["rank"] < best_of(round(spent), 0.5) for r in ours)
            count += len(ours)
        if count:
            print(f"| {method} | {' | '.join(shown)} | {ahead} of {count} |")
    for what, asked in (("least", min), ("median", statistics.median)):
        at = {name: round(asked(costs[name])) for name in names}
        ranks = [[best_of(at[name], share) for share in (0.5, 0.25, 0.75)] for name in names]
        random = [f"**{m}**, {low} to {high} ({at[name]})" for (m, low, high), name in zip(ranks, names)]
        print(f"| random search at the {what} cost | {' | '.join(random)} | |")
        if args.transfer_seeds:
            found = [transfer(name, at[name], "none", column(name), args.transfer_seeds) for name in names]
            ours = [f"**{rank:.0f}** ({at[name]})" for rank, name in zip(found, names)]
            print(f"| transfer_bo without a prior at the {what} cost | {' | '.join(ours)} | |")


def collapse() -> None:
    """The cell that DARTS is known to end on, looked up."""
    if "nasbench201" in tables.names():
        skip = torch.ones(6, dtype=torch.long)
        score_N = tables.find("nasbench201").by_index("cifar10/test_accuracy@200", SPACE.choices)
        value = score_N[_ops.index(skip, SPACE.choices)]
        place = rank(score_N, skip)
        print(
            f"CIFAR-10 after 200 epochs: the cell of six skips has {value:.2f}% on test images, rank {place} of {ALL}"
        )


def steps() -> None:
    """CPU milliseconds of a step with 64 images of digits, the least of five; of evaluator supernet's defaults."""
    one = Supernet.of("digits", device="cpu")
    params = one.begin(torch.tensor([0])).weights[0]
    weights, (x, y, _) = Weights(params, torch.zeros_like(params)), one.images.validation(None)
    archs = _sampling.sample(SPACE, torch.tensor([5]), 0, 20)[0]
    mixture = torch.full((6, 5), 0.2)

    def least(work) -> float:
        work()
        found = []
        for _ in range(5):
            began = time.process_time()
            work()
            found.append(1000 * (time.process_time() - began) / len(x))
        return min(found)

    def learn(mix: Tensor) -> float:
        return least(lambda: one.net.learn(weights, mix, x, y, [0.01] * len(x), 0.9, 5e-4))

    def slope(mix: Tensor) -> float:
        return least(lambda: one.net.score(weights, mix, x, y, slope=True))

    paths = [
        torch.nn.functional.one_hot(arch, 5).float() for arch in (*archs, one.space.reference_arch, torch.full((6,), 3))
    ]
    cells = [learn(path) for path in paths]
    mean = statistics.mean(cells[:20])
    whole, sloped = learn(mixture), slope(mixture)
    quarter = Supernet.of("digits", device="cpu", partial_channels="4")
    small = quarter.begin(torch.tensor([0])).weights[0]
    resting = Weights(small, torch.zeros_like(small))
    part = least(lambda: quarter.net.learn(resting, mixture, x, y, [0.01] * len(x), 0.9, 5e-4))
    batches = [Batches(x[i : i + 1], y[i : i + 1]) for i in range(len(x))]
    second = least(lambda: [second_order(one.net, params, mixture, batch, batch, 0.01) for batch in batches])
    print(f"{supernet.engine('cpu')}; 8 channels, 1 cell a stage, 8x8 images, batches of {x.shape[1]}\n")
    print("| step | CPU ms | times the mean cell |\n|---|---:|---:|")
    for what, value in (
        ("one cell, mean of 20 random ones", mean), ("one cell, the ResNet cell", cells[20]),
        ("one cell, six 3x3 convolutions", cells[21]), ("mixture of all operations, SGD", whole),
        ("mixture of a quarter of the channels, SGD", part), ("mixture, slope of the score", sloped),
        ("mixture, slope of second order", second), ("single path, slope", statistics.mean(map(slope, paths[:20]))),
    ):  # fmt: skip
        print(f"| {what} | {value:.2f} | {value / mean:.2f} |")


if __name__ == "__main__":
    main()
