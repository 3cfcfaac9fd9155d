"""What the model card of a run's network says: how good it is, on which data, how it was found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nas.export.hugging_face import Card, export_hugging_face
from nas.run import comparison, step_log, store, test_accuracy, trained_network
from nas.run.store import Run
from nas.tasks import TaskName
from nas.text import counted
from nas.types import TrainedNetwork
from search_spaces import Space, Task


def of(run: Run, trained: TrainedNetwork) -> Card:
    """The card's figures and lines, from the run alone."""
    accuracy, past = trained.metrics["test_accuracy"], step_log.history(run)
    figures = (f"Test accuracy {accuracy:.2f}%.", *test_accuracy.sentences(trained))
    notes = store.get_meta(run, "data") or ["The run keeps no notes on its data."]
    # A card is published: it does not say where the images lie on somebody's disk.
    where = str(TaskName.parse(run.config.task).unconstrained()).partition(":")[2].rstrip("/")
    data = tuple(note.replace(where, Path(where).name) if where else note for note in notes)
    searched = f"{run.config.controller} in {counted(past.score.shape[1], 'evaluation')} of metacell"
    stored = trained_network.load(run.folder)
    found = f"Found by {searched}."
    if stored is not None and stored.arch == trained.arch:
        if comparison.plain_handed_out(run):
            found = f"The plain ResNet, which was as good as what {searched} found."
            if comparison.found_diverged(run):
                found = f"The plain ResNet: a training of what {searched} found diverged."
        elif comparison.searched(run):
            found = f"Found by {searched}; in the end trained otherwise than in the search."
    return Card(accuracy, figures, data, found)


def write(run: Run, space: Space, task: Task, trained: TrainedNetwork, folder: Path, **options: Any) -> Path:
    """The network of a run in Hugging Face's layout; `options` is `force`."""
    return export_hugging_face(
        space, trained_network.arch_of(space, trained), trained_network.as_trained(task, trained), trained.state_dict, folder,
        of(run, trained), mean=trained.mean, std=trained.std, class_names=trained.class_names, mirror=trained.mirror,
        deep=trained.deep, read_at=task.input_shape[1:], **options,
    )  # fmt: skip
