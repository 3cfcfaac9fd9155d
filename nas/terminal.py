"""Text of others on a terminal: names of files and classes, what a run of somebody else holds."""

from __future__ import annotations

import sys
import unicodedata

_OBEYED = ("Cc", "Cs")
"""Categories of characters that move the cursor or change the terminal's settings, and of no characters at all."""
_TURNING = {*map(chr, (0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)))}
"""What turns the direction of the text that follows, so that a name looks like another."""


def printable(text: str) -> str:
    """The text with everything that a terminal would obey, and not show, as an escape like `\\x1b`; line breaks stay."""
    return "".join(
        c.encode("unicode_escape").decode()
        if c != "\n" and (unicodedata.category(c) in _OBEYED or c in _TURNING)
        else c
        for c in text
    )


def encodable(text: str, plain: str) -> str:
    """The text if standard output can show it, else `plain`: ASCII and cp1252 have no block letters."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return plain
    return text
