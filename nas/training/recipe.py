"""What is trained on, how, and the checkpoint of a training that was paused.

Shapes: `N` images, `C` channels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor


# Defaults: NAS-Bench-201's recipe (Dong & Yang 2020) has the same optimizer, learning rate, momentum and
# weight decay, with batches of 256. Batches of 64 give few epochs more steps; not ablated.
class Recipe(NamedTuple):
    """How a network is trained: SGD with Nesterov momentum, a cosine from `lr` to 0. What a default leaves out is off."""

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
    warmup: float = 0.0
    """Share of all steps in which the learning rate rises linearly to `lr` (Goyal et al. 2017, section 2.2); then the cosine."""
    label_smoothing: float = 0.0
    """Share of a target that all classes have alike (Szegedy et al. 2016, section 7); in [0, 1)."""
    mixup: float = 0.0
    """`alpha` of the Beta distribution that mixes two images and their targets (Zhang et al. 2018); in [0, 1], 0: none."""
    average: float = 0.0
    """Share of the epochs, the last ones, after each of which the weights enter an equal mean (SWA, Izmailov et al. 2018)."""
    balanced: bool = False
    """Weigh classes inversely to their frequency, by N / (K n_k) (King & Zeng 2001; `balanced` of scikit-learn)."""
    scale: float = 0.0
    """Least share of the area of a random crop that is resized to the whole (Szegedy et al. 2015, section 6); 0: none."""
    rotate: float = 0.0
    """Largest angle of a random rotation, in degrees; 0: none."""
    randaugment: int = 0
    """Magnitude of RandAugment, 1 to 30 (Cubuk et al. 2020, arXiv:1909.13719); 0: none."""
    precision: str = "float32"
    """One of `PRECISIONS`."""

    def steps(self, images: int) -> int:
        """Batches of an epoch of so many images, one at least."""
        # Whole batches only: compiled code has one batch size, and batch norm of a few left-over images is noise.
        return max(1, images // self.batch)

    def passes(self, images: int) -> int:
        """Of so many images, those that an epoch has in its batches."""
        return self.steps(images) * min(self.batch, images)

    def epochs_for(self, steps: int, images: int) -> int:
        """Epochs of so many images that have `steps` steps or more."""
        return -(-steps // self.steps(images))


PRECISIONS = ("float32", "bf16")
"""With `bf16`, layers compute in bfloat16 in training and weights stay float32 (Kalamkar et al. 2019, arXiv:1905.12322); on
processors and GPUs that compute in it, larger networks take half the time."""


LIMITS = {
    "cutout": 256,
    "warmup": 1,
    "label_smoothing": 1,
    "mixup": 1,
    "average": 1,
    "scale": 1,
    "rotate": 180,
    "randaugment": 30,
}
"""The largest value of what is off at 0. A cut-out of 256 pixels is larger than the images that are trained on here."""


class Images(NamedTuple):
    """Part of a dataset, on the device that trains."""

    # uint8 until a batch is used: four times smaller than float32, on a GPU too.
    x: Tensor
    """uint8 `[N, C, H, W]`."""
    y: Tensor
    """int64 `[N]`; or float32 `[N, K]`, a share for each class, as a teacher gives them."""
    mean: Tensor
    """float32 `[C]` of x / 255, as `std`."""
    std: Tensor

    def pixels(self, index: Tensor | slice) -> Tensor:
        """Some of the images, float32 in [0, 1]."""
        return self.x[index].float() / 255

    def standardised(self, pixels: Tensor) -> Tensor:
        """`pixels` of [0, 1], of mean 0 and standard deviation 1 over the training split."""
        shape = (1, -1, 1, 1)
        return (pixels - self.mean.view(shape)) / self.std.view(shape)

    def normalised(self, index: Tensor | slice) -> Tensor:
        """Some of the images, as `standardised` has them."""
        return self.standardised(self.pixels(index))


class Checkpoint(NamedTuple):
    """A network whose training was paused, to resume from."""

    epochs: int
    """Epochs done."""
    weights: dict[str, Tensor]
    momentum: dict[str, Tensor]
    averaged: int = 0
    """Epochs in the mean of weights."""
    average: dict[str, Tensor] = {}
    """That mean, by name."""


@dataclass
class WeightAverage:
    """The mean weights of each network of a batch so far."""

    count: int = 0
    """How many epochs are in the mean."""
    weights: dict[int, dict[str, Tensor]] = field(default_factory=dict)
    """By the network's place and the weight's name; running statistics are among them."""
