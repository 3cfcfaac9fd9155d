"""Final trainings, kept in a run's folder until what they are for is done: after a kill those that ended are not repeated.

What is under way is kept there too, by those that train (`nas.training.under_way`).
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from nas.run import trained_network
from nas.run.store import Run
from nas.training.under_way import FOLDER
from nas.types import ComparableTraining, FinalTraining, TrainedNetwork

_SECONDS = "seconds"


def networks(run: Run, training: ComparableTraining, trainings: Sequence[FinalTraining]) -> list[TrainedNetwork]:
    """As `training.final_networks`; what an earlier session of the run has trained is read."""
    folders = [run.folder / FOLDER / _name(training, asked) for asked in trainings]
    found = [_read(folder) for folder in folders]
    missing = [at for at, network in enumerate(found) if network is None]
    trained: dict[int, TrainedNetwork] = {}
    for n, network in training.each_final_network([trainings[at] for at in missing]) if missing else ():
        at = missing[n]
        trained[at] = network
        folders[at].mkdir(parents=True, exist_ok=True)
        trained_network.save(
            folders[at], network._replace(metrics=network.metrics | {_SECONDS: round(network.seconds, 3)})
        )
    return [trained[at] if network is None else network for at, network in enumerate(found)]


def forget(run: Run) -> None:
    """What they were for is done."""
    shutil.rmtree(run.folder / FOLDER, ignore_errors=True)


def _name(training: ComparableTraining, asked: FinalTraining) -> str:
    """Of the folder of a training: of another one it is another."""
    arch = training.space.describe(training.equivalents(asked.arch))
    said = json.dumps([arch, asked.seed, asked.share, asked.held_out])
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def _read(folder: Path) -> TrainedNetwork | None:
    network = trained_network.load(folder)
    if network is None:
        return None
    metrics = dict(network.metrics)
    return network._replace(seconds=metrics.pop(_SECONDS), metrics=metrics)
