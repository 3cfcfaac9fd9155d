"""Teachers for distillation (Hinton et al. 2015, arXiv:1503.02531): what a better network answers to the training images.

Shapes: `N` images, `K` classes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas import plugins
from nas.datasets import resize
from nas.evaluators._final_training import FinalTrainings
from nas.export.read_back import load_python
from nas.few_shot import export as few_shot_export
from nas.training import Images
from nas.types import FinalTraining, Watch
from search_spaces import CellSpace, Space, UserError, as_cell_space

WIDE = "wide"
"""The teacher that is trained here."""
_WIDER = 2
"""Times the final network's channels: four times its work. Not ablated."""
_BATCH = 256
"""Images that a teacher answers at once."""


class Teacher(Protocol):
    """Answers to training images."""

    @property
    def seconds(self) -> float:
        """What making it has taken here."""
        ...

    def logits(self, images: Images, held_out: bool, watch: Watch | None) -> Tensor:
        """float32 `[N, K]`.

        Args:
            held_out: it must not have learned from the validation images, so that they can judge what it teaches.
        """
        ...


def targets(logits: Tensor, y: Tensor, temperature: float, share: float) -> Tensor:
    """Shares of classes to learn, float32 `[N, K]`: of the label `y` `[N]` and of the teacher's answer at a temperature.

    Hinton et al. 2015, section 2, with two departures: the temperature divides the teacher's logits alone, so that the student
    needs none and its largest logit is the same; and the two losses are one cross-entropy of the weighted mean of targets.
    """
    label_NK = F.one_hot(y, logits.shape[1]).float()
    return (1 - share) * label_NK + share * (logits.float() / temperature).softmax(-1)


@dataclass
class WideTeacher:
    """The ResNet cell in a network of twice the width, by the final recipe, on the images that its student learns from."""

    trainings: FinalTrainings
    seconds: float = 0.0
    _known: dict[bool, nn.Module] = field(default_factory=dict)

    def logits(self, images: Images, held_out: bool, watch: Watch | None) -> Tensor:
        if held_out not in self._known:
            self._known[held_out] = self._train(held_out, watch)
        return _answers(self._known[held_out], lambda at: images.normalised(at), len(images.x))

    def _train(self, held_out: bool, watch: Watch | None) -> nn.Module:
        space, task = self.trainings.space, self.trainings.task
        assert isinstance(space, CellSpace)
        (made,) = self.trainings.networks([FinalTraining(space.reference_arch, held_out=held_out)], watch)
        self.seconds += made.seconds
        network = space.build(space.parse(made.arch), task).to(self.trainings.device)
        network.load_state_dict(made.state_dict)
        return network.eval()


@dataclass
class GivenTeacher:
    """A network of somebody's: images / 255 to logits."""

    name: str
    network: nn.Module
    classes: int
    side: int | None = None
    """Of the square images that it takes; None: those of the data, or it says so itself."""
    seconds = 0.0

    def logits(self, images: Images, held_out: bool, watch: Watch | None) -> Tensor:
        x = images.x if self.side is None else resize(images.x, self.side)
        self.network.to(x.device)
        try:
            found = _answers(self.network, lambda at: x[at].float() / 255, len(x))
        except Exception as error:  # Whatever somebody's network raises at images that it does not take.
            raise UserError(f"Teacher '{self.name}' cannot answer: {' '.join(str(error).split())[:200]}") from None
        if found.dim() != 2 or found.shape[1] != self.classes:
            raise UserError(f"Teacher '{self.name}' gives {list(found.shape)}; it takes logits [N, {self.classes}].")
        return found


def notes(teacher: GivenTeacher, side: int) -> tuple[str, ...]:
    """What a user should know of a teacher of images that were read with a side of so many pixels."""
    if teacher.side is None or teacher.side <= side:
        return ()
    return (
        f"the teacher takes images of {teacher.side} pixels, and these were read at {side}: it answers to images that are scaled "
        f"up, and knows less than it could; -t image_size={teacher.side} reads them so large",
    )


def wide(space: Space) -> CellSpace:
    """The space of the wide teacher's network. Raises `UserError` for a student whose space has no width."""
    cells = as_cell_space(space)
    if cells is None or cells.skeleton is None:
        raise UserError(
            f"-t teacher is '{WIDE}', and networks of space '{space.name}' have no width that the space sets; name a run, an "
            "export or FILE.py:NAME of a torch module."
        )
    channels, depth, stride = cells.skeleton
    return cells.proxy(_WIDER * channels, depth, stride)


def given(name: str, class_names: tuple[str, ...]) -> GivenTeacher:
    """The teacher of a folder that `nas export` wrote, of a run's folder, or of `FILE.py:NAME`, a module or what makes one.

    Raises `UserError` for what is neither, and for an export of other classes.
    """
    if name.endswith(".py") or ".py:" in name:
        return GivenTeacher(name, _of_file(name), len(class_names))
    folder = next((f for f in (Path(name), Path(name) / "export") if (f / "network.py").is_file()), None)
    if folder is None:
        there = "holds no export" if Path(name).exists() else "is not there; put it back if it was moved"
        raise UserError(
            f"-t teacher is '{name}', which {there}. It takes {WIDE}, the folder of an export or of a run, or FILE.py:NAME of a "
            "torch module."
        )
    if (folder / few_shot_export.WEIGHTS).is_file():
        raise UserError(
            f"-t teacher is '{name}', the embedding of a few-shot learner, which names no classes; it takes a classifier."
        )
    network = load_python(folder)
    said = type(network).forward.__globals__
    known, sizes = said.get("CLASS_NAMES"), said.get("SIZES")
    if known is not None and tuple(known) != class_names:
        raise UserError(
            f"Teacher '{name}' tells {', '.join(map(str, known))} apart; the classes are {', '.join(class_names)}."
        )
    # The last size that an image file is scaled to is what the network takes: a pipeline's may be smaller than the data's.
    # A program is traced as it answers, and refuses to be put into another mode.
    with contextlib.suppress(NotImplementedError):
        network.eval()
    return GivenTeacher(name, network, len(class_names), sizes[-1][0] if sizes else None)


def _of_file(name: str) -> nn.Module:
    file, _, what = name.rpartition(":")
    if not file.endswith(".py"):
        raise UserError(f"-t teacher is '{name}'; it takes FILE.py:NAME of a torch module, or of what makes one.")
    found = getattr(plugins.module_of_file(Path(file), "a teacher of your own is FILE.py:NAME"), what, None)
    if found is None:
        raise UserError(f"'{file}' has nothing called '{what}'; -t teacher takes FILE.py:NAME of a torch module.")
    try:
        network = found if isinstance(found, nn.Module) else found()
    except Exception as error:  # Their code.
        raise UserError(f"Teacher '{name}' cannot be made: {type(error).__name__}: {error}") from None
    if not isinstance(network, nn.Module):
        raise UserError(f"Teacher '{name}' is no torch.nn.Module, and calling it gives none.")
    return network.eval()


def _answers(network: nn.Module, inputs: Callable[[slice], Tensor], count: int) -> Tensor:
    with torch.inference_mode():
        found = [network(inputs(slice(at, at + _BATCH))) for at in range(0, count, _BATCH)]
    return torch.cat(found).float().clone()
