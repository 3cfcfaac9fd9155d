"""Kinds of values that several commands take: seeds and paths."""

from __future__ import annotations

from typing import Any

import click

SEED = click.IntRange(0, 2**62)
"""A seed, with room for some thousands that follow it."""


class GivenPath(click.Path):
    """A path; an empty text, which a variable of a shell may be by mistake, is none. It would mean the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("it is empty; it takes a path.", param, ctx)
        return super().convert(value, param, ctx)
