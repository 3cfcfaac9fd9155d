"""Latencies of networks by the model of `nas.export.latency_model` against those measured, for cells and for whole pipelines."""

from __future__ import annotations

import click
import torch
from torch import Tensor

from nas.export import latency_model
from nas.export.device import Device
from search_spaces import Space, Task, _noise, representatives
from search_spaces.nasbench201 import NasBench201
from search_spaces.pipeline import Pipeline

SPACES: dict[str, tuple[Space, int]] = {
    "cells, 16 channels, 2 a stage, 32x32": (NasBench201(16, 2, 2), 32),
    "cells, 4 channels, 1 a stage, 8x8": (NasBench201(4, 1, 1), 8),
    "pipelines, 32x32": (Pipeline(), 32),
    "pipelines, 16x16": (Pipeline(), 16),
}
_POOL, _TRIED = 512, 20
"""Architectures that the measured ones are chosen from, and other ones that are predicted."""


def drawn(space: Space, stream: int, count: int) -> Tensor:
    """Random architectures `[count, D]`, as they are trained."""
    bits = _noise.bits(torch.tensor([0]), 0, count, len(space.choices), stream=stream)[0]
    return representatives(space, (bits * torch.tensor(space.choices)) >> 32)


@click.command()
@click.argument("names", nargs=-1, type=click.Choice([*SPACES]))
def main(names: tuple[str, ...]) -> None:
    """Print a row of a table for each of `NAMES`; of all without any."""
    print(
        "| space | ms, from to | leave one out, median | upper quartile | mean error of others | largest | two measurements |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name in names or SPACES:
        space, side = SPACES[name]
        task, device = Task(name, (3, side, side), 10), Device()
        chosen = representatives(space, latency_model.design(space, drawn(space, 0, _POOL), task))
        measured = [(space.describe(arch), device.milliseconds(space, arch, task)) for arch in chosen]
        model = latency_model.fit(space, task, measured)
        others = drawn(space, 1, _TRIED)
        first, second = (
            torch.tensor([device.milliseconds(space, arch, task) for arch in others], dtype=torch.float64)
            for _ in range(2)
        )
        errors = (model.predict(space, others, task) / first - 1).abs()
        again = (second / first - 1).abs()
        print(
            f"| {name} | {first.min():.2f} to {first.max():.2f} | {model.error:.1%} | {model.upper_error:.1%} | "
            f"{errors.mean():.1%} | {errors.max():.1%} | {again.mean():.1%} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
