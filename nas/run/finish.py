"""What follows a search on a data set: the winner trained to the end, a page about it, the export."""

from __future__ import annotations

from pathlib import Path

from nas.export.export import Export, export
from nas.run import session, store, trained_network
from nas.run.session import Setup
from nas.run.store import Run
from nas.types import TrainedNetwork

PAGE = "report.md"
FOLDER = "export"


def finish(run: Run, setup: Setup) -> Export | None:
    """Read the report once; where there is data, train the winner, write `report.md` and `export/` beside the run.

    What was done before is not done again.
    """
    session.write_report(run, setup)
    training, winner = setup.evaluator.training, trained_network.kept(run.folder)
    if training is None or winner is None or (run.folder / FOLDER).exists():
        return None
    (run.folder / PAGE).write_text(page(run, setup, winner))
    space = training.final_space
    return export(
        space, space.parse(winner.arch), setup.evaluator.task, winner.state_dict, run.folder / FOLDER,
        mean=winner.mean, std=winner.std, class_names=winner.class_names,
    )  # fmt: skip


def page(run: Run, setup: Setup, winner: TrainedNetwork) -> str:
    """A page in Markdown: what was searched, what was found, how good it is, which classes it takes for which."""
    low, high = winner.metrics["interval"]
    past = store.history(run)
    head = [
        f"# {run.asked['task']}: {winner.metrics['test_accuracy']:.2f}% of the test images",
        f"95% interval {low:.2f}% to {high:.2f}% (Wilson).",
        f"Found by `{run.asked['controller']}` in {past.score.shape[1]} evaluations, {past.wall:.0f} s of search.",
        f"{setup.evaluator.description}.",
        f"Architecture: `{winner.arch}`",
        "## Confusion matrix",
        "Rows are the truth, columns what the network says.",
    ]
    names = [name.replace("|", "/") for name in winner.class_names]
    rows = [["", *names], ["---"] * (len(names) + 1)]
    rows += [[name, *map(str, counts)] for name, counts in zip(names, winner.metrics["confusion"])]
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    return "\n\n".join([*head, table]) + "\n"


def exported(run: Run) -> Path | None:
    """The folder of the run's own export, if it has one."""
    folder = run.folder / FOLDER
    return folder if folder.is_dir() else None
