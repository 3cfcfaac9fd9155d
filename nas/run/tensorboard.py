"""A run in TensorBoard: `tensorboard --logdir runs`. No tag holds a space, so that the filter of tags finds each."""

from __future__ import annotations

import dataclasses
import math
import re
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy
import torch
from torch import Tensor

from controller import Controller, HasPolicy, HasPriorWeight, State
from nas.export import draw
from nas.run import incumbent
from nas.run.config import RunConfig
from nas.run.incumbent import Best
from nas.run.objective_front import Front

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_RESULTS = "hparam"
_SEEDS_SHOWN = 8
"""More curves than this say less than their mean."""
_GLANCE = "at_a_glance"
"""TensorBoard opens the first two groups of tags by the alphabet: what matters is in this one, the images in `best`."""
_WEIGHT_SPACING = 1.25
"""From one value of the prior's weight to the next, in evaluations: each costs about as much as a proposal, and a table's search
makes thousands."""


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
        self._weighed = 0
        """Evaluations when the prior's weight was logged last."""
        if not evaluations:
            self._writer.add_custom_scalars(layout(controller))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        # What ended the search is what its user should read, and not that its events could not be written either.
        with suppress(OSError) if failure else nullcontext():
            self._writer.close()

    def front(self, evaluations: int, front: Front) -> None:
        """The front of several objectives after a step."""
        self._writer.add_scalar("front/size", front.size, evaluations)
        self._writer.add_scalar("front/hypervolume", front.hypervolume, evaluations)

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
        write.add_scalar(f"{_GLANCE}/best_score", _mean(found.score), evaluations)
        for number, score in enumerate(current.unbind(1), evaluations - current.shape[1] + 1):
            write.add_scalar(f"{_GLANCE}/score", _mean(score), number)
        write.add_scalar("time/best_score", _mean(found.score), int(seconds.float().mean()))
        for seed in range(min(len(current), _SEEDS_SHOWN) if len(current) > 1 else 0):
            write.add_scalar(f"seeds/{seed}/score", found.score[seed].item(), evaluations)
        self._log_policy(evaluations, state)
        self._log_weight(evaluations, state)
        self._log_picture(evaluations, found)
        write.flush()

    def settings(self, config: RunConfig) -> None:
        """Enter the run in the HParams tab, from its start on: a run that is stopped is there too."""
        self._write_hparams(_settings(config, self._controller), last=False)

    @staticmethod
    def results(
        folder: Path, values: dict[str, float], evaluations: int, image: Tensor | None, loss: list[float]
    ) -> None:
        """Log what a finished run came to.

        Args:
            values: as `nas.run.hparams` names them, for the HParams tab.
            evaluations: of each seed.
            image: accuracy against size, uint8 `[H, W, 3]`; None: it is not known.
            loss: of each epoch of the final training.
        """
        from torch.utils.tensorboard import SummaryWriter

        with SummaryWriter(str(folder.resolve())) as writer:
            for name, value in values.items():
                writer.add_scalar(f"{_RESULTS}/{name}", value)
            if "test_score" in values:
                writer.add_scalar(f"{_GLANCE}/test", values["test_score"], evaluations)
            if image is not None:
                writer.add_image("best/front", image, evaluations, dataformats="HWC")
            for epoch, value in enumerate(loss, 1):
                writer.add_scalar("training/final_loss", value, epoch)

    def _write_hparams(self, values: dict[str, str | int | float], *, last: bool) -> None:
        from torch.utils.tensorboard.summary import hparams

        assert self._writer.file_writer is not None
        # The experiment's summary is left out: TensorBoard then shows the union of all runs' settings, not one run's.
        _, started, ended = hparams(values, {})
        self._writer.file_writer.add_summary(ended if last else started)

    def finish(self, score: Tensor, curve: list[float], evaluations: int, state: State) -> None:
        """Give the mean score over seeds to the HParams tab, the last that is logged.

        The curve of the prior's weight ends with the weight that the search says in its last line.

        Args:
            curve: the training loss of the best cell after each epoch, if it was trained.
        """
        if self._weighed < evaluations:
            self._weighed = 0
            self._log_weight(evaluations, state)
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

    def _log_weight(self, evaluations: int, state: State) -> None:
        if isinstance(self._controller, HasPriorWeight) and evaluations >= _WEIGHT_SPACING * self._weighed:
            self._weighed = evaluations
            weight = self._controller.prior_weight(state).mean().item()
            self._writer.add_scalar(f"{_GLANCE}/prior_weight", weight, evaluations)

    def _log_picture(self, evaluations: int, found: Best) -> None:
        if found.score.isnan().all():
            return
        arch = found.archs[incumbent.top(found)]
        if arch.tolist() != self._shown:
            self._shown = arch.tolist()
            image = pixels(draw.figure(self._controller.space, arch, card=True))
            self._writer.add_image("best/cell", image, evaluations, dataformats="HWC")


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


def layout(controller: Controller) -> dict[str, dict[str, list[Any]]]:
    """The tab of custom scalars: curves that belong together in one chart each, those of a policy by decision."""
    charts = {"search": {"score": ["Multiline", [f"{_GLANCE}/best_score", f"{_GLANCE}/score"]]}}
    if isinstance(controller, HasPriorWeight):
        charts["search"]["prior weight"] = ["Multiline", [f"{_GLANCE}/prior_weight"]]
    if isinstance(controller, HasPolicy):
        names = [name.replace(" ", "_") for name in controller.space.decisions]
        # TensorBoard reads tags as regular expressions.
        charts["policy"] = {name: ["Multiline", [f"policy/{re.escape(name)}/.*"]] for name in names}
    return charts


def pixels(figure: Figure) -> Tensor:
    """A figure as an image, uint8 `[H, W, 3]`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return torch.from_numpy(numpy.asarray(canvas.buffer_rgba())[..., :3].copy())


def _mean(values: Tensor) -> float:
    return values.nanmean().item() if not values.isnan().all() else math.nan
