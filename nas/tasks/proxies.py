"""Zero-cost proxies as what a search knows of each architecture beforehand: features of its models, or a filter of candidates.

On images a proxy is computed of the networks that the search trains; on a table it is one of its columns, or one of another table
of the same space. Values become normal scores of their rank among architectures of the space.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from controller import Controller, Prior
from controller.candidates import scalarization
from controller.candidates.proxy_filter import PROPOSED, ProxyFilter
from nas.evaluators.constrained import Constrained
from nas.evaluators.multi_objective import MultiObjective
from nas.evaluators.tabular import Tabular
from nas.tasks import table_proxies
from nas.types import Evaluator
from search_spaces import UserError, _figures, unknown

USES = ("score", "feature", "filter")
READ_BY = ("bayesian", "transfer_bo")
"""Controllers whose models read a space's figures."""


def of(text: str, evaluator: Evaluator) -> _figures.Figures:
    """The proxies that `text` names, by commas, on a task. Raises `UserError` for what leads nowhere."""
    names = tuple(word.strip() for word in text.split(","))
    inner = evaluator
    while isinstance(inner, Constrained | MultiObjective):
        inner = inner.inner
    if isinstance(inner, Tabular):
        return table_proxies.of(names, inner)
    # Not above: a search of a table needs no images.
    from nas.evaluators.train import Train
    from nas.tasks import network_proxies

    if not isinstance(inner, Train):
        raise UserError(
            f"--proxy is '{text}'; task '{evaluator.task.name}' has no networks on images and no table. It takes digits, "
            "npz:FILE, folder:DIR, hf:NAME or a task of a table."
        )
    return network_proxies.of(names, inner)


class Proxy(NamedTuple):
    """What a search knows beforehand, and how."""

    names: str
    """By commas; empty for none."""
    use: str
    """One of `USES`; as the score it is nothing of the controller's."""
    proposed: int = PROPOSED
    """Of a filter: proposals for each architecture that is evaluated."""


def controller_on(
    evaluator: Evaluator, component: type, settings: dict[str, Any], name: str, prior: Prior | None, proxy: Proxy
) -> Controller:
    """A controller as it searches a task: by several objectives where the task has them, with proxies where there are any.

    Args:
        component, settings, name: of the controller.

    Raises `UserError` for a controller that has no use for proxies, and for names that lead nowhere.
    """
    space, use = evaluator.space, proxy.use if proxy.names else "score"
    if use not in USES:
        raise unknown("use of a proxy", use, list(USES))
    known = space if use == "score" else _figures.with_figures(space, of(proxy.names, evaluator))
    if use == "feature" and name not in READ_BY:
        raise UserError(
            f"--controller is '{name}', which reads no features; {' and '.join(READ_BY)} do. --proxy-as filter goes with others."
        )
    made = component(space=known if use == "feature" else space, **settings)
    made = scalarization.of(made, evaluator.task, prior)
    return ProxyFilter(known, made, proxy.proposed) if use == "filter" else made
