"""Words for people: counts with their noun, and names that every file system takes."""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """`1 epoch`, `2 epochs`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def file_name(text: str) -> str:
    """The text with a dash for everything but letters, digits, dots, dashes and underscores."""
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in text)
