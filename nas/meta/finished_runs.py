"""What a finished run says to who learns from it.

Shapes: `S` searches, `n` evaluations of the longest training, `D` decisions.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from controller import penalty
from nas.run import choice, session, step_log, store, stored_space, subject, trust
from nas.text import counted
from search_spaces import Space, Task, UserError

_FIRST = 3
"""Evaluations of each search that tell its run from others that began as it did."""


class FinishedRun(NamedTuple):
    """Without its data and its evaluator: the folder says all of it."""

    name: str
    digest: str
    """Tells the run from any other; the same after more evaluations."""
    whole_digest: str
    """Of all its evaluations: what told runs apart in priors of before."""
    task_name: str
    task: Task
    space: Space
    archs: Tensor
    """int64 `[n, D]`."""
    score: Tensor
    """float32 `[n]` without what its limits took off; NaN where evaluation failed."""
    best: Tensor
    """int64 `[S, D]` what each search found, the best first; fewer where one has only failures."""


def space_name(folder: Path) -> str:
    """The name of the space of a run."""
    with store.open_run(folder) as run:
        return subject.read(run).space.name


def read(folder: Path, least: int) -> FinishedRun:
    """A run to learn from.

    Raises `UserError` for a run of fewer than `least` evaluations of its longest training, for one without any that succeeded,
    and for one in a space whose code this user has not run.
    """
    with store.open_run(folder) as run:
        past, config, over, about = step_log.history(run), run.config, step_log.constraint_ratio(run), subject.read(run)
        if not about.space.ours:
            trust.refuse_unknown(str(folder), trust.outside(config))
        space = stored_space.built(about.space)
        found = choice.handed_out(run, past, session.best(config, past)) if past.steps else None
    if past.score.shape[1] < least:
        raise _too_few(folder, past.score.shape[1], "", least)
    longest = torch.ones_like(past.score, dtype=torch.bool) if past.epochs is None else past.epochs == past.epochs.max()
    if int(longest.sum()) < least:
        raise _too_few(folder, int(longest.sum()), " of its longest training", least)
    if past.candidates[longest].isnan().all():
        raise UserError(f"Run '{folder}' has no evaluation that succeeded; there is nothing to learn from.")
    assert found is not None
    order = found.score.nan_to_num(-torch.inf).argsort(descending=True, stable=True)
    best = found.archs[order[~found.score[order].isnan()]]
    score_SE = past.candidates
    if over is not None:  # Rounded, as what was taken off and is put back leaves ties a rounding error apart.
        score_SE = (score_SE + penalty(over, torch.tensor(about.task.constraints))).round(decimals=3)
    archs, score = past.archs[longest], score_SE[longest]
    began = f"{config.task} {config.controller} {config.first_seed} {config.seeds}".encode()
    digest = _digest(past.archs[:, :_FIRST], past.score[:, :_FIRST], began)
    return FinishedRun(folder.name, digest, _digest(archs, score), config.task, about.task, space, archs, score, best)


def _digest(archs: Tensor, score: Tensor, began: bytes = b"") -> str:
    return hashlib.sha256(began + archs.numpy().tobytes() + score.numpy().tobytes()).hexdigest()[:16]


def _too_few(folder: Path, count: int, of: str, least: int) -> UserError:
    return UserError(f"Run '{folder}' has {counted(count, 'evaluation')}{of}; it takes at least {least} to learn from.")
