"""`nas table build`: every cell trained on a dataset, into a table."""

from __future__ import annotations

from pathlib import Path

import click
from filelock import FileLock
from rich.console import Console
from rich.progress import Progress

from nas import tables
from nas.commands import _old_flags
from nas.commands._kinds import GivenPath
from nas.run.config import check_number
from nas.spread import spread
from nas.tables import build as measuring
from nas.tables.build import Plan
from nas.tables.network_counts import BUILT
from nas.tables.table import Table
from search_spaces import UserError, _ops
from search_spaces.nasbench201 import NasBench201

_LICENSE = "MIT"
_LOCK = "table.lock"
"""In the folder of a table's shards: one build at a time adds its task, as each writes the whole table anew."""


@click.command(
    cls=_old_flags.taking({"--repeats": "--noise-sample", "--examples": "--train-images", "--as": "--task-name"})
)
@click.option("--task", required=True, help="A dataset: digits, npz:FILE, folder:DIR, hf:NAME.")
@click.option("--out", required=True, type=GivenPath(path_type=Path), help="The table; tasks it has already stay.")
@click.option("--task-name", "name", help="The task's name in the table; by default the dataset's.")
@click.option(
    "--epochs",
    default=4,
    show_default=True,
    help="Of each architecture; also measured after 1, 2, 4, ...",
)
@click.option("--channels", default=4, show_default=True, help="Of the first stage.")
@click.option("--cells", default=2, show_default=True, help="Cells a stage.")
@click.option("--stem-stride", default=1, show_default=True, help="2 halves the image size in the stem.")
@click.option("--image-size", type=int, help="Side of the images; by default the data's own, at most 32.")
@click.option("--train-images", type=int, help="Training images used; by default all.")
@click.option(
    "--noise-sample",
    default=300,
    show_default=True,
    help="Architectures trained with three seeds, to measure the seed noise.",
)
@click.option("--jobs", "--workers", "jobs", type=int, help="Processes, of one thread each; 1 by default.")
@click.option("--ray", default="", metavar="auto|local|ADDRESS", help="Train on a Ray cluster, --jobs shards at once.")
def build(
    task: str, out: Path, name: str | None, epochs: int, channels: int, cells: int, stem_stride: int,
    image_size: int | None, train_images: int | None, noise_sample: int, jobs: int | None, ray: str,
) -> None:  # fmt: skip
    """Train all 15,625 cells of nasbench201 on a dataset; a stopped build resumes after its last finished shard.

    \b
    Example:
      nas table build --help
    """
    for option, value in (
        ("epochs", epochs),
        ("channels", channels),
        ("cells", cells),
        ("stem-stride", stem_stride),
        ("image-size", image_size),
        ("train-images", train_images),
        ("noise-sample", noise_sample),
        ("jobs", jobs),
    ):
        check_number(f"--{option}", value)
    plan = Plan(task, epochs, channels, cells, stem_stride, image_size, train_images, noise_sample=noise_sample)
    name = name or Path(task.partition(":")[2] or task).stem
    _existing(out)  # Refused before hours of training, not after.
    folder = out.with_suffix(".shards") / name
    left, whole = measuring.missing(plan, folder), len(measuring.shards(plan))
    with Progress(console=Console(stderr=True)) as bar:
        line = bar.add_task(f"{name}, shards", total=whole, completed=whole - len(left))
        count = jobs if jobs is not None or ray else 1
        for at, content in spread(measuring.worker, (plan,), [(number,) for number in left], count, ray):
            measuring.keep(folder, left[at], content)
            bar.advance(line)
    add(out, name, plan, folder)
    click.echo(f"{out} holds task {name}; nas table info {out}")


def add(out: Path, name: str, plan: Plan, folder: Path) -> None:
    """Put a measured task into a table, in place of what it had under that name. Raises `UserError` for a table of others."""
    shards = out.with_suffix(".shards")
    shards.mkdir(parents=True, exist_ok=True)
    with FileLock(shards / _LOCK):
        old, others, notes = _existing(out), {}, {}
        if old is not None:
            # Its rows may be in another order, and fewer.
            kept = {n: about for n, about in old.columns.items() if about.task != name}
            others = {n: (about, old.by_index(n, NasBench201.choices)) for n, about in kept.items()}
            notes = _notes(old.source)
        notes |= {name: measuring.describe(plan)}
        said = [f"{task}: {note}".replace(";", ",") for task, note in sorted(notes.items())]
        columns = others | measuring.columns(plan, folder, name)
        archs = _ops.enumerate_all(NasBench201.choices)
        tables.write(out, NasBench201.name, archs, columns, "; ".join([BUILT, *said]), _LICENSE)


def _existing(out: Path) -> Table | None:
    """The table that is there; None where none is. Raises `UserError` for one that this command did not write."""
    if not out.exists():
        return None
    old = tables.read(out)
    whose, *notes = old.source.split("; ")
    ours = whose == BUILT and all(": " in note for note in notes)
    if not ours or old.licence != _LICENSE or old.space != NasBench201.name:
        raise UserError(
            f"Table '{out}' is of space {old.space!r:.80}, source {old.source!r:.80} and license {old.licence!r:.80}; `nas table "
            "build` adds a task only to tables that it built. Take another --out."
        )
    return old


def _notes(source: str) -> dict[str, str]:
    """How each task was measured, from a table's source."""
    return dict(part.split(": ", 1) for part in source.split("; ")[1:])
