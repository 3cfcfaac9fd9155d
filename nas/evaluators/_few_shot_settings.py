"""What `--training-option NAME=VALUE` may set of a search for a few-shot backbone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from controller import Amount, Count, Range

_FINAL = 10
"""The final training has so many times the steps of an evaluation. Not ablated."""


@dataclass(frozen=True)
class Settings:
    """The same words as those of `nas few-shot`."""

    data: str
    learner: str = "prototypical"
    way: Annotated[int, Range(2)] = 5
    shot: Count = 1
    queries: Count = 15
    steps: Count = 100
    """Of the training of an evaluation. Ten core-seconds of a prototypical network on images of 20x20."""
    final_steps: Annotated[int, Range(0)] = 0
    """Of the final training; 0: ten times those of an evaluation."""
    seconds: Amount = 0.0
    """Processor time of the training of an evaluation, instead of `steps`: a backbone that is fast gets more steps. A few timed
    steps settle their number, so that scores depend on the processor. 0: `steps`."""
    episodes: Annotated[int, Range(2)] = 200
    """Of validation classes, that a score is the accuracy on: its standard error is then about 0.6% at 90%."""
    seed: Annotated[int, Range(0, below=2**32)] = 0
    """Of the weights and of the training episodes."""
    image_size: Annotated[int, Range(0)] = 0
    """0: their own, at most 32."""
    rotations: Literal["auto", "true", "false"] = "auto"
    """Whether each rotation by 90 degrees is a class too; auto: of digits."""
    split_seed: Annotated[int, Range(0, below=2**32)] = 0
    precision: Literal["float32", "bf16"] = "float32"
    space: str = "conv4"
    channels: Count = 16
    """Of the first stage, where the space is one of cells; these and `cells` are those of the final networks of a search."""
    cells: Count = 1
    """A stage, likewise."""

    @property
    def longer(self) -> int:
        """How many times as long as that of an evaluation the final training is, where `final_steps` says nothing."""
        return _FINAL

    @property
    def rotated(self) -> bool | None:
        return {"auto": None, "true": True, "false": False}[self.rotations]
