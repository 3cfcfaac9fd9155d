"""The network that a search found beside simpler models of the same images, as it is kept with the run, shown and put into words.

`nas.run.simpler` makes it; this file needs no evaluator. Shapes: `N` test images.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from nas import baselines
from nas.run import store
from nas.run.markdown import escape
from nas.run.store import Run
from nas.training.metrics import METRIC_NAMES
from search_spaces import UserError

KEY, PLAN, SHARES, SEARCHED = "comparison", "comparison_plan", "final_shares", "searched"
"""What a run keeps of it: the comparison, and beforehand how long the plain network and each final training is trained, and what
the search found where its network was trained otherwise."""
FOUND, REFERENCE, MAJORITY, LEARNED, ENSEMBLE = "found", "reference", "majority", "scikit-learn", "ensemble"
"""What kind of model a row is."""
_MIRROR_WORDS = ("mirror=yes", "twice=yes")
_SIZES = ("stem=", "width=")
"""How settings of a network's size begin."""
LEVEL = 0.05
"""The p-value below which a difference counts, as usual."""
_TELLING = 6
"""Test images that only one of two models has right, from which on McNemar's exact test can tell them apart: five that all fall
alike have p = 0.0625."""
_HEADINGS = ("model", "valid", "test", "95% interval", "balanced", "macro F1", "parameters", "ms an image", "seconds")


_LEARNED_SECONDS, _LEARNED_SHARE = 60.0, 0.1
"""What models of scikit-learn may take: at most so many seconds and this share of the search's time."""
_LEARNED_LEAST = 2.0
"""Seconds that they have in any case, for one on each kind of features."""
HELD_OUT = 1 / 3
"""Of the final epochs, the trainings whose networks are judged by the validation images: what halving by three (Li et al. 2018)
gives those that are one step from the end. A whole training would tell more, and make the final one shorter by as much time."""
_TRAINING_IMAGES = 0.8
"""Of the images of a final training: the validation images are a fifth."""
_JUDGED = 1 + HELD_OUT * _TRAINING_IMAGES
"""Of a final training's time, what a core takes for it and for the one whose network is judged."""


def learned_seconds(search: float) -> float:
    """What models of scikit-learn may take after a search of so many seconds."""
    return max(_LEARNED_LEAST, min(_LEARNED_SECONDS, _LEARNED_SHARE * search))


def seconds(final: float, search: float, cores: int, networks: int = 2) -> float:
    """About how many seconds the comparison adds to a final training of `final` and a search of `search` seconds.

    The plain network takes as long as the one found, and both are trained once more, for fewer epochs, on the training images
    alone. The cores share the trainings; where there are enough of them the longest is what counts.

    Args:
        cores: that final trainings have here, one each; 1 where one takes all of them.
        networks: 1 where the space has no plain network, nor a second training for it.
    """
    return max(1.0, networks * _JUDGED / cores) * final - final + learned_seconds(search)


def unjudged(cores: int = 1) -> float:
    """Of the final epochs, those of two trainings of one architecture: the mean of both is handed out, and no third and fourth
    training has to judge them, whose time they get. Where those take no time, as there are cores enough, there is none to get.
    """
    return max(1.0, 2 * _JUDGED / max(2, cores))


class Row(NamedTuple):
    """A model of the comparison, with its figures in percent."""

    name: str
    kind: str
    arch: str | None
    """As its space describes it; None for what is no network."""
    valid_score: float | None
    """By the metric of the search, after training on the training images alone: a network for `HELD_OUT` of its epochs.
    None of an ensemble of two trainings of one architecture, and of these, which need no judge; in earlier versions the network
    found had the search's score there."""
    test_accuracy: float
    interval: list[float]
    """95% (Wilson)."""
    balanced_accuracy: float
    macro_f1: float
    parameters: int | None
    latency_ms: float | None
    """Of one image on this machine."""
    seconds: float
    """Of wall clock, for all that led to it: for the network found also its search."""
    correct: str
    """`1` for each test image that it has right, else `0`."""

    @property
    def hits(self) -> Tensor:
        """bool `[N]`."""
        return torch.tensor([letter == "1" for letter in self.correct])


def read(run: Run) -> dict[str, Any] | None:
    """The JSON document: `rows`, `sentence`, `handed_out` (the name of a row), `latency_by`, `metric`, `no_plain` (why
    the plain ResNet is missing; empty where it is not), `searched`, `mirrored_share`; None before it is made.
    """
    document = store.get_meta(run, KEY)
    if document is None:
        return None
    try:
        # What it is read for: the table, the lines below it, and which images each model has right.
        cells = (cell for row in table(document) for cell in row)
        texts = [*lines(document), *cells, document["metric"], document.get("searched", "")]
        if not all(isinstance(text, str) for text in texts) or not all(len(row.hits) for row in rows_of(document)):
            raise TypeError("other values than a comparison has")
    except (TypeError, KeyError, ValueError, AttributeError, StopIteration) as error:
        raise UserError(f"Run '{run.folder}' keeps a comparison that cannot be read ({error!r}).") from None
    return document


