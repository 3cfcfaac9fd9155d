"""Writes the baselines' tables of `docs/benchmarks.md` to `runs/baselines/tables.md`, and the figures to `docs/`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch

from nas import tasks
from nas.compare import trial
from nas.compare.trial import TrialSpec

ROOT = Path(__file__).parent.parent
FIGURES = ("regret", "reached", "profile", "improvement")
DATA = ("cifar10", "cifar100", "ImageNet16-120")
PUBLISHED = {
    "evolution": ("93.92 ± 0.30", "71.84 ± 0.99", "45.54 ± 1.03"),
    "random_search": ("93.70 ± 0.36", "71.04 ± 1.07", "44.57 ± 1.25"),
    "reinforce:policy_net=independent": ("93.85 ± 0.37", "71.71 ± 1.09", "45.24 ± 1.18"),
    "reinforce": ("93.85 ± 0.37", "71.71 ± 1.09", "45.24 ± 1.18"),
    "local_search": ("-", "-", "-"),
}
"""Test accuracy after 12,000 simulated seconds, 500 runs: NAS-Bench-201 (Dong & Yang 2020), table 5."""
LONGER = {"cifar10": 20_000.0, "cifar100": 40_000.0, "ImageNet16-120": 120_000.0}
"""NATS-Bench's budgets: search by validation accuracy after 12 epochs on the data set itself."""

FAMILIES = {
    "accuracy": "NAS-Bench-201 after 200 epochs: CIFAR-10, CIFAR-100, ImageNet16-120.",
    "robustness": "NAS-Bench-201 on CIFAR-10 under FGSM and Square attacks of 18 strengths.",
    "device": "NAS-Bench-201 on CIFAR-100 with a latency constraint that 30% of the space keep, on 23 devices.",
    "domain": "NAS-Bench-201 on NinaPro; the scores are coarse, so that many architectures share one.",
    "transnas-micro": "TransNAS-Bench-101's micro space: four vision tasks.",
    "natsbench-size": "NATS-Bench's size space on CIFAR-10; one dataset, hence no portfolio.",
}


def leaderboard(document: dict) -> str:
    lines = []
    for family in dict.fromkeys(row["family"] for row in document["aggregates"]):
        rows = [row for row in document["aggregates"] if row["family"] == family]
        count = f"{rows[0]['tasks']} task{'s' if rows[0]['tasks'] > 1 else ''}"
        lines += [f"\n## {family} ({count})\n", FAMILIES.get(family, ""), ""]
        lines += ["| controller | normalized score | to the best 0.1% | quartiles | reached |", "|---|---|---|---|---|"]
        rows.sort(key=lambda row: (row["evaluations_to_top"]["median"] or 1e9, -row["normalised_score"]["iqm"]))
        lines += [line(row) for row in rows]
    return "\n".join(lines)


def line(row: dict) -> str:
    score, top = row["normalised_score"], row["evaluations_to_top"]
    interval = f"{score['iqm']:.3f} ({score['low']:.3f} to {score['high']:.3f})"
    quartiles = f"{count(top['q25'])} to {count(top['q75'])}"
    return f"| {row['controller']} | {interval} | {count(top['median'])} | {quartiles} | {top['reached']:.0%} |"


def count(value: float | None) -> str:
    return "never" if value is None else f"{value:.0f}"


def tpe(document: dict) -> str:
    lines = [
        "\n## TPE\n",
        "Optuna's TPE on the accuracy family, 5 seeds and 100 evaluations, beside random search on the same seeds.\n",
    ]
    lines += ["| task | controller | score | to the best 0.1% | reached |", "|---|---|---|---|---|"]
    for row in document["rows"]:
        top = row["evaluations_to_top"]
        summaries = (
            row["task"],
            row["controller"],
            f"{row['score']['iqm']:.2f}",
            count(top["median"]),
            f"{top['reached']:.0%}",
        )
        lines.append(f"| {' | '.join(summaries)} |")
    return "\n".join(lines)


def protocol() -> str:
    """The published protocols, ours side by side."""
    lines = ["\n## NAS-Bench-201's protocol\n"]
    lines += [
        "Search by CIFAR-10 validation accuracy after 12 epochs for 12,000 simulated seconds, 500 runs; test accuracy after 200",
        "epochs, mean ± standard deviation: ours, then published (Dong & Yang 2020, table 5).\n",
        f"| controller | {' | '.join(f'{d} | published' for d in DATA)} |",
        f"|---|{'---|' * 2 * len(DATA)}",
    ]
    for name, published in PUBLISHED.items():
        ours = found("nasbench201/cifar10@12", name, 12_000.0, DATA)
        lines.append(f"| {name} | {' | '.join(f'{o} | {p}' for o, p in zip(ours, published))} |")
    lines += [
        "\nUnder NATS-Bench's budgets, each dataset searched by itself (test accuracy after 200 epochs, 500 runs):\n"
    ]
    lines += [f"| controller | {' | '.join(f'{d}, {s:,.0f} s' for d, s in LONGER.items())} |", "|---|---|---|---|"]
    for name in PUBLISHED:
        ours = [found(f"nasbench201/{data}@12", name, seconds, (data,))[0] for data, seconds in LONGER.items()]
        lines.append(f"| {name} | {' | '.join(ours)} |")
    return "\n".join(lines)


def found(task: str, controller: str, seconds: float, data: tuple[str, ...]) -> list[str]:
    """Test accuracy on each dataset of what 500 searches found."""
    trace, _ = trial.run(TrialSpec(task, controller, 500, None, seconds))
    archs = trial.final_archs(tasks.find(task), trace, seconds)
    reports = [tasks.find(f"nasbench201/{name}@200").report(archs) for name in data]
    return [f"{values.mean():.2f} ± {values.std():.2f}" for values in reports]


def main() -> None:
    torch.set_num_threads(1)
    docs, made = ROOT / "docs", ROOT / "runs" / "baselines"
    for name in FIGURES:
        shutil.copy(made / f"{name}.png", docs / f"baselines_{name}.png")
    parts = [leaderboard(json.loads((made / "results.json").read_text()))]
    parts.append(tpe(json.loads((ROOT / "runs" / "baselines_tpe" / "results.json").read_text())))
    parts.append(protocol())
    (made / "tables.md").write_text("\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
