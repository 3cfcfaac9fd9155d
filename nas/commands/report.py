"""`nas report`: the page of a run, written again."""

from __future__ import annotations

from pathlib import Path

import click

from nas.commands import _shared
from nas.run import report, store
from nas.terminal import printable


@click.command()
@click.argument("run")
@click.option(
    "--to", type=click.Path(path_type=Path, dir_okay=False), help="The file to write; by default the run's own."
)
def command(run: str, to: Path | None) -> None:
    """Write report.html: curve of the search, accuracy against size, the network, its mistakes, how to use it.

    A search ends with it; this writes it again, from the run's folder alone. The page needs no network and no script.

    \b
    Example:
      nas report runs/digits-evolution-1 --to digits.html
    """
    with store.open_run(_shared.run_folder(run)) as opened:
        click.echo(printable(str(report.write(opened, to))))
