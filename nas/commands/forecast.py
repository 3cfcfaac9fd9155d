"""`nas forecast`: what a search is expected to find, and how long it takes, before it begins."""

from __future__ import annotations

from typing import Any

import click

from nas.commands import _options, _shared
from nas.meta import forecast
from nas.meta.forecast import Forecast
from nas.run.config import RunConfig
from nas.run.session import Setup
from nas.text import duration, evaluations_text
from search_spaces import UserError


@click.command()
@_options.search_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(as_json: bool, **options: Any) -> None:
    """Say what the prior expects of a search and how long it takes; it takes the options of `nas search`.

    \b
    Example:
      nas forecast --task own201/digits --evals 20
    """
    print_forecast(*_options.configure(**options), as_json=as_json)


def print_forecast(config: RunConfig, setup: Setup, *, as_json: bool) -> None:
    """Forecast a search. Raises `UserError` without a prior: only a prior has expectations."""
    if setup.prior is None:
        raise UserError(
            "A forecast is what a prior expects, and this search has none. Take --controller transfer_bo and its prior."
        )
    found = forecast.forecast(config, setup, setup.prior)
    training = setup.evaluator.training
    data = [] if training is None else list(training.data_notes)
    if as_json:
        _shared.print_json(found._asdict() | {"data": data})
        return
    click.echo(setup.evaluator.description)
    _shared.print_data(data)
    click.echo(format_forecast(found))


def format_forecast(found: Forecast) -> str:
    """A forecast in a few lines."""
    when = (
        "At the median it does not overtake the ResNet cell."
        if found.evals_to_beat_baseline is None
        else f"At the median it overtakes the ResNet cell at evaluation {found.evals_to_beat_baseline}."
    )
    scale = (
        f"Gains are on the scale of the scores of {', '.join(found.reference_tables)}."
        if found.reference_tables
        else "Gains are in standard deviations of the space's scores: no table of accuracies on this space is at hand, "
        "or the score is no accuracy."
    )
    lines = [
        f"Search: {evaluations_text(found.evaluations, found.leader_trainings)}.",
        f"Expected gain over the ResNet cell: {found.expected_gain:+.2f} {found.unit}, "
        f"80% interval {found.low:+.2f} to {found.high:+.2f}.",
        f"{when} The cell found is among the best {1 - found.share_beaten:.2%} of the space.",
        f"Method: {found.sampled_tasks} tasks sampled from a prior of {found.prior_tasks} tasks, each searched in simulation. "
        f"{scale}",
        "A task unlike those of the prior may differ. The gain is in the search's own score; after the final training it is "
        "smaller on test images.",
    ]
    if found.simulated_evaluations != found.evaluations:
        lines.insert(
            3, f"Only the first {found.simulated_evaluations} evaluations are simulated; the rest add to the gain."
        )
    simulated = f"{duration(found.simulated_seconds)} simulated, " if found.simulated_seconds else ""
    return "\n".join(
        [*lines, f"Time: {simulated}about {duration(found.wall_seconds)} on this machine; {found.method}."]
    )
