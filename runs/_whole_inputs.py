"""One small whole input of each kind that runs/fuzz.py damages. What is trained is trained in another process."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy
import torch
from PIL import Image

from nas import tables
from nas.run import priors
from nas.tables import Column
from search_spaces import _ops
from search_spaces.nasbench201 import NasBench201

_TRAINED = (
    "search --task digits --space nas.testing.large_space:LargeSpace --controller random_search --evals 2 --name two"
)
_COMPARED = "compare --tasks good/t --controllers random_search --seeds 2 --evals 4 --jobs 1 --no-figures --out out"
_SHORT = "-t epochs=1 -t examples=64 -t final_epochs=1"


def make(folder: Path, kinds: list[str]) -> dict[str, Path]:
    """The folder of each kind's input; a kind whose source is not at hand is left out."""
    made = {kind: folder / kind for kind in kinds}
    for kind, place in list(made.items()):
        place.mkdir(parents=True)
        tables.write(place / "good.safetensors", "nasbench201", *_table())
        if not _MAKERS[kind](place):
            del made[kind]
    return made


def _table() -> tuple:
    space = NasBench201()
    archs = _ops.from_index(torch.arange(40) * 390, space.choices)
    score, about = torch.linspace(10, 90, 40), Column("t", "accuracy", "valid", 3, "percent", True)
    test = about._replace(split="test")
    columns = {
        "t/valid@3": (about, score),
        "t/test@3": (test, score.flip(0)),
        "t/seconds@3": (
            about._replace(metric="train_seconds", unit="second", split="train", maximize=False),
            score.clone(),
        ),
    }
    return archs, columns, "made up", "MIT"


def _nas(place: Path, line: str) -> bool:
    environment = os.environ | {"NAS_TABLES": str(place), "PYTHONPATH": os.getcwd()}
    subprocess.run(
        [sys.executable, "-m", "nas", *line.split()], cwd=place, env=environment, check=True, capture_output=True
    )
    return True


def _bad_table(place: Path) -> bool:
    shutil.copy(place / "good.safetensors", place / "bad.safetensors")
    return True


def _prior(place: Path) -> bool:
    shutil.copy(priors.SHIPPED, place / "prior.safetensors")
    return True


def _npz(place: Path) -> bool:
    x = numpy.random.default_rng(0).integers(0, 256, (60, 8, 8, 3), dtype=numpy.uint8)
    numpy.savez(place / "data.npz", x=x, y=numpy.arange(60) % 3)
    return True


def _pictures(place: Path) -> bool:
    rng = random.Random(0)
    for number in range(60):
        file = place / "pictures" / "abc"[number % 3] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.frombytes("RGB", (8, 8), rng.randbytes(192)).save(file)
    return True


def _plan(place: Path) -> bool:
    (place / "shards").mkdir()
    (place / "shards/plan.json").write_text(json.dumps({"task": "digits", "epochs": 1}))
    return True


def _csv(place: Path) -> bool:
    space = NasBench201()
    archs = _ops.from_index(torch.arange(12) * 1000, space.choices)
    rows = [f"{space.describe(arch)},{50 + i},{60 - i},{i}.5,1" for i, arch in enumerate(archs)]
    (place / "own.csv").write_text("\n".join(["arch,valid_accuracy,test_accuracy,seconds,seed", *rows]) + "\n")
    return True


def _nats(place: Path) -> bool:
    for folder in os.environ.get("NAS_TABLES", "").split(os.pathsep):
        sample = Path(folder).parent / "nats-tss-sample"
        if folder and sample.is_dir():
            shutil.copy(sorted(sample.glob("0*.pickle.pbz2"))[0], place / "nats.pickle.pbz2")
            return True
    return False


_MAKERS = {
    "run": lambda place: _nas(place, "search --task good/t --controller evolution --evals 12 --batch 3 --name one"),
    "table": _bad_table,
    "prior": _prior,
    "npz": _npz,
    "pictures": _pictures,
    "trial": lambda place: _nas(place, _COMPARED),
    "plan.json": _plan,
    "CSV": _csv,
    "nats_bench": _nats,
    "export": lambda place: _nas(place, f"{_TRAINED} {_SHORT}"),
}  # fmt: skip
