"""`nas check`: the laws, over a component of one's own."""

from __future__ import annotations

import sys

import click


@click.command()
@click.argument("component")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(component: str, as_json: bool) -> None:
    """Run the laws over a component of your own, FILE.py:Class or package.module:Class, and say which hold.

    Exit status 0 where all hold, 1 where one does not.

    \b
    Example:
      nas check controller/evolution.py:Evolution
    """
    from nas import plugins
    from nas.commands import _shared
    from nas.testing import check, kind_of

    kinds = [kind for kind in plugins.KINDS if component.replace("-", "_") in plugins.names(kind)]
    found = plugins.load(kinds[0] if kinds else "component", component)
    kind, outcomes = kind_of(found), []
    if not as_json:
        click.echo(f"{found.__name__} is {'an' if kind[0] in 'aeiou' else 'a'} {kind}.")
    for outcome in check(found):
        outcomes.append(outcome)
        if not as_json:
            failed = f"\n       {outcome.failure}" if outcome.failure else ""
            click.echo(f"{'FAILS' if outcome.failure else 'holds'}  {outcome.law}{failed}")
    failures = [o for o in outcomes if o.failure]
    if as_json:
        _shared.print_json({"component": component, "kind": kind, "laws": [o._asdict() for o in outcomes]})
    else:
        click.echo(f"{len(outcomes) - len(failures)} of {len(outcomes)} laws hold.")
    sys.exit(1 if failures else 0)
