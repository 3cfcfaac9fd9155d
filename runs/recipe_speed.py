"""What options of a recipe cost in time, how time grows with the side of the images, and what bfloat16 saves.

The CPU time of an epoch with each option, by that of an epoch with none: of the ResNet cell, on one core, 64 images of
32 x 32 x 3 a step. The best of `--rounds` epochs counts; options take turns, so that a busy machine slows all alike.
"""

from __future__ import annotations

import argparse
import sys
import time

import torch

from nas import training
from nas.training import Images, Recipe
from nas.training.recipe import PRECISIONS
from search_spaces import Task
from search_spaces.nasbench201 import NasBench201

OPTIONS = {
    "none": {},
    "crop, flip, cutout": {"crop": 4, "flip": True, "cutout": 8},
    "label_smoothing, balanced": {"label_smoothing": 0.1, "balanced": True},
    "mixup": {"mixup": 0.2},
    "scale": {"scale": 0.5},
    "rotate": {"rotate": 15.0},
    "randaugment": {"randaugment": 9},
}
SIZES = {"8 channels, 1 cell a stage": NasBench201(8, 1, 2), "16 channels, 2 cells a stage": NasBench201(16, 2, 2)}
SIDES = (32, 48, 64, 96)
PRECISION_SIZES = ((8, 1, 2), (8, 1, 1), (16, 1, 2), (24, 1, 2), (16, 1, 1), (32, 1, 1))
"""Channels, cells a stage, stride of the stem."""
IMAGES = 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    ratios = [options(space, rounds) for space in SIZES.values()]
    print(f"| options | {' | '.join(SIZES)} |\n|---|{'---:|' * len(SIZES)}")
    for name in list(OPTIONS)[1:]:
        print(f"| `{name}` | {' | '.join(f'{ratio[name]:.2f}' for ratio in ratios)} |")
    space = SIZES["8 channels, 1 cell a stage"]
    print("\n| side of the images | time of a step | pixels |\n|---|---:|---:|")
    seconds = [epoch(space, side, Recipe(1), rounds) for side in SIDES]
    for side, spent in zip(SIDES, seconds):
        print(f"| {side} | {spent / seconds[0]:.2f} | {(side / SIDES[0]) ** 2:.2f} |")
    print(
        "\n| channels, cells, stride of the stem | values after the stem | time of bfloat16 by that of float32 |\n|---|---:|---:|"
    )
    sys.modules["nas.training.train"]._LARGE = 0  # All of them: the smallest are what it says.
    for size in PRECISION_SIZES:
        plain, half = (epoch(NasBench201(*size), SIDES[0], Recipe(1, precision=one), rounds) for one in PRECISIONS)
        print(f"| {', '.join(map(str, size))} | {size[0] * (SIDES[0] // size[2]) ** 2} | {half / plain:.2f} |")


def options(space: NasBench201, rounds: int) -> dict[str, float]:
    """The time of an epoch with each option by that with none."""
    least = {name: float("inf") for name in OPTIONS}
    for _ in range(rounds):
        for name, asked in OPTIONS.items():
            least[name] = min(least[name], epoch(space, SIDES[0], Recipe(1, **asked), 1))
    return {name: seconds / least["none"] for name, seconds in least.items()}


def epoch(space: NasBench201, side: int, recipe: Recipe, rounds: int) -> float:
    """The least CPU seconds of an epoch; the first one pays for what is made once, and does not count."""
    noise = torch.Generator().manual_seed(0)
    x = torch.randint(256, (IMAGES, 3, side, side), generator=noise, dtype=torch.uint8)
    images = Images(x, torch.arange(IMAGES) % 10, torch.full((3,), 0.5), torch.full((3,), 0.3))
    task = Task("speed", (3, side, side), 10)
    network = training.networks(space, space.reference_arch[None], task, 0, precision=recipe.precision)
    epochs = training.train(network, images, recipe._replace(epochs=rounds + 1))
    next(epochs)
    seconds = []
    for _ in range(rounds):
        began = time.process_time()
        next(epochs)
        seconds.append(time.process_time() - began)
    return min(seconds)


if __name__ == "__main__":
    main()
