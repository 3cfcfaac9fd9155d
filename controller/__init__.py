"""How to search: one file an algorithm, and the types that flow between a search and its controller."""

from controller._base import (
    Controller,
    Episode,
    HasPolicy,
    MetaLearner,
    Prior,
    Proposal,
    Results,
    State,
    Step,
    penalty,
)
from controller._settings_types import Amount, Count, Decay, Positive, Range

__all__ = [
    "Amount",
    "Controller",
    "Count",
    "Decay",
    "Episode",
    "HasPolicy",
    "MetaLearner",
    "Positive",
    "Prior",
    "Proposal",
    "Range",
    "Results",
    "State",
    "Step",
    "penalty",
]
