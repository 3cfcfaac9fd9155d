"""The final training of a backbone that was searched for: resumed where it was stopped, tested once, exported."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from nas.few_shot import named, result, run, training
from nas.few_shot.run import Setup

FOLDER = "few_shot"
"""In a run's folder; in it a folder for each final training, by the index of its architecture."""
EPISODES = 600
"""Of test classes, as most papers test."""


def train(setup: Setup, folder: Path | None) -> float:
    """Accuracy on test classes, in percent.

    Args:
        folder: where the training, its result and its export lie, and go on from; None: nothing is kept.
    """
    if folder is None:
        with TemporaryDirectory() as temporary:
            return train(setup, Path(temporary))
    if (folder / result.FILE).is_file():
        return result.read(folder)["test"]["accuracy"]
    folder.mkdir(parents=True, exist_ok=True)
    state = training.begin(setup.learner, setup.config.seed)
    if (folder / run.FILE).is_file():
        # What was settled when it began: steps that were timed, and settings of an earlier version, would be others now.
        config, state = run.read(folder)
        learner = named.make(config.learner, setup.learner.problem, config.options)
        setup = setup._replace(config=config, learner=learner)
    for step in training.train(setup.learner, setup.source, setup.config.plan, state):
        state = step.state
        if step.accuracy is not None:  # Ten times in a training.
            run.save(folder, setup.config, state)
    return result.finish(folder, setup, state, EPISODES)["test"]["accuracy"]


def export_of(folder: Path, arch: str) -> Path | None:
    """The export of an architecture, as its space describes it, in a run's folder; None where there is none."""
    for file in sorted((folder / FOLDER).glob(f"*/{result.FILE}")):
        if result.read(file.parent)["arch"] == arch and (file.parent / result.EXPORT).is_dir():
            return file.parent / result.EXPORT
    return None
