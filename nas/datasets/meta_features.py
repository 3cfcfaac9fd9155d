"""`Task.features`: the number of training examples, then the eight numbers in which the shipped encoder describes the data.

Datasets behind tables are described by `data/descriptions.json`, which `runs/set_encoder.sh` makes; for the others, nothing.
"""

from __future__ import annotations

import json
from functools import lru_cache

from torch import Tensor

from nas.datasets import set_encoder
from nas.paths import DATA

KNOWN = DATA / "descriptions.json"


def features(images: Tensor, labels: Tensor, examples: int | None = None) -> tuple[float, ...]:
    """Nine numbers about training images uint8 `[N, C, H, W]` with labels `[N]`, of which `examples` are used; None: all."""
    # The encoder samples all images even where fewer train: it describes the data, the count describes the training.
    return (float(examples or len(labels)), *set_encoder.describe(set_encoder.shipped(), images, labels))


def known(data: str) -> tuple[float, ...]:
    """The same for a dataset behind a table, by its name; empty where it was not described."""
    return tuple(_known().get(data, ()))


@lru_cache
def _known() -> dict[str, list[float]]:
    return json.loads(KNOWN.read_text(encoding="utf-8"))
