"""Flags of version 0.1 under their new names: still taken, and not shown in the help."""

from __future__ import annotations

import click


def taking(old_to_new: dict[str, str]) -> type[click.Command]:
    """A command that reads each old flag as the new one, as `--limit X` or as `--limit=X`."""

    class Command(click.Command):
        def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
            return super().parse_args(ctx, [_today(arg, old_to_new) for arg in args])

    return Command


def _today(arg: str, old_to_new: dict[str, str]) -> str:
    flag, equals, value = arg.partition("=")
    return old_to_new.get(flag, flag) + equals + value
