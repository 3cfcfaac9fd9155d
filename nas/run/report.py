"""`report.html`: all that a run came to in one page that needs nothing else, no network and no script.

It is made of the run's folder alone, so that it can be written again at any time. Names of others are text in it, never HTML.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from torch import Tensor

from nas.export import draw, draw_svg
from nas.run import (
    choice,
    front,
    report_charts,
    report_classes,
    report_made,
    session,
    step_log,
    subject,
    test_accuracy,
    test_pictures,
    trained_network,
)
from nas.run.front import Point
from nas.run.names import Name
from nas.run.store import Run
from nas.run.summary import summary, top_row
from nas.terminal import printable
from nas.types import TrainedNetwork
from search_spaces import Space, UserError
from search_spaces._files import atomic_write

FILE = "report.html"
_TEMPLATE = Path(__file__).parents[1] / "data" / "report.html.j2"


def write(run: Run, to: Path | None = None) -> Path:
    """Write the page of a run, into its folder or `to` another file, whole or not at all; where it is.

    Raises `UserError` where there is no such folder, and as `page` does.
    """
    path = run.folder / FILE if to is None else to
    if not path.parent.is_dir():
        raise UserError(
            f"There is no folder '{path.parent}' to write '{path.name}' into; make it, or name another file by --to."
        )
    text = page(run)
    with atomic_write(path) as beside:
        beside.write_text(text, encoding="utf-8")
    return path


def page(run: Run) -> str:
    """The page. Raises `UserError` for a run without a successful evaluation: there is nothing to show of it."""
    document = summary(run)
    rows = [row for row in document["best"] if row["arch"] is not None]
    if not rows:
        raise UserError(f"Run '{run.folder}' has no evaluation that succeeded; there is nothing to report.")
    past, about, winner = step_log.history(run), subject.read(run), trained_network.load(run.folder)
    space, top = subject.shown_space(run, about.space), top_row(rows)
    arch = past.archs[top["seed"] - run.config.first_seed, top["found_at"] - 1]
    points = _points(run)
    final = subject.shown_space(run, about.final_space or about.space)
    if (
        winner is not None
    ):  # It may be the plain network, and of all that compute the same it is the one that was trained.
        arch = _parsed(final, winner.arch, arch)
    own = front.find(points, final, arch)
    # The point of an ensemble is its first member.
    if own is not None and (winner is None or not winner.members):
        parameters = own.parameters
    else:
        parameters = None if winner is None else trained_network.parameters(winner)
    name = _axis_name(about.description)
    values = {
        "title": _title(document["task"], winner, top),
        "lead": _lead(about.description, winner),
        "figures": report_made.figures(document, top, winner, parameters),
        "comparison": report_made.compared(run),
        "curve": report_charts.search_curve(past.candidates, past.epochs, name),
        "seeds": run.config.seeds,
        **_choice(run, past),
        "front": report_charts.front(points, own, name),
        "on_front": [point for point in points if point.on_front],
        "made": report_made.made(run, document),
        "uses": report_made.uses(run, winner),
    }
    return _template().render(
        **values,
        **_drawn(space, arch, _described(top, winner)),
        **_of_images(run, winner),
    )


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined, finalize=_shown,
    )  # fmt: skip
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))


def _shown(value: Any) -> Any:
    """Names without what would turn the direction of a line or end a page; our own SVG as it is."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _title(task: str, winner: TrainedNetwork | None, top: dict[str, Any]) -> str:
    kind, colon, where = task.partition(":")
    name = Path(where).name if colon and kind in ("npz", "folder") else task
    if winner is not None:
        images = sum(map(sum, winner.metrics["confusion"]))
        return f"{name}: {winner.metrics['test_accuracy']:.2f}% of {images:,} test images right"
    return f"{name}: score {top['score']:.2f}" + (f", test {top['report']:.2f}" if top["report"] is not None else "")


def _lead(description: str, winner: TrainedNetwork | None) -> list[str]:
    lines = [f"{description[:1].upper()}{description[1:]}."]
    return lines if winner is None else [*test_accuracy.sentences(winner), *lines]


def _axis_name(description: str) -> str:
    """What the score is, from the evaluator's line: `score: validation accuracy after 12 epochs ...`."""
    return "validation accuracy, %" if "validation accuracy" in description else "score"


def _points(run: Run) -> list[Point]:
    """Accuracy against size; nothing where sizes are not known without the code of somebody's space."""
    try:
        return front.points(run)
    except UserError:
        return []


def _parsed(space: Space, text: str, otherwise: Tensor) -> Tensor:
    """The architecture `[D]` of that name; a space that is known by its names alone knows only those of the run."""
    try:
        return space.parse(text)
    except UserError:
        return otherwise


def _choice(run: Run, past: step_log.History) -> dict[str, Any]:
    """How sure the choice among the leaders is, and their scores; nothing where there was none."""
    chosen = choice.choices(run, past)
    if chosen is None:
        return {"noise": "", "leaders": []}
    found = session.best(run.config, past)
    first = chosen[choice.top(run, past, choice.handed_out(run, past, found))]
    leaders = first.leaders if len(first.leaders) > 1 else []
    return {"noise": "" if first.noise is None else first.noise.sentence(), "leaders": leaders}


def _drawn(space: Space, arch: Tensor, described: str) -> dict[str, Any]:
    picked = draw.cell_of(space, arch)
    return {
        "arch": described,
        "cell": None if picked is None else draw_svg.cell(picked),
        "decisions": draw.decisions_of(space, arch),
    }


def _described(top: dict[str, Any], winner: TrainedNetwork | None) -> str:
    """The name of what is drawn: of the best of the search, or of another network that was handed out."""
    if winner is not None and winner.arch != top["arch"]:
        return winner.arch
    return Name(top["arch"], top["proposed_as"]).sentence()


def _of_images(run: Run, winner: TrainedNetwork | None) -> dict[str, Any]:
    """What only a trained network has: classes, confusions, pictures."""
    if winner is None:
        return {"classes": [], "pictures": []}
    names, confusion = winner.class_names, winner.metrics["confusion"]
    many = len(names) > report_classes.NUMBERED
    wrong, right = test_pictures.load(run.folder, winner)
    headings = [("Most confident mistakes", wrong), ("Most confident right answers", right)]
    return {
        "class_names": names,
        "classes": report_classes.rows(names, confusion),
        "matrix": report_classes.matrix(confusion),
        "squares": report_classes.squares(names, confusion) if many else None,
        "confusions": report_classes.confusions(names, confusion),
        "pictures": [(heading, shown) for heading, shown in headings if shown],
    }
