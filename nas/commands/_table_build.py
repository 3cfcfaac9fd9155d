"""`nas table build`: every cell trained on a dataset, into a table."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress

from nas import tables
from nas.commands import _old_flags
from nas.commands._kinds import GivenPath
from nas.run.config import check_number
from nas.spread import spread
from nas.tables import build as measuring
from nas.tables.build import Plan
from search_spaces import _ops
from search_spaces.nasbench201 import NasBench201

_SOURCE = "metacell, measured by `nas table build`"


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
        ("noise-sample", noise_sample),
        ("jobs", jobs),
    ):
        check_number(f"--{option}", value)
    plan = Plan(task, epochs, channels, cells, stem_stride, image_size, train_images, noise_sample=noise_sample)
    name = name or Path(task.partition(":")[2] or task).stem
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
    """Put a measured task into a table, in place of what it had under that name."""
    others = {}
    notes = {name: measuring.describe(plan)}
    if out.exists():
        old = tables.read(out)
        # Cloned: the file that these columns are mapped from is about to be replaced.
        others = {n: (about, old.column(n).clone()) for n, about in old.columns.items() if about.task != name}
        notes = _notes(old.source) | notes
    archs = _ops.enumerate_all(NasBench201.choices)
    columns = others | measuring.columns(plan, folder, name)
    source = "; ".join([_SOURCE, *[f"{task}: {note.replace(';', ',')}" for task, note in sorted(notes.items())]])
    tables.write(out, NasBench201.name, archs, columns, source, "MIT")


def _notes(source: str) -> dict[str, str]:
    return dict(part.split(": ", 1) for part in source.split("; ")[1:])
