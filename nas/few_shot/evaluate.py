"""Accuracy over episodes of classes that training has not seen, with a 95% interval."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nas.few_shot import learner as learners
from nas.few_shot.backbone import Params
from nas.few_shot.episodes import Size, Source
from nas.few_shot.learner import Learner

SEED = 0
"""Of the episodes that validate and test, whatever the seed of training: all learners and seeds answer the same ones."""
_IMAGES_AT_ONCE = 2000
"""Of one batch of episodes: more need more memory and no less time."""
_NORMAL_95 = 1.96
"""Of a mean over hundreds of episodes: Student's t has 1.964 at 600."""


class Accuracy(NamedTuple):
    """Over episodes, in percent."""

    mean: float
    half_width: float
    """Of the 95% interval around the mean."""
    episodes: int

    def document(self) -> dict[str, Any]:
        return {"accuracy": round(self.mean, 3), "interval": round(self.half_width, 3), "episodes": self.episodes}


def of_episodes(correct: Tensor) -> Accuracy:
    """From the share of right answers of each episode, float `[E]`: mean and 1.96 standard errors, as papers give them."""
    count = len(correct)
    spread = float(correct.double().std()) if count > 1 else math.nan
    return Accuracy(100 * float(correct.double().mean()), 100 * _NORMAL_95 * spread / math.sqrt(count), count)


def correct(learner: Learner, params: Params, source: Source, split: str, size: Size) -> Tensor:
    """The share of right answers in each of `size.tasks` episodes of a split, float32 `[tasks]`."""
    images = size.way * (size.shot + size.queries)
    at_once = max(1, min(size.tasks, _IMAGES_AT_ONCE // images))
    found, drawn, step = [], 0, 0
    with torch.no_grad():
        while drawn < size.tasks:
            # Always the same number, so that an episode does not depend on how many are asked for.
            episodes = source.draw(split, size._replace(tasks=at_once), SEED, step)
            logits = learner.logits(params, learner.adapt(params, episodes.support), learners.flat(episodes.query))
            found.append((logits.argmax(-1) == learners.labels(episodes.query)).float().mean(1))
            drawn, step = drawn + at_once, step + 1
    return torch.cat(found)[: size.tasks]
