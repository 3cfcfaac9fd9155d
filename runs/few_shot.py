"""Few-shot learners on Omniglot or another set: trains each for so many core-minutes, prints the table of docs/few_shot.md."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import torch

from nas.few_shot import named, result, run, training
from nas.few_shot.run import Config

# Omniglot with rotations, test accuracy in percent: (5-way 1-shot, 5-way 5-shot, 20-way 1-shot, 20-way 5-shot). MAML's 1-shot
# figures and Reptile's were seen in print; all others are from memory.
PUBLISHED = {
    "prototypical": (98.8, 99.7, 96.0, 98.9),
    "matching": (98.1, 98.9, 93.8, 98.5),
    "siamese": (97.3, 98.4, 88.1, 97.0),
    "relation": (99.6, 99.8, 97.6, 99.1),
    "maml": (98.7, 99.9, 95.8, 98.9),
    "meta_sgd": (99.53, 99.93, 95.93, 98.97),
    "reptile": (97.68, 99.48, 89.43, 97.12),
    "snail": (99.07, 99.78, 97.64, 99.36),
    "mann": (82.8, 94.9, None, None),
    "neural_process": (95.3, 98.5, 89.9, 96.8),
}
_UNKNOWN = (None, None, None, None)
SETTINGS = [(5, 1), (5, 5), (20, 1), (20, 5)]
BF16 = {
    "prototypical", "nearest_centroid", "matching", "siamese", "relation", "leo", "neural_process", "snail", "mann"
}  # fmt: skip
"""Learners that take no second derivatives of the embedding: half the time of a step on processors that compute in bfloat16, many
times the time on others. No accuracy was lost by it where it was measured."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--out", type=Path, default=Path("runs/few_shot"))
    parser.add_argument("--learners", default=",".join(named.names()))
    parser.add_argument("--settings", default="5x1,5x5,20x1,20x5", help="way x shot")
    parser.add_argument(
        "--tests", default="", help="way x shot, by which each training is tested too, as 5x5,20x1,20x5"
    )
    parser.add_argument("--minutes", type=float, default=8.0, help="core-minutes of each training")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--image-size", type=int, default=20)
    parser.add_argument(
        "--rotations",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="each rotation of a class is a class, as is usual for Omniglot and nothing else",
    )
    parser.add_argument("--table", action="store_true", help="print what is there, and train nothing")
    parser.add_argument("--rows", type=Path, help="a file that keeps the figures: what is in --out is added to it")
    args = parser.parse_args()
    torch.set_num_threads(1)
    settings = sizes(args.settings)
    if not args.table:
        for seed in range(args.seeds):
            for way, shot in settings:
                for learner in args.learners.split(","):
                    folder = work(args, learner, way, shot, seed)
                    for asked in sizes(args.tests):
                        test(folder, (way, shot), asked)
    found = rows(args.out)
    if args.rows:
        keep(args.rows, found)
        found = read(args.rows)
    print_table(found)


def sizes(text: str) -> list[tuple[int, int]]:
    """Way and shot of each, from `5x1,20x5`."""
    pairs = [each.split("x") for each in text.split(",") if each]
    return [(int(way), int(shot)) for way, shot in pairs]


def work(args: argparse.Namespace, learner: str, way: int, shot: int, seed: int) -> Path:
    """One training; it goes on where it was stopped, and is not begun anew. Its folder."""
    folder = args.out / f"{learner}-{way}way-{shot}shot-{args.minutes:g}min-{seed}"
    if (folder / result.FILE).exists():
        return folder
    if (folder / run.FILE).exists():
        command = ["--resume", str(folder)]
    else:
        seconds, precision = min(
            (seconds_of_step(args, learner, way, shot, seed, each), each)
            for each in ("float32", "bf16")[: 1 + (learner in BF16)]
        )
        steps = max(1, round(60 * args.minutes / seconds))
        command = [
            "--data", args.data, "--learner", learner, "--way", str(way), "--shot", str(shot), "--seed", str(seed),
            "--image-size", str(args.image_size), "--rotations" if args.rotations else "--no-rotations",
            "--precision", precision, "--steps", str(steps), "--name", str(folder),
        ]  # fmt: skip
    few_shot(*command)
    return folder


