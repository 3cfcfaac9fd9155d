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
from safetensors import safe_open
from torch import Tensor

from controller import _landscape, _reader
from controller._bank import Members, Sight, bank
from controller._base import Prior
from search_spaces._base import Space, UserError

FORMAT = "nas-prior/1"
NONE = 0


class Learned(NamedTuple):
    """A prior, ready to be asked."""

    reader: _reader.Reader
    """The network, in float64: what it says does not depend on who else is asked."""
    centre: Tensor
    """float64 `[F, R]` each family's coefficients of the directions."""
    mix: Tensor
    """float64 `[R, R]` turns directions into ones along which tasks vary by one."""
    weight: Tensor
    """float64 `[F]` how likely a new task is of each family."""
    trusted: bool
    """Whether the network's own predictions take part."""


class Outlook(NamedTuple):
    """Architectures as the bank and the network see them. Leading axes are free."""

    sight: Sight
    hidden: Tensor
    """float64 `[..., N, H]`; `H` = 0 without a prior."""


_learned: dict[int, Learned] = {}


def read(path: str) -> Prior:
    """The prior of a file. Raises `UserError` for a file that holds none."""
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            if about.get("format") != FORMAT:
                raise UserError(f"'{path}' has format '{about.get('format')}'; a prior has '{FORMAT}'.")
            return Prior({name: file.get_tensor(name) for name in file.keys()}, about)  # noqa: SIM118
    except FileNotFoundError:
        raise UserError(f"There is no prior '{path}'; --prior takes a file of `nas meta-train`, or none.") from None
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"'{path}' is not a whole .safetensors file ({error}); train or fetch it again.") from None


def hold(prior: Prior | None) -> int:
    """Make a prior known; its fingerprint. `NONE` for None."""
    if prior is None:
        return NONE
    words = b"".join(name.encode() + t.contiguous().numpy().tobytes() for name, t in sorted(prior.params.items()))
    key = int.from_bytes(hashlib.sha256(words).digest()[:6], "big")
    if key not in _learned:
        reader = _reader.Reader()
        reader.load_state_dict(
            {n.removeprefix("reader."): t for n, t in prior.params.items() if n.startswith("reader.")}
        )
        trusted = json.loads(prior.about.get("trusted", "false"))
        centre, mix, weight = (prior.params[name].double() for name in ("centre", "mix", "weight"))
        _learned[key] = Learned(reader.double().requires_grad_(False), centre, mix, weight, trusted)
    return key


def learned(key: int) -> Learned | None:
    """The prior of a fingerprint; None for `NONE`."""
    if key == NONE:
        return None
    if key not in _learned:
        raise UserError("This search began with a prior that is not loaded; call `begin` with it, then go on.")
    return _learned[key]


@lru_cache
def members(key: int) -> Members:
    """The bank that a prior makes."""
    known = learned(key)
    return bank(None if known is None else known.weight)


@lru_cache
def everything(key: int, space: Space) -> Outlook | None:
    """The outlook on every architecture of a space that can be listed, by row of `_landscape.listed`."""
    described = _landscape.listed(space)
    return None if described is None else _look(key, space, described, centred=True)


def look(key: int, space: Space, archs: Tensor, *, hidden: bool = True) -> Outlook:
    """The outlook on some architectures `[..., D]`; without what only the network wants if not `hidden`."""
    whole = everything(key, space)
    if whole is not None:
        row = rows(space)[_landscape.ranks(space, archs)]
        return Outlook(whole.sight.at(row), whole.hidden[row] if hidden else whole.hidden[:0])
    flat = _look(key, space, _landscape.describe(space, archs.flatten(0, -2)), centred=False)
    lead = archs.shape[:-1]
    return Outlook(Sight(*(x.unflatten(0, lead) for x in flat.sight)), flat.hidden.unflatten(0, lead))


@lru_cache
def rows(space: Space) -> Tensor:
    """From an architecture's rank to its row in `_landscape.listed`."""
    described = _landscape.listed(space)
    assert described is not None
    ranks = _landscape.ranks(space, described.archs)
    out = torch.zeros(int(ranks.max()) + 1, dtype=torch.long)
    out[ranks] = torch.arange(len(ranks))
    return out


def _look(key: int, space: Space, described: _landscape.Described, *, centred: bool) -> Outlook:
    known = learned(key)
    whole = described.whole[:, _landscape.varying(space)]
    if known is None:
        nothing = torch.zeros(len(described.archs), 0, dtype=torch.float64)
        return Outlook(Sight(described.place, whole, nothing, nothing), nothing)
    hidden = known.reader.cells(_reader.draft(space, torch.float64), described.archs, described.whole)
    mean, span = known.reader.cells.prior(hidden)
    landscapes = mean[:, None] + span @ known.centre.T
    if centred:
        landscapes = (landscapes - landscapes.mean(0)) / landscapes.std(0).clamp_min(1e-6)
    return Outlook(Sight(described.place, whole, landscapes, span @ known.mix), hidden)
