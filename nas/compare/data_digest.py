"""Which data the trials of a task are on: a table that has changed under its name has other trials."""

from __future__ import annotations

import hashlib

from nas.evaluators.constrained import Constrained
from nas.evaluators.tabular import Tabular
from nas.tasks import aims, find
from nas.tasks.network_bound import Measurements
from nas.types import HasDataDigest


def of(task: str, aim: str) -> str:
    """Of all that trials read, of a table the test column and the further objectives too; empty where the evaluator cannot say.

    The tasks and tables that a portfolio or a proxy reads besides are not in it.
    """
    evaluator = find(task)
    inner = evaluator.inner if isinstance(evaluator, Constrained) else evaluator
    if not isinstance(inner, Tabular):
        return (evaluator.data_digest or "") if isinstance(evaluator, HasDataDigest) else ""
    # Not `data_digest`: a run goes on whatever its table has for other lengths and for tests, but here all of it is kept.
    digests = [inner.table.digest(inner.columns)]
    if isinstance(evaluator, Constrained):
        digests += [constraint.digest for constraint in evaluator.constraints]
    if aim:
        digests += [other.digest for other in aims.several(aim, evaluator, Measurements()).aims]
    return hashlib.sha256("".join(digests).encode()).hexdigest()[:16]
