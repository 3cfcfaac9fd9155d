"""Writes the baselines' tables of `docs/benchmarks.md` to `runs/baselines/tables.md`, and the figures to `docs/`."""

from __future__ import annotations

import json
import shutil
import statistics
from pathlib import Path

import torch

from nas.compare.statistics import count_text

ROOT = Path(__file__).parent.parent
FIGURES = ("regret", "reached", "profile", "improvement")
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
    quartiles = f"{count_text(top['q25'])} to {count_text(top['q75'])}"
    return f"| {row['controller']} | {interval} | {count_text(top['median'])} | {quartiles} | {top['reached']:.0%} |"


def handed_out(document: dict) -> str:
    """By family, where its tasks have a test column: mean test regret after so many evaluations, and the mean of median ranks."""
    known = [row for row in document["best_after"] if row["test_regret"] is not None]
    family = {row["task"]: row["family"] for row in document["rows"]}
    lines = []
    for name in dict.fromkeys(family[row["task"]] for row in known):
        ours = [row for row in known if family[row["task"]] == name]
        at = sorted({row["evaluations"] for row in ours})
        lines += [f"\n## {name}: test regret of what is handed out\n"]
        lines += [f"| controller | {' | '.join(f'after {n}' for n in at)} |", f"|---|{'---:|' * len(at)}"]
        for controller in dict.fromkeys(row["controller"] for row in ours):
            cells = [ending([r for r in ours if r["controller"] == controller and r["evaluations"] == n]) for n in at]
            lines.append(f"| {controller} | {' | '.join(cells)} |")
    return "\n".join(lines)


def ending(rows: list[dict]) -> str:
    regret = statistics.mean(row["test_regret"]["mean"] for row in rows)
    rank = statistics.mean(row["test_rank"]["median"] for row in rows)
    return f"{regret:.2f} ({rank:.0f})"


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
            count_text(top["median"]),
            f"{top['reached']:.0%}",
        )
        lines.append(f"| {' | '.join(summaries)} |")
    return "\n".join(lines)


def main() -> None:
    torch.set_num_threads(1)
    docs, made = ROOT / "docs", ROOT / "runs" / "baselines"
    for name in FIGURES:
        shutil.copy(made / f"{name}.png", docs / f"baselines_{name}.png")
    document = json.loads((made / "results.json").read_text())
    parts = [leaderboard(document), handed_out(document)]
    parts.append(tpe(json.loads((ROOT / "runs" / "baselines_tpe" / "results.json").read_text())))
    (made / "tables.md").write_text("\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
