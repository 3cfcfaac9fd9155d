"""A trial: one controller on one task, many seeds side by side. A comparison has one for each pair.

Shapes: `S` seeds, `T` evaluations, `D` decisions.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from controller import Controller, Prior, SelectsInTheEnd
from controller.candidates.proxy_filter import PROPOSED
from controller.models import legacy
from nas import loop, plugins, settings, tables, tasks
from nas.run import incumbent, priors
from nas.tasks import aims, full_columns, proxies
from nas.tasks.network_bound import Measurements
from nas.tasks.proxies import Proxy
from nas.text import file_name
from nas.types import Evaluator
from search_spaces import Space, UserError, _ops


@dataclass(frozen=True)
class TrialSpec:
    """What a trial runs."""

    task: str
    controller: str
    """A name, and after colons its settings: `reinforce:lr=0.03:hidden=8`, `my_sa.py:SimulatedAnnealing:heat=5`."""
    seeds: int
    evals: int | None
    """Budget in evaluations; with `seconds` too, whichever ends first."""
    seconds: float | None
    """Budget in simulated seconds."""
    batch: int = 1
    prior: str = ""
    """The fingerprint of the prior that the controller names; empty without one."""
    source: str = ""
    """The hash of the source of a controller from outside: another content is another trial. Empty for ours."""
    aim: str = ""
    """Several objectives, as `--aim` has them; empty: the score alone."""
    data: str = ""
    """The digest of what the task's evaluator reads: another content is another trial. Empty where it has none.

    Empty of a trial from before it was kept, too."""

    def path(self, folder: Path) -> Path:
        """The file of the trial."""
        words = f"{self.task}--{self.controller}"
        slug = file_name(words)[:100]
        # The slug is for people and may collide; the digest tells trials apart. It has the prior's content and not its path.
        digest = hashlib.sha256((words + self.prior + self.source + self.aim + self.data).encode()).hexdigest()[:8]
        return folder / "trials" / f"{slug}-{digest}.safetensors"


class Trial(NamedTuple):
    """All evaluations of a trial."""

    index: Tensor
    """int32 `[S, T]` the architectures, by index in their space; of more than 2^31 a number for each of the trial."""
    score: Tensor
    """float32 `[S, T]` of the objective column."""
    cost: Tensor
    """float32 `[S, T]` simulated seconds."""
    report: Tensor
    """float32 `[S, T]` test column of the best so far, read after the search; NaN where the task has none."""
    epochs: Tensor | None = None
    """int32 `[S, T]` of each evaluation; None: the task's own."""
    archs: Tensor | None = None
    """int32 `[S, T, D]` the architectures, where `index` does not say which they are; else None."""


ColumnsRead = dict[str, dict[str, int]]
"""`search`, `report` to the columns read during the search and after it, with how often; a column is read whole."""


def run(spec: TrialSpec) -> tuple[Trial, ColumnsRead]:
    """Search with all seeds side by side, until the budget of each is spent."""
    evaluator = tasks.find(spec.task)
    evaluator = aims.several(spec.aim, evaluator, Measurements()) if spec.aim else evaluator
    controller, prior = _controller(spec, evaluator)
    if isinstance(controller, SelectsInTheEnd):
        controller.selects_after(spec.batch)
    seeds = torch.arange(spec.seeds)
    # A count before and after: whoever reads a column during the search is seen, the controller too.
    before = tables.column_read_counts()
    state = controller.begin(evaluator.task, seeds, prior)
    # float64: in float32 a sum of many costs drifts, and with it the end of the search.
    spent, done = torch.zeros(spec.seeds, dtype=torch.double), 0
    archs, score, cost, epochs = [], [], [], []
    evaluate, memory = loop.load(evaluator, seeds)
    for step in loop.search(controller, evaluate, state, spec.batch, memory=memory):
        archs.append(step.proposal.archs)
        # What is none to choose by is none to be judged by.
        no_candidate = step.results.provisional
        score.append(
            step.results.score if no_candidate is None else step.results.score.masked_fill(no_candidate, torch.nan)
        )
        cost.append(step.results.cost)
        epochs.append(step.proposal.epochs)
        done += spec.batch
        spent += step.results.cost.sum(1)
        # All seeds go on until the last has spent its time: they share every step, and `within` cuts them off later.
        if (spec.evals and done >= spec.evals) or (spec.seconds and bool((spent > spec.seconds).all())):
            break
    keep = spec.evals or done
    archs, score, cost = (torch.cat(parts, 1)[:, :keep] for parts in (archs, score, cost))
    index, numbered = _index(archs, evaluator.space)
    epochs = None if None in epochs else torch.cat(epochs, 1)[:, :keep].int()
    trial = Trial(index, score, cost, score, epochs, archs.int() if numbered else None)
    searched = tables.column_read_counts() - before
    in_table = full_columns.everything(spec.task) is not None
    before = tables.column_read_counts()
    # The test column only now: that no search reads it is a contract test (`ColumnsRead`).
    trial = trial._replace(report=_report(spec, evaluator, trial, in_table))
    return trial, {
        "search": dict(sorted(searched.items())),
        "report": dict(sorted((tables.column_read_counts() - before).items())),
    }


