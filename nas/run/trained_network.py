"""The trained network of a run, kept beside it: weights with a header that says which network they are of."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from controller.models import legacy
from nas.export.export import Export, export
from nas.types import Averages, TrainedNetwork, TrainingEvaluator
from search_spaces import Space, Task, UserError
from search_spaces._files import atomic_write, refuse_unreadable

FILE = "best.safetensors"
_DIVERGED = "The final training diverged: the network answers with numbers that are not finite, and none is handed out."
_MEAN, _STD = "pixels.mean", "pixels.std"
# In the same file, so that they are never those of another network; a prefix that no weight of ours has.
_PROBABILITIES, _TENSOR = "test_probabilities", "test.probabilities"


def diverged(training: TrainingEvaluator) -> UserError:
    """What is raised where no final training converged."""
    return UserError(_DIVERGED + steadier(training))


def steadier(training: TrainingEvaluator) -> str:
    """What trains steadily, with a space before it; empty of pipelines, each of which has a learning rate of its own."""
    return "" if isinstance(training, Averages) else " A smaller learning rate (-t lr) trains steadily."


def save(folder: Path, trained: TrainedNetwork) -> None:
    """Write the weights into a run's folder, in place of earlier ones; never half of them."""
    tensors = trained.state_dict | {_MEAN: trained.mean, _STD: trained.std}
    metrics = dict(trained.metrics)
    if (probabilities := metrics.pop(_PROBABILITIES, None)) is not None:
        tensors[_TENSOR] = probabilities
    about = {"format": "pt", "arch": trained.arch, "class_names": json.dumps(trained.class_names)}
    about["metrics"] = json.dumps(metrics)
    # What an earlier version does not know is written only where it differs from what that version takes for granted.
    if trained.input_shape is not None:
        about["input_shape"] = json.dumps(trained.input_shape)
    if trained.mirror:
        about["mirror"] = json.dumps(trained.mirror)
    if trained.members:
        about["members"] = json.dumps(trained.members)
    if trained.deep is not None:
        about["deep"] = json.dumps(trained.deep)
    with atomic_write(folder / FILE) as partial:
        partial.write_bytes(
            safetensors.torch.save({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, about)
        )


def digest(folder: Path) -> str:
    """Of the file of weights in a run's folder: another network has another one."""
    with (folder / FILE).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def parameters(trained: TrainedNetwork) -> int:
    """How many of its numbers are trained: not the statistics of batch norm."""
    kept = {name: x for name, x in trained.state_dict.items() if "running_" not in name and "num_batches" not in name}
    return sum(x.numel() for x in kept.values())


def load(folder: Path) -> TrainedNetwork | None:
    """The weights of a run's folder; None where it keeps none. Raises `UserError` for a file that is damaged."""
    path = folder / FILE
    if not path.is_file():
        return None
    refuse_unreadable(path)
    try:
        with safe_open(path, framework="pt") as file:
            about = legacy.weights(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        mean, std = tensors.pop(_MEAN), tensors.pop(_STD)
        _check_normalization(mean, std)
        names = tuple(json.loads(about["class_names"]))
        metrics, mirror = json.loads(about["metrics"]), json.loads(about.get("mirror", "false"))
        if _TENSOR in tensors:
            metrics[_PROBABILITIES] = tensors.pop(_TENSOR)
        shape, deep = _numbers(about, "input_shape", 3), _numbers(about, "deep", 2)
        members = tuple(map(str, json.loads(about.get("members", "[]"))))
        return TrainedNetwork(
            about["arch"], tensors, mean, std, names, metrics, shape, mirror is True, deep, members=members
        )
    # JSON raises a ValueError, or a RecursionError where brackets were doubled.
    except (SafetensorError, KeyError, ValueError, TypeError, RecursionError) as error:
        raise UserError(f"'{path}' is not a whole file of trained weights ({error}); search again.") from None


def _check_normalization(mean: Tensor, std: Tensor) -> None:
    alike = mean.dim() == 1 and mean.shape == std.shape and len(mean) and mean.dtype == std.dtype == torch.float32
    if not alike or not bool(mean.isfinite().all() and std.isfinite().all() and (std > 0).all()):
        raise ValueError("a mean or a deviation of the pixels that no training has")


def write_export(space: Space, task: Task, trained: TrainedNetwork, folder: Path, **options: Any) -> Export:
    """`export` of a network after its final training in `space`; `options` are `onnx`, `onnx_input` and `force`."""
    return export(
        space, arch_of(space, trained), as_trained(task, trained), trained.state_dict, folder,
        mean=trained.mean, std=trained.std, class_names=trained.class_names, mirror=trained.mirror, deep=trained.deep,
        read_at=task.input_shape[1:],
        **options,
    )  # fmt: skip


def arch_of(space: Space, trained: TrainedNetwork) -> Tensor:
    """Its architecture `[D]`, or those of an ensemble's members `[M, D]`: what `nas.export.export.build` takes."""
    return torch.stack([space.parse(one) for one in trained.members]) if trained.members else space.parse(trained.arch)


def as_trained(task: Task, trained: TrainedNetwork) -> Task:
    """The task with images of the size that the network takes."""
    return task if trained.input_shape is None else dataclasses.replace(task, input_shape=trained.input_shape)


def _numbers(about: dict[str, str], key: str, count: int) -> Any:
    """`count` whole numbers of the header; None where it has none of that name."""
    if key not in about:
        return None
    found = tuple(int(number) for number in json.loads(about[key]))
    if len(found) != count:
        raise ValueError(f"{key} {about[key]}")
    return found
