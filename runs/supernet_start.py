"""What a learned start of a supernet is worth: accuracy after so many steps on image sets that were left out of learning it.

`runs/supernet_start.sh` learns a start on seven other sets first (`--prior` is its file). Then darts searches each set of
`LEFT_OUT` from a fresh start, from the learned weights, and from learned weights and alpha, in the geometry of own201's tables.
Each search is a row of a JSON-lines file and is not run again; `--table` prints what is there.

Example: python runs/supernet_start.py --prior runs/metanas/prior.safetensors --images ../shared/images --seeds 5
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from supernet import SMALL, SPACE, column, rank

from controller import Prior
from controller.darts import Darts
from controller.models import prior_file
from nas import loop
from nas.evaluators.supernet import Supernet

LEFT_OUT = ("arabic_chars28", "brain_tumor_mri", "fashion_mnist")
STARTS = ("fresh", "weights", "weights and alpha")
EVALS, EVERY = 40, 4
"""Evaluations of a search, and from one look at all validation images to the next. Each evaluation is four steps of SGD."""


def main() -> None:
    """Runs what is missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", default="../shared/images", help="folder of npz sets")
    parser.add_argument("--prior", default="runs/metanas/prior.safetensors")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--evals", type=int, default=EVALS)
    parser.add_argument("--out", default="runs/supernet/starts.jsonl")
    parser.add_argument("--table", action="store_true", help="print what is there")
    args = parser.parse_args()
    torch.set_num_threads(1)
    out = Path(args.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    for seed in range(0 if args.table else args.seeds):
        for name in LEFT_OUT:
            for start in STARTS:
                if not any((r["set"], r["start"], r["seed"]) == (name, start, seed) for r in rows):
                    rows.append({"set": name, "start": start, "seed": seed, **searched(name, start, seed, args)})
                    with out.open("a") as file:
                        file.write(json.dumps(rows[-1]) + "\n")
    show(rows, args.evals)


def searched(name: str, start: str, seed: int, args: argparse.Namespace) -> dict:
    """The curve of a search, and the rank of the cell that it selects."""
    settings = SMALL | {"shared_evals": str(args.evals), "device": "cpu"}
    one = Supernet.of(f"npz:{Path(args.images) / f'{name}.npz'}", **settings)
    prior: Prior | None = None
    if start != "fresh":
        learned = prior_file.read(args.prior)
        one, prior = one.from_prior(learned), learned if start == "weights and alpha" else None
    controller, seeds, curve = Darts(one.space, steps=args.evals), torch.tensor([seed]), []
    evaluate, memory = loop.load(one, seeds)
    began = time.process_time()
    for number, step in enumerate(
        loop.search(controller, evaluate, controller.begin(one.task, seeds, prior), memory=memory), 1
    ):
        if number > args.evals:
            break
        if number % EVERY == 0:
            mixture = controller.mix(step.state.params, step.state, 1)[0, 0]
            curve.append(one.accuracy(step.memory, mixture))
    found = step.proposal.archs[0, 0]
    return {"accuracy": curve, "rank": rank(column(name), found), "arch": SPACE.describe(found),
            "seconds": time.process_time() - began}  # fmt: skip


def reached(curve: list[float], target: float) -> float:
    """After how many evaluations a curve is first as high, between two looks along a line; infinite where it never is."""
    before = 0.0
    for number, value in enumerate(curve, 1):
        if value >= target:
            share = 1.0 if number == 1 or value == before else (target - before) / (value - before)
            return EVERY * (number - 1 + share)
        before = value
    return float("inf")


def show(rows: list[dict], evals: int) -> None:
    """The table: means over seeds, and the evaluations that a start takes to a fresh one's mean accuracy."""
    looks = list(range(8, evals + 1, 8)) or [evals]
    heads = " | ".join(f"{n}" for n in looks)
    needed = " | ".join(f"as {n}" for n in looks)
    print(
        f"| set | start | seeds | accuracy after {heads} evaluations | {needed} fresh ones, after | ranks of the cell |"
    )
    print("|---|---|---:|" + "---:|" * (2 * len(looks)) + "---|")
    for name in LEFT_OUT:
        means: dict[str, list[float]] = {}
        for start in STARTS:
            ours = [r for r in rows if (r["set"], r["start"]) == (name, start)]
            if not ours:
                continue
            means[start] = [statistics.mean(values) for values in zip(*(r["accuracy"] for r in ours))]
            shown = " | ".join(f"{means[start][n // EVERY - 1]:.1f}" for n in looks)
            fresh = means.get("fresh", [])
            after = " | ".join(f"{reached(means[start], fresh[n // EVERY - 1]):.0f}" for n in looks) if fresh else ""
            ranks = sorted(r["rank"] for r in ours)
            print(
                f"| {name} | {start} | {len(ours)} | {shown} | {after} | "
                f"{statistics.median(ranks):.0f}: {', '.join(map(str, ranks))} |"
            )


if __name__ == "__main__":
    main()
