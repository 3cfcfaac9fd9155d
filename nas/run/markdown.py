"""Names that others chose, in a page of Markdown: as text, never as HTML, a link, an image or a column."""

from __future__ import annotations

import html
import re

from nas.terminal import printable


def escape(text: str) -> str:
    """The text as a page shows it, in a heading, a paragraph or a cell of a table."""
    line = html.escape(" ".join(printable(text).split()), quote=False)
    # GitHub makes links of these without any brackets.
    line = line.replace("://", "&#58;//").replace("www.", "www&#46;").replace("@", "&#64;")
    return re.sub(r"([\\`*_\[\]|~])", r"\\\1", line)


def code(text: str) -> str:
    """The text between backticks, of which it has none itself."""
    return f"`{' '.join(printable(text).split()).replace('`', chr(39))}`"
