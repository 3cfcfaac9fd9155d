"""A searched few-shot backbone beside Conv-4: trains both for the same core-seconds, prints means and intervals over seeds.

The search comes first (`runs/backbone.sh`); its run says what it found. Test classes are asked once for each training.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from scipy import stats

from nas.few_shot import named, result, run, training
from nas.few_shot.run import Config

PRECISION = "bf16"
"""Of all trainings of a prototypical network, in the search as well: half the time where a processor computes in it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--run", type=Path, default=Path("runs/backbone/search"), help="folder of the search")
    parser.add_argument("--space", default="conv_blocks", help="of the search")
    parser.add_argument("--out", type=Path, default=Path("runs/backbone"))
    parser.add_argument("--learner", default="prototypical")
    parser.add_argument("--minutes", type=float, default=1.0, help="core-minutes of each training")
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    archs = {"Conv-4": (named.default_arch("prototypical"), "conv4"), "searched": (found(args.run), args.space)}
    steps = settled(args, archs)
    for seed in range(args.seeds):
        for name, (arch, space) in archs.items():
            train(args, name, arch, space, seed, steps[name])
    print_table(args, archs, steps)


def found(folder: Path) -> str:
    """The best architecture of a search."""
    shown = subprocess.run(
        [sys.executable, "-m", "nas", "show", str(folder), "--json"], check=True, capture_output=True, text=True
    )
    return json.loads(shown.stdout)["best"][0]["arch"]


def settled(args: argparse.Namespace, archs: dict[str, tuple[str, str]]) -> dict[str, int]:
    """The steps of each architecture, timed once in turn, so that all seeds and a training that goes on have the same."""
    file = args.out / f"steps-{args.minutes:g}min.json"
    if file.exists():
        return json.loads(file.read_text())
    seconds: dict[str, list[float]] = {name: [] for name in archs}
    for _ in range(3):
        for name, (arch, space) in archs.items():
            setup = run.prepare(config(args, arch, space, 0))
            seconds[name].append(
                training.seconds_of_step(setup.learner, setup.source, setup.config.plan, time.process_time)
            )
    steps = {name: max(1, round(60 * args.minutes / min(each))) for name, each in seconds.items()}
    args.out.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(steps))
    return steps


def config(args: argparse.Namespace, arch: str, space: str, seed: int) -> Config:
    return Config(args.data, args.learner, seed=seed, space=space, arch=arch, precision=PRECISION)


def train(args: argparse.Namespace, name: str, arch: str, space: str, seed: int, steps: int) -> None:
    """One training and its test; it goes on where it was stopped."""
    folder = folder_of(args, name, seed)
    if (folder / result.FILE).exists():
        return
    command = ["--resume", str(folder)]
    if not (folder / run.FILE).exists():
        command = [
            "--data", args.data, "--learner", args.learner, "--space", space, "--arch", arch, "--seed", str(seed),
            "--precision", PRECISION, "--steps", str(steps), "--name", str(folder),
        ]  # fmt: skip
    subprocess.run([sys.executable, "-m", "nas", "few-shot", *command], check=True)


def folder_of(args: argparse.Namespace, name: str, seed: int) -> Path:
    return args.out / f"{name}-{args.minutes:g}min-{seed}"


def print_table(args: argparse.Namespace, archs: dict[str, tuple[str, str]], steps: dict[str, int]) -> None:
    """A row for each architecture; the interval is Student's t over the seeds, which all answer the same episodes."""
    print("| backbone | architecture | weights | steps | accuracy of each seed | mean, 95% interval over seeds |")
    print("|---|---|---:|---:|---|---:|")
    rows = {}
    for name, (arch, _) in archs.items():
        documents = [result.read(folder_of(args, name, seed)) for seed in range(args.seeds)]
        rows[name] = [each["test"]["accuracy"] for each in documents]
        print(
            f"| {name} | `{arch}` | {documents[0]['parameters']:,} | {steps[name]:,} | "
            f"{', '.join(f'{a:.1f}' for a in rows[name])} | {interval(rows[name])} |"
        )
    differences = [b - a for a, b in zip(*rows.values(), strict=True)]
    print(f"\nsearched minus Conv-4, seed by seed: {interval(differences)}")


def interval(values: list[float]) -> str:
    half = stats.t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
    return f"{statistics.mean(values):.1f} ± {half:.1f}"


if __name__ == "__main__":
    main()
