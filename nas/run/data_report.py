"""What the report of a run says of its images, and of evaluations that failed."""

from __future__ import annotations

from nas.run import store
from nas.run.markdown import escape
from nas.run.store import History, Run


def section(run: Run, past: History) -> list[str]:
    """Paragraphs in Markdown; runs of earlier versions keep no notes on their data."""
    notes = store.get_meta(run, "data") or []
    failed, tried = int(past.score.isnan().sum()), past.score.numel()
    faults = [f"{failed} of {tried} evaluations failed: their training diverged or stopped."] if failed else []
    return (["## Data", "\n".join(f"- {escape(note)}" for note in notes)] if notes else []) + faults
