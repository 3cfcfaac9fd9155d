"""The task distribution that a prior is trained on: columns of tables, less those a split leaves out, and made-up ones.

A landscape is one score for each architecture of a space. Splits are data, in `data/splits.json`: a task whose name matches one
of a split's `leave` patterns is in no batch of its training, in no mixture. Properties are what tables say of architectures
beside scores, as parameters, seconds and zero-cost proxies: no tasks, but tasks differ along them.

Shapes: `N` architectures of a space, `K` landscapes, `F` features.
"""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from controller import Proposal
from controller.models import features, transformer
from nas import plugins, tables, tasks
from nas.paths import DATA
from nas.tables import Column
from nas.tasks import families
from search_spaces import Space, Task

_LIMITS, _QUANTILE = "nasbench201-hardware", "q30"
_LIMITED = ("latency", "energy", "params", "flops", "train_seconds")
"""Metrics of which there may be at most so much."""
_CUT = 0.001
"""Of each end of such a figure's distribution, what counts as an outlier."""


class Landscape(NamedTuple):
    """One task over all of its space."""

    name: str
    family: str
    space: Space
    task: Task
    standing: Tensor
    """float32 `[N]` by row of `_landscape.listed`: the normal quantile of the score's rank; ties share one."""
    pace: Tensor
    """float32 `[N]` the logarithm of an evaluation's seconds, in deviations over the space; zero where all cost the same."""


class Property(NamedTuple):
    """One figure over all of a space that is no score."""

    name: str
    """`TABLE/COLUMN`."""
    space: Space
    standing: Tensor
    """float32 `[N]` as a landscape's; what is not measured stands where its twins do on average, or in the middle."""
    amount: Tensor | None = None
    """float32 `[N]` the figure's logarithm, of what a limit may be put on."""


class Split(NamedTuple):
    """What a prior may not see, and what it is then tried on."""

    leave: tuple[str, ...]
    test: tuple[str, ...]


@lru_cache
def _declared() -> dict[str, Any]:
    return json.loads((DATA / "splits.json").read_text())


def splits() -> dict[str, Split]:
    """The declared splits by name."""
    return {n: Split(tuple(s["leave"]), tuple(s["test"])) for n, s in _declared()["splits"].items()}


def split(name: str) -> Split:
    """The split of a name. Raises `UserError` with those there are."""
    if name not in splits():
        raise plugins.unknown("split", name, sorted(splits()))
    return splits()[name]


def family_weights() -> dict[str, float]:
    """How likely a new task is of each family."""
    return _declared()["families"]


def whole_families() -> list[str]:
    """The families whose tasks are measured so well that a prior keeps each whole: by several seeds over long trainings."""
    return _declared()["whole"]


def order(kinds: set[str]) -> list[str]:
    """Those of the declared families that are among `kinds`, as declared; all of them by name where none is declared."""
    return [family for family in family_weights() if family in kinds] or sorted(kinds)


def names() -> list[str]:
    """Every task that may train a prior: tables at every length, and accuracy under each device's limit."""
    found = [t for name in tables.names() for t in families.at_every_length(tables.find(name)) if _has_space(name)]
    if _LIMITS in tables.names():
        devices = families.devices(tables.find(_LIMITS))
        full = families.families().get("accuracy", [])
        found += [f"{t}+{_LIMITS}/{d}<={_QUANTILE}" for t in full if t.startswith("nasbench201/") for d in devices]
    return found


def library(leave: tuple[str, ...]) -> list[Landscape]:
    """All landscapes but those of tasks whose name matches a pattern of `leave`."""
    return [_of(name) for name in names() if not any(fnmatchcase(name, pattern) for pattern in leave)]


def properties(leave: tuple[str, ...]) -> list[Property]:
    """The properties of all listed spaces but those whose name matches a pattern of `leave`."""
    found = [
        f"{t}/{n}" for t in tables.names() if _has_space(t) for n, c in tables.find(t).columns.items() if _tells(c)
    ]
    return [_property(name) for name in found if not any(fnmatchcase(name, pattern) for pattern in leave)]


def _tells(column: Column) -> bool:
    return column.split == "train" or (column.split is None and column.metric not in tasks.SCORES)


