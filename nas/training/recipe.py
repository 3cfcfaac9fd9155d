"""What is trained on, how, and where a training that was left off stands.

Shapes: `N` images, `C` channels.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Recipe(NamedTuple):
    """How a network is trained: SGD with Nesterov momentum, a cosine from `lr` to 0, no label smoothing."""

    epochs: int
    batch: int = 64
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    crop: int = 0
    """Pixels of padding for random crops; 0: none."""
    flip: bool = False
    """Mirror half of the pictures."""
    cutout: int = 0
    """Side of a square set to the mean; 0: none."""
    seed: int = 0
    """Of the weights, the order of the images and the augmentation."""


class Images(NamedTuple):
    """Part of a data set, on the device that trains."""

    x: Tensor
    """uint8 `[N, C, H, W]`."""
    y: Tensor
    """int64 `[N]`."""
    mean: Tensor
    """float32 `[C]` of x / 255, as `std`."""
    std: Tensor

    def normalised(self, index: Tensor | slice) -> Tensor:
        """Some of the pictures, float32, of mean 0 and deviation 1."""
        shape = (1, -1, 1, 1)
        return (self.x[index].float() / 255 - self.mean.view(shape)) / self.std.view(shape)


class Checkpoint(NamedTuple):
    """A network whose training was left off, to go on from."""

    epochs: int
    """Epochs done."""
    weights: dict[str, Tensor]
    momentum: dict[str, Tensor]
