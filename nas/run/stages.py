"""What follows the steps of a search, and how long each of it is expected to take: `--minutes` counts all of it."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from nas.run import averaged, comparison
from nas.run.config import RunConfig
from nas.training import step_time
from nas.types import (
    Averages,
    Comparable,
    ComparableTraining,
    Evaluator,
    SideBySide,
    Taught,
    Timed,
    Watched,
    as_comparable,
)
from search_spaces import UserError

SEARCH = "searching"
LEADERS = "training the leaders again"
FINAL = "final training"
COMPARISON = "comparing with simpler models"
EXPORT = "writing the export and the report"

Enter = Callable[[str], None]
"""Whoever is told which stage begins."""

_EXPORT_SECONDS = 15.0
"""A `torch.export` program, an ONNX file, both read back and timed, and the page: 6 to 7 s of a processor for networks of 0.2 to
0.3 million parameters (`runs/export_time.sh`), most of it the exporters' own start. Twice that: a machine may have other work."""


def nobody(_stage: str) -> None:
    """For those who need not be told."""


def cores_of(training: object) -> int:
    """How many cores final trainings have here, one each; 1 where one takes all of them, and on a GPU."""
    if isinstance(training, SideBySide):
        return training.final_cores()
    device = getattr(training, "device", None)
    return torch.get_num_threads() if device is None or torch.device(device).type == "cpu" else 1


def _networks_of(training: ComparableTraining, evaluator: Evaluator) -> int:
    """How many networks a comparison trains."""
    if isinstance(training, Averages):
        return 2
    return 1 if training.reference(step_time.random_archs(evaluator.space)[0]) is None else 2


def expected(config: RunConfig, evaluator: Evaluator) -> dict[str, float]:
    """Seconds that each stage after the leaders takes here, measured by a few steps; empty where nothing is trained."""
    training = evaluator.training
    if not isinstance(training, Watched):
        return {}
    grows = averaged.grows(evaluator) if config.comparison else None
    if grows is not None:
        final = grows.longest_seconds()
    elif config.comparison and isinstance(training, SideBySide):
        final = training.beside_seconds()
    else:
        final = training.final_seconds()
    # The report trains the best of each seed to the end.
    ending = {FINAL: config.seeds * final}
    if isinstance(training, Taught):
        ending[FINAL] += training.teaching_seconds()
    if config.comparison and (comparable := as_comparable(evaluator.training)) is not None:
        networks = _networks_of(comparable, evaluator)
        # They are trained beside the winner.
        ending[FINAL] += comparison.seconds(final, 0.0, cores_of(training), networks) - comparison.learned_seconds(0.0)
        rest = 60 * (config.minutes or 0.0) - ending[FINAL] - _EXPORT_SECONDS
        ending[COMPARISON] = comparison.learned_seconds(rest)
    return ending | {EXPORT: _EXPORT_SECONDS}


SHARE_OF_THE_END, _WITH_PRIOR = 0.5, 3 / 4
"""Of `minutes`, for what follows the search where trainings are as long as there is time: what is trained long is handed out.
With a prior the search begins with what was good elsewhere, and has less to find: of data that it never saw, three proposals had
the best of all (`runs/pipeline_prior.py evaluate`), while longer trainings gain points (`runs/pipeline_compute.sh`)."""
_LEAST_OF_THE_END = 0.2
"""Of that time, for one final training of each seed, however much a comparison asks for."""


FINAL_SETTING = "final"
"""What such a training calls the compute of its final one."""


def timed(config: RunConfig, evaluator: Evaluator, *, warm: bool = False) -> dict[str, str]:
    """Settings of a training by which a run fits into its minutes here; none where trainings are as long as they are.

    Args:
        warm: the search begins with a prior.
    """
    training = evaluator.training
    if config.minutes is None or not isinstance(training, Timed):
        return {}
    faster = training.in_faster_precision()
    return faster.timed(*_seconds(config, faster, warm), warm=warm, seeds=config.seeds, batch=config.batch)


def batch(config: RunConfig, evaluator: Evaluator) -> int:
    """Architectures that each search evaluates at once, where that is not asked for."""
    training, least = evaluator.training, evaluator.defaults.batch
    if config.minutes is None or not isinstance(training, Timed):
        return least
    # A budget of evaluations, where there is one too, must pay for the higher level: three batches before it and one of it.
    most = math.inf if config.evals is None else config.evals // 4
    return int(max(least, min(training.in_faster_precision().at_once(config.seeds), most)))


def lengthened(config: RunConfig, evaluator: Evaluator, spent: float, *, warm: bool = False) -> dict[str, str]:
    """Settings of a training by which the end of a run that got other minutes takes its share of them.

    None where the user said how long the final training is. The levels of the search stay: their scores are compared.

    Args:
        spent: seconds that the search took so far.
    """
    if (training := _lengthens(config, evaluator)) is None:
        return {}
    return training.lengthened(_seconds(config, training, warm, spent)[1])


def refuse_no_end(config: RunConfig, evaluator: Evaluator, spent: float) -> None:
    """Raise `UserError` where the minutes that a run gets later are over before a final training could begin."""
    left = 60 * (config.minutes or 0.0) - spent
    if _lengthens(config, evaluator) is not None and left <= _EXPORT_SECONDS:
        raise UserError(
            f"--minutes is {config.minutes:g}, all sessions together, and the search has used {spent / 60:.1f} of them: no time "
            "is left for the final training. It takes more."
        )


def _lengthens(config: RunConfig, evaluator: Evaluator) -> Timed | None:
    """The training whose final trainings are as long as the minutes of a run leave; None where there is none."""
    training, options = evaluator.training, config.training_options
    asked = FINAL_SETTING in options and FINAL_SETTING not in config.planned.split(",")
    return training if config.minutes is not None and isinstance(training, Timed) and not asked else None


def _seconds(config: RunConfig, training: Timed, warm: bool, spent: float = 0.0) -> tuple[float, float]:
    """Of the minutes of a run, what its search and one final training have; its search has spent some seconds before."""
    assert config.minutes is not None
    whole = 60 * config.minutes
    end = min((_WITH_PRIOR if warm else SHARE_OF_THE_END) * whole, whole - spent)
    # The best of each seed is trained to the end, one after another.
    trainings, rest = config.seeds + training.teaching_trainings, _EXPORT_SECONDS
    if config.comparison and isinstance(training, Comparable):
        learned = comparison.learned_seconds(whole - end)
        trainings += comparison.seconds(1.0, whole - end, cores_of(training)) - learned
        rest += learned
    return whole - end, max(_LEAST_OF_THE_END * end / config.seeds, (end - rest) / trainings)
