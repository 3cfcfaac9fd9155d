"""From images to a tested network, on several data sets: the one that a small search finds beside the benchmark's ResNet one.

Both are trained alike, to the end, on training and validation images, and tested once. What is done is kept; a second call
goes on. One set, `FOLDER`, is written out as image files first and read back as a folder of images.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nas import tasks
from nas.run import trained_network

SETS = ("fashion_mnist", "dtd10_textures", "rsscn7_aerial", "brain_tumor_mri", "arabic_chars28", "smile_faces")
FOLDER = "flowers5"
RESNET = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|"
"""Dong & Yang 2020, section 2.1."""


def main() -> None:
    """Search what is missing, then print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("images", type=Path, help="the folder of .npz files")
    parser.add_argument("--runs", type=Path, default=Path("runs/data_sets"))
    parser.add_argument("--evals", type=int, default=32)
    asked = parser.parse_args()
    rows = []
    for name in (*SETS, FOLDER):
        result = asked.runs / f"{name}.json"
        if not result.exists():
            asked.runs.mkdir(parents=True, exist_ok=True)
            task = task_of(name, asked.images, asked.runs)
            result.write_text(json.dumps(compare(task, asked.runs / name, asked.evals)))
        rows.append(json.loads(result.read_text()) | {"name": name})
        print(name, rows[-1]["found"]["test_accuracy"], rows[-1]["resnet"]["test_accuracy"], file=sys.stderr)
    print(table(rows, asked.evals))


def task_of(name: str, images: Path, runs: Path) -> str:
    """The task's name; for `FOLDER`, that of the folder of image files that is written here."""
    if name != FOLDER:
        return f"npz:{images / name}.npz"
    root = runs / f"{name}_images"
    with np.load(images / f"{name}.npz") as file:
        for split in ("train", "test"):
            for number, (pixels, label) in enumerate(zip(file[f"x_{split}"], file[f"y_{split}"])):
                folder = root / split / str(file["class_names"][label])
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels.squeeze()).save(folder / f"{number:05d}.png")
    return f"folder:{root}"


def compare(task: str, run: Path, evals: int) -> dict[str, Any]:
    """Figures of the one that the search finds, by the command line, and of the ResNet one."""
    search = ["search", "--task", task, "--evals", str(evals), "--name", str(run)]
    words = ["resume", str(run)] if run.exists() else search
    command = [sys.executable, "-m", "nas", *words, "--json"]
    summary = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    winner = trained_network.load(run)
    training = tasks.find(task).training
    assert winner is not None
    assert training is not None
    resnet = training.final_network(training.space.parse(RESNET))
    # Not every answer to every test image: the last is a tensor.
    figures = [{k: v for k, v in one.metrics.items() if k in ("test_accuracy", "interval")} for one in (winner, resnet)]
    return {"found": figures[0], "resnet": figures[1], "arch": winner.arch, "seconds": summary["wall_seconds"]}


def table(rows: list[dict[str, Any]], evals: int) -> str:
    """Markdown, a line for each set."""
    head = [
        "| data set | found one | 95% interval | ResNet one | 95% interval | search |",
        "|---|---|---|---|---|---|",
    ]
    lines = [
        f"| {row['name']} | {_percent(row['found'])} | {_percent(row['resnet'])} | {evals} summaries, {row['seconds']:.0f} s |"
        for row in rows
    ]
    return "\n".join([*head, *lines])


def _percent(figures: dict[str, Any]) -> str:
    low, high = figures["interval"]
    return f"{figures['test_accuracy']:.1f}% | {low:.1f} to {high:.1f}"


if __name__ == "__main__":
    main()