@lru_cache(maxsize=512)
def _property(name: str) -> Property:
    table_name, _, column = name.partition("/")
    table = tables.find(table_name)
    space = tasks.space_of(table)
    described = features.listed(space)
    assert described is not None
    value_N = table.by_index(column, space.choices)[features.ranks(space, described.archs)].double()
    value_N = value_N.nanmean(1) if value_N.ndim > 1 else value_N
    _, twin_N = features.ranks(space, space.canonical(described.archs)).unique(return_inverse=True)
    known_N, total_T = ~value_N.isnan(), torch.zeros(int(twin_N.max()) + 1, 2).double()
    total_T = total_T.index_add(0, twin_N, torch.stack([value_N.nan_to_num(0.0), known_N.double()], 1))
    value_N = torch.where(known_N, value_N, (total_T[:, 0] / total_T[:, 1])[twin_N])
    standing_N = torch.zeros(len(value_N))
    known_N = ~value_N.isnan()
    standing_N[known_N] = ranked(value_N[known_N])
    limited = table.columns[column].metric in _LIMITED and bool((value_N[known_N] > 0).all())
    return Property(name, space, standing_N, _amount(value_N, known_N) if limited else None)


def _amount(value_N: Tensor, known_N: Tensor) -> Tensor:
    """Logarithms, what is not known in the middle, outliers cut."""
    log_N = torch.where(known_N, value_N, value_N.nanmedian()).log()
    return log_N.clamp(*log_N.quantile(torch.tensor([_CUT, 1 - _CUT], dtype=log_N.dtype))).float()


def _has_space(table: str) -> bool:
    space = tables.find(table).space.replace("-", "_")
    return space in plugins.names("space") and features.size(plugins.load("space", space)()) <= features.LISTED


@lru_cache(maxsize=512)
def _of(name: str) -> Landscape:
    evaluator = tasks.find(name)
    described = features.listed(evaluator.space)
    assert described is not None
    found = evaluator.load(torch.tensor([0]))(Proposal(described.archs[None]))
    pace = transformer.pace(found.cost)[0].float()
    return Landscape(name, _family(name), evaluator.space, evaluator.task, ranked(found.score[0]), pace)


def _family(name: str) -> str:
    if "+" in name:
        return "device"
    return families.family_of(f"{name.split('@')[0]}@200" if name.startswith("nasbench201/") else name)


def ranked(score: Tensor) -> Tensor:
    """The normal quantile of each score's rank among all, float32 `[N]`; NaN stands at the bottom."""
    value = torch.where(score.isnan(), -torch.inf, score)
    _, place, count = value.unique(return_inverse=True, return_counts=True)
    middle = count.cumsum(0) - count / 2
    return torch.special.ndtri(middle.double()[place] / len(score)).float()


def synthetic(space: Space, rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Made-up landscapes at `rows` `[n]`, float32 `[n, count]` with deviation one: functions of what a cell computes.

    A line through sums and depths (parameter and FLOP trends, dead cells, live paths) and single decisions, with few of them at
    work; beside it smooth waves over the same, which hold interactions; in any share.
    """
    described = features.listed(space)
    assert described is not None
    features_NF = torch.cat([described.whole, described.place], 1)[rows].float()
    F = features_NF.shape[1]

    def randn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    def rand(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    line_NK = features_NF @ (randn(F, count) * torch.exp(0.8 * randn(F, count)) * (rand(F, count) < 0.4))
    waves = 8
    slope_FW = randn(F, count * waves) * (rand(F, count * waves) < 0.25) / 2
    wave_NKW = torch.sin(features_NF @ slope_FW + 6.2832 * rand(count * waves)).unflatten(1, (count, waves))
    wave_NK = (wave_NKW * randn(count, waves)).sum(-1)
    share_K = rand(count)
    mixed_NK = share_K * _unit(line_NK) + (1 - share_K) * _unit(wave_NK)
    return _unit(mixed_NK + described.whole[rows].float().mean(1, keepdim=True) * randn(count))


def synthetic_pace(space: Space, rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Made-up logarithms of seconds at `rows` `[n]`, float32 `[n, count]`: shares of all that is alive; for half of them zero."""
    described = features.listed(space)
    assert described is not None
    share = torch.rand(described.whole.shape[1], count, generator=generator).square()
    made = _unit(described.whole[rows].float() @ share)
    return made * (torch.rand(count, generator=generator) < 0.5)


def _unit(values_NK: Tensor) -> Tensor:
    return (values_NK - values_NK.mean(0)) / values_NK.std(0).clamp_min(1e-6)
