"""The classes of image files by the network of a run or of an export, which reads them as training did."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from nas.datasets import image_files, image_folder
from nas.datasets.image_files import Broken
from nas.datasets.labels import readable
from nas.export import formats, hugging_face, loader
from nas.export.classify_source import Reading
from nas.export.export import WEIGHTS, build
from nas.run import store, subject, trained_network
from nas.tasks import TaskName
from nas.training import metrics
from nas.types import TrainedNetwork
from search_spaces import Space, Task, UserError
from search_spaces._files import refuse_unreadable

_PROGRAM = "network.pt2"


class Classifier(NamedTuple):
    """A trained network that takes image files."""

    class_names: tuple[str, ...]
    input_shape: tuple[int, int, int]
    """Channels, height, width."""
    sizes: tuple[tuple[int, int], ...]
    """Height and width that an image is scaled and cut to, step by step."""
    deep: tuple[int, int] | None
    """Black and white of files with more than 8 bits a channel; None: it was trained on none."""
    logits: Callable[[Tensor], Tensor]
    """Of pixels / 255 `[N, C, H, W]`."""

    def probabilities(self, path: Path) -> Tensor | Broken:
        """Of the classes, float32 `[K]`; or why the file cannot be read."""
        with image_files.quiet():
            pixels = image_files.picture(path, self.input_shape[0], self.sizes, self.deep)
        if isinstance(pixels, Broken):
            return pixels
        with torch.no_grad():
            # One by one, so that an answer does not depend on the company.
            return self.logits(pixels[None] / 255).softmax(1)[0]


class Answer(NamedTuple):
    """What a network says of an image file."""

    image: str
    probabilities: dict[str, float]
    """By class, the likeliest first; empty where the file cannot be read."""
    label: str | None = None
    """The true class, where a folder says it."""
    failure: str = ""
    """Why the file cannot be read."""

    @property
    def named(self) -> str | None:
        """The likeliest class; None where the file cannot be read."""
        return next(iter(self.probabilities), None)


def find(folder: Path, *, trusted: bool = False) -> Classifier:
    """The classifier of a run's folder or of an export's. Raises `UserError` for a folder that holds no trained network.

    Args:
        trusted: a run's space that is a file of somebody's own may be run.
    """
    if (folder / store.FILE).is_file():
        return of_run(folder, trusted=trusted)
    if (folder / WEIGHTS).is_file():
        return of_export(folder)
    if (folder / hugging_face.WEIGHTS).is_file():
        raise UserError(
            f"'{folder}' has the layout of the Hugging Face hub: python {folder / 'network.py'} IMAGES names them."
        )
    raise UserError(
        f"'{folder}' is no run and no export: it has neither {store.FILE} nor {WEIGHTS}. `nas runs` lists the runs."
    )


def is_classifier(folder: Path) -> bool:
    """Whether it is the folder of a run or of an export."""
    return any((folder / name).is_file() for name in (store.FILE, WEIGHTS))


def why_none(folder: Path) -> str:
    """Why a run has no trained network, and what would do."""
    with store.open_run(folder) as opened:
        task = TaskName.parse(opened.config.task)
    if task.kind == "few_shot":
        return f"it searched a few-shot learner; `nas export {folder} --to DIR`, then `nas few-shot classify DIR` asks that"
    return f"a search by a table trains none, and one on images does so at its end; `nas show {folder}` says where it stands"


def of_run(folder: Path, *, trusted: bool = False) -> Classifier:
    """That of a run, from its folder alone."""
    with store.open_run(folder) as opened:
        about = subject.read(opened)
    stored = trained_network.load(folder)
    if stored is None:
        raise UserError(f"Run '{folder}' has no trained network: {why_none(folder)}.")
    space = subject.final_space(about, str(folder), trusted=trusted)
    return of_network(space, about.task, stored)


def of_network(space: Space, task: Task, trained: TrainedNetwork) -> Classifier:
    """That of a network after its final training in `space`."""
    read_at, task = task.input_shape[1:], trained_network.as_trained(task, trained)
    sizes = Reading(trained.class_names, task.input_shape, trained.deep, read_at).sizes
    network = build(space, trained_network.arch_of(space, trained), task, trained.state_dict)
    module = loader.of_module(network, trained.mean, trained.std, trained.mirror)
    return Classifier(trained.class_names, task.input_shape, sizes, trained.deep, module)


def of_export(folder: Path) -> Classifier:
    """That of an export, from its folder alone. No Python file of it is run."""
    weights, program = folder / WEIGHTS, folder / _PROGRAM
    if not program.is_file():
        raise UserError(f"Export '{folder}' lacks {_PROGRAM}, the program of its network.")
    refuse_unreadable(weights)
    try:
        with safe_open(weights, framework="pt") as file:
            about = file.metadata() or {}
            trained = "mean" in file.keys()  # noqa: SIM118
    except SafetensorError as error:
        raise UserError(f"'{weights}' cannot be read ({error}); export it anew.") from None
    if not trained:
        raise UserError(f"Export '{folder}' is of a network that was not trained; it names no classes.")
    try:
        channels, height, width = json.loads(about["input_shape"])
        names = tuple(map(str, json.loads(about["class_names"])))
        # Earlier versions wrote neither; their exports had no other images.
        deep = json.loads(about.get("deep", "null"))
        sizes = tuple((int(h), int(w)) for h, w in json.loads(about.get("sizes", f"[[{height}, {width}]]")))
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(f"'{weights}' does not say what its network takes ({error}); export it anew.") from None
    try:
        run = formats.load(program)
    except Exception as error:  # Torch raises what it likes at damaged archives.
        raise UserError(f"'{program}' cannot be read ({str(error).partition(chr(10))[0]}); export it anew.") from None
    return Classifier(names, (channels, height, width), sizes, None if deep is None else tuple(deep), run)


def images(names: Sequence[str]) -> list[tuple[Path, Path]]:
    """The image files that paths, folders and patterns (`*`, `**`) name, each with the path that it was found by."""
    found: list[tuple[Path, Path]] = []
    if not names:
        raise UserError("No image is named; say files, folders or patterns.")
    for name in names:
        path = Path(name).expanduser()
        if path.is_dir():
            found += [(file, path) for file in image_folder.images_below(path)]
        elif not path.exists() and any(sign in name for sign in "*?["):
            # Shells that expand no patterns hand them on as they are.
            matching = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
            found += [
                (file, each)
                for each in matching
                for file in (image_folder.images_below(each) if each.is_dir() else [each])
            ]
            if not matching:
                raise UserError(f"No file is called '{name}'.")
        else:
            found.append((path, path))
    if not found:
        raise UserError(f"There is no image in {', '.join(repr(name) for name in names)}.")
    return found


def classify(classifier: Classifier, files: Sequence[tuple[Path, Path]], *, labels: bool = True) -> Iterator[Answer]:
    """An answer for each of `images`, in order, as soon as it is known.

    Args:
        labels: whether a folder called as a class says that its images are of it.
    """
    for file, origin in files:
        label = _label(classifier.class_names, file, origin) if labels else None
        found = classifier.probabilities(file)
        if isinstance(found, Broken):
            yield Answer(str(file), {}, label, found.reason)
        else:
            pairs = zip(classifier.class_names, found.tolist(), strict=True)
            yield Answer(str(file), dict(sorted(pairs, key=lambda pair: -pair[1])), label)


def figures(class_names: tuple[str, ...], answers: Sequence[Answer]) -> dict[str, Any] | None:
    """Over the images that were read and whose class is known: `accuracy` in percent, its 95% `interval`, the `count` of images.

    None where no class is known.
    """
    known = [(answer.named, answer.label) for answer in answers if answer.probabilities and answer.label is not None]
    if not known:
        return None
    seen, truth = (torch.tensor([class_names.index(name) for name in names]) for names in zip(*known))
    measured = metrics.classification_metrics(seen, truth, len(class_names))
    return {"accuracy": measured["test_accuracy"], "interval": measured["interval"], "count": len(known)}


def _label(class_names: tuple[str, ...], file: Path, origin: Path) -> str | None:
    """By the nearest folder that is called as a class, from that of the file up to the one that was named."""
    by_name = {name.casefold(): name for name in class_names} | {name: name for name in class_names}
    folders = [file.parent] if file == origin else [at for at in file.parents if at == origin or origin in at.parents]
    for folder in folders:
        spelled = readable(folder.absolute().name)
        if (known := by_name.get(spelled, by_name.get(spelled.casefold()))) is not None:
            return known
    return None
