"""What a dataset looks like, in eight numbers, read off a sample of its training images as a set.

A set encoder (Deep Sets, Zaheer et al. 2017, arXiv:1703.06114, theorem 2): `rho(pool(phi(image) for every image))`. It
learns that two samples of one set describe alike and those of two do not (Dataset2Vec, Jomaa et al. 2021,
arXiv:1905.11063, section 4.2), here by the contrastive loss of van den Oord et al. 2018, arXiv:1807.03748, equation 4.
`runs/set_encoder.sh` makes the shipped one.

Shapes: `n` images, `C` channels, `W` width, `K` classes, `G` versions of datasets in a step.
"""

from __future__ import annotations

import copy
from functools import lru_cache

import safetensors.torch
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from nas.datasets.images import DataSet, pick
from nas.paths import DATA

SHIPPED = DATA / "encoder.safetensors"
FORMAT = "nas-encoder/1"
SIZE, SIDE, WIDTH, SAMPLE = 8, 16, 24, 256
VERSIONS = 12
"""Versions of datasets in a step of training, each to be told apart from the others."""
# Sizes, temperature and rate are not ablated one by one; `runs/set_encoder.sh` measures how well datasets are told apart.
_KEPT, _FEWEST, _MOST, _TEMPERATURE, _LR = 2000, 32, 128, 0.1, 3e-3


