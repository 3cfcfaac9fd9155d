"""Where the best of each seed stands by test in its whole space: kept with a run of a table, once its search is over."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from nas.run import store
from nas.run.store import Run
from nas.tasks import test_scores
from nas.types import Evaluator

_KEY = "test_place"


def save(run: Run, evaluator: Evaluator, archs: Tensor, report: Tensor) -> None:
    """Keep the regret and the rank of `archs` `[S, D]` by test, where all of the space is known; `report` `[S]` has theirs."""
    place = test_scores.place(evaluator, archs)
    if place is None:
        return
    rows = zip(place.regret.tolist(), place.rank.tolist(), report.isnan().tolist())
    kept = [None if failed else [round(regret, 4), rank] for regret, rank, failed in rows]
    store.set_meta(run, _KEY, {"functions": place.functions, "seeds": kept})


def of_each(run: Run, count: int) -> list[dict[str, Any]]:
    """`test_regret`, `test_rank` and `test_functions` of each of `count` seeds; nothing where they are not known."""
    stored = store.get_meta(run, _KEY)
    if stored is None:
        return [{}] * count
    names = ("test_regret", "test_rank", "test_functions")
    return [{} if one is None else dict(zip(names, (*one, stored["functions"]))) for one in stored["seeds"]]
