"""Laws of meta-learners."""

from __future__ import annotations

import inspect
from typing import Any


def fields_have_defaults(component: Any) -> None:
    """Each field has a default, so that `nas meta-train --learner` can build it."""
    bare = [p.name for p in inspect.signature(component).parameters.values() if p.default is p.empty]
    assert not bare, f"field '{bare[0]}' has no default"


LAWS = [fields_have_defaults]
