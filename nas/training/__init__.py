"""Training many networks at once."""

from nas.training.metrics import accuracy, predictions
from nas.training.recipe import Images, Recipe
from nas.training.train import checkpoint, networks, restore, train

__all__ = ["Images", "Recipe", "accuracy", "checkpoint", "networks", "predictions", "restore", "train"]
