"""The figures and the tables of a run's page: what it came to, what it was compared with, how it was made, how to use it."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import Any, NamedTuple

from nas.run import budget, comparison, provenance, store
from nas.run.store import Run
from nas.text import counted, duration
from nas.training import metrics
from nas.types import TrainedNetwork


class Figure(NamedTuple):
    """A number at the head of the page."""

    name: str
    value: str
    note: str = ""


class Entry(NamedTuple):
    """A figure of the comparison."""

    text: str
    note: str = ""
    """Stands below it."""


class ComparedRow(NamedTuple):
    """A model of the comparison."""

    name: str
    cells: list[Entry]
    handed_out: bool
    """Whether it is the network of the run's export."""


class Comparison(NamedTuple):
    """What else was trained on the same images."""

    lines: list[str]
    columns: list[str]
    rows: list[ComparedRow]


def figures(
    document: dict[str, Any], top: dict[str, Any], winner: TrainedNetwork | None, parameters: int | None
) -> list[Figure]:
    """The numbers at the head, of the run's `summary` and its top row."""
    found = []
    if winner is not None:
        low, high = winner.metrics["interval"]
        confusion = winner.metrics["confusion"]
        found += [
            Figure("test accuracy", f"{winner.metrics['test_accuracy']:.2f}%", f"95% interval {low:.2f} to {high:.2f}"),
            Figure("balanced accuracy", f"{metrics.balanced_accuracy(confusion):.2f}%", "mean over classes"),
        ]
    elif top["report"] is not None:
        place = f"rank {top['test_rank']:,} of {top['test_functions']:,}" if "test_rank" in top else ""
        found.append(Figure("test", f"{top['report']:.2f}", place))
    # The other numbers may be those of the plain network or of an ensemble.
    whose = "of the network found, " if winner is not None and (winner.members or winner.arch != top["arch"]) else ""
    provisional = ", provisional" if top.get("provisional") else ""
    found.append(Figure("score", f"{top['score']:.2f}", f"{whose}at evaluation {top['found_at']}{provisional}"))
    if parameters is not None:
        found.append(Figure("parameters", f"{parameters:,}"))
    leaders = document["leader_trainings"]
    retrained = f"{leaders} more to tell the leaders apart" if leaders else ""
    found.append(Figure("evaluations", f"{document['evaluations']:,}", retrained))
    found.append(Figure("search", duration(document["wall_seconds"]), "of wall clock"))
    return found


def compared(run: Run) -> Comparison | None:
    """The comparison that a run keeps; None where it keeps none."""
    document = comparison.read(run)
    if document is None:
        return None
    headings = ["validation", "test accuracy", "balanced", "macro F1", "parameters", "ms an image", "time"]
    rows = [
        ComparedRow(row.name, _entries(row), row.name == document["handed_out"]) for row in comparison.rows_of(document)
    ]
    return Comparison(comparison.lines(document), headings, rows)


def _entries(row: comparison.Row) -> list[Entry]:
    low, high = row.interval
    return [
        Entry("-" if row.valid_score is None else f"{row.valid_score:.2f}"),
        Entry(f"{row.test_accuracy:.2f}%", f"{low:.1f} to {high:.1f}"),
        Entry(f"{row.balanced_accuracy:.2f}%"),
        Entry(f"{row.macro_f1:.2f}"),
        Entry("-" if row.parameters is None else f"{row.parameters:,}"),
        Entry("-" if row.latency_ms is None else f"{row.latency_ms:.3g}"),
        Entry(duration(row.seconds)),
    ]


def uses(run: Run, winner: TrainedNetwork | None) -> list[tuple[str, str]]:
    """What to do with the network: a sentence and a command each."""
    folder = shlex.quote(str(run.folder))
    if winner is None:
        return [
            ("Write the network as files, untrained: a table holds no weights.", f"nas export {folder} --to network")
        ]
    return [
        ("Ask it about image files.", f"nas predict {folder} photo.jpg"),
        ("Write it as files that need only PyTorch, or ONNX Runtime.", f"nas export {folder} --to network"),
        (
            "Ask it from Python, in the folder of the export, without metacell.",
            'from network import classify\n\nprobabilities = classify("photo.jpg")',
        ),
    ]


def made(run: Run, document: dict[str, Any]) -> list[tuple[str, str]]:
    """How the run was made, a row each; what it does not keep is left out."""
    config, kept = run.config, store.get_meta(run, provenance.KEY) or {}
    seeds = range(config.first_seed, config.first_seed + config.seeds)
    created, seconds = store.get_meta(run, "created"), store.get_meta(run, "seconds") or {}
    started = None if created is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(float(created)))
    spent = [f"{duration(document['wall_seconds'])} of search"]
    spent += [f"{duration(float(took))} of {stage}" for stage, took in seconds.items()]
    rows = [
        ("task", config.task),
        ("images", "\n".join(document["data"])),
        ("digest of the data", kept.get("data")),
        ("search algorithm", _with(config.controller, config.controller_options)),
        ("prior", _with(config.prior, {"fingerprint": kept["prior"]}) if kept.get("prior") else None),
        ("settings of the training", _with("", config.training_options)),
        ("budget", budget.text(config)),
        ("evaluations", counted(document["evaluations"], "evaluation") + f", {config.batch} at a time"),
        ("seeds", ", ".join(map(str, seeds))),
        ("time", ", ".join(spent)),
        ("trained by", "\n".join(kept.get("engines") or [])),
        ("metacell", kept.get("version")),
        ("started", started),
        ("folder", str(Path(run.folder))),
    ]
    return [(name, str(value)) for name, value in rows if value]


def _with(name: str, options: dict[str, str]) -> str:
    given = ", ".join(f"{key}={value}" for key, value in options.items())
    return f"{name} ({given})" if name and given else name or given
