"""The one loop of meta-training, for every meta-learner: steps, checkpoints and resuming.

A step is a function of (state, seed, step), so that a training that was stopped ends with the same bits as one that was not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open

from controller import MetaLearner, MetaState, stage_at
from nas.meta import task_sampler
from nas.run import state_tree
from search_spaces import UserError
from search_spaces._files import atomic_write, refuse_unreadable

FORMAT = "nas-meta-checkpoint/2"
FILES = {
    "tables_sha256": "tables of the same names with other contents",
    "learner_sha256": "another content of the learner's file",
    "encoder_sha256": "another content of the encoder's prior",
}
"""Digests in a training's `config`, and what it was begun with where one differs. Checkpoints of earlier versions lack them."""


class Progress(NamedTuple):
    """Where training stands after a step."""

    state: MetaState
    stage: str
    step: int
    """Steps done of the whole training."""
    steps: int
    metrics: dict[str, float]


def num_steps(learner: MetaLearner) -> int:
    """Of the whole training."""
    return sum(stage.steps for stage in learner.stages)


def train(learner: MetaLearner, state: MetaState, seed: int) -> Iterator[Progress]:
    """Train to the end from wherever `state` stands, a step each time."""
    sampler, steps = task_sampler.build(learner.tasks), num_steps(learner)
    for step in range(int(state.step), steps):
        stage, within = stage_at(learner.stages, step)
        state, metrics = learner.update(state, sampler.batch(stage, within, seed))
        yield Progress(state, stage.name, step + 1, steps, metrics)


def save(path: Path, state: MetaState, config: dict[str, Any]) -> None:
    """A checkpoint, all or nothing.

    Args:
        config: what the training is; only the same goes on from it.
    """
    tensors = {n: t.detach().contiguous() for n, t in state_tree.flatten(state).items()}
    with atomic_write(path) as partial:
        partial.write_bytes(safetensors.torch.save(tensors, {"format": FORMAT, "config": json.dumps(config)}))


def load(path: Path, like: MetaState, config: dict[str, Any]) -> MetaState:
    """The state of a checkpoint. Raises `UserError` for one of another training or of another version.

    Args:
        like: a state of the same training, as `init` makes it.
    """
    refuse_unreadable(path)
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        known = json.loads(about.get("config", "{}"))
    except (SafetensorError, ValueError) as error:
        raise UserError(f"'{path}' cannot be read ({error}); delete it to begin anew, or name another --out.") from None
    if about.get("format") != FORMAT:
        raise UserError(f"'{path}' was begun by another version; finish it there or name another --out.")
    # Another seed or another setting would go on to a prior that no command makes.
    rest = {name: value for name, value in config.items() if name not in FILES}
    if {name: value for name, value in known.items() if name not in FILES} != rest:
        raise UserError(
            f"'{path}' was begun with {json.dumps(known)}; go on with the same settings or name another --out."
        )
    for name, other in FILES.items():
        if name in known and known[name] != config.get(name):
            raise UserError(f"'{path}' was begun with {other}; bring that back, or name another --out.")
    wanted = {n: t.shape for n, t in state_tree.flatten(like).items()}
    if wanted != {n: t.shape for n, t in tensors.items()}:
        raise UserError(f"'{path}' was begun by another version, whose state has other shapes; name another --out.")
    return state_tree.unflatten(like, tensors)


def untrained(learner: MetaLearner, seed: int) -> MetaState:
    """The state before the first step."""
    return learner.init(torch.tensor([seed]))