def seconds_of_step(args: argparse.Namespace, learner: str, way: int, shot: int, seed: int, precision: str) -> float:
    """In processor time and not the clock's: what runs beside a training does not shorten it."""
    config = Config(
        args.data, learner, way, shot,
        seed=seed, image_size=args.image_size, rotations=args.rotations, precision=precision,
    )  # fmt: skip
    setup = run.prepare(config)
    return training.seconds_of_step(setup.learner, setup.source, config.plan, time.process_time)


def test(folder: Path, trained: tuple[int, int], asked: tuple[int, int]) -> None:
    """Another test of one training, where its learner can answer for so many classes."""
    if asked != trained and (asked[0] == trained[0] or not fixed_way(folder)):
        few_shot("test", str(folder), "--way", str(asked[0]), "--shot", str(asked[1]))


def fixed_way(folder: Path) -> bool:
    config, _ = run.read(folder)
    return run.prepare(config).learner.fixed_way


def few_shot(*command: str) -> None:
    subprocess.run([sys.executable, "-m", "nas", "few-shot", *command], check=True)


class Row(NamedTuple):
    """One test of one training."""

    data: str
    learner: str
    way: int
    shot: int
    trained: str
    """Way and shot of its training episodes."""
    minutes: str
    seed: int
    accuracy: float
    interval: float


_SAME = 7
"""Fields that say which test of which training a row is."""


def rows(out: Path) -> list[Row]:
    """What the trainings of a folder came to."""
    found = []
    for file in sorted(out.glob(f"*/{result.FILE}")):
        trained, others = json.loads(file.read_text()), file.parent / result.TESTS
        minutes, seed = file.parent.name.split("-")[-2:]
        for each in [trained, *(json.loads(others.read_text()) if others.exists() else [])]:
            what = (Path(trained["data"]).stem, each["learner"], each["way"], each["shot"])
            training = (f"{trained['way']}-way {trained['shot']}-shot", minutes.removesuffix("min"), int(seed))
            found.append(Row(*what, *training, each["test"]["accuracy"], each["test"]["interval"]))
    return found


def read(file: Path) -> list[Row]:
    return [Row(**json.loads(line)) for line in file.read_text().splitlines()] if file.exists() else []


def keep(file: Path, new: list[Row]) -> None:
    """Add rows to a file; a test that it has already is replaced."""
    every = {row[:_SAME]: row for row in [*read(file), *new]}
    file.write_text("".join(json.dumps(row._asdict()) + "\n" for row in sorted(every.values())))


def print_table(found: list[Row]) -> None:
    """A row for each learner and training: mean over seeds, the interval over their episodes together, the published figure."""
    heads = " | ".join(f"{way}-way {shot}-shot" for way, shot in SETTINGS)
    print(f"| data | learner | trained for | core-minutes | seeds | {heads} |")
    print(f"|---|---|---|---:|---|{'---:|' * len(SETTINGS)}")
    trainings: dict[tuple[str, ...], list[Row]] = {}
    for row in sorted(found):
        trainings.setdefault((row.data, row.learner, row.trained, row.minutes), []).append(row)
    for (data, learner, *trained), tests in trainings.items():
        seeds = ", ".join(map(str, sorted({test.seed for test in tests})))
        published = PUBLISHED.get(learner, _UNKNOWN) if data.startswith("omniglot") else _UNKNOWN
        cells = [
            cell([test for test in tests if (test.way, test.shot) == setting], known)
            for setting, known in zip(SETTINGS, published, strict=True)
        ]
        print(f"| {' | '.join([data, learner, *trained, seeds, *cells])} |")


def cell(tests: list[Row], published: float | None) -> str:
    """Of one test: its mean, and in brackets what was published."""
    if not tests:
        return ""
    mean = statistics.mean(test.accuracy for test in tests)
    # All seeds answer the same episodes, so that more seeds make this interval no narrower.
    half = statistics.mean(test.interval for test in tests)
    return f"{mean:.1f} ± {half:.1f}" + (f" ({published})" if published else "")


if __name__ == "__main__":
    main()
