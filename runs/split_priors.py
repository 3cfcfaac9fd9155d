"""The priors of the declared splits, by the recipe of the prior that ships: what recipes of `runs/` measure priors with."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

from controller.models import prior_file
from nas.run import priors
from runs import shipped_prior

OUT = Path("runs/transfer")
DRAWS = (1, 2, 3)
DRAWN_SHARE = 0.8
"""Of the training tasks, for priors that show how much a result owes to just these tasks."""
ENCODED = ("natsbench-size",)
"""Splits whose tasks are read through the cell encoder. In the other spaces a search reads nothing that the training seed or the
training of the encoder changes, so that drawn priors leave the latter out (40 s of one core each)."""


def recipe(name: str = "prior") -> list[str]:
    """How a prior that ships was trained, by its own header: a command of `nas`, without split, start and folder.

    Args:
        name: of its file, as `shipped_prior.RECIPES` has it.
    """
    words = shlex.split(shipped_prior.command(name, prior_file.read(str(priors.SHIPPED.with_stem(name)))))
    for option in ("--split", "--prior", "--out"):
        if option in words:
            at = words.index(option)
            del words[at : at + 2]
    return words[1:]


def prior(split: str, draw: int = 0) -> Path:
    """The file of a split's prior, trained if it is not there: 0 on all of its tasks, else on those of a draw."""
    path = OUT / f"prior-{split}-{draw}" / "prior.safetensors"
    if not path.is_file():
        command = [sys.executable, "-m", "nas", *recipe(), "--split", split, "--out", str(path.parent)]
        if draw:
            command += ["--seed", str(draw), "--task-fraction", str(DRAWN_SHARE)]
            command += [] if split in ENCODED else ["--learner-option", "pca_steps=0"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return path


def policy(split: str) -> Path:
    """The file of a split's prior of `attention_policy`, which begins with `prior(split)`; trained if it is not there, from where
    it was stopped. Twenty minutes of one core."""
    path = OUT / f"policy-{split}" / "prior.safetensors"
    if not path.is_file():
        asked = ["--split", split, "--prior", str(prior(split)), "--out", str(path.parent)]
        command = [sys.executable, "-m", "nas", *recipe("attention_policy"), *asked]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return path
