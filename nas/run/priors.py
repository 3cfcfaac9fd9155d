"""Which prior a search starts from: the shipped one, a file, or none."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from controller import Prior, State
from controller.models import legacy, prior_file
from nas.paths import DATA
from nas.run import state_tree
from nas.training import supernet_start
from search_spaces import UserError

SUPERNET = "supernet"
"""The evaluator that priors of shared weights are for."""
SHIPPED = DATA / "prior.safetensors"
SHIPPED_POLICY = DATA / "attention_policy.safetensors"
SHIPPED_PIPELINES = DATA / "pipelines.safetensors"
_SHIPPED = {
    "transfer_bo": SHIPPED, "portfolio": SHIPPED, "attention_policy": SHIPPED_POLICY, "multi_fidelity_bo": SHIPPED_PIPELINES,
}  # fmt: skip
_ALSO_FOR = {"portfolio": "transfer_bo"}
"""Controllers that read the priors of another."""
_LEAVES = "/prior", "/begun/prior", "/inner/prior", "/inner/begun/prior"
"""The leaves of a state that tell its prior from any other: `begun` where there are several objectives, `inner` where candidates
are filtered."""
_ANY = "guarded"
"""It searches by whichever controller the prior is for, beside one without it."""


def find(name: str, controller: str, evaluator: str | None = None) -> Prior | None:
    """The prior called `name` for a controller; `shipped` is the one that was trained for it, or None.

    A prior of shared weights is of use with evaluator `supernet` whatever the controller is. Of one that is not the prior's own
    it says nothing, and the answer is None.

    Raises `UserError` for a file that is none, and for one that was trained for another controller.
    """
    controller = legacy.controller(controller)
    if name == "none" or (name == "shipped" and controller not in _SHIPPED):
        return None
    if name == "shipped":
        return _shipped(controller)
    prior = prior_file.read(name)
    trained_for = prior.about["controller"]
    if trained_for in (controller, _ALSO_FOR.get(controller)) or controller == _ANY:
        return prior
    if evaluator == SUPERNET and has_weights(prior):
        return None
    raise UserError(
        f"Prior '{name}' is for controller '{trained_for}'; this search's is '{controller}'. Say --controller {trained_for}"
        + (f" and --space {prior.about['space']}." if "space" in prior.about else ".")
    )


def of_weights(name: str) -> Prior | None:
    """The prior called `name` if it holds shared weights, for evaluator `supernet`."""
    prior = None if name in ("none", "shipped") else prior_file.read(name)
    return prior if prior is not None and has_weights(prior) else None


def has_weights(prior: Prior) -> bool:
    """Whether a prior holds the shared weights of a supernet."""
    return any(tensor.startswith(supernet_start.GROUP) for tensor in prior.params)


def _shipped(controller: str) -> Prior | None:
    """The prior of a controller; that of `transfer_bo` with the policy, whose samples are candidates in large spaces."""
    if not _SHIPPED[controller].is_file():
        return None
    prior = prior_file.read(str(_SHIPPED[controller]))
    if controller == "transfer_bo" and SHIPPED_POLICY.is_file():
        return prior_file.with_policy(prior, prior_file.read(str(SHIPPED_POLICY)))
    return prior


def refuse_other(folder: Path, name: str, begun: State, stored: State) -> None:
    """Raise `UserError` where the stored state of a run began with another prior than the one called `name` is now.

    A state holds the fingerprint of its prior; runs of earlier versions keep no other.
    """
    now, then = state_tree.flatten(begun), state_tree.flatten(stored)
    if any(not torch.equal(now[leaf], then[leaf]) for leaf in _LEAVES if leaf in now and leaf in then):
        raise UserError(
            f"Run '{folder}' began with another prior than '{name}' is now. `nas show` shows the run; to go on, name that "
            "prior's file as its prior, or start a new run."
        )


def fingerprint(name: str, controller: str) -> str:
    """Of the file of a prior, `shipped` or a path: SHA-256 of its bytes, the first 16 digits."""
    files = [Path(name)]
    if name == "shipped":
        # For cells two files ship: the policy's samples are candidates of transfer_bo, too.
        own = (
            (SHIPPED_PIPELINES,)
            if _SHIPPED[legacy.controller(controller)] == SHIPPED_PIPELINES
            else (SHIPPED, SHIPPED_POLICY)
        )
        files = [path for path in own if path.is_file()]
    return hashlib.sha256(b"".join(p.read_bytes() for p in files)).hexdigest()[:16]
