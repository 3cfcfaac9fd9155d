"""What was learned across tasks, at hand for as long as the process lives.

A search's state must not carry a copy of the weights for each seed: it carries their fingerprint, and `begin` puts the weights
where the fingerprint finds them.
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from controller._base import Prior
from controller.models import features, prior_file, transformer
from controller.models.gp_members import Members, bank
from controller.models.kernels import Sight
from controller.models.prior_file import Contents, SpaceMemory
from search_spaces import Space, UserError, _sampling

NONE = 0
_ALIKE = 0.2
"""How likely a new task follows those that are told to be like it, rather than the mean of a family."""
_AGAIN = 0.15
"""How likely a new task is nearly one of those remembered, rather than near the mean of several."""
_SAMPLE = 4096
"""Architectures that stand for a space too large to list."""


class Learned(NamedTuple):
    """A prior, ready to be asked."""

    reader: transformer.Reader
    """The network, in float64: what it says does not depend on who else is asked."""
    centre: Tensor
    """float64 `[F, R]` each family's coefficients of the directions."""
    mix: Tensor
    """float64 `[R, R]` turns directions into ones along which tasks vary by one."""
    weight: Tensor
    """float64 `[F]` how likely a new task is of each family."""
    trusted: bool
    """Whether the network's own predictions take part."""
    atlas: dict[str, SpaceMemory]
    """By the names of spaces, in float64; family means of all families."""


class Outlook(NamedTuple):
    """Architectures as the bank and the network see them. Leading axes are free."""

    sight: Sight
    hidden: Tensor
    """float64 `[..., N, H]`; `H` = 0 without a prior."""


_learned: dict[int, Learned] = {}


def hold(prior: Prior | None, told: Tensor | None = None) -> int:
    """Make a prior known; its fingerprint. `NONE` for None.

    With `told` `[features]` of the task at hand it has one landscape more: the mean of its tasks, each as much as it is like
    this one.
    """
    if prior is None:
        return NONE
    everything = [*sorted(prior.params.items()), *([] if told is None else [("told now", told)])]
    words = b"".join(name.encode() + t.contiguous().numpy().tobytes() for name, t in everything)
    key = int.from_bytes(hashlib.sha256(words).digest()[:6], "big")
    if key not in _learned:
        reader, held = transformer.Reader(), prior_file.unpack(prior.params)
        policy = held.policy or {n: t for n, t in reader.state_dict().items() if not n.startswith("cells.")}
        weights = policy | {f"cells.{n}": t for n, t in held.encoder.items()}
        if not reader.fits(weights):
            raise UserError(
                "The prior was trained by another version, whose network has other shapes; train it again: "
                f"{prior.about.get('command', 'nas meta-train')}"
            )
        reader.load_state_dict(weights)
        trusted = json.loads(prior.about.get("trusted", "false"))
        assert held.families is not None
        centre, mix, weight = (x.double() for x in held.families)
        atlas = {space: _in_double(memory, len(weight)) for space, memory in sorted(held.spaces.items())}
        known = Learned(reader.double().requires_grad_(False), centre, mix, weight, trusted, atlas)
        _learned[key] = known if told is None or held.tasks is None else _like(known, held, told)
    return key


def _in_double(memory: SpaceMemory, families: int) -> SpaceMemory:
    """In float64; families that the prior knows nothing of there, as a user's own runs, are zero."""
    memory = memory._replace(**{name: t.double() for name, t in memory._asdict().items() if t is not None})
    missing = families - memory.family_means.shape[1]
    return memory._replace(family_means=torch.nn.functional.pad(memory.family_means, (0, missing)))


def _like(known: Learned, held: Contents, told: Tensor) -> Learned:
    """With a family that has this task alone: the mean of all tasks by their likeness to it."""
    assert held.tasks is not None
    every = [held.tasks] if held.runs is None else [held.tasks, held.runs.tasks]
    told_K, share_K, coefficients_K = (torch.cat([t.double() for t in group]) for group in zip(*every))
    share_K = share_K * transformer.likeness(told.double(), told_K)
    centre = share_K @ coefficients_K / share_K.sum()
    atlas = {}
    for space, here in known.atlas.items():
        places = here.task_coords
        if held.runs is not None:
            places = torch.cat([places, held.runs.task_coords[space].double()])
        here_K = torch.where(places.isnan().any(1), 0.0, share_K)
        mean = here.mean + here.components @ (here_K @ places.nan_to_num() / here_K.sum().clamp_min(1e-30))
        mean = (mean - mean.mean()) / mean.std().clamp_min(1e-6)
        atlas[space] = here._replace(family_means=torch.cat([here.family_means, mean[:, None]], 1))
    weight = torch.cat([known.weight * (1 - _ALIKE), torch.tensor([_ALIKE], dtype=torch.float64)])
    return known._replace(centre=torch.cat([known.centre, centre[None]]), weight=weight, atlas=atlas)


