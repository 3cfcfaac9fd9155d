"""The test accuracy of a trained network in words, with what it has to be compared with."""

from __future__ import annotations

from typing import Any

from nas.training import metrics
from nas.types import TrainedNetwork


def sentences(winner: TrainedNetwork) -> list[str]:
    """The interval; the mean of the classes' accuracies; the accuracy of always naming the commonest class."""
    low, high = winner.metrics["interval"]
    confusion = winner.metrics["confusion"]
    counts = [sum(row) for row in confusion]
    name = winner.class_names[counts.index(max(counts))]
    taught = winner.metrics.get("distillation")
    return [
        f"95% interval {low:.2f}% to {high:.2f}% (Wilson).",
        f"Balanced accuracy (mean of the classes' accuracies): {metrics.balanced_accuracy(confusion):.2f}%. "
        f"Always naming the commonest class ({name}): {metrics.majority_accuracy(confusion):.2f}%.",
        *([] if taught is None else [_of_teacher(taught)]),
    ]


def _of_teacher(taught: dict[str, Any]) -> str:
    """What the teacher was worth on the validation images."""
    metric = metrics.METRIC_NAMES[taught["metric"]]
    figures = f"validation {metric} {taught['with']:.2f}% with it, {taught['without']:.2f}% without"
    what = "The network learned from it." if taught["used"] else "The network learned from the labels alone."
    return f"Teacher {taught['teacher']}: {figures}. {what}"
