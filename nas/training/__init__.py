"""Training many networks at once."""

from nas.training.recipe import Begun, Images, Recipe
from nas.training.train import SEEDS, accuracy, begun, figures, networks, predictions, take_up, together, train

__all__ = [
    "SEEDS",
    "Begun",
    "Images",
    "Recipe",
    "accuracy",
    "begun",
    "figures",
    "networks",
    "predictions",
    "take_up",
    "together",
    "train",
]
