"""Whole pipelines: a cell, the size of its network, the size of the images, and the recipe of training, decided together.

As JAHS-Bench-201 (Bansal et al. 2022, section 3) does. The cells are NAS-Bench-201's (Dong & Yang 2020). Six decisions are the
operations of the cell; three more are the network's width, depth and stem. The others touch no weight's shape: to which size
images are scaled before they come in, and how the network is trained.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from search_spaces import _cell_costs, _cell_equivalents, _cell_strings, _cells, _ops
from search_spaces._base import Loads, OperationFeatures, Skeleton, Task, UserError, unknown

__all__ = ["Pipeline"]

_CELL = tuple(_cells.FEATURES)
"""The operations of NAS-Bench-201, in its order."""
_EDGES = len(_cells.EDGES)
SMALLEST = 8
"""Side below which images are not scaled: two stages halve it to 2."""


class Settings(NamedTuple):
    """All of a pipeline but its cell. The values are what a decision's options stand for."""

    width: int = 16
    """Channels of the first stage."""
    cells: int = 1
    """A stage; 0: one in the first stage alone."""
    stem: int = 1
    """Stride of the stem."""
    size: float = 1.0
    """Side of the images as a share of the data's own."""
    lr: float = 0.1
    decay: float = 5e-4
    """Weight decay."""
    batch: int = 64
    smoothing: float = 0.0
    """Of labels."""
    average: float = 0.0
    """Share of the epochs, the last ones, whose weights are averaged."""
    warmup: float = 0.0
    """Share of the steps in which the learning rate rises."""
    mirror: bool = False
    """Mirror half of the images in training."""
    crop: float = 0.0
    """Padding of random crops as a share of the side."""
    cutout: float = 0.0
    """Side of the square that is cut out as a share of the side."""
    mixup: float = 0.0
    """`alpha` of the Beta distribution that mixes pairs of images."""
    twice: bool = False
    """Predict by the mean over an image and its mirror image; only with `mirror`."""
    augment: bool = False
    """RandAugment."""


# Few options each, so that neighbors are alike and a model can interpolate; ordered, but for one that came later: the numbers of
# older runs stay what they were. The first of the recipe's is NAS-Bench-201's or none; the others are what published recipes
# of small networks use (JAHS-Bench-201, table 1; Wightman et al. 2021, "ResNet strikes back"). They were not ablated one by one:
# the search does that.
_OPTIONS: dict[str, tuple[float, ...]] = {
    "width": (8, 16, 24, 32, 48),
    "cells": (1, 2, 3, 0),
    "stem": (1, 2),
    "size": (0.5, 0.75, 1.0),
    "lr": (0.025, 0.05, 0.1, 0.2, 0.4),
    "decay": (1e-4, 5e-4, 2e-3),
    "batch": (32, 64, 128),
    "smoothing": (0.0, 0.1),
    "average": (0.0, 0.3),
    "warmup": (0.0, 0.1),
    "mirror": (False, True),
    "crop": (0.0, 0.125),
    "cutout": (0.0, 0.25),
    "mixup": (0.0, 0.2),
    "twice": (False, True),
    "augment": (False, True),
}
_NAMES = tuple(_OPTIONS)


def _text(name: str, value: float) -> str:
    return f"{name}={('no', 'yes')[value] if isinstance(value, bool) else f'{value:g}'}"


def _scaled(task: Task, share: float) -> Task:
    """The task with images of a share of their side."""
    channels, *sides = task.input_shape
    # Multiples of 4: two stages halve the image without a rest.
    height, width = (side if share == 1 else min(side, max(SMALLEST, 4 * round(share * side / 4))) for side in sides)
    return replace(task, input_shape=(channels, height, width))


def _features(place: int) -> OperationFeatures:
    """Of an option of an ordered decision: its place, on the scale of numbers."""
    return OperationFeatures(other=1.0, number=float(torch.tensor(1.0 + place).log() / torch.tensor(65.0).log()))


_GOOD: dict[str, float] = {"crop": 0.125, "smoothing": 0.1, "average": 0.3}
"""What helps most small networks that are trained for long: the usual crops (He et al. 2016), and the defaults of two papers."""
_MIRRORS: dict[str, float] = {"mirror": True, "twice": True}
_HANDMADE: tuple[dict[str, float], ...] = (
    {},
    {"stem": 2, **_GOOD},
    {"stem": 2, **_GOOD, **_MIRRORS},
    {"stem": 2, "width": 32, "warmup": 0.1, **_GOOD},
    {**_GOOD, **_MIRRORS},
    {"width": 32, "warmup": 0.1, **_GOOD, **_MIRRORS},
    _GOOD,
    {"stem": 2, "width": 24, "augment": True, **_GOOD, **_MIRRORS},
    {"width": 8, **_GOOD, **_MIRRORS},
    {"width": 8, **_GOOD},
    {"cells": 0, "stem": 2, **_GOOD},
    {"cells": 0, "stem": 2, **_GOOD, **_MIRRORS},
    {"cells": 0, **_GOOD},
    {"cells": 0, **_GOOD, **_MIRRORS},
)
"""Recipes to begin with where nothing is known of other data, with the ResNet cell: the benchmark's own, then networks of 1, 4
and 16 times the work of the smallest; with mirrors and without; with RandAugment for long trainings; narrow ones that look at the
whole image; ResNet-8, whose blocks are half as many. Where minutes are few only the cheap ones see their images often enough."""


