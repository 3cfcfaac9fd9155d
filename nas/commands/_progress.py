"""A run at work, shown: two moving lines on a terminal, elsewhere a line now and then without any control character."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click
from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table as Grid
from rich.text import Text

from nas.run import stages, step_log
from nas.run.budget import Progress
from nas.run.outlook import Outlook
from nas.run.session import Setup
from nas.run.store import Run
from nas.text import duration
from nas.types import TrainingProgress, Watched

_FIRST = 10.0
"""Seconds after which the first line is due: a run that ends sooner prints none."""
_PAUSE, _PAUSE_SHARE = 30.0, 0.05
"""Seconds between two lines, and of what is over the share if that is more: a night comes to some hundred lines."""

_BAR = 12
"""Characters of the bar: a search of thousands of evaluations fits a terminal of 80."""


class Display:
    """What a run at work tells of itself: `step`, `enter` and `watch` are told, and each may print a line."""

    def __init__(self, outlook: Outlook, *, lines: bool):
        """Of a run that is looked at; with `lines`, each is printed when it is due."""
        self.outlook, self._lines, self._due = outlook, lines, _FIRST

    def step(self, progress: Progress) -> None:
        """A step of the search has ended."""
        self.outlook.step(progress)
        self._say()

    def enter(self, stage: str) -> None:
        """A stage begins: a line of its own, unless all is over soon."""
        self.outlook.enter(stage)
        if self.outlook.elapsed >= _FIRST:
            self._due = 0.0
        self._say()

    def watch(self, training: TrainingProgress) -> None:
        """An epoch of trainings has ended."""
        self.outlook.watch(training)
        self._say()

    def _say(self) -> None:
        elapsed = self.outlook.elapsed
        if self._lines and elapsed >= self._due:
            click.echo(self.outlook.line(), err=True)
            self._due = elapsed + max(_PAUSE, _PAUSE_SHARE * elapsed)


@contextmanager
def shown(run: Run, setup: Setup, *, quiet: bool) -> Iterator[Display]:
    """The display of a run while it works; without a terminal and if `quiet`, it shows nothing."""
    terminal, past = sys.stderr.isatty(), step_log.history(run)
    training = setup.evaluator.training
    ending = stages.expected(run.config, setup.evaluator) if terminal or not quiet else {}
    plain = training is setup.evaluator and run.config.seeds == 1
    outlook = Outlook(run.config, ending, time.monotonic, past.wall, plain)
    display = Display(outlook, lines=not terminal and not quiet)
    if isinstance(training, Watched):
        training.watch(display.watch)
    try:
        if terminal:
            console = Console(stderr=True)
            with Live(get_renderable=lambda: _moving(outlook), console=console, refresh_per_second=2, transient=True):
                yield display
        else:
            yield display
    finally:
        if isinstance(training, Watched):
            training.watch(None)


def _moving(outlook: Outlook) -> RenderableType:
    left = "" if outlook.left is None else f"{duration(outlook.left)} left"
    first = Grid.grid(padding=(0, 1))
    words = [Text(text, no_wrap=True, overflow="ellipsis") for text in (outlook.stage, outlook.done(), left)]
    words[-1].stylize("cyan")
    first.add_row(words[0], ProgressBar(1.0, outlook.share, width=_BAR), *words[1:])
    lines = Grid.grid()
    lines.add_row(first)
    lines.add_row(Text(f"  {outlook.now()}", style="dim", no_wrap=True, overflow="ellipsis"))
    return lines
