"""Which prior a search starts from: the shipped one, a file, or none."""

from __future__ import annotations

import hashlib
from pathlib import Path

from controller import Prior
from controller.models import legacy, prior_file
from nas.paths import DATA
from search_spaces import UserError

SHIPPED = DATA / "prior.safetensors"


def find(name: str, controller: str) -> Prior | None:
    """The prior called `name` for a controller; the shipped one serves the controller that it was trained for and no other.

    Raises `UserError` for a file that is none, and for one that was trained for another controller.
    """
    if name == "none" or (name == "shipped" and not SHIPPED.is_file()):
        return None
    prior = prior_file.read(str(SHIPPED if name == "shipped" else name))
    trained_for = prior.about["controller"]
    if trained_for == legacy.controller(controller):
        return prior
    if name == "shipped":
        return None
    raise UserError(f"Prior '{name}' is for controller '{trained_for}'; this search's is '{controller}'.")


def fingerprint(name: str) -> str:
    """Of the file of a prior, `shipped` or a path: SHA-256 of its bytes, the first 16 digits."""
    return hashlib.sha256((SHIPPED if name == "shipped" else Path(name)).read_bytes()).hexdigest()[:16]
