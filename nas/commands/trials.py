"""`nas trials`: every evaluation of a run."""

from __future__ import annotations

import csv
import sys

import click

from nas import evaluation_file
from nas.commands import _shared
from nas.evaluators import function
from nas.run import names, store
from nas.run.names import Name
from nas.run.trials import Trial
from nas.terminal import printable
from search_spaces import UserError


@click.command()
@click.argument("run")
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values, for spreadsheets and pandas.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(run: str, as_csv: bool, as_json: bool) -> None:
    """List every evaluation of a run: architecture, score, cost, seconds, epochs.

    A score that is empty is of an evaluation that failed. Of architectures that compute the same one is trained, and named;
    `proposed_as` is then what the search proposed. The same rows, by what was proposed, are the table `trial` of the run's
    run.sqlite.

    \b
    Example:
      nas trials runs/digits-evolution-1 --csv
    """
    if as_csv and as_json:
        raise UserError("--csv and --json are two forms of the same; choose one.")
    with store.open_run(_shared.run_folder(run)) as opened:
        rows = names.trials_of(opened)
        said = {(r["architecture"], r["seed"], r["epochs"]): r for r in evaluation_file.read(opened.folder)}
        final = opened.config.training_options.get("epochs", str(function.EPOCHS))
    if as_json:
        _shared.print_json([row._asdict() | _said(row, said, int(final)) for row in rows])
    elif as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(Trial._fields)
        writer.writerows(map(_written, rows))
    else:
        heading = ("seed", "evaluation", "score", "cost", "seconds", "epochs", "architecture")
        _shared.print_lines([heading, *(_shown(row) for row in rows)])


def _said(row: Trial, said: dict[tuple[str, int, int], dict], epochs: int) -> dict:
    """What an objective function returned beside the score, and why it failed; nothing where none scored."""
    found = said.get((row.architecture, row.seed, row.epochs or epochs))
    return {} if found is None else {"error": found["error"], "figures": found["figures"]}


def _written(row: Trial) -> Trial:
    proposed = None if row.proposed_as is None else printable(row.proposed_as)
    return row._replace(architecture=printable(row.architecture), proposed_as=proposed)


def _shown(row: Trial) -> tuple[str, ...]:
    numbers = ("-" if value is None else f"{value:.3f}" for value in (row.score, row.cost, row.seconds))
    return (
        str(row.seed),
        str(row.evaluation),
        *numbers,
        "-" if row.epochs is None else str(row.epochs),
        Name(row.architecture, row.proposed_as).sentence(),
    )
