"""How much of a space's front the searches of a trial with several objectives have found.

Shapes: `S` seeds, `T` evaluations, `N` architectures of a space, `F` points of its front, `A` objectives, `K` counts.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from controller import Proposal, Results
from controller.models import pareto
from nas.compare.trial import Trial, TrialSpec
from nas.run import incumbent
from nas.tasks import aims, find, full_columns
from nas.tasks.network_bound import Measurements
from search_spaces import UserError, _ops

_REFERENCE = -0.1
"""Of objectives from 0 to 1: a little behind the ends of the front, so that these count too, as Ishibuchi et al. (2018), "How to
specify a reference point in hypervolume calculation for fair performance comparison", say."""


class Yardstick(NamedTuple):
    """Of one task and its objectives."""

    value_NA: Tensor
    """float64 `[N, A]` of each architecture: 1 at the best of the front, 0 at its worst or at the median of the space, whichever
    is worse: a front of two or three points would leave nothing for those who come near it. NaN where it was not measured."""
    hypervolume: float
    """Of the whole front."""


@lru_cache(maxsize=4)
def yardstick(task: str, aim: str) -> Yardstick:
    """Of a task of tables, by the mean of its training seeds. Raises `UserError` for any other."""
    score_N = full_columns.everything(task)
    if score_N is None:
        raise UserError(f"--aim compares the fronts of tasks of tables; '{task}' is none.")
    evaluator = aims.several(aim, find(task), Measurements())
    archs_1ND = _ops.enumerate_all(evaluator.space.choices)[None]
    results = Results(score_N[None], torch.zeros_like(score_N)[None])
    objectives = evaluator.with_objectives(Proposal(archs_1ND), results, torch.tensor([0])).objectives
    assert objectives is not None
    value_NA = objectives[0].double()
    front_FA = pareto.front(value_NA)
    low, high = torch.minimum(front_FA.amin(0), value_NA.nanmedian(0).values), front_FA.amax(0)
    value_NA = (value_NA - low) / (high - low).clamp_min(1e-12)
    return Yardstick(value_NA, pareto.hypervolume(pareto.front(value_NA), torch.full((len(low),), _REFERENCE)))


def shares(spec: TrialSpec, trial: Trial, counts: tuple[int, ...]) -> Tensor:
    """The share of the hypervolume of the space's front after each of `counts` evaluations, float64 `[K, S]`.

    What a search would hand out is the front by the figures that it saw; its volume is by the means of the training seeds.
    """
    known = yardstick(spec.task, spec.aim)
    value_STA = known.value_NA[trial.index.long()]
    # The first objective as it was seen; all others are the same for every training seed.
    seen_STA = torch.cat([trial.score.double()[..., None], value_STA[..., 1:]], -1)
    allowed_ST = incumbent.within(trial.cost, spec.seconds) & ~trial.score.isnan()
    reference = torch.full(value_STA.shape[-1:], _REFERENCE, dtype=torch.float64)
    found = torch.zeros(len(counts), len(trial.score), dtype=torch.float64)
    for k, count in enumerate(counts):
        for s in range(len(trial.score)):
            within = allowed_ST[s, :count]
            seen, value = seen_STA[s, :count][within], value_STA[s, :count][within]
            found[k, s] = pareto.hypervolume(value[pareto.non_dominated(seen)], reference) / known.hypervolume
    return found
