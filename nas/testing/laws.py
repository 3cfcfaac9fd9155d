"""The laws by kind of component: which there are, running them over one component, and as tests of pytest."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from nas import plugins
from nas.testing import controller_laws, evaluator_laws, meta_learner_laws, space_laws
from search_spaces import UserError

Law = Callable[[Any], None]
"""Takes a component and raises `AssertionError` where it does not hold. Its docstring is the law, in a sentence."""

_LAWS: dict[str, list[Law]] = {
    "space": space_laws.LAWS,
    "controller": controller_laws.LAWS,
    "meta-learner": meta_learner_laws.LAWS,
    "evaluator": evaluator_laws.LAWS,
}


class Outcome(NamedTuple):
    """Whether a law holds for a component."""

    law: str
    """The law, in a sentence."""
    failure: str | None
    """Why it does not hold, in a line; None where it holds."""


def kind_of(component: type) -> str:
    """Which kind of component a class is, by its methods. Raises `UserError` for a class that is none."""
    kinds = plugins.kinds_of(component)
    if kinds:
        return kinds[0]
    lacking = {kind: [m for m in methods if not hasattr(component, m)] for kind, methods in plugins.METHODS.items()}
    kind, missing = min(lacking.items(), key=lambda pair: len(pair[1]) / len(plugins.METHODS[pair[0]]))
    raise UserError(
        f"{component.__name__} is no component; the nearest kind is {kind}, and it lacks {', '.join(missing)}."
    )


def laws(kind: str) -> list[Law]:
    """The laws of a kind of component."""
    return _LAWS[kind]


def sentence(law: Law) -> str:
    """What a law says."""
    return (inspect.getdoc(law) or law.__name__.replace("_", " ")).splitlines()[0]


def check(component: type) -> Iterator[Outcome]:
    """Run each law of its kind over a component; a law that raises anything at all, or exits, does not hold."""
    for law in laws(kind_of(component)):
        try:
            law(component)
        except (Exception, SystemExit) as error:
            words = " ".join(str(error).split())
            said = words if isinstance(error, AssertionError) and words else f"{type(error).__name__}: {words}"
            yield Outcome(sentence(law), said)
        else:
            yield Outcome(sentence(law), None)


def laws_of(component: type) -> Callable[[Law], None]:
    """A pytest function with one case for each law of the component's kind: `test_laws = laws_of(MyController)`."""
    import pytest

    found = laws(kind_of(component))

    @pytest.mark.parametrize("law", found, ids=[law.__name__ for law in found])
    def test_law(law: Law) -> None:
        law(component)

    return test_law