@dataclass(frozen=True)
class Pipeline:
    """A cell of NAS-Bench-201, the network around it, the size of images and the recipe: 4.3e10 combinations, all valid.

    `build` gives the network for images of whatever size it is told. To which size images are scaled, and how the network is
    trained, are for whoever trains: `cell_of`, `sized` and `settings_of`.
    """

    name = "pipeline"
    choices = (*(len(_CELL),) * _EDGES, *map(len, _OPTIONS.values()))
    decisions = (*(f"cell {edge}" for edge in _cells.EDGE_NAMES), *_NAMES)
    operations = (*(_CELL,) * _EDGES, *(tuple(_text(name, value) for value in _OPTIONS[name]) for name in _NAMES))
    operation_features = (
        *(tuple(_cells.FEATURES.values()),) * _EDGES,
        *(tuple(_features(sorted(options).index(one)) for one in options) for options in _OPTIONS.values()),
    )
    all_valid = True

    def valid(self, archs: Tensor) -> Tensor:
        return _ops.in_range(archs, self.choices)

    def canonical(self, archs: Tensor) -> Tensor:
        """With the cheapest cell that computes the same; without a mean over mirror images where none was trained on."""
        cell = _cell_equivalents.canonical(archs[..., :_EDGES], _CELL, deep=True)
        rest = archs[..., _EDGES:].clone()
        rest[..., _NAMES.index("twice")] *= rest[..., _NAMES.index("mirror")]
        return torch.cat([cell, rest], -1)

    def build(self, arch: Tensor, task: Task) -> nn.Module:
        """The network of `arch` `[D]` for images `[N, *task.input_shape]`; with `sized(arch, task)` for those of its own size."""
        names = [_CELL[c] for c in self.cell_of(arch).tolist()]
        return _cells.three_stages(names, task, *self.skeleton_of(arch))

    def describe(self, arch: Tensor) -> str:
        """The cell's string and the settings, as `|nor_conv_3x3~0|+...| width=16 cells=1 ... mirror=yes`."""
        words = " ".join(self.operations[_EDGES + d][c] for d, c in enumerate(arch[_EDGES:].tolist()))
        return f"{_cell_strings.describe(arch[:_EDGES], _CELL)} {words}"

    def parse(self, text: str) -> Tensor:
        """Of `describe`; settings may come in any order, and those left out are the benchmark's own."""
        cell, *words = text.split() or [""]
        chosen = self.arch_of(_cell_strings.parse(cell, _CELL), Settings())
        for word in words:
            name = word.partition("=")[0]
            if name not in _NAMES:
                raise unknown(f"setting in pipeline '{text}'", name, list(_NAMES))
            d = _EDGES + _NAMES.index(name)
            if word not in self.operations[d]:
                raise UserError(f"Pipeline '{text}' has '{word}'; there are: {', '.join(self.operations[d])}.")
            chosen[d] = self.operations[d].index(word)
        return chosen

    def settings_of(self, arch: Tensor) -> Settings:
        """All of `arch` `[D]` but its cell."""
        picked = zip(_NAMES, arch[_EDGES:].tolist(), strict=True)
        return Settings(**{name: _OPTIONS[name][c] for name, c in picked})  # pyright: ignore[reportArgumentType]

    def arch_of(self, cell: Tensor, settings: Settings) -> Tensor:
        """The architecture `[D]` of a cell `[6]` and settings. Raises `ValueError` for a value that is no option."""
        rest = [_OPTIONS[name].index(value) for name, value in settings._asdict().items()]
        return torch.cat([cell.long(), torch.tensor(rest)])

    def cell_of(self, arch: Tensor) -> Tensor:
        """Its cell `[6]` as an architecture of NAS-Bench-201."""
        return arch[:_EDGES]

    def skeleton_of(self, arch: Tensor) -> Skeleton:
        """The sizes of its network."""
        settings = self.settings_of(arch)
        return Skeleton(settings.width, settings.cells, settings.stem)

    def sized(self, arch: Tensor, task: Task) -> Task:
        """The task with images scaled to the size of `arch` `[D]`: a multiple of 4, at least 8, at most their own."""
        return _scaled(task, self.settings_of(arch).size)

    def with_one_size(self, archs: Tensor, task: Task) -> Tensor:
        """`archs` `[..., D]` with the last of those sizes that are the same for a task: of images of 8 pixels all are."""
        sizes = [_scaled(task, share).input_shape for share in _OPTIONS["size"]]
        last = torch.tensor([len(sizes) - 1 - sizes[::-1].index(size) for size in sizes])
        changed, place = archs.clone(), _EDGES + _NAMES.index("size")
        changed[..., place] = last[archs[..., place]]
        return changed

    def cost(self, archs: Tensor, task: Task) -> tuple[Tensor, Tensor]:
        """Parameters and FLOPs (multiply-accumulates of one image of its size) of `archs` `[..., D]`, int64 `[...]` each."""
        parameters, flops = self._by_size(_cell_costs.three_stages_cost, archs, task)
        return parameters, flops

    def loads(self, archs: Tensor, task: Task) -> Loads:
        """What `archs` `[..., D]` make a device do for one image of their size; twice as much with its mirror image."""
        rest = archs[..., _EDGES:]
        twice = 1 + rest[..., _NAMES.index("mirror")] * rest[..., _NAMES.index("twice")]
        return Loads(*(twice * load for load in self._by_size(_cell_costs.three_stages_loads, archs, task)))

    def _by_size(self, of: Callable[..., tuple[Tensor, ...]], archs: Tensor, task: Task) -> list[Tensor]:
        """Figures `[...]` that a function of `_cell_costs` gives of `archs` `[..., D]`, all of one network size at once."""
        flat = archs.reshape(-1, len(self.choices))
        which = flat[:, [_EDGES + _NAMES.index(name) for name in ("width", "cells", "stem", "size")]]
        sizes, group = which.unique(dim=0, return_inverse=True)
        found: list[tuple[Tensor, tuple[Tensor, ...]]] = []
        for number in range(len(sizes)):
            rows = (group == number).nonzero()[:, 0]
            one = flat[rows[0]]
            found.append((rows, of(flat[rows, :_EDGES], _CELL, self.sized(one, task), *self.skeleton_of(one))))
        order = torch.cat([rows for rows, _ in found]).argsort()
        return [torch.cat(parts)[order].view(archs.shape[:-1]) for parts in zip(*(figures for _, figures in found))]

    def mirrors(self, arch: Tensor) -> bool:
        """Whether `arch` `[D]` answers by the mean over an image and its mirror image."""
        settings = self.settings_of(arch)
        return settings.mirror and settings.twice

    @property
    def reference_arch(self) -> Tensor:
        """The ResNet cell `[D]` with the benchmark's recipe."""
        return self.arch_of(_cells.reference_arch(_CELL), Settings())

    def smaller(self, arch: Tensor) -> Tensor:
        """The recipe of `arch` `[D]` with its cell in smaller networks `[P, D]`, those with most weights first.

        They are narrower, have fewer cells, or see the image at half the resolution from the stem on.
        """
        own, cell = self.settings_of(arch), self.cell_of(arch)
        made = torch.stack([
            self.arch_of(cell, own._replace(width=int(width), cells=cells, stem=stem))
            for width in _OPTIONS["width"] if width <= own.width
            for cells in range(own.cells + 1)
            for stem in (own.stem, 2)
        ])  # fmt: skip
        made = made.unique(dim=0)
        weights, flops = self.cost(made, Task("any", (3, 32, 32), 10))
        made = made[sorted(range(len(made)), key=lambda n: (int(weights[n]), int(flops[n])), reverse=True)]
        return made[(made != arch).any(1)]

    def with_whole_image(self, arch: Tensor) -> Tensor | None:
        """`arch` `[D]` with a stem of stride 1, which halves no image; None where it has that."""
        own = self.settings_of(arch)
        return None if own.stem == 1 else self.arch_of(self.cell_of(arch), own._replace(stem=1))

    def wider(self, arch: Tensor) -> Tensor | None:
        """`arch` `[D]` with the next width; None where it has the largest."""
        own, widths = self.settings_of(arch), [int(width) for width in _OPTIONS["width"]]
        at = widths.index(own.width) + 1
        return self.arch_of(self.cell_of(arch), own._replace(width=widths[at])) if at < len(widths) else None

    def with_other_augmentation(self, arch: Tensor) -> Tensor:
        """`arch` `[D]` with RandAugment where it has none, and without it where it has."""
        changed, place = arch.clone(), _EDGES + _NAMES.index("augment")
        changed[place] = 1 - changed[place]
        return changed

    def with_mirrors(self, arch: Tensor, *, twice: bool) -> Tensor:
        """`arch` `[D]` trained with mirror images; with `twice` it answers by the mean over an image and its mirror image."""
        changed = arch.clone()
        changed[_EDGES + _NAMES.index("mirror")] = 1
        changed[_EDGES + _NAMES.index("twice")] = int(twice)
        return changed

    def with_reference_cell(self, arch: Tensor) -> Tensor:
        """`arch` `[D]` with the ResNet cell in place of its own, all else as it is."""
        return torch.cat([_cells.reference_arch(_CELL), arch[_EDGES:]])

    @property
    def first_archs(self) -> Tensor:
        """What to begin with where nothing is known of other data, `[N, D]`; the reference comes first."""
        cell = _cells.reference_arch(_CELL)
        made = [Settings()._replace(**changed) for changed in _HANDMADE]  # pyright: ignore[reportArgumentType]
        return torch.stack([self.arch_of(cell, settings) for settings in made])
