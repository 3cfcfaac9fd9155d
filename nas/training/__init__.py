"""Training many networks at once."""

from nas.training.compiler import compiler_failure
from nas.training.metrics import accuracy, logits, predictions
from nas.training.recipe import Images, Recipe
from nas.training.side_by_side import Job, Trained, train_alone, train_each
from nas.training.train import at_once, checkpoint, engine, networks, restore, train

__all__ = [
    "Images",
    "Job",
    "Recipe",
    "Trained",
    "accuracy",
    "at_once",
    "checkpoint",
    "compiler_failure",
    "engine",
    "logits",
    "networks",
    "predictions",
    "restore",
    "train",
    "train_alone",
    "train_each",
]
