"""A training under way, kept in a file every half minute: after a kill it goes on from there, to the bit.

The file's name is a digest of all that the training's bits depend on. So the file of another training is never read for it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from dataclasses import dataclass, field
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from nas.training.network_batch import NetworkBatch
from nas.training.recipe import Checkpoint, Images
from nas.training.train import checkpoint, restore
from search_spaces._files import atomic_write

FOLDER = "final-trainings"
"""In a run's folder, until what they are for is done."""
INTERVAL = 30.0
"""Seconds of training that a kill costs at most, and the epoch that it fell into."""
_PARTS = "weights", "momentum", "average"


@dataclass
class UnderWay:
    """The kept state of one training."""

    file: Path
    _written: float = field(default_factory=time.perf_counter)

    def write(self, network: NetworkBatch, losses: list[float], seconds: float, *, now: bool) -> None:
        """Keep the training after an epoch, if the last time was long ago or the next one may not come.

        Args:
            losses: mean of each epoch so far.
            seconds: that the training has taken so far.
            now: whether to write in any case.
        """
        if not now and time.perf_counter() - self._written < INTERVAL:
            return
        state = checkpoint(network, 0, len(losses))
        tensors = {
            f"{part}.{name}": value.cpu().contiguous()
            for part in _PARTS
            for name, value in getattr(state, part).items()
        }
        about = json.dumps({"losses": losses, "seconds": seconds, "averaged": state.averaged})
        # A full disk does not end the training: there is room again when it ends, or that says what is wrong.
        with contextlib.suppress(OSError):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(self.file) as partial:
                partial.write_bytes(safetensors.torch.save(tensors, {"training": about}))
        self._written = time.perf_counter()

    def read(self, network: NetworkBatch) -> tuple[list[float], float]:
        """Set an untrained network to the state that was kept; the losses and seconds so far.

        A file that is missing, damaged or of another network is none: the training begins anew.
        """
        try:
            with safe_open(self.file, framework="pt") as file:
                about = json.loads(file.metadata()["training"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            losses, seconds = list(map(float, about["losses"])), float(about["seconds"])
            averaged = int(about["averaged"])
        except (OSError, SafetensorError, ValueError, KeyError, TypeError):
            return [], 0.0
        parts: dict[str, dict[str, Tensor]] = {part: {} for part in _PARTS}
        for name, value in tensors.items():
            part, _, own = name.partition(".")
            parts[part][own] = value
        if not all(_fits(parts[part], own) for part, own in _own(network).items()):
            return [], 0.0
        restore(network, 0, Checkpoint(len(losses), averaged=averaged, **parts))
        return losses, seconds

    def forget(self) -> None:
        """The training has ended."""
        self.file.unlink(missing_ok=True)


def _own(network: NetworkBatch) -> dict[str, dict[str, Tensor]]:
    return {"weights": network.state_of(0), "momentum": network.momentum_of(0)}


def _fits(kept: dict[str, Tensor], own: dict[str, Tensor]) -> bool:
    """Whether the names, shapes and types are those of the network: a space of one's own may have changed."""
    return {name: (value.shape, value.dtype) for name, value in kept.items()} == {
        name: (value.shape, value.dtype) for name, value in own.items()
    }


def digest(said: object, images: Images) -> str:
    """Of what a training's bits depend on: `said`, of which the text counts, and the images and targets."""
    found = hashlib.sha256(repr(said).encode())
    for part in images:
        found.update(f"{part.dtype} {list(part.shape)}\n".encode())
        found.update(part.cpu().contiguous().numpy().data)
    return found.hexdigest()[:24]
