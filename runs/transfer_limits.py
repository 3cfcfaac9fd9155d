"""What the first proposals of constrained searches lose to their limits, for transfer.py.

Shapes: `S` searches, `N` architectures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from nas import tasks
from nas.tasks import TaskName, test_scores
from runs.transfer_tables import Tried, print_row, print_rule, short


def print_first_penalties(found: Sequence[Tried], first_S: Callable[[Tried], Tensor]) -> None:
    """Points that the first proposal loses to its limits, the mean over searches.

    Args:
        first_S: the architectures that the searches proposed first, by index.
    """
    shown = ("transfer_bo", "no prior", "portfolio", "portfolio, families", "portfolio, fastest")
    limited = list(dict.fromkeys(tried.task for tried in found if TaskName.parse(tried.task).constraints))
    print_row("task", *shown)
    print_rule(1, len(shown))
    for task in limited:
        lost_N = test_scores.points(tasks.find(task))
        by_label = {tried.row.label: float(lost_N[first_S(tried)].mean()) for tried in found if tried.task == task}
        print_row(short(task), *(f"{by_label[label]:.1f}" for label in shown))
