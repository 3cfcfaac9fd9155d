"""Training many networks at once."""

from nas.training.compiler import compiler_failure
from nas.training.metrics import accuracy, logits, predictions
from nas.training.recipe import Images, Recipe
from nas.training.train import checkpoint, engine, networks, restore, train

__all__ = [
    "Images",
    "Recipe",
    "accuracy",
    "checkpoint",
    "compiler_failure",
    "engine",
    "logits",
    "networks",
    "predictions",
    "restore",
    "train",
]
