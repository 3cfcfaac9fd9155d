"""What a trained learner leaves in its folder: the result on test classes, asked once, and the export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nas.few_shot import classes, evaluate, export
from nas.few_shot.episodes import Size
from nas.few_shot.run import Setup
from nas.few_shot.training import State
from search_spaces import UserError
from search_spaces._files import atomic_write

FILE = "result.json"
TESTS = "tests.json"
"""Tests by other episodes than those of `FILE`, a document each, in the order in which they were asked."""
EXPORT = "export"


def finish(folder: Path, setup: Setup, state: State, episodes: int | None = None) -> dict[str, Any]:
    """Test the weights that were best on validation classes, unless it was done; export them. The document of the result.

    Args:
        episodes: of the test; None: those of the configuration, and a test of any number is one that was done.
    """
    result, config = folder / FILE, setup.config
    if result.exists() and (known := read(folder))["test"]["episodes"] == (episodes or known["test"]["episodes"]):
        return known
    episodes = episodes or config.episodes
    size = Size(episodes, config.way, config.shot, config.queries)
    test = evaluate.of_episodes(evaluate.correct(setup.learner, state.best, setup.source, "test", size))
    export.write(folder / EXPORT, setup, state.best)
    backbone = setup.learner.problem.backbone
    document = {
        "folder": str(folder),
        "data": config.data,
        "learner": config.learner,
        "way": config.way,
        "shot": config.shot,
        "seed": config.seed,
        "steps": config.steps,
        "arch": backbone.space.describe(backbone.arch),
        "parameters": sum(p.numel() for p in state.best.values()),
        "valid_accuracy": round(state.best_accuracy, 3),
        "test": test.document(),
        "export": str(folder / EXPORT),
    }
    _write(result, document)
    return document


def test(folder: Path, setup: Setup, state: State, size: Size) -> dict[str, Any]:
    """Test a learner that is trained to the end by episodes of another size, unless it was done. The document of the test.

    Raises `UserError` for a training that is not at its end, a number of classes that the learner cannot answer for, and
    episodes that the data have not.
    """
    config = setup.config
    if state.step < config.steps:
        raise UserError(
            f"'{folder}' is at step {state.step} of {config.steps}; `nas few-shot --resume {folder}` trains it to the end."
        )
    if setup.learner.fixed_way and size.way != config.way:
        raise UserError(
            f"--way is {size.way}; {config.learner} was trained for {config.way} classes and answers for as many. Leave it out, "
            f"or train another run by --way {size.way}."
        )
    classes.check(setup.source.data, size.way, size.shot + size.queries, ("test",))
    path = folder / TESTS
    done = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    asked = {"way": size.way, "shot": size.shot, "queries": size.queries}
    for known in done:
        if known.items() >= asked.items() and known["test"]["episodes"] == size.tasks:
            return known
    found = evaluate.of_episodes(evaluate.correct(setup.learner, state.best, setup.source, "test", size))
    document = {
        "folder": str(folder), "data": config.data, "learner": config.learner, **asked,
        "trained": {"way": config.way, "shot": config.shot, "seed": config.seed, "steps": config.steps},
        "test": found.document(),
    }  # fmt: skip
    _write(path, [*done, document])
    return document


def _write(path: Path, document: Any) -> None:
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def read(folder: Path) -> dict[str, Any]:
    """The document of a result."""
    return json.loads((folder / FILE).read_text(encoding="utf-8"))
