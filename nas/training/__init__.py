"""Training many networks at once."""

from nas.training.recipe import Checkpoint, Images, Recipe
from nas.training.train import (
    SEEDS,
    accuracy,
    batch_limit,
    checkpoint,
    classification_metrics,
    networks,
    predictions,
    restore,
    train,
)

__all__ = [
    "SEEDS",
    "Checkpoint",
    "Images",
    "Recipe",
    "accuracy",
    "batch_limit",
    "checkpoint",
    "classification_metrics",
    "networks",
    "predictions",
    "restore",
    "train",
]