def _index(archs: Tensor, space: Space) -> tuple[Tensor, bool]:
    """`Trial.index` of `archs` `[S, T, D]`, and whether it only numbers those that are there."""
    (key,) = _ops.keys(space.choices, archs)
    numbered = _ops.size(space.choices) > torch.iinfo(torch.int32).max
    return (key.unique(return_inverse=True)[1] if numbered else key).int(), numbered


def named(controller: str) -> tuple[str, dict[str, str]]:
    """A controller's name and settings, from `name:key=value:key=value`; the name may be `FILE.py:Class`."""
    name, *given = controller.split(":")
    if "." in name and given and "=" not in given[0]:  # A file or a module: its class follows.
        name, given = f"{name}:{given[0]}", given[1:]
    if any("=" not in text for text in given):
        raise UserError(f"Controller '{controller}' takes settings as NAME=VALUE after colons, as reinforce:lr=0.03.")
    return name, dict(text.split("=", 1) for text in given)


def check(controller: str) -> None:
    """Raises `UserError` for a controller that there is not, and for settings that it does not take."""
    name, given = named(controller)
    _pop_proxy(given)
    settings.typed(name, plugins.load("controller", name), legacy.settings_asked_for(name, given))


def _controller(spec: TrialSpec, evaluator: Evaluator) -> tuple[Controller, Prior | None]:
    name, given = named(spec.controller)
    component, space = plugins.load("controller", name), evaluator.space
    proxy = _pop_proxy(given)
    prior = priors.find(given.pop("prior"), name) if spec.prior else full_columns.prior_of(component, space, spec.task)
    options = settings.typed(name, component, legacy.settings_asked_for(name, given))
    return proxies.controller_on(evaluator, component, options, name, prior, proxy), prior


def _pop_proxy(given: dict[str, str]) -> Proxy:
    """What a controller's settings say of proxies, which any of them may be given."""
    proxy, use = given.pop("proxy", ""), given.pop("proxy_as", "")
    proposed = given.pop("proxy_proposed", str(PROPOSED))
    if bool(proxy) != bool(use) or use == "score":
        raise UserError(
            "A controller takes proxy=NAME and proxy_as=feature or filter together, as evolution:proxy=naswot:proxy_as=filter."
        )
    if not proposed.isdecimal() or not int(proposed):
        raise UserError(f"Setting proxy_proposed is '{proposed}'; it takes a whole number of 1 or more.")
    return Proxy(proxy, use or "score", int(proposed))


def final_archs(evaluator: Evaluator, trial: Trial, seconds: float | None) -> Tensor:
    """The best architecture of each seed within the budget, int64 `[S, D]`."""
    archs = trial.archs
    if archs is None:
        archs = _ops.from_index(trial.index.long(), evaluator.space.choices)
    return incumbent.best(archs.long(), trial.score, incumbent.within(trial.cost, seconds), trial.epochs).archs


def _report(spec: TrialSpec, evaluator: Evaluator, trial: Trial, in_table: bool) -> Tensor:
    """Of the best so far, `[S, T]`; only of the last where a report costs a training."""
    report = torch.full(trial.score.shape, torch.nan)
    if not in_table:
        values = evaluator.report(final_archs(evaluator, trial, spec.seconds))
        report[:, -1] = report[:, -1] if values is None else values
        return report
    report_N = evaluator.report(_ops.enumerate_all(evaluator.space.choices))
    if report_N is None:
        return report
    of_each = report_N.index_select(0, trial.index.flatten()).reshape(trial.index.shape)
    score = torch.where(incumbent.within(trial.cost, spec.seconds), trial.score, torch.nan)
    best, at = incumbent.so_far(score, trial.epochs)
    return torch.where(best.isnan(), torch.nan, of_each.gather(1, at))
