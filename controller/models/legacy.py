"""What version 0.1 called things, and what they are called now: the one place where old names are translated.

Runs, priors and command lines of 0.1 hold controllers' names, their settings, the keys of a run's configuration and the leaves of
a controller's state. A name that is not listed has not changed. A setting that maps to None is gone: a stored run
has it left out, a command line that gives it is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from torch import Tensor

from search_spaces import UserError

Value = TypeVar("Value")

CONTROLLERS = {"in_context": "transfer_bo"}
"""Old to new."""

SETTINGS: dict[str, dict[str, str | None]] = {
    "bayesian": {
        "random": "num_initial",
        "patience": "refit_rate",
        "parents": "num_incumbents",
        "pool": "num_random_candidates",
        "memory": "max_observations",
    },
    "tpe": {"random": "num_initial"},
    "ppo": {"window": "update_every", "momentum": "baseline_decay"},
    "reinforce": {"momentum": "baseline_decay"},
    "transfer_bo": {
        "members": None,
        "memory": "max_observations",
        "plain": None,
        "scout": None,
        "doubt": None,
        "samples": "num_policy_samples",
        "limits": "model_constraints",
        "trust": "use_cold_hypotheses",
        "reader": None,
        "policy_only": None,
    },
}
"""By the controller's new name: old setting to new."""

_INSTEAD = {
    "reader": "the ensemble leaves the network's predictions to the controller attention_policy",
    "policy_only": "the policy by itself is the controller attention_policy",
    "plain": "explore_share is the share of evaluations that do without the prior in a stalled search",
    "scout": "explore_share is the share of evaluations that do without the prior in a stalled search",
}
"""What to do without a setting that is gone; one that is not listed has nothing in its place."""

STATE_LEAVES: dict[str, dict[str, str | None]] = {
    "transfer_bo": {"/over": "/constraint_ratio", "/limits": "/penalty_weights", "/task": None, "/credit": None},
    "attention_policy": {"/over": None, "/limits": None, "/task": None, "/credit": None},
}
"""By the controller's new name: the path of a leaf, as `/credit`, to its new one; None for a leaf that is kept no longer."""

_RELAXED_LEAVES = ("/sloped", "/tried", "/inner/sloped", "/inner/tried")
"""The second two of a controller behind a filter."""
ADDED_LEAVES = {
    "transfer_bo": ("/given_up",),
    **dict.fromkeys(("darts", "drnas", "gdas", "pc_darts", "snas"), _RELAXED_LEAVES),
}
"""By the controller's name: leaves of states that came later. A run without one goes on with that of a search that begins."""

RENEWED = ("/prior",)
"""Leaves that tell which prior a search has, by a hash of the file as 0.1 wrote it: they are taken from today's `begin`."""

RUN_CONFIG = {
    "settings": "controller_options",
    "data": "training_options",
    "seconds": "simulated_seconds",
}
"""The keys of what 0.1 stored as `asked`."""

ONE_SEED = {"drawn": "one-seed"}
"""What stands behind `~` in a task's name."""

PRIOR_FORMAT = "nas-prior/1"
"""Of the priors that the tables below translate."""

_PRIOR_KEYS = {
    "centre": "families/coords",
    "mix": "families/scale",
    "weight": "families/weights",
    "told": "tasks/features",
    "share": "tasks/share",
    "coefficients": "tasks/coords",
    "runs.told": "runs/features",
    "runs.share": "runs/share",
    "runs.coefficients": "runs/coords",
}
_SPACE_KEYS = {
    "usual": "mean",
    "directions": "components",
    "landscapes": "family_means",
    "places": "task_coords",
    "amounts": "constraint_factors",
}
_GONE = (".columns", ".likely")
"""The ends of names of tensors that nothing reads today: tasks that 0.1 kept by themselves."""
_MODULES = {
    "encoder/": {
        "start": "input_embedding",
        "option": "op_embedding",
        "into": "message_in",
        "out": "message_out",
        "read": "readout",
        "mean": "mean_head",
        "span": "component_head",
        "lean": "task_to_components",
    },
    "policy/": {
        "cell": "arch_token",
        "score": "score_token",
        "task": "task_token",
        "predicts": "prediction_head",
        "ask": "policy_token",
        "pace": "cost_embedding",
        "choose": "policy_head",
        "before": "norm_attention",
        "between": "norm_mlp",
        "pair": "key_value",
        "join": "output",
        "think": "mlp",
    },
}
"""Parts of networks, by the group of their weights."""
_ABOUT_KEYS = {"leave": "held_out", "properties": "auxiliary_columns"}

