"""What an architecture of a run is called.

Several architectures compute the same, and one of them is trained for all. Its name is the one of the run's pages, tables and
exports; what the search proposed stands beside it as `proposed_as`. A table has a score for each architecture, so that there the
proposed one keeps its name.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from nas.run import step_log, subject
from nas.run.store import Run
from nas.run.subject import Subject
from nas.run.trials import Trial
from search_spaces import Space, representatives


class Name(NamedTuple):
    """Of an architecture, as its space describes it."""

    arch: str
    """The one that is trained."""
    proposed_as: str | None
    """What the search proposed; None: the same."""

    def sentence(self) -> str:
        """Both, where there are two."""
        return self.arch if self.proposed_as is None else f"{self.arch}, proposed as {self.proposed_as}"


def of(about: Subject, space: Space, arch: Tensor) -> Name:
    """The name of `arch` `[D]` of a run; `space` describes it, as `subject.shown_space` gives it."""
    proposed = space.describe(arch)
    trained = proposed if about.final_space is None else space.describe(representatives(space, arch))
    return Name(trained, None if trained == proposed else proposed)


def trials_of(run: Run) -> list[Trial]:
    """Every evaluation of a run, the first seed's first, by the names of what was trained."""
    about, past = subject.read(run), step_log.history(run)
    found = subject.trials_of(run)
    if about.final_space is None:
        return found
    space, first = subject.shown_space(run, about.space), run.config.first_seed
    archs_SED = representatives(space, past.archs)
    named = [(trial, space.describe(archs_SED[trial.seed - first, trial.evaluation - 1])) for trial in found]
    return [
        trial if trial.architecture == name else trial._replace(architecture=name, proposed_as=trial.architecture)
        for trial, name in named
    ]
