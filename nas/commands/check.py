"""`nas check`: the laws, over a component of one's own."""

from __future__ import annotations

import sys

import click

from search_spaces import UserError, unknown


@click.command()
@click.argument("component")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(component: str, as_json: bool) -> None:
    """Run the laws over a component, FILE.py:Class, package.module:Class or a name, and say which hold.

    Exit status 0 where all hold, 1 where one does not.

    \b
    Example:
      nas check evolution
    """
    from nas import plugins
    from nas.commands import _shared
    from nas.testing import check, kind_of

    plain = component.replace("-", "_")
    kinds = [kind for kind in plugins.KINDS if plain in plugins.names(kind) or component in plugins.installed(kind)]
    if not kinds and not plugins.is_outside(component):
        there_are = sorted(
            {name for kind in plugins.KINDS for name in (*plugins.names(kind), *plugins.installed(kind))}
        )
        raise UserError(f"{unknown('component', component, there_are)} One of your own is FILE.py:Class.")
    rows = []
    for given in kinds or ["component"]:  # `portfolio` is a controller, and the meta-learner of its prior.
        found = plugins.load(given, component)
        kind, outcomes = kind_of(found), []
        if not as_json:
            click.echo(f"{found.__name__} is {'an' if kind[0] in 'aeiou' else 'a'} {kind}.")
        for outcome in check(found):
            outcomes.append(outcome)
            if not as_json:
                failed = f"\n       {outcome.failure}" if outcome.failure else ""
                click.echo(f"{'FAILS' if outcome.failure else 'holds'}  {outcome.law}{failed}")
        if not as_json:
            click.echo(f"{sum(not o.failure for o in outcomes)} of {len(outcomes)} laws hold.")
        rows += [{"kind": kind, **o._asdict()} for o in outcomes]
    if as_json:
        _shared.print_json({"component": component, "laws": rows})
    sys.exit(1 if any(row["failure"] for row in rows) else 0)
