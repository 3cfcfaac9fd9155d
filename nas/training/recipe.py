"""What is trained on, how, and the checkpoint of a training that was paused.

Shapes: `N` images, `C` channels.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


# Defaults: NAS-Bench-201's recipe (Dong & Yang 2020) has the same optimizer, learning rate, momentum and
# weight decay, with batches of 256. Batches of 64 give few epochs more steps; not ablated.
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
    """Mirror half of the images."""
    cutout: int = 0
    """Side of a square set to the mean; 0: none."""
    seed: int = 0
    """Of the weights, the order of the images and the augmentation."""


class Images(NamedTuple):
    """Part of a dataset, on the device that trains."""

    # uint8 until a batch is used: four times smaller than float32, on a GPU too.
    x: Tensor
    """uint8 `[N, C, H, W]`."""
    y: Tensor
    """int64 `[N]`."""
    mean: Tensor
    """float32 `[C]` of x / 255, as `std`."""
    std: Tensor

    def normalised(self, index: Tensor | slice) -> Tensor:
        """Some of the images, float32, of mean 0 and standard deviation 1 over the training split."""
        shape = (1, -1, 1, 1)
        return (self.x[index].float() / 255 - self.mean.view(shape)) / self.std.view(shape)


class Checkpoint(NamedTuple):
    """A network whose training was paused, to resume from."""

    epochs: int
    """Epochs done."""
    weights: dict[str, Tensor]
    momentum: dict[str, Tensor]
