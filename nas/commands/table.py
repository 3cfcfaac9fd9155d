"""`nas table`: describe tables, verify them, and import other benchmarks' files."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table as Grid

from nas import tables
from nas.commands import _shared
from nas.tables import Table, nats_import
from nas.tables.seed_noise import noise
from nas.tables.table import SUFFIX
from nas.tables.verify import knows_space, verify
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
        _list([tables.find(name) for name in tables.names()], as_json)
    else:
        _describe(_named(table), as_json)


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


@command.group("import", invoke_without_command=True)
@click.pass_context
def import_(ctx: click.Context) -> None:
    """Turn another benchmark's files into a table.

    \b
    Example:
      nas table import nats NATS-tss-v1_0-3ffb9-simple --out nats.safetensors
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@import_.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The table to write.")
@click.option("--force", is_flag=True, help="Replace the table if it is there.")
def nats(path: Path, out: Path, force: bool) -> None:
    """Import the official NATS-Bench download at PATH: the '-simple' folder or the single .pickle.pbz2 file.

    Its pickles are read by a reader that admits plain values only. Ctrl-C stops; the same command goes on.

    \b
    Example:
      nas table import nats NATS-tss-v1_0-3ffb9-simple --out nats.safetensors
    """
    if out.suffix != SUFFIX:
        raise UserError(f"--out is '{out}'; a table's name ends in '{SUFFIX}'.")
    if out.exists() and not force:
        raise UserError(f"'{out}' exists already; --force replaces it.")
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
        line = bar.add_task("importing", total=None)
        for progress in nats_import.run(path, out):
            bar.update(line, completed=progress.done, total=progress.of)
    _describe(tables.read(out), as_json=False)


def _named(table: str) -> Table:
    path = Path(table)
    return tables.read(path) if path.suffix == SUFFIX or path.exists() else tables.find(table)


def _list(found: list[Table], as_json: bool) -> None:
    if as_json:
        _shared.print_json([_document(table, columns=False) for table in found])
        return
    grid = Grid(box=None, header_style="bold")
    for heading in ("table", "space", "architectures", "columns"):
        grid.add_column(heading, no_wrap=True, justify="right" if heading in ("architectures", "columns") else "left")
    for table in found:
        grid.add_row(table.name, table.space, f"{table.rows:,}", str(len(table.columns)))
    Console().print(grid)


def _describe(table: Table, as_json: bool) -> None:
    if as_json:
        _shared.print_json(_document(table, columns=True))
        return
    console = Console(highlight=False)
    console.print(f"[bold]{escape(table.name)}[/]  space {table.space}, {table.rows:,} architectures", soft_wrap=True)
    console.print(f"file     {table.path}", soft_wrap=True, markup=False)
    console.print(f"source   {table.source}", soft_wrap=True, markup=False)
    console.print(f"licence  {table.licence}", soft_wrap=True, markup=False)
    grid = Grid(box=None, header_style="bold")
    for heading in ("column", "unit", "seeds", "known", "lowest", "median", "highest"):
        grid.add_column(
            heading, justify="left" if heading in ("column", "unit") else "right", no_wrap=heading == "column"
        )
    for row in _document(table, columns=True)["columns"]:
        numbers = ("-" if row[k] is None else f"{row[k]:.4g}" for k in ("lowest", "median", "highest"))
        grid.add_row(escape(row["name"]), row["unit"] or "", str(row["seeds"]), f"{row['known']:.1%}", *numbers)
    console.print(grid)
    for row in _document(table, columns=True)["columns"]:
        if row["noise"]:
            spread = row["noise"]
            console.print(
                f"noise of {row['name']}: deviation {spread['deviation']:.2f} {row['unit']} between seeds, rank correlation of "
                f"two seeds {spread['ceiling']:.2f} ({spread['archs']:,} architectures), "
                "which no predictor can be expected to exceed",
                soft_wrap=True, markup=False,
            )  # fmt: skip


def _document(table: Table, *, columns: bool) -> dict:
    about = {"table": table.name, "file": str(table.path), "space": table.space, "architectures": table.rows}
    about |= {"source": table.source, "licence": table.licence, "sha256": table.sha256}
    rows = []
    for name, column in table.columns.items() if columns else ():
        values = table.column(name)
        known = values[~values.isnan()]
        spread = (known.min(), known.median(), known.max()) if len(known) else ()
        rows.append(
            {"name": name, **column._asdict(), "seeds": values.shape[1] if values.dim() > 1 else 1}
            | {
                "known": len(known) / values.numel(),
                "noise": measured._asdict() if (measured := noise(values)) else None,
            }
            | dict(zip(("lowest", "median", "highest"), [round(v.item(), 6) for v in spread] or [None] * 3))
        )
    return about | ({"columns": rows} if columns else {"columns": len(table.columns)})