def learned(key: int) -> Learned | None:
    """The prior of a fingerprint; None for `NONE`."""
    if key == NONE:
        return None
    if key not in _learned:
        raise UserError("This search began with a prior that is not loaded; call `begin` with it, then go on.")
    return _learned[key]


@lru_cache
def families(key: int, space: Space) -> Tensor:
    """How likely a new task is to follow each mean landscape of `Sight.mean`, float64 `[F]`; F = 0 without a prior.

    The network's families; where the prior remembers the space itself, they share their weight with those it remembers, and
    with single tasks.
    """
    known = learned(key)
    if known is None:
        return torch.zeros(0, dtype=torch.float64)
    if space.name not in known.atlas:
        return known.weight
    here = known.atlas[space.name]
    drawn = known.weight[: here.family_means.shape[1]] * (here.family_means.std(0) > 0)
    means = torch.cat(
        [known.weight - torch.nn.functional.pad(drawn / 2, (0, len(known.weight) - len(drawn))), drawn / 2]
    )
    if here.task_weights is None:
        return means
    return torch.cat([means * (1 - _AGAIN), here.task_weights * _AGAIN])


def shared(key: int, space: Space) -> int:
    """How many of the landscapes of `Sight.mean` are means of several tasks; after them come single ones."""
    known = learned(key)
    single = known.atlas[space.name].task_weights if known is not None and space.name in known.atlas else None
    return len(families(key, space)) - (0 if single is None else len(single))


@lru_cache
def members(key: int, space: Space) -> Members:
    """The bank that a prior makes in a space."""
    return bank(None if key == NONE else families(key, space))


@lru_cache
def everything(key: int, space: Space) -> Outlook | None:
    """The outlook on every architecture of a space that can be listed, by row of `_landscape.listed`."""
    described = features.listed(space)
    return None if described is None else _look(key, space, described, centred=True)


def prepare(key: int, space: Space) -> None:
    """Do at once what is done once for a prior and a space: half a second for a large one, which no proposal should wait for."""
    if everything(key, space) is None and key != NONE:
        _sampled(key, space)


def look(key: int, space: Space, archs: Tensor, *, hidden: bool = True) -> Outlook:
    """The outlook on some architectures `[..., D]`; without what only the network wants if not `hidden`."""
    whole = everything(key, space)
    if whole is not None:
        row = features.rows(space, archs)
        return Outlook(whole.sight.at(row), whole.hidden[row] if hidden else whole.hidden[:0])
    flat = _look(key, space, features.describe(space, archs.flatten(0, -2)), centred=False)
    lead = archs.shape[:-1]
    return Outlook(Sight(*(x.unflatten(0, lead) for x in flat.sight)), flat.hidden.unflatten(0, lead))


def amounts(key: int, space: Space) -> Tensor | None:
    """Of what may be limited the usual logarithm and directions in which it differs, `[N, 1 + A]`; None where it is not known."""
    known = learned(key)
    return None if known is None or space.name not in known.atlas else known.atlas[space.name].constraint_factors


def _outlined(known: Learned, space: Space, described: features.Described) -> tuple[Tensor, Tensor, Tensor]:
    """What the network makes of architectures: hidden vectors `[N, H]`, each family's landscape `[N, F]`, directions `[N, R]`."""
    hidden = known.reader.cells.shared(transformer.draft(space, torch.float64), described.archs, described.whole)
    mean, span = known.reader.cells.prior(hidden)
    return hidden, mean[:, None] + span @ known.centre.T, span


def _extent(landscapes_NF: Tensor) -> tuple[Tensor, Tensor]:
    return landscapes_NF.mean(0), landscapes_NF.std(0).clamp_min(1e-6)


@lru_cache
def _sampled(key: int, space: Space) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each family's landscape over a space too large to list, `[F]` each, from a sample."""
    known = learned(key)
    assert known is not None
    archs = _sampling.sample(space, torch.zeros(1, dtype=torch.long), 0, _SAMPLE, stream=255).squeeze(0)
    return _extent(_outlined(known, space, features.describe(space, archs))[1])


def _look(key: int, space: Space, described: features.Described, *, centred: bool) -> Outlook:
    known = learned(key)
    whole = described.whole[:, features.varying(space)]
    if known is None:
        nothing = torch.zeros(len(described.archs), 0, dtype=torch.float64)
        return Outlook(Sight(described.place, whole, described.pair, nothing, nothing), nothing)
    hidden, landscapes, span = _outlined(known, space, described)
    usual_F, spread_F = _extent(landscapes) if centred else _sampled(key, space)
    landscapes = (landscapes - usual_F) / spread_F
    span = span @ known.mix
    if centred and space.name in known.atlas:
        here = known.atlas[space.name]
        single = [] if here.task_means is None else [here.task_means]
        landscapes, span = torch.cat([landscapes, here.family_means, *single], 1), here.components
    return Outlook(Sight(described.place, whole, described.pair, landscapes, span), hidden)