def brief(run: Run) -> dict[str, Any] | None:
    """`read` without which test images each model has right."""
    document = read(run)
    if document is None:
        return None
    return document | {"rows": [{k: v for k, v in row.items() if k != "correct"} for row in document["rows"]]}


def rows_of(document: dict[str, Any]) -> list[Row]:
    return [Row(**row) for row in document["rows"]]


def advised(simpler: list[Row], exported: Row) -> Row:
    """Of simpler models the one that is best on the validation images; of ties the network handed out, then the first.

    Few validation images often tie, and another model than the one in the user's hands needs a reason. The test images give none.
    """
    return max(simpler, key=lambda row: (row.valid_score or 0.0, row.name == exported.name))


def handed_out(rows: list[Row]) -> Row:
    """The network found, or the plain one: what is better on the validation images; of ties the smaller."""
    networks = [row for row in rows if row.kind in (FOUND, REFERENCE)]
    return max(networks, key=lambda row: (row.valid_score or 0.0, -(row.parameters or 0), row.kind == REFERENCE))


def sentence(rows: list[Row], kind: str = FOUND, steadier: str = "") -> str:
    """Whether the search was worth it, by McNemar's exact test between what was found and simpler models.

    It was not where the network found has no row.

    It was where the network is better beyond chance than the simpler model that validation images prefer, and than all others
    too: the networks that validation images judge are trained for a third of the epochs, so that they can prefer the wrong one.
    Where the two differ on too few test images for any answer, that is said, and nothing is advised.

    Args:
        kind: of the row of what was found: the network, or the ensemble with it.
        steadier: what trains steadily, with a space before it, where the network found diverged; empty where nothing is known.
    """
    found = next((row for row in rows if row.kind == kind), None)
    if found is None:
        return f"The network found has no row: one of its trainings diverged.{steadier}"
    simpler = [row for row in rows if row.kind not in (FOUND, ENSEMBLE)]
    level = [row for row in simpler if not _is_better(found, row)]
    # Nobody is advised to name the commonest class where a network is ahead of that, though chance may explain it.
    sensible = [row for row in level if not (row.kind == MAJORITY and _is_ahead(found, row))]
    other = advised(sensible or level or simpler, found if kind == ENSEMBLE else handed_out(rows))
    test = baselines.paired(found.hits, other.hits)
    differ = (
        f"of {len(found.correct)} test images {found.name} alone is right on {test.first_only}, {other.name} alone on "
        f"{test.second_only} (McNemar's exact test, p = {test.p:.2g})"
    )
    if not level:
        return f"The search was worth it: {differ}."
    few = test.first_only + test.second_only < _TELLING
    if few or not sensible:
        why = f"; fewer than {_TELLING} such images show nothing" if few else ""
        return f"The test images are too few to tell whether the search was worth it: {differ}{why}."
    how = "worse" if test.p < LEVEL else "no better beyond chance"
    subject = f"{found.name[0].upper()}{found.name[1:]}"
    return f"The search was not worth it here, take the simpler one, {other.name}. {subject} is {how}: {differ}."


def _is_better(found: Row, other: Row) -> bool:
    """Whether the network found is better than a simpler model beyond chance."""
    test = baselines.paired(found.hits, other.hits)
    return test.p < LEVEL and test.first_only > test.second_only


def _is_ahead(found: Row, other: Row) -> bool:
    """Whether more is right by the network found, on test images and by the validation score where it has one."""
    judged = found.valid_score is None or found.valid_score > (other.valid_score or 0.0)
    return judged and bool(found.hits.sum() > other.hits.sum())


def lines(document: dict[str, Any]) -> list[str]:
    """What is said below the table."""
    exported = _plain_is_exported(document) or _ensemble_is_exported(document) or _second_is_exported(document)
    # A comparison of an earlier version does not say why the plain network is missing.
    in_the_end = (_has_mirrors(document), _is_larger(document), _is_not_judged(document))
    lines = (document["sentence"], exported, *in_the_end, document.get("no_plain", ""))
    said = [line for line in lines if line != ""]
    return [*said, f"Latency by {document['latency_by']}; models of scikit-learn in Python."]


