"""A run in TensorBoard: `tensorboard --logdir runs`. No tag holds a space, so that the filter of tags finds each."""

from __future__ import annotations

import dataclasses
import math
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Self

import numpy
import torch
from torch import Tensor

from controller import Controller, HasPolicy, State
from nas.export import draw
from nas.run import incumbent
from nas.run.config import RunConfig
from nas.run.incumbent import Best
from search_spaces import Space

_RESULTS = "hparam"
_SEEDS_SHOWN = 8
"""More curves than this say less than their mean."""


class TensorBoardLog:
    """Writes one run's events. Scalars are means over seeds; the first seeds also have curves of their own.

    A thread does the writing: leaving the log's `with` ends it, also where the search failed.
    """

    def __init__(self, folder: Path, controller: Controller, evaluations: int):
        """Goes on after `evaluations` of an earlier session: what that one logged beyond them is dropped."""
        from torch.utils.tensorboard import SummaryWriter  # Half of the start-up time of `nas --help` otherwise.

        # The thread opens the file by name for each event: a relative name would be another file once a caller moves on.
        self._writer = SummaryWriter(str(folder.resolve()), purge_step=evaluations + 1 if evaluations else None)
        self._controller = controller
        self._shown: list[int] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        # What ended the search is what its user should read, and not that its events could not be written either.
        with suppress(OSError) if failure else nullcontext():
            self._writer.close()

    def step(self, evaluations: int, current: Tensor, seconds: Tensor, found: Best, state: State) -> None:
        """One step.

        Args:
            evaluations: of each seed so far.
            current: float32 `[S, B]` scores of this step.
            seconds: float `[S]` cost so far.
            found: the best so far.
            state: the controller's.
        """
        write = self._writer
        write.add_scalar("score/best", _mean(found.score), evaluations)
        write.add_scalar("score/current", _mean(current), evaluations)
        write.add_scalar("time/best_score", _mean(found.score), int(seconds.float().mean()))
        for seed in range(min(len(current), _SEEDS_SHOWN) if len(current) > 1 else 0):
            write.add_scalar(f"seeds/{seed}/score", found.score[seed].item(), evaluations)
        self._log_policy(evaluations, state)
        self._log_picture(evaluations, found)
        write.flush()

    def settings(self, config: RunConfig) -> None:
        """Enter the run in the HParams tab, from its start on: a run that is stopped is there too."""
        self._write_hparams(_settings(config, self._controller), last=False)

    @staticmethod
    def results(folder: Path, values: dict[str, float]) -> None:
        """Give what a finished run came to, as `nas.run.hparams` names it, to the HParams tab."""
        from torch.utils.tensorboard import SummaryWriter

        with SummaryWriter(str(folder.resolve())) as writer:
            for name, value in values.items():
                writer.add_scalar(f"{_RESULTS}/{name}", value)

    def _write_hparams(self, values: dict[str, str | int | float], *, last: bool) -> None:
        from torch.utils.tensorboard.summary import hparams

        assert self._writer.file_writer is not None
        # The experiment's summary is left out: TensorBoard then shows the union of all runs' settings, not one run's.
        _, started, ended = hparams(values, {})
        self._writer.file_writer.add_summary(ended if last else started)

    def finish(self, score: Tensor, curve: list[float]) -> None:
        """Give the mean score over seeds to the HParams tab, the last that is logged.

        Args:
            curve: the training loss of the best cell after each epoch, if it was trained.
        """
        for epoch, loss in enumerate(curve, 1):
            self._writer.add_scalar("training/best_cell_loss", loss, epoch)
        self._write_hparams({}, last=True)
        self._writer.add_scalar(f"{_RESULTS}/score", _mean(score))

    def _log_policy(self, evaluations: int, state: State) -> None:
        if not isinstance(self._controller, HasPolicy):
            return
        probability_DC = self._controller.policy(state).mean(0)
        entropy = -(probability_DC * probability_DC.clamp_min(1e-12).log()).sum()
        self._writer.add_scalar("policy/entropy", entropy.item(), evaluations)
        space = self._controller.space
        for decision, names, probability_C in zip(space.decisions, space.operations, probability_DC):
            for name, value in zip(names, probability_C.tolist()):
                self._writer.add_scalar(f"policy/{decision}/{name}".replace(" ", "_"), value, evaluations)

    def _log_picture(self, evaluations: int, found: Best) -> None:
        if found.score.isnan().all():
            return
        arch = found.archs[incumbent.top(found)]
        if arch.tolist() != self._shown:
            self._shown = arch.tolist()
            self._writer.add_image("best_cell", _pixels(self._controller.space, arch), evaluations, dataformats="HWC")


def _settings(config: RunConfig, controller: Controller) -> dict[str, str | int | float | bool]:
    """What tells runs apart, by name: the configuration, each setting of the controller with its value in use, the training's.

    A setting that is not given and depends on the data is left out.
    """
    own = {f.name: getattr(controller, f.name) for f in dataclasses.fields(controller)[1:]}  # pyright: ignore
    values = dataclasses.asdict(config)
    values |= {f"controller.{name}": value for name, value in own.items()}
    values |= {f"training.{name}": _number(text) for name, text in config.training_options.items()}
    return {name: value for name, value in values.items() if isinstance(value, str | int | float)}


def _number(text: str) -> str | float:
    """As a number where it is one, so that TensorBoard can sort by it."""
    try:
        return float(text)
    except ValueError:
        return text


def _pixels(space: Space, arch: Tensor) -> Tensor:
    """The drawing of a cell, uint8 `[H, W, 3]`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(draw.figure(space, arch))
    canvas.draw()
    return torch.from_numpy(numpy.asarray(canvas.buffer_rgba())[..., :3].copy())


def _mean(values: Tensor) -> float:
    return values.nanmean().item() if not values.isnan().all() else math.nan