TRAINING = {"rank": "index"}
"""The keys of a line of a run's cached trainings."""

WEIGHTS = {"figures": "metrics"}
"""The header of a run's trained weights."""


def controller(name: str) -> str:
    """The name of today of a controller; the file or class of one from outside stays as it is."""
    plain = name.replace("-", "_")
    return CONTROLLERS.get(plain, plain) if plain.isidentifier() else name


def settings(controller_name: str, given: Mapping[str, Value]) -> dict[str, Value]:
    """A controller's settings under their names of today."""
    return _renamed(given, SETTINGS.get(controller(controller_name), {}))


def settings_asked_for(controller_name: str, given: Mapping[str, Value]) -> dict[str, Value]:
    """As `settings`, for a command line. Raises `UserError` for a setting that is gone.

    Leaving it out would make another search than the one asked for; a stored run was asked for long ago.
    """
    names = SETTINGS.get(controller(controller_name), {})
    for key in given:
        if names.get(key, key) is None:
            instead = _INSTEAD.get(key, "nothing takes its place; leave it out")
            raise UserError(f"Setting {key} of '{controller_name}' is gone since 0.2: {instead}.")
    return settings(controller_name, given)


def state_leaves(controller_name: str, leaves: Mapping[str, Value]) -> dict[str, Value]:
    """The leaves of a stored state of 0.1 under their paths of today, without those that are `RENEWED`."""
    kept = {path: leaf for path, leaf in leaves.items() if path not in RENEWED}
    return _renamed(kept, STATE_LEAVES.get(controller(controller_name), {}))


def run_config(asked: Mapping[str, Any]) -> dict[str, Any]:
    """A run's configuration under its keys of today."""
    config = _renamed(asked, RUN_CONFIG)
    given = config["controller_options"]
    if controller(config["controller"]) == "transfer_bo" and given.get("policy_only"):
        return config | {"controller": "attention_policy", "controller_options": {}}
    config["controller"] = controller(config["controller"])
    config["controller_options"] = settings(config["controller"], given)
    return config


def prior(params: dict[str, Tensor], about: dict[str, str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the header of a prior of format `nas-prior/1`, under today's names."""
    about = {_ABOUT_KEYS.get(name, name): text for name, text in about.items()}
    if "controller" in about:
        about["controller"] = controller(about["controller"])
    kept = {name: tensor for name, tensor in params.items() if not name.endswith(_GONE)}
    return {prior_key(name): tensor for name, tensor in kept.items()}, about


def prior_key(name: str) -> str:
    """Today's name of a tensor of a prior. A space's name may have dots: it stands between the first and the last."""
    if name in _PRIOR_KEYS:
        return _PRIOR_KEYS[name]
    for before, now in (("reader.cells.", "encoder/"), ("reader.", "policy/")):
        if name.startswith(before):
            return now + _parts(name.removeprefix(before), _MODULES[now])
    for before, now in (("atlas.", "spaces/"), ("runs.atlas.", "runs/spaces/")):
        space, _, field = name.removeprefix(before).rpartition(".")
        if name.startswith(before) and field in _SPACE_KEYS:
            return f"{now}{space}/{_SPACE_KEYS[field]}"
    return name


def training(row: Mapping[str, Any]) -> dict[str, Any]:
    """A cached training under its keys of today."""
    return _renamed(row, TRAINING)


def weights(header: Mapping[str, str]) -> dict[str, str]:
    """The header of trained weights under its keys of today."""
    return _renamed(header, WEIGHTS)


def _parts(name: str, parts: Mapping[str, str]) -> str:
    return ".".join(parts.get(part, part) for part in name.split("."))


def _renamed(given: Mapping[str, Value], names: Mapping[str, str | None]) -> dict[str, Value]:
    """What has a new name loses its old one, unless both were given: then the new one counts."""
    found = {new: value for key, value in given.items() if key in names and (new := names[key]) is not None}
    return found | {key: value for key, value in given.items() if key not in names}
