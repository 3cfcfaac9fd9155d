"""A run as an object: what was found, what it says of images, its trials, its page, its files."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from nas.export.export import Export
from nas.run import classify, finish, model_card, names, store, subject, trained_network
from nas.run.classify import Answer, Classifier
from nas.run.store import Run
from nas.run.summary import summary, top_row
from nas.run.trials import Trial
from nas.types import TrainedNetwork
from search_spaces import Space, UserError


class Result:
    """A run by its folder; it is read from there each time, so that it may still go on.

    Args:
        folder: of the run, as `nas search` makes it.

    Raises `UserError` for a folder without a run.

    Example:
        result = Result("runs/photos")
        result.predict(["new/1.jpg"])[0].named
    """

    def __init__(self, folder: Path | str):
        self.folder = Path(folder).expanduser().absolute()
        self.open().connection.close()

    def __repr__(self) -> str:
        return f"Result({str(self.folder)!r})"

    def open(self) -> Run:
        """The run itself; whoever opens it closes it, as by `with`."""
        return store.open_run(self.folder)

    @property
    def summary(self) -> dict[str, Any]:
        """What `nas show --json` prints."""
        with self.open() as run:
            return summary(run)

    @property
    def best(self) -> dict[str, Any]:
        """Of the search whose architecture is handed out, `arch`, `score`, `report`, `found_at` and more."""
        rows = [row for row in self.summary["best"] if row["arch"] is not None]
        if not rows:
            raise UserError(f"No evaluation of '{self.folder}' has succeeded; there is no best.")
        return top_row(rows)

    @property
    def test_accuracy(self) -> float | None:
        """Of what is handed out, in percent; None where the task has no test column, and before the end."""
        stored = trained_network.load(self.folder)
        return self.best["report"] if stored is None else stored.metrics["test_accuracy"]

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95% interval (Wilson) of a test accuracy that was measured here; None where it was looked up."""
        stored = trained_network.load(self.folder)
        return None if stored is None else tuple(stored.metrics["interval"])

    def trials(self) -> list[Trial]:
        """Every evaluation, as `nas trials` lists them."""
        with self.open() as run:
            return names.trials_of(run)

    def report(self) -> str:
        """The page on the network found, in Markdown. Raises `UserError` where nothing was trained."""
        page = self.folder / finish.PAGE
        if not page.is_file():
            raise UserError(f"Run '{self.folder}' has no page: one is written at the end of a search on images.")
        return page.read_text(encoding="utf-8")

    def predict(self, images: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[Answer]:
        """What the network says of image files, folders and patterns; files that cannot be read have a `failure`."""
        one = isinstance(images, str | os.PathLike)
        names = [os.fspath(name) for name in ([images] if one else images)]
        return list(classify.classify(self._classifier, classify.images(names)))

    def network(self) -> nn.Module:
        """The trained network: images float32 `[N, C, H, W]` from 0 to 1 to logits `[N, K]`; it normalizes them itself."""
        module = self._classifier.logits
        assert isinstance(module, nn.Module)
        return module

    def export(self, folder: Path | str, *, hf: bool = False, force: bool = False, **options: Any) -> Export | Path:
        """Write the trained network as files.

        Args:
            hf: in the layout of the Hugging Face hub.
            force: replace an earlier export in `folder`.
            options: `onnx` and `onnx_input`, as of `nas.export.export`; none with `hf`, which has no ONNX file.
        """
        if hf and options:
            raise UserError(
                f"{min(options)} is given with hf; the layout of the hub has no ONNX file, so leave it out."
            )
        trained, space = self._trained(), self._space()
        with self.open() as run:
            task = subject.read(run).task
            if hf:
                return model_card.write(run, space, task, trained, Path(folder), force=force)
        return trained_network.write_export(space, task, trained, Path(folder), force=force, **options)

    def _trained(self) -> TrainedNetwork:
        stored = trained_network.load(self.folder)
        if stored is None:
            raise UserError(f"Run '{self.folder}' has no trained network: {classify.why_none(self.folder)}.")
        return stored

    def _space(self) -> Space:
        with self.open() as run:
            return subject.final_space(subject.read(run), str(self.folder), trusted=False)

    @cached_property
    def _classifier(self) -> Classifier:
        return classify.of_run(self.folder)
