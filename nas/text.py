"""Words for people: counts with their noun, times in the unit that fits, and names that every file system takes."""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """`1 epoch`, `2 epochs`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def evaluations_text(evaluations: int, trainings: int) -> str:
    """`6 evaluations, then 2 trainings of the leaders`: a budget of 8, as every command says it."""
    then = f", then {counted(trainings, 'training')} of the leaders" if trainings else ""
    return counted(evaluations, "evaluation") + then


def file_name(text: str) -> str:
    """The text with a dash for everything but letters, digits, dots, dashes and underscores."""
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in text)


def duration(seconds: float) -> str:
    """A time in words, in the unit that fits."""
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"
