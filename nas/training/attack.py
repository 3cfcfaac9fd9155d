"""Adversarial images for trained networks, by the gradient of each one's loss: FGSM and PGD.

FGSM is Goodfellow et al. 2015 (arXiv:1412.6572, section 4), PGD Madry et al. 2018 (arXiv:1706.06083, equation 2.1): steps of
`alpha` along the sign of the gradient, each projected into the box of `epsilon` around the image; the first begins at a
random place in the box. Shapes: `P` networks, `N` images, `K` classes, `A` attacks.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.training import compiler
from nas.training.compiled import EVALUATED, CompiledNetworks, pointer
from nas.training.recipe import Images
from search_spaces import _noise

_SOURCE = Path(__file__).with_name("attack_kernels.c")
# Of random numbers, apart from those that training draws.
_STREAM = 13
_PGD_STEPS = 5
"""Each is a gradient of all attacked images, so the steps are most of the cost of an attack; not ablated."""
_PGD_STEP = 2.5
"""Of the whole way that steps go, in `epsilon`: enough to reach the border of the box and turn; that of Madry et al.'s code."""


@lru_cache
def library() -> ctypes.CDLL | None:
    """The compiled code; None where there is no compiler."""
    loaded = compiler.library(torch.float32, _SOURCE)
    if loaded is not None:
        loaded.image_gradients.restype = None
    return loaded


def image_gradient(cells: CompiledNetworks, p: int, x: Tensor, y: Tensor) -> Tensor:
    """The gradient of network `p`'s cross entropy with respect to `x` `[N, C, H, W]`, in evaluation.

    Each image's own, but for a factor above zero: the loss is the mean of 64 images at once.
    """
    code = library()
    if code is None:
        raise RuntimeError("No C compiler; ask `library` first.")
    N = len(x)
    x_BNCHW = F.pad(x, (0, 0) * 3 + (0, -N % EVALUATED)).unflatten(0, (-1, EVALUATED))
    lanes = cells.lanes(x_BNCHW)
    labels = F.pad(y, (0, -N % EVALUATED)).contiguous()
    gradient = torch.zeros_like(lanes)
    network, instructions, space = cells.c_network(p, EVALUATED, lanes, 0.0, 0.0)
    held = (lanes, labels, cells.weights[p], cells.running[p], space, gradient)
    code.image_gradients(ctypes.byref(network), instructions, ctypes.c_int64(len(lanes)), *map(pointer, held))
    return gradient[..., :EVALUATED].permute(0, 4, 3, 1, 2).flatten(0, 1)[:N]


def fgsm(x: Tensor, gradient: Tensor, images: Images, epsilon: float) -> Tensor:
    """Normalised images, each value moved by `epsilon`, of the 255 of a byte, along the sign of its gradient."""
    return _within(x + gradient.sign() * _normalised(epsilon, images), images)


def pgd(x: Tensor, gradient_of: Callable[[Tensor], Tensor], images: Images, epsilon: float, steps: int) -> Tensor:
    """Normalised images after `steps` steps of 2.5 `epsilon` / `steps`."""
    box = _normalised(epsilon, images)
    start = 2 * _noise.uniform(torch.tensor([0]), 0, *x.shape, stream=_STREAM)[0] - 1
    adversarial = _within(x + start * box, images)
    for _ in range(steps):
        moved = adversarial + gradient_of(adversarial).sign() * (_PGD_STEP / steps * box)
        adversarial = _within(x + (moved - x).clamp(-box, box), images)
    return adversarial


def _normalised(epsilon: float, images: Images) -> Tensor:
    return (epsilon / 255 / images.std).view(1, -1, 1, 1)


def _within(x: Tensor, images: Images) -> Tensor:
    low, high = ((bound - images.mean) / images.std for bound in (0.0, 1.0))
    return x.clamp(low.view(1, -1, 1, 1), high.view(1, -1, 1, 1))


def logits(cells: CompiledNetworks, p: int, x: Tensor) -> Tensor:
    """The logits `[N, K]` of network `p` alone."""
    N = len(x)
    lanes = cells.lanes(F.pad(x, (0, 0) * 3 + (0, -N % EVALUATED)).unflatten(0, (-1, EVALUATED)))
    out_BKL = torch.zeros(len(lanes), cells.classes, lanes.shape[-1])
    network, instructions, space = cells.c_network(p, EVALUATED, lanes, 0.0, 0.0)
    held = (lanes, cells.weights[p], cells.running[p], space, out_BKL)
    cells.library.predict(ctypes.byref(network), instructions, ctypes.c_int64(len(lanes)), *map(pointer, held))
    return out_BKL[..., :EVALUATED].transpose(1, 2).flatten(0, 1)[:N]


def attacked(networks: CompiledNetworks, images: Images, attacks: dict[str, float]) -> Tensor:
    """How many images each network still classifies correctly under each attack, int16 `[A, P]`.

    Args:
        attacks: `epsilon` by name; a name that begins with `pgd` is PGD, any other FGSM.
    """
    x = images.normalised(slice(None))
    correct_PA = []
    for p in range(len(networks.programs)):
        gradient_of = partial(image_gradient, networks, p, y=images.y)
        gradient = gradient_of(x)
        moved = [
            pgd(x, gradient_of, images, epsilon, _PGD_STEPS)
            if name.startswith("pgd")
            else fgsm(x, gradient, images, epsilon)
            for name, epsilon in attacks.items()
        ]
        logits_ANK = logits(networks, p, torch.cat(moved)).unflatten(0, (len(attacks), -1))
        correct_PA.append((logits_ANK.argmax(-1) == images.y).sum(1).short())
    return torch.stack(correct_PA, 1)
