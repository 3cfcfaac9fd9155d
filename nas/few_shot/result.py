"""What a trained learner leaves in its folder: the result on test classes, asked once, and the export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nas.few_shot import evaluate, export
from nas.few_shot.episodes import Size
from nas.few_shot.run import Setup
from nas.few_shot.training import State
from search_spaces._files import atomic_write

FILE = "result.json"
EXPORT = "export"


def finish(folder: Path, setup: Setup, state: State, episodes: int) -> dict[str, Any]:
    """Test the weights that were best on validation classes, unless it was done; export them. The document of the result."""
    result, config = folder / FILE, setup.config
    if result.exists() and (known := read(folder))["test"]["episodes"] == episodes:
        return known
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
    with atomic_write(result) as partial:
        partial.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return document


def read(folder: Path) -> dict[str, Any]:
    """The document of a result."""
    return json.loads((folder / FILE).read_text(encoding="utf-8"))