class SetEncoder(nn.Module):
    """Images and labels of a set to its description, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.phi = nn.Sequential(
            nn.Conv2d(3, 16, 5, stride=2, padding=2), nn.GELU(),
            nn.Conv2d(16, WIDTH, 3, stride=2, padding=1), nn.GELU(),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1), nn.GELU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )  # fmt: skip
        self.rho = nn.Sequential(
            nn.BatchNorm1d(3 * WIDTH, affine=False), nn.Linear(3 * WIDTH, 32), nn.GELU(),
            nn.Linear(32, SIZE), nn.LayerNorm(SIZE, elementwise_affine=False),
        )  # fmt: skip

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """The description `[8]`, each number within 2.7 of zero, of uint8 `[n, C, H, W]` and int64 `[n]`."""
        return self.read(self.phi(look(images, next(self.parameters()).dtype)), labels)

    def read(self, x_nW: Tensor, labels: Tensor) -> Tensor:
        """The description `[8]` of a set whose images `phi` has seen."""
        return self.rho(pool(x_nW, labels)[None])[0]


def look(images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Images uint8 `[n, C, H, W]` as the encoder sees them: `[n, 3, 16, 16]` in [0, 1]; what has not three channels is grey."""
    x = images.to(dtype) / 255
    x = F.interpolate(x, (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)
    return x if x.shape[1] == 3 else _grey(x)


def pool(x_nW: Tensor, labels: Tensor) -> Tensor:
    """Mean, deviation, and deviation of the class means, over a set: `[3 W]`."""
    _, rank_n, count_K = labels.unique(return_inverse=True, return_counts=True)
    mean_KW = x_nW.new_zeros(len(count_K), x_nW.shape[1]).index_add(0, rank_n, x_nW) / count_K[:, None]
    return torch.cat([x_nW.mean(0), _deviation(x_nW), _deviation(mean_KW)])


def describe(encoder: SetEncoder, images: Tensor, labels: Tensor) -> tuple[float, ...]:
    """The description of at most 256 images, evenly spaced among `images` `[n, C, H, W]`; three decimals.

    Worked out in float64 and rounded, so that neither the order of summation nor the machine shows.
    """
    count = min(len(images), SAMPLE)
    at = torch.arange(count) * len(images) // count
    with torch.no_grad():
        described = copy.deepcopy(encoder).double().eval()(images[at], labels[at])
    return tuple(round(number, 3) for number in described.tolist())


@lru_cache
def shipped() -> SetEncoder:
    """The encoder that comes with the package."""
    encoder = SetEncoder()
    encoder.load_state_dict(safetensors.torch.load_file(SHIPPED))
    return encoder.eval().requires_grad_(False)


def untrained(seed: int) -> SetEncoder:
    """An encoder as it begins."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SetEncoder()


def train(sets: dict[str, DataSet], steps: int, seed: int) -> SetEncoder:
    """An encoder that tells versions of `sets` apart, also those of one set; the same from the same seed."""
    generator = torch.Generator().manual_seed(seed)
    encoder = untrained(seed)
    optimizer = torch.optim.AdamW(encoder.parameters(), _LR, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LR, total_steps=steps)
    seen = [sample_of(sets[name]) for name in sorted(sets)]
    for _ in range(steps):
        drawn = torch.randint(len(seen), (VERSIONS,), generator=generator).tolist()
        samples = [sample for i in drawn for sample in pair(*seen[int(i)], generator)]
        # All samples of a step go through `phi` at once and are pooled apart.
        x = encoder.phi(torch.cat([x for x, _ in samples])).split_with_sizes([len(y) for _, y in samples])
        described = encoder.rho(torch.stack([pool(x, y) for x, (_, y) in zip(x, samples)]))
        loss = contrast(described[0::2], described[1::2])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return encoder.eval().requires_grad_(False)


def contrast(one_G8: Tensor, other_G8: Tensor) -> Tensor:
    """How hard it is to find each set's other sample among those of all sets, in nats."""
    # Descriptions have norm sqrt(SIZE) after the layer norm, so that dividing by SIZE gives cosines.
    logits_GG = one_G8 @ other_G8.T / (SIZE * _TEMPERATURE)
    same = torch.arange(len(logits_GG))
    # Both directions: neither sample of a pair is the query by nature.
    return (F.cross_entropy(logits_GG, same) + F.cross_entropy(logits_GG.T, same)) / 2


def pair(x: Tensor, labels: Tensor, generator: Generator) -> list[tuple[Tensor, Tensor]]:
    """Two disjoint samples of a version of a set: some of its classes, perhaps blurred, grey, negative, in another light.

    Args:
        x: `[N, 3, 16, 16]` as `look` gives them.
    """
    classes = labels.unique()
    order = torch.randperm(len(classes), generator=generator)
    ours = classes[order[: _draw(min(2, len(classes)), len(classes), generator)]]
    at = torch.isin(labels, ours).nonzero().squeeze(1)
    at = at[torch.randperm(len(at), generator=generator)]
    # Disjoint halves: with shared images the encoder could recognize images instead of datasets.
    halves = [half[: _draw(_FEWEST, _MOST, generator)] for half in at.tensor_split(2)]
    side, grey, negative = _draw(8, 2 * SIDE - 8, generator), _draw(0, 3, generator) == 0, _draw(0, 3, generator) == 0
    # Both samples get the same distortion: it makes them a new dataset, and is not to be ignored as noise.
    light = torch.rand(2, generator=generator).tolist()
    return [(_distorted(x[half], side, grey, negative, *light), labels[half]) for half in halves]


def _distorted(x: Tensor, side: int, grey: bool, negative: bool, contrast: float, light: float) -> Tensor:
    """Images `[n, 3, 16, 16]` made `side` wide and back, and so on; `contrast` and `light` in [0, 1)."""
    if side < SIDE:
        x = F.interpolate(x, (side, side), mode="bilinear", antialias=True, align_corners=False)
        x = F.interpolate(x, (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)
    x = _grey(x) if grey else x
    x = 1 - x if negative else x
    return (x * (0.6 + 0.6 * contrast) + 0.4 * (light - 0.5)).clamp(0, 1)


def _grey(x: Tensor) -> Tensor:
    return x.mean(1, keepdim=True).expand(-1, 3, -1, -1)


def _deviation(x: Tensor) -> Tensor:
    return (x.var(0, unbiased=False) + 1e-6).sqrt()  # The root alone has no gradient where all are one.


def sample_of(data: DataSet) -> tuple[Tensor, Tensor]:
    """At most 2000 training images of a dataset, as the encoder sees them, and their labels."""
    picked = pick(len(data.y_train), _KEPT)
    return look(data.x_train[picked]), data.y_train[picked]


def _draw(low: int, high: int, generator: Generator) -> int:
    return int(torch.randint(low, high + 1, (), generator=generator))
