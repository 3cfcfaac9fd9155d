"""The network at work in a search: what it remembers, foretells and would itself propose.

Shapes: `S` seeds, `B` architectures, `E` evaluations, `M` asked about, `D` decisions, `C` choices, `H` the network's width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from controller.models import features, gp_ensemble, pretrained, transformer
from controller.policies import nets
from search_spaces import Space, _noise, _sampling

_CONTEXT = 64
"""Evaluations the network attends to at most: the latest and the best, half each."""


def place_among(score: Tensor, new: Tensor) -> Tensor:
    """Where new scores `[S, B]` stand among earlier ones `[S, E]`, in the units of `_bank.standing` of those.

    Between two earlier scores the standing is interpolated; beyond the ends it goes on with their deviation for a unit, by 1.5 at
    most, so that scores of any scale are read as in training. NaN stands at the bottom.
    """
    order = _sampling.better(score).argsort(dim=-1, stable=True)
    known, stand = score.gather(1, order).double(), gp_ensemble.standing(score).gather(1, order)
    lowest = torch.where(known.isnan(), torch.inf, known).amin(-1, keepdim=True)
    known = torch.where(known.isnan(), lowest - 1e-6 * lowest.abs() - 1e-9, known).nan_to_num(0.0)
    value = torch.where(new.isnan(), known[:, :1], new.double())
    right = torch.searchsorted(known.contiguous(), value.contiguous()).clamp(1, max(known.shape[1] - 1, 1))
    if known.shape[1] < 2:
        return stand + (value - known).sign()
    low, high = known.gather(1, right - 1), known.gather(1, right)
    share = ((value - low) / (high - low).clamp_min(1e-12)).clamp(0, 1)
    inside = stand.gather(1, right - 1).lerp(stand.gather(1, right), share)
    unit = known.std(-1, keepdim=True).clamp_min(1e-12)
    above, below = (value - known[:, -1:]) / unit, (known[:, :1] - value) / unit
    return inside + above.clamp(0, 1.5) - below.clamp(0, 1.5)


def _memory(space: Space, key: int, state: Any) -> list[Tensor]:
    known = pretrained.learned(key)
    assert known is not None
    stand_SE, pace_SE, archs_SED = gp_ensemble.standing(state.score), transformer.pace(state.cost), state.archs
    excess = state.score.shape[1] - _CONTEXT
    if excess > 0:
        late = _CONTEXT // 2
        best_SK = stand_SE[:, :-late].argsort(dim=-1, descending=True, stable=True)[:, : _CONTEXT - late]
        late_SK = torch.arange(stand_SE.shape[1])[-late:].expand(len(best_SK), -1)
        kept_SK = torch.cat([best_SK, late_SK], 1)
        stand_SE, pace_SE = stand_SE.gather(1, kept_SK), pace_SE.gather(1, kept_SK)
        archs_SED = archs_SED.gather(1, kept_SK[..., None].expand(-1, -1, archs_SED.shape[-1]))
    hidden_SEH = pretrained.look(key, space, archs_SED).hidden
    return known.reader.remember(state.task, hidden_SEH, stand_SE, pace_SE)


def predict(space: Space, key: int, state: Any, hidden_SMH: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`Reader.predict` for a search's state."""
    known = pretrained.learned(key)
    assert known is not None
    return known.reader.predict(_memory(space, key, state), hidden_SMH)


def sample(space: Space, key: int, state: Any, batch: int, turn: int, stream: int) -> Tensor:
    """Architectures `[S, batch, D]` drawn from the policy; only options that can still end in a valid one."""
    known = pretrained.learned(key)
    assert known is not None
    reader, sketch = known.reader, transformer.draft(space, torch.float64)
    mood_S1H = reader.mood(_memory(space, key, state))[:, None]
    D, C = len(space.choices), max(space.choices)
    luck_SBDC = _noise.gumbel(state.seeds, turn, batch, D, C, stream=stream).double()
    return draw(reader, space, sketch, mood_S1H, luck_SBDC)


def draw(reader: transformer.Reader, space: Space, sketch: transformer.Draft, mood: Tensor, luck: Tensor) -> Tensor:
    """Architectures `[S, B, D]` for moods `[S, 1 or B, H]` and Gumbel noise `[S, B, D, C]`."""
    choosing = reader.choosing(sketch, mood)
    added, archs = torch.zeros_like(choosing.begin[..., 0, :]), luck.new_zeros(*luck.shape[:2], 0, dtype=torch.long)
    for d in range(len(space.choices)):
        choice = (choosing.logits(added, d) + closed(space, archs, d) + luck[:, :, d]).argmax(-1)
        archs = torch.cat([archs, choice[..., None]], -1)
        added = added + choosing.taken[d][choice]
    return archs


def log_probs(
    reader: transformer.Reader, space: Space, sketch: transformer.Draft, mood: Tensor, archs: Tensor
) -> Tensor:
    """Log probabilities `[S, B, D, C]` of each option of `archs` `[S, B, D]`, given the decisions before it; -inf where closed.

    Args:
        mood: `[S, B, H]`.
    """
    options_DCH = reader.cells.options(sketch)
    prefix, found = torch.zeros_like(mood), []
    for d in range(len(space.choices)):
        logits = reader.logits(sketch, options_DCH, mood, prefix, d) + closed(space, archs[..., :d], d)
        found.append(logits.log_softmax(-1))
        prefix = prefix + options_DCH[d][archs[..., d]]
    return torch.stack(found, 2)


def log_prob(
    reader: transformer.Reader, space: Space, sketch: transformer.Draft, mood: Tensor, archs: Tensor
) -> Tensor:
    """Log probability `[S, B]` of `archs` `[S, B, D]` for moods `[S, B, H]`."""
    return nets.log_prob(log_probs(reader, space, sketch, mood, archs), archs)


def closed(space: Space, begun: Tensor, d: int) -> Tensor:
    """0 for the options of decision `d` that can end in a valid architecture after `begun` `[S, B, d]`, else -inf."""
    enumerable = features.size(space) <= features.LISTED
    invalid = _sampling.invalid_mask(space, begun, d) if enumerable else _sampling.padding_mask(space.choices)[d]
    return torch.zeros(invalid.shape, dtype=torch.float64).masked_fill(invalid, -torch.inf)
