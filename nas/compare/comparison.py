"""A whole comparison: its trials run, summarized, written and drawn."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nas import plugins
from nas.compare import curves, data_digest, rows, statistics, trial, trial_cache
from nas.compare.summary import TrialSummary, summarize
from nas.compare.trial import TrialSpec
from nas.run import priors
from nas.tasks import TaskName, exposure, families, full_columns
from search_spaces import UserError
from search_spaces._files import atomic_write

FORMAT = "nas-comparison/1"


def specs(
    patterns: str, controllers: list[str], texts: tuple[str, ...], seeds: int, evals: int | None,
    seconds: float | None, batch: int, aim: str = "",
) -> list[TrialSpec]:  # fmt: skip
    """Each task with each controller, but a portfolio only where it has sources.

    Raises `UserError` for unknown names, and for a prior that was trained on a task it is compared on.
    """
    chosen = [str(TaskName.parse(task).constrained(texts)) for task in families.select(patterns)]
    # A task that is named twice, as itself and by its protocol, is one.
    tasks = list(dict.fromkeys(families.protocol(task) for task in chosen))
    if not tasks or not controllers:
        raise UserError("A comparison takes at least one task and one controller.")
    prior = {c: _fingerprint(c, tasks) for c in dict.fromkeys(controllers)}
    source = {c: _source("controller", trial.named(c)[0]) for c in prior}
    scored = {
        t: _source("evaluator", name.table) if name.kind == "evaluator" else "" for t, name in map(_parsed, tasks)
    }
    data = {t: data_digest.of(t, aim) for t in tasks}
    asked = [
        TrialSpec(t, c, seeds, evals, seconds, batch, prior[c], source[c] + scored[t], aim, data[t])
        for t in tasks
        for c in prior
    ]
    # A portfolio without sources is left out and not refused: the other controllers of the command have their trials.
    possible = [
        spec for spec in asked if spec.prior or full_columns.has_sources(trial.named(spec.controller)[0], spec.task)
    ]
    if not possible:
        raise UserError(f"Task '{tasks[0]}' has no source tasks to make a portfolio of: no other dataset on its space.")
    return possible


def with_priors(controllers: list[str], names: tuple[str, ...]) -> list[str]:
    """The controllers, those that take a prior once with each of `names` (a file, `shipped` or `none`)."""
    takers = [c for c in controllers if _takes_prior(c) and "prior" not in trial.named(c)[1]]
    if names and not takers:
        raise UserError(f"--prior is '{names[0]}', but none of {', '.join(controllers)} takes one; transfer_bo does.")
    chosen = [[f"{c}:prior={name}" for name in names] if c in takers and names else [c] for c in controllers]
    return [c for several in chosen for c in several]


def _takes_prior(controller: str) -> bool:
    component = plugins.load("controller", trial.named(controller)[0])
    return any(field.name == "prior" for field in dataclasses.fields(component))


def _parsed(task: str) -> tuple[str, TaskName]:
    return task, TaskName.parse(task)


def _source(kind: str, name: str) -> str:
    """The hash of the source of a component from outside; empty for ours."""
    origin = plugins.origin(kind, name)
    return origin.sha256 if origin else ""


def _fingerprint(controller: str, tasks: list[str]) -> str:
    """Of the prior that a controller names, empty without one. `UserError` where it was trained on one of the tasks."""
    name, settings = trial.named(controller)
    wanted = settings.get("prior", "none")
    if wanted == "none" or not _takes_prior(controller):
        return ""
    prior = priors.find(wanted, name)
    if prior is None:
        raise UserError(f"Prior '{wanted}' is not there for controller '{name}'; --prior takes a file, or none.")
    known = exposure.trained_on(*(json.loads(prior.about.get(key, "[]")) for key in ("tasks", "auxiliary_columns")))
    for task in tasks:
        seen = exposure.seen(task, known)
        if seen is not None:
            raise UserError(
                f"Prior '{wanted}' was trained on '{seen}', so that '{task}' is no test of it. "
                "Compare it on other tasks, or train one that leaves it out: nas meta-train --split."
            )
    return priors.fingerprint(wanted, name)


def make(
    specs: list[TrialSpec],
    folder: Path,
    jobs: int | None = 1,
    done: Callable[[], object] = lambda: None,
    ray: str = "",
) -> list[TrialSummary]:
    """The trials of a comparison, in the order of `specs`; those that are not on disk are run."""
    folder.mkdir(parents=True, exist_ok=True)
    specs = trial_cache.kept(specs, folder)
    for _ in trial_cache.run_all(specs, folder, jobs, ray):
        done()
    # Read back even where just run: a summary depends on the files alone.
    paths = [(spec, spec.path(folder)) for spec in specs]
    return [summarize(spec, trial_cache.read(path), trial_cache.read_columns_read(path)) for spec, path in paths]


def document(summaries: list[TrialSummary], after: tuple[int, ...] | None = None) -> dict[str, Any]:
    """The results of a comparison, ready for JSON.

    `best_after` has what would be handed out after so many evaluations: `after`, or `statistics.AFTER` and the end of the budget.
    """
    groups = _groups(summaries)
    spec = summaries[0].spec
    return {
        "format": FORMAT,
        "version": trial_cache.version(),
        "seeds": spec.seeds,
        "evals": spec.evals,
        "seconds": spec.seconds,
        "batch": spec.batch,
        "aim": spec.aim or None,
        "rows": [rows.row(one) for one in summaries],
        "aggregates": [rows.aggregate(members) for members in groups.values()],
        "improvements": [
            rows.improvement(groups[family, ours], groups[family, theirs])
            for (family, ours), (other, theirs) in itertools.permutations(groups, 2)
            if family == other
        ],
        "best_after": [
            row for one in summaries for row in curves.best_after(one, after or statistics.ends(one.best.shape[1]))
        ],
    }


def write(document: dict[str, Any], folder: Path) -> None:
    """`results.json`, `results.csv` and `best_after.csv` (its rows; nested names joined by dots)."""
    # `allow_nan=False`: NaN is not JSON, and readers other than Python refuse it.
    with atomic_write(folder / "results.json") as beside:
        beside.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")
    _write_csv(folder / "results.csv", [_flat(_without_columns(row)) for row in document["rows"]])
    _write_csv(folder / "best_after.csv", [_flat(row) for row in document["best_after"]])


def draw(summaries: list[TrialSummary], folder: Path) -> None:
    """`curves.csv` and the figures, SVG and PNG."""
    # Here: matplotlib is slow to load, and --no-figures does without.
    from nas.compare import figures

    _write_csv(folder / "curves.csv", [point for one in summaries for point in curves.curve(one)])
    figures.draw([one for one in summaries if one.optimum is not None], folder)


def _groups(summaries: list[TrialSummary]) -> dict[tuple[str, str], list[TrialSummary]]:
    """Summaries of one family and controller, where the space is known: those whose scores can be put on one scale."""
    groups: dict[tuple[str, str], list[TrialSummary]] = {}
    for one in summaries:
        if one.optimum is not None:
            groups.setdefault((one.family, one.spec.controller), []).append(one)
    return groups


def _without_columns(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != "columns_read"}


def _flat(row: dict[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in row.items():
        flat |= _flat(value, f"{before}{key}.") if isinstance(value, dict) else {f"{before}{key}": value}
    return flat


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    header = list(dict.fromkeys(key for row in rows for key in row))
    with atomic_write(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, header, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
