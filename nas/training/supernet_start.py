"""Weights of a supernet by name: what a prior keeps of one, and another that begins with them.

The head is of one task's classes, and never kept. Shapes: `S` seeds, `P` parameters.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nas.training.program import Place
from nas.training.supernet_program import SupernetPrograms
from search_spaces import Skeleton, Task

GROUP = "weights/"
"""Before the names of shared weights among the tensors of a prior."""
_OF_ONE_TASK = "head.4."
"""Names of what the classes of one task shape."""


def named(programs: SupernetPrograms, params: Tensor) -> dict[str, Tensor]:
    """The weights `[P]` of a supernet but for its head, by their names in a prior; a convolution is `[ky, kx, in, out]`."""
    return {
        GROUP + name: params[start : start + math.prod(shape)].view(shape)
        for name, (start, shape) in _kept(programs).items()
    }


def placed(programs: SupernetPrograms, params: Tensor, learned: dict[str, Tensor]) -> tuple[Tensor, int]:
    """First weights `[S, P]` with those of a prior in place that fit by name and shape, and how many numbers fitted."""
    params, fitted = params.clone(), 0
    for name, (start, shape) in _kept(programs).items():
        given = learned.get(GROUP + name)
        if given is not None and given.shape == torch.Size(shape) and bool(given.isfinite().all()):
            size = math.prod(shape)
            params[:, start : start + size] = given.flatten().to(params)
            fitted += size
    return params, fitted


def geometry(task: Task, skeleton: Skeleton) -> str:
    """What weights must have in common to fit, in words."""
    C, H, W = task.input_shape
    return f"{skeleton.channels} channels and {skeleton.cells} cells a stage, for {W}x{H}x{C} images"


def _kept(programs: SupernetPrograms) -> dict[str, Place]:
    """Where each weight lies that tasks can share."""
    weights = programs.whole.program.weights
    return {name: place for name, place in weights.items() if not name.startswith(_OF_ONE_TASK)}
