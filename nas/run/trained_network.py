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


def save(folder: Path, trained: TrainedNetwork) -> None:
    """Write the weights into a run's folder, in place of earlier ones; never half of them."""
    tensors = trained.state_dict | {_MEAN: trained.mean, _STD: trained.std}
    about = {"format": "pt", "arch": trained.arch, "class_names": json.dumps(trained.class_names)}
    about["metrics"] = json.dumps(trained.metrics)
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
        return TrainedNetwork(about["arch"], tensors, mean, std, names, json.loads(about["metrics"]))
    # JSON raises a ValueError, or a RecursionError where brackets were doubled.
    except (SafetensorError, KeyError, ValueError, TypeError, RecursionError) as error:
        raise UserError(f"'{path}' is not a whole file of trained weights ({error}); search again.") from None
