"""How long the last stage of a search takes: the export of a run's network and its page, in a fresh process as after a search."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import click

from nas.export.export import Export
from nas.run import report, store, subject, trained_network
from nas.run.store import Run


def last_stage(run: Run, folder: Path) -> Export:
    """Write what `nas.run.finish` writes after the comparison, into `folder`."""
    about, winner = subject.read(run), trained_network.load(run.folder)
    assert winner is not None
    report.write(run, folder / report.FILE)
    space = subject.final_space(about, str(run.folder), trusted=False)
    return trained_network.write_export(space, about.task, winner, folder / "export")


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
def main(run: Path) -> None:
    """Print a row of a table for the folder of a finished search on images."""
    began, cpu = time.perf_counter(), time.process_time()
    with store.open_run(run) as opened, tempfile.TemporaryDirectory() as folder:
        done = last_stage(opened, Path(folder))
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    busy = os.getloadavg()[0]
    print(f"| {run.name} | {done.parameters:,} | {len(done.files)} | {wall:.1f} | {cpu:.1f} | {busy:.1f} |")


if __name__ == "__main__":
    main()
