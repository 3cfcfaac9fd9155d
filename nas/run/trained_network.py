"""The trained network of a run, kept beside it: weights with a header that says which network they are of."""

from __future__ import annotations

import json
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError, safe_open

from controller.models import legacy
from nas.types import TrainedNetwork
from search_spaces import UserError
from search_spaces._files import atomic_write

FILE = "best.safetensors"
_MEAN, _STD = "pixels.mean", "pixels.std"
# In the same file, so that they are never those of another network; a prefix that no weight of ours has.
_PROBABILITIES, _TENSOR = "test_probabilities", "test.probabilities"


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
    with atomic_write(folder / FILE) as partial:
        partial.write_bytes(
            safetensors.torch.save({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, about)
        )


def load(folder: Path) -> TrainedNetwork | None:
    """The weights of a run's folder; None where it keeps none. Raises `UserError` for a file that is damaged."""
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            about = legacy.weights(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        mean, std = tensors.pop(_MEAN), tensors.pop(_STD)
        names = tuple(json.loads(about["class_names"]))
        metrics, mirror = json.loads(about["metrics"]), json.loads(about.get("mirror", "false"))
        if _TENSOR in tensors:
            metrics[_PROBABILITIES] = tensors.pop(_TENSOR)
        return TrainedNetwork(about["arch"], tensors, mean, std, names, metrics, _shape(about), mirror is True)
    # JSON raises a ValueError, or a RecursionError where brackets were doubled.
    except (SafetensorError, KeyError, ValueError, TypeError, RecursionError) as error:
        raise UserError(f"'{path}' is not a whole file of trained weights ({error}); search again.") from None


def _shape(about: dict[str, str]) -> tuple[int, int, int] | None:
    """Channels, height, width that the network takes; None where the file does not say: those of the task."""
    if "input_shape" not in about:
        return None
    channels, height, width = json.loads(about["input_shape"])
    return int(channels), int(height), int(width)
