"""What `--training-option NAME=VALUE` may set of a training, and how it is read."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, TypeVar

import torch

from nas.settings import describe_type, parse_value
from nas.training.metrics import METRICS
from nas.training.recipe import LIMITS, PRECISIONS
from nas.training.train import SEEDS
from search_spaces import UserError, unknown

_LARGEST = 1_000_000_000
"""Of whole numbers: no training has more epochs, images or channels, and PyTorch's own overflow far beyond it."""


_LARGEST_OF = {
    # ResNet-1202, the deepest for small images that was published, has 200 blocks a stage (He et al. 2016, arXiv:1512.03385,
    # section 4.2). Building a network far beyond that takes longer than anybody waits.
    "cells": 200,
    "final_cells": 200,
    # They become 2048 in the last stage, as in ResNet-50 (the same paper, table 1).
    "channels": 512,
    "final_channels": 512,
    # There is no slope of third order.
    "slope_order": 2,
    # A batch of 64 in color then takes 0.8 GB before the first layer.
    "image_size": 1024,
}


# The defaults are for searches on a CPU and are not ablated. Those that are None depend on the data (`Train.of`).
class Settings(NamedTuple):
    """What `--training-option NAME=VALUE` may set; None: chosen from the data."""

    epochs: int | None = None
    """Of an evaluation."""
    channels: int = 8
    """Of the proxy network's first stage."""
    cells: int = 1
    """Of the proxy network, a stage."""
    image_size: int | None = None
    examples: int = 2000
    """At most so many training images in the search."""
    batch: int = 64
    lr: float = 0.1
    seed: int = 0
    """Of weights, order and augmentation."""
    space: str = "nasbench201"
    metric: str = "accuracy"
    """What the score is on the validation images: one of `nas.training.metrics.METRICS`."""
    final_epochs: int | None = None
    final_channels: int = 16
    final_cells: int = 2
    augment: bool = True
    """Crops, and mirrors where the data bear them, in the final training."""
    cutout: int = 0
    warmup: float = 0.0
    label_smoothing: float = 0.0
    mixup: float = 0.0
    average: float = 0.0
    balanced: bool = False
    scale: float = 0.0
    rotate: float = 0.0
    randaugment: int = 0
    teacher: str = ""
    """What the final training learns from besides the labels, where that helps: `wide`, an export, a run, `FILE.py:NAME`."""
    temperature: float = 3.0
    """Of the teacher's answers. Hinton et al. 2015, section 3: 2.5 to 4 for students much smaller than the teacher."""
    teacher_share: float = 0.7
    """Of the targets; the labels have the rest. Not ablated."""
    device: str = ""
    """As PyTorch names it; by default a GPU if there is one."""


class PipelineSettings(NamedTuple):
    """The same where whole pipelines are searched (`space=pipeline`): the pipeline says all else."""

    unit: float | None = None
    """10^9 multiply-accumulates of the lowest level of compute."""
    final: float | None = None
    """10^9 multiply-accumulates of the final training."""
    image_size: int | None = None
    seed: int = 0
    space: str = "pipeline"
    metric: str = "accuracy"
    """As in `Settings`."""
    ensemble: bool = True
    """Whether the mean of two networks may be handed out: the network found, and the plain one or a second training of it."""
    balanced: bool = False
    """As in `Recipe`, in every training."""
    teacher: str = ""
    """As in `Settings`, but for `wide`; so the next two."""
    temperature: float = 3.0
    teacher_share: float = 0.7
    precision: str = "float32"
    """Of training: `bf16` is faster on processors that compute in it; with `--minutes`, by default whichever is faster here."""
    device: str = "cpu"
    """As PyTorch names it. Networks of different sizes train side by side on the cores of a CPU."""


class SupernetSettings(NamedTuple):
    """What `--training-option NAME=VALUE` may set where weights are shared, beside `Settings`."""

    shared_evals: int = 200
    """Evaluations of each search that train the shared weights: as many as relaxed controllers take steps by default."""
    shared_steps: int = 4
    """Steps of SGD of each of them. Not ablated."""
    shared_lr: float = 0.05
    """Of the first step; a cosine leads to 0. Half of what a cell alone is trained with: paths disturb one another."""
    partial_channels: int = 1
    """Of a node's channels one in so many is mixed, the others pass: K of PC-DARTS, which has 4."""
    slope_order: int = 1
    """Of the slope of a mixture: 2 follows the weights through one step of their training (`nas.training.supernet_slope`)."""


# A larger seed would run into the bits of the architecture (`training.train`).
_MOST = {"seed": SEEDS - 1, "teacher_share": 1, **LIMITS}
Read = TypeVar("Read", Settings, PipelineSettings, SupernetSettings)
_FRACTIONS = ("unit", "final")
"""Settings that depend on the data unless they are given, and are no whole numbers."""


def read(settings: dict[str, str], into: type[Read] = Settings) -> Read:
    """Settings from text. Raises `UserError` for a name that does not exist and a value that is none."""
    known = into._field_defaults
    typed: dict[str, Any] = {}
    for key, text in settings.items():
        if key not in known:
            raise unknown("setting of the training", key, sorted(known))
        # The default's type is the setting's; those without one are all whole numbers.
        default = known[key]
        kind = (float if key in _FRACTIONS else int) if default is None else type(default)
        typed[key] = parse_value(text, kind)
        if typed[key] is None:
            raise UserError(f"--training-option {key} is '{text}'; it takes {describe_type(kind)}.")
        most = _MOST.get(key)
        if most is not None and not 0 <= typed[key] <= most:
            raise UserError(f"--training-option {key} is {text}; it takes 0 to {most}.")
        if most is None and kind in (int, float) and not 0 < typed[key] < math.inf:
            raise UserError(f"--training-option {key} is {text}; it takes a number above zero.")
        largest = _LARGEST_OF.get(key, _LARGEST)
        if kind is int and typed[key] > largest:
            raise UserError(f"--training-option {key} is {text}; it takes a number up to {largest:,}.")
    if typed.get("metric", "accuracy") not in METRICS:
        raise unknown("metric", typed["metric"], list(METRICS))
    if typed.get("precision", "float32") not in PRECISIONS:
        raise unknown("precision", typed["precision"], list(PRECISIONS))
    return into(**typed)


def extras(settings: Settings) -> dict[str, Any]:
    """What is off by default, by the names of `Recipe`."""
    return {name: getattr(settings, name) for name in (*LIMITS, "balanced")}


def usable_device(name: str) -> torch.device:
    """The device that PyTorch calls `name`. Raises `UserError` where this machine has none."""
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # `meta` has no values to give.
    # A build without CUDA answers with an AssertionError, a name that is none with a RuntimeError.
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"--training-option device is '{name}', which cannot be used here: {reason}. 'cpu' works on every machine."
        ) from None
    return device