def plain_handed_out(run: Run) -> str:
    """The line that says so where a run hands out the plain network; else empty."""
    document = read(run)
    return "" if document is None else _plain_is_exported(document)


def found_diverged(run: Run) -> bool:
    """Whether a run was compared without the network found, as a training of it diverged."""
    document = read(run)
    return document is not None and all(row.kind not in (FOUND, ENSEMBLE) for row in rows_of(document))


def _plain_is_exported(document: dict[str, Any]) -> str:
    rows = rows_of(document)
    chosen = next(row for row in rows if row.name == document["handed_out"])
    if chosen.kind != REFERENCE:
        return ""
    found = next((row for row in rows if row.kind == FOUND), None)
    if found is None:
        return f"The export is {chosen.name}."
    return (
        f"The export is {chosen.name} and not the network found: {chosen.valid_score:.2f} against {found.valid_score:.2f} on the "
        "validation images."
    )


def _ensemble_is_exported(document: dict[str, Any]) -> str:
    chosen = next(row for row in rows_of(document) if row.name == document["handed_out"])
    if chosen.kind != ENSEMBLE:
        return ""
    return f"The export is {chosen.name}, which answers by the mean of their logits; -t ensemble=false hands out one network."


def searched(run: Run) -> str | None:
    """The architecture that the search found, where its network was trained otherwise in the end; else None."""
    return (read(run) or {}).get("searched") or store.get_meta(run, SEARCHED)


def _second_is_exported(document: dict[str, Any]) -> str:
    differs = " ".join(word for word in _differs(document) if word not in _MIRROR_WORDS and not word.startswith(_SIZES))
    if not differs:
        return ""
    return f"Of two trainings of the network found, validation images preferred that with {differs}: it is the export."


def _has_mirrors(document: dict[str, Any]) -> str:
    words = " ".join(word for word in _differs(document) if word in _MIRROR_WORDS)
    if not words:
        return ""
    return (
        f"Final trainings have {words}: the search's networks without mirror images have "
        f"{document['mirrored_share']:.0%} as much right on mirror images."
    )


def _is_larger(document: dict[str, Any]) -> str:
    words = " ".join(word for word in _differs(document) if word.startswith(_SIZES))
    if not words:
        return ""
    return f"Final trainings have {words}: there is time for a larger network than in the search."


def _is_not_judged(document: dict[str, Any]) -> str:
    if all(row.valid_score is not None for row in rows_of(document) if row.kind == FOUND):
        return ""
    return "Networks have no figure under valid: both trainings are of one architecture, and no validation images judge them."


def _differs(document: dict[str, Any]) -> list[str]:
    """The settings in which the network found was trained otherwise in the end than in the search."""
    # A comparison of an earlier version had no such choice. Names of pipelines are long: what differs says it.
    if not (searched := (document.get("searched") or "").split()):
        return []
    found = next(row for row in rows_of(document) if row.kind == FOUND)
    return [word for word in str(found.arch).split() if word not in searched]


def table(document: dict[str, Any]) -> list[tuple[str, ...]]:
    """The rows as text, headings first."""
    return [_HEADINGS, *map(_cells, rows_of(document))]


def section(run: Run) -> list[str]:
    """Paragraphs in Markdown; nothing before the comparison is made."""
    document = read(run)
    if document is None:
        return []
    heads, *rows = table(document)
    drawn = [heads, ("---", *["---:"] * (len(heads) - 1)), *[tuple(map(escape, row)) for row in rows]]
    grid = "\n".join("| " + " | ".join(row) + " |" for row in drawn)
    metric = METRIC_NAMES.get(document["metric"], "")
    how = "for a third of their epochs, of cells for 150 steps at least"
    # In a comparison of an earlier version.
    if any(row.valid_score is None for row in rows_of(document)) and not _is_not_judged(document):
        how = "as the search trained them"
    intro = f"Validation figures are {metric} after training on the training images alone, of networks {how}."
    return ["## Beside simpler models", *map(escape, lines(document)), grid, intro]


def _cells(row: Row) -> tuple[str, ...]:
    low, high = row.interval
    return (
        row.name,
        "-" if row.valid_score is None else f"{row.valid_score:.2f}",
        f"{row.test_accuracy:.2f}",
        f"{low:.2f} to {high:.2f}",
        f"{row.balanced_accuracy:.2f}",
        f"{row.macro_f1:.2f}",
        "-" if row.parameters is None else f"{row.parameters:,}",
        "-" if row.latency_ms is None else f"{row.latency_ms:.3f}",
        f"{row.seconds:.0f}" if row.seconds >= 10 else f"{row.seconds:.1f}",
    )
