"""How to search: one file an algorithm, and the types that flow between a search and its controller."""

from controller._base import (
    Controller,
    Episode,
    MetaLearner,
    Prior,
    Proposal,
    Results,
    State,
    Step,
    Trainable,
    penalty,
)

__all__ = [
    "Controller",
    "Episode",
    "MetaLearner",
    "Prior",
    "Proposal",
    "Results",
    "State",
    "Step",
    "Trainable",
    "penalty",
]
