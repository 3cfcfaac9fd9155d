"""`nas table`: describe tables, verify them, and import other benchmarks' files."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path

import click
from rich.table import Table as Grid

from nas import tables
from nas.commands import _shared, _table_import, _table_shown
from nas.tables import Table
from nas.tables.table import SUFFIX
from nas.tables.verify import knows_space, verify
from nas.terminal import printable
from search_spaces import UserError


class _Table(click.Group):
    """Its own commands, and `build`, which trains: loaded only when it is called, so that help and look-ups stay fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        build = ["build"] if importlib.util.find_spec("nas.commands._table_build") else []
        return sorted([*super().list_commands(ctx), *build])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == "build" and "build" in self.list_commands(ctx):
            return importlib.import_module("nas.commands._table_build").build
        return super().get_command(ctx, cmd_name)


@click.group(cls=_Table, invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Benchmark tables: look into them, check them, import them.

    \b
    Example:
      nas table info own201
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@command.command()
@click.argument("table", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def info(table: str | None, as_json: bool) -> None:
    """Say what TABLE, a name or a file, holds; without it, list the tables there are.

    \b
    Example:
      nas table info own201
    """
    if table is None:
        _shared.say_passed_over(tables.unreadable() + tables.shadowed())
        _list([tables.find(name) for name in tables.names()], as_json)
    else:
        _table_shown.describe(_named(table), as_json)


@command.command("verify")
@click.argument("table")
def verify_command(table: str) -> None:
    """Read every value of TABLE, a name or a file, and check format, shapes, ranges, architectures, checksum.

    \b
    Example:
      nas table verify own201
    """
    opened = _named(table)
    problems = verify(opened)
    if problems:
        more = f" ({len(problems)} problems in all)" if len(problems) > 1 else ""
        raise UserError(f"Table '{opened.path}' is not whole: {problems[0]}{more}.")
    checked = "its checksum agrees" if opened.sha256 else "it brings no checksum"
    space = "" if knows_space(opened) else f"; space '{opened.space}' is not here, so architectures went unchecked"
    click.echo(f"{opened.path}: {opened.rows:,} architectures, {len(opened.columns)} columns, whole; {checked}{space}.")


command.add_command(_table_import.import_)


def _named(table: str) -> Table:
    if not table:  # It would mean the current folder.
        raise UserError("TABLE is empty; it takes a name or a file. `nas table info` lists them.")
    path = Path(table)
    return tables.read(path) if path.suffix == SUFFIX or path.exists() else tables.find(table)


def _list(found: list[Table], as_json: bool) -> None:
    if as_json:
        _shared.print_json([_table_shown.document(table, columns=False) for table in found])
        return
    grid = Grid(box=None, header_style="bold")
    for heading in ("table", "space", "architectures", "columns"):
        grid.add_column(heading, no_wrap=True, justify="right" if heading in ("architectures", "columns") else "left")
    for table in found:
        grid.add_row(printable(table.name), printable(table.space), f"{table.rows:,}", str(len(table.columns)))
    _shared.print_grid(grid)
