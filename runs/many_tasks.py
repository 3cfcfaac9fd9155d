"""The table of many tasks, command by command; `runs/many_tasks.sh` says which and in which order."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click
import torch

from nas.tables import measure_latency, measure_tasks, pack_tasks, shard_archive, task_plans
from search_spaces import UserError


@click.group()
def main() -> None:
    """Train every function of nasbench201 on many data sets, and pack the metrics into one table."""


_out = click.option("--out", required=True, type=click.Path(path_type=Path), help="The folder of shards.")
_archive = click.option("--archive", required=True, type=click.Path(path_type=Path), help="A .tar.xz file of shards.")


@main.command()
@click.option("--images", type=click.Path(path_type=Path), help="A folder of npz data sets; without it only digits.")
@click.option("--only", help="A data set, or a training as SET-VARIANT; by default all, in the order of work.")
@_out
def work(images: Path | None, only: str | None, out: Path) -> None:
    """Train what is missing, in one thread. Start a process for each core; each can be killed and started again."""
    torch.set_num_threads(1)
    plans = [plan for plan in task_plans.plans() if only in (None, plan.set, plan.folder)]
    if not plans:
        raise UserError(f"There is no training '{only}'; status lists them.")
    for plan in plans:
        if images is None and plan.set != "digits":
            continue
        for number in measure_tasks.work(plan, out / plan.folder, images):
            click.echo(f"{time.strftime('%H:%M:%S')} {plan.folder} {number:04d}")


@main.command()
@_out
def status(out: Path) -> None:
    """How many shards of each training are finished."""
    have, all_shards = 0, 0
    for plan in task_plans.plans():
        shards = task_plans.shards(plan)
        finished = sum(measure_tasks.shard_file(out / plan.folder, shard.number).exists() for shard in shards)
        have, all_shards = have + finished, all_shards + len(shards)
        click.echo(f"{plan.folder:32} {finished:5} of {len(shards):5}")
    click.echo(f"{'all':32} {have:5} of {all_shards:5}")


@main.command()
@_archive
@_out
def keep(out: Path, archive: Path) -> None:
    """Add the finished shards of all trainings to the archive."""
    added, total = shard_archive.keep(out, archive)
    click.echo(f"{archive}: {total} shards, {added} of them new, {archive.stat().st_size / 1e6:.2f} MB")


@main.command()
@_archive
@_out
def restore(out: Path, archive: Path) -> None:
    """Write the shards of the archive that the folder lacks, bitwise as they were."""
    added, total = shard_archive.restore(out, archive)
    click.echo(f"{out}: {total} shards, {added} of them new")


@main.command()
@click.option("--variant", type=click.Choice(["base", "deep", "wide"]), default="base", show_default=True)
@click.option("--count", type=int, help="Only the first so many functions, as a trial.")
@_out
def latency(variant: str, count: int | None, out: Path) -> None:
    """Time the exported network of every function in ONNX Runtime; one process, on a quiet machine."""
    torch.set_num_threads(1)
    plan = next(p for p in task_plans.plans() if p.variant == variant)._replace(functions=count)
    for number in measure_latency.work(plan, out / f"latency-{variant}{'' if count is None else f'-{count}'}"):
        click.echo(f"{time.strftime('%H:%M:%S')} latency-{variant} {number:04d}")


@main.command()
@click.option("--table", required=True, type=click.Path(path_type=Path), help="The packed table, written anew.")
@_out
def pack(table: Path, out: Path) -> None:
    """Write all finished trainings and latencies to one table of one row a function; prints noise ceilings."""
    of_networks = {p.variant: p for p in reversed(task_plans.plans()) if p.variant in ("base", "deep", "wide")}
    timed = {n: c for v, p in of_networks.items() for n, c in measure_latency.columns(p, out / f"latency-{v}").items()}
    missing = pack_tasks.pack(out, table, timed)
    _, columns, _ = pack_tasks.read(table)
    for name, column in columns.items():
        ceiling = f"{column.noise['ceiling']:.3f}" if column.noise else ""
        click.echo(f"{name:64} {ceiling}")
    tasks = {column.about.task for column in columns.values()}
    families = {task_plans.families(task)[0] for task in tasks}
    size = table.stat().st_size / 1e6
    click.echo(f"{table}: {len(tasks)} tasks in {len(families)} families, {len(columns)} columns, {size:.1f} MB")
    click.echo(f"not finished: {', '.join(missing) or 'nothing'}")


@main.command()
@click.option("--table", required=True, type=click.Path(path_type=Path), help="A packed table.")
@click.option("--to", required=True, type=click.Path(path_type=Path), help="The table of all architectures.")
def unpack(table: Path, to: Path) -> None:
    """Write the packed table as one of all 15,625 architectures, in the format that searches read."""
    pack_tasks.unpack(table, to)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
