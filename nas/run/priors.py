"""Which prior a search starts from: the shipped one, a file, or none."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from controller import Prior
from controller.models import legacy, prior_file
from nas.paths import DATA
from search_spaces import UserError

SHIPPED = DATA / "prior.safetensors"


def find(asked: dict[str, Any]) -> Prior | None:
    """The prior that `asked` names; the shipped one serves the controller that it was trained for and no other.

    Raises `UserError` for a file that is none, and for one that was trained for another controller.
    """
    name, controller = asked.get("prior", "none"), legacy.controller(asked["controller"])
    if name == "none" or (name == "shipped" and not SHIPPED.is_file()):
        return None
    prior = prior_file.read(str(SHIPPED if name == "shipped" else name))
    if prior.about["controller"] == controller:
        return prior
    if name == "shipped":
        return None
    raise UserError(f"Prior '{name}' is for controller '{prior.about['controller']}'; this search's is '{controller}'.")


def fingerprint(name: str) -> str:
    """Of the file of a prior, `shipped` or a path: SHA-256 of its bytes, the first 16 digits."""
    return hashlib.sha256((SHIPPED if name == "shipped" else Path(name)).read_bytes()).hexdigest()[:16]
