"""How long a stage of a meta-training will take, said once its first steps have shown it."""

from __future__ import annotations

import time

from nas.meta.outer_loop import Progress
from nas.text import duration

_TIMED = 4
"""Steps after which the time is known well enough; the first pays for what is made once and does not count."""
_WORTH_SAYING = 5.0
"""Seconds: a shorter stage is over before its line is read."""


class StageTime:
    """Of one training; `after` each of its steps."""

    def __init__(self) -> None:
        self._stage, self._done, self._began = "", 0, 0.0

    def after(self, progress: Progress, end: int) -> str | None:
        """A line after the first steps of each stage, else None.

        Args:
            end: the step of the whole training with which the stage ends.
        """
        if progress.stage != self._stage:
            self._stage, self._done, self._began = progress.stage, 0, time.monotonic()
            return None
        self._done += 1
        if self._done != _TIMED - 1:
            return None
        left = (end - progress.step) * (time.monotonic() - self._began) / self._done
        return f"Stage {progress.stage}: about {duration(left)} left." if left > _WORTH_SAYING else None
