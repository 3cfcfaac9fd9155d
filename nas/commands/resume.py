"""`nas resume`: a stopped run goes on."""

from __future__ import annotations

import click

from nas.commands import _shared, show
from nas.run import session, store
from nas.tasks import absolute
from search_spaces import UserError


@click.command()
@click.argument("run")
@click.option("--task", help="Refused if the run has another.")
@click.option("--controller", help="Refused if the run has another.")
@click.option("--seeds", type=int, help="Refused if the run has another number.")
@click.option("--batch", type=int, help="Refused if the run has another.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(run: str, as_json: bool, **same: str | int | None) -> None:
    """Go on with a run that was stopped or killed, exactly where it was.

    \b
    Example:
      nas resume runs/digits-evolution-1
    """
    with store.open_run(_shared.run_folder(run)) as opened:
        # A run keeps the whole path of its images; runs of earlier versions the path as it was typed.
        if same["task"] is not None and absolute(str(same["task"])) == absolute(opened.config.task):
            same["task"] = None
        for key, value in same.items():
            if value is not None and value != getattr(opened.config, key):
                raise UserError(
                    f"Run '{opened.folder}' has --{key} {getattr(opened.config, key)}; it cannot go on with {value}. "
                    "Leave the option out, or start a new run."
                )
        setup = session.load(opened.config)
        for line in session.changed_components(opened):
            click.echo(line, err=True)
        _shared.work(opened, setup, quiet=as_json)
        if as_json:
            _shared.print_json(session.summary(opened, setup))
        else:
            show.print_run(opened, setup)
