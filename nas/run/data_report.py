"""What the report of a run says of its images, and of evaluations that failed."""

from __future__ import annotations

from collections import Counter

from nas.run import store
from nas.run.markdown import escape
from nas.run.step_log import History
from nas.run.store import Run

_REASONS = 3
"""How many reasons of failures are named: the commonest."""


def section(run: Run, past: History, reasons: list[str]) -> list[str]:
    """Paragraphs in Markdown; runs of earlier versions keep no notes on their data.

    Args:
        reasons: of the trainings that raised an error, a line for each.
    """
    notes = store.get_meta(run, "data") or []
    failed, tried = int(past.score.isnan().sum()), past.score.numel()
    faults = []
    if failed:
        faults = [f"{failed} of {tried} evaluations failed: their training diverged or raised an error."]
        counts = Counter(escape(reason) for reason in reasons)
        faults += [f"- {reason} ({count})" for reason, count in counts.most_common(_REASONS)]
    return (["## Data", "\n".join(f"- {escape(note)}" for note in notes)] if notes else []) + faults
