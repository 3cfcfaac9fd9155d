"""What follows the steps of a search, and how long each of it is expected to take: `--minutes` counts all of it."""

from __future__ import annotations

from collections.abc import Callable

import torch

from nas.run import comparison
from nas.run.config import RunConfig
from nas.types import Comparable, Evaluator, Watched

SEARCH = "searching"
LEADERS = "training the leaders again"
FINAL = "training the winner to the end"
COMPARISON = "comparing with simpler models"
EXPORT = "writing the export and the report"

Enter = Callable[[str], None]
"""Whoever is told which stage begins."""

_EXPORT_SECONDS = 15.0
"""A `torch.export` program, an ONNX file, both read back and timed: 8 to 14 s on two cores, whatever the network's size."""


def nobody(_stage: str) -> None:
    """For those who need not be told."""


def expected(config: RunConfig, evaluator: Evaluator) -> dict[str, float]:
    """Seconds that each stage after the leaders takes here, measured by a few steps; empty where nothing is trained."""
    training = evaluator.training
    if not isinstance(training, Watched):
        return {}
    final = training.final_seconds()
    # The report trains the best of each seed to the end.
    ending = {FINAL: config.seeds * final}
    if config.comparison and isinstance(training, Comparable):
        searched = 60 * (config.minutes or 0.0)
        learned = comparison.learned_seconds(searched)
        # Its networks are trained beside the winner.
        ending[FINAL] += comparison.seconds(final, searched, torch.get_num_threads()) - learned
        ending[COMPARISON] = learned
    return ending | {EXPORT: _EXPORT_SECONDS}
