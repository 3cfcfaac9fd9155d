"""Which space a search gets that names none."""

from __future__ import annotations

from typing import Any

from controller.models import configuration_prior, prior_file
from nas.tasks import TaskName, absolute

_OWN = ("folder:", "npz:", "hf:")
"""How a task begins that is somebody's own images."""


def named(task: str, asked: dict[str, Any], training: dict[str, str]) -> dict[str, str]:
    """The setting `space` of a training that names none: whole pipelines for somebody's own images within minutes, else nothing.

    Minutes settle the levels of compute that pipelines are trained at. Who names a controller, an evaluator, several objectives,
    a proxy or a setting of other trainings asks for a search of cells. A prior that is a file asks for what it was learned on.

    Args:
        asked: options of the command line; those that were not given are None or empty.
    """
    name = TaskName.parse(absolute(task))
    own = name.kind == "data" and name.dataset.startswith(_OWN)
    cells = (
        any(asked.get(option) for option in ("controller", "evaluator", "aim", "proxy"))
        or training.get("teacher") == "wide"
    )
    if not own or cells or not _is_of_pipelines(training):
        return {}
    prior = asked.get("prior")
    if prior in (None, "shipped", "none"):
        wanted = bool(asked.get("minutes"))
    else:
        wanted = prior_file.read(prior).about["controller"] == configuration_prior.CONTROLLER
    return {"space": "pipeline"} if wanted else {}


def _is_of_pipelines(training: dict[str, str]) -> bool:
    from nas.evaluators.pipeline import PipelineSettings  # Not above: a search of a table needs no images.

    return training.keys() <= set(PipelineSettings._fields) - {"space"}
