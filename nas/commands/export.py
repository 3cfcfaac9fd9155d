"""`nas export`: the network that a run found leaves as files."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.console import Console

from nas import evaluation_file, tasks
from nas.commands import _few_shot_export, _shared
from nas.commands._kinds import GivenPath
from nas.export.export import Export, export
from nas.run import (
    comparison,
    model_card,
    objective_front,
    objective_pick,
    pick,
    seed_networks,
    store,
    subject,
    trained_network,
)
from nas.run.store import Run
from nas.run.summary import summary, top_row
from nas.terminal import printable
from nas.types import TrainedNetwork
from search_spaces import Space, Task, UserError

IN_PART = 1
"""Exit status where a format was left out because it failed."""


@click.command()
@click.argument("run")
@click.option("--to", type=GivenPath(path_type=Path), help="The folder to make.")
@click.option(
    "--hf",
    type=GivenPath(path_type=Path),
    help="A folder to make in the layout of the Hugging Face hub, with a model card.",
)
@click.option(
    "--pick",
    "picks",
    multiple=True,
    metavar="BOUND",
    help="The best network of the run under a bound: params<=20k, flops<=5M or latency<=2ms, or on an objective of --aim. It is "
    "trained to the end first if the search handed out another.",
)
@click.option("--seed", type=int, help="Of which seed; by default the one with the highest score.")
@click.option("--onnx/--no-onnx", default=None, help="Write ONNX too; by default where its packages are installed.")
@click.option(
    "--onnx-input",
    type=click.Choice(["float32", "uint8"]),
    default="float32",
    show_default=True,
    help="What the ONNX file takes: pixels / 255 of the network's size, or uint8 images of any size, which it resizes itself.",
)
@click.option("--force", is_flag=True, help="Replace an earlier export in that folder.")
@click.option(
    "--trust", "trusted", is_flag=True, help="Run the file of a space that the run names and you have not run before."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(
    run: str, to: Path | None, hf: Path | None, picks: tuple[str, ...], seed: int | None, onnx: bool | None, onnx_input: str,
    force: bool, trusted: bool, as_json: bool,
) -> None:  # fmt: skip
    """Write a run's network as Python, weights, torch.export program and ONNX; compare each with the network, time it.

    It takes the run's folder alone. Only where the run's space is a file of somebody's own, that file is run. A format that
    fails is left out, with a line that says why; the others are written, and the exit status is 1.

    \b
    Example:
      nas export runs/digits-evolution-1 --to exported
      nas export runs/digits-evolution-1 --pick 'params<=1M' --to small
    """
    if to is None and hf is None:
        raise UserError("nas export takes --to FOLDER, or --hf FOLDER, or both.")
    if to is None and (onnx is not None or onnx_input != "float32"):
        asked = "--onnx-input" if onnx_input != "float32" else "--onnx" if onnx else "--no-onnx"
        raise UserError(
            f"{asked} is of the files that --to writes; --hf has no ONNX file. Leave it out, or give --to too."
        )
    if picks and seed is not None:
        raise UserError(f"--seed is {seed}, and --pick looks at all seeds; leave one of them out.")
    with store.open_run(_shared.run_folder(run)) as opened:
        about = subject.read(opened)
        rows = [row for row in summary(opened)["best"] if row["arch"] is not None]
        stored = trained_network.load(opened.folder)
        by_function = evaluation_file.weights(opened.folder) if stored is None else None
        searched = None if comparison.plain_handed_out(opened) else comparison.searched(opened)
        arch = _pick(rows, seed) if seed is not None or stored is None else stored.arch
        if stored is not None and arch == searched:  # Its other training was handed out.
            arch = stored.arch
        weights = stored if stored is not None and stored.arch == arch else None
        if weights is None and seed is not None and (own := seed_networks.load(opened, seed, arch)) is not None:
            arch, weights = own.arch, own
    if by_function is not None and by_function[0] == arch:  # Which normalizes its images as its function did.
        weights = TrainedNetwork(arch, by_function[1], None, None, (), {})  # pyright: ignore[reportArgumentType]
    space = subject.final_space(about, run, trusted=trusted)
    if picks:
        arch, weights = _picked(run, space, about.task, picks, trusted=trusted)
    if hf is not None:
        if weights is None or "test_accuracy" not in weights.metrics:
            raise UserError(
                "--hf takes a network that was trained and tested here; of this architecture the run has none."
            )
        with store.open_run(_shared.run_folder(run)) as opened:
            model_card.write(opened, space, about.task, weights, hf, force=force)
        if to is None:
            _say_hub(hf, arch, as_json)
            return
    assert to is not None
    if weights is None and tasks.TaskName.parse(about.task.name).kind == "few_shot":
        learned = _few_shot_export.find(_shared.run_folder(run), space, arch)
        if learned is not None or picks or seed is not None:
            _few_shot_export.refuse(onnx=onnx, onnx_input=onnx_input)
        if learned is None and (picks or seed is not None):
            with store.open_run(_shared.run_folder(run)) as opened:
                learned = _few_shot_export.train(opened, space, arch, trusted=trusted)
        if learned is not None:
            _few_shot_export.write(learned, to, arch, force=force, as_json=as_json)
            return
    options = {"onnx": onnx, "onnx_input": onnx_input, "force": force}
    if weights:
        done = trained_network.write_export(space, about.task, weights, to, **options)
    else:
        done = export(space, space.parse(arch), about.task, None, to, **options)
    if as_json:
        _shared.print_json(document(done, arch) | ({} if hf is None else {"hf": str(hf)}))
    else:
        if hf is not None:
            _say_hub(hf, arch, as_json)
        print_export(done, arch)
        _say_assumed(about.task)
    if any(file.failed for file in done.left_out):
        sys.exit(IN_PART)


def _picked(
    run: str, space: Space, task: Task, picks: tuple[str, ...], *, trusted: bool
) -> tuple[str, TrainedNetwork | None]:
    """The architecture under bounds and its trained network, with a line on standard error about the choice."""
    with store.open_run(_shared.run_folder(run)) as opened:
        if objective_pick.applies(opened, picks):
            return _picked_by_objectives(opened, picks), None
        point = pick.choose(opened, space, task, picks, trusted=trusted)
        latency = "" if point.latency_ms is None else f", {point.latency_ms:.3g} ms"
        click.echo(
            printable(
                f"Picked {point.arch}: score {point.score:.2f}, {point.parameters:,} parameters, {point.flops:,} FLOPs{latency}"
            ),
            err=True,
        )
        weights = pick.network(opened, point, space, trusted=trusted, say=lambda line: click.echo(line, err=True))
    return (point.arch if weights is None else weights.arch), weights


def _picked_by_objectives(run: Run, picks: tuple[str, ...]) -> str:
    chosen, aims = objective_pick.choose(run, picks), subject.read(run).aims
    values = ", ".join(f"{aim.short} {objective_front.shown(aim, x)}" for aim, x in zip(aims, chosen.values))
    click.echo(printable(f"Picked {chosen.arch}: {values}"), err=True)
    return chosen.arch


def _say_hub(folder: Path, arch: str, as_json: bool) -> None:
    if as_json:
        _shared.print_json({"hf": str(folder), "arch": arch})
    else:
        click.echo(f"Hugging Face layout in {printable(str(folder))}: config.json, weights, preprocessing, model card")


def _say_assumed(task: Task) -> None:
    """Of a network for a table's dataset of which nothing is known, what it was built for."""
    name = tasks.TaskName.parse(task.name)
    if name.kind == "table" and not task.data_known:
        shape = "x".join(map(str, task.input_shape))
        click.echo(
            f"The table does not say what its images are: the network takes {shape} and has {task.num_classes} classes, as for "
            "CIFAR-10."
        )


def _pick(rows: list[dict], seed: int | None) -> str:
    if not rows:
        raise UserError("No evaluation of this run has succeeded; there is no network to export.")
    ours = [row for row in rows if seed is None or row["seed"] == seed]
    if not ours:
        raise UserError(f"--seed is {seed}; the run has seed {', '.join(str(row['seed']) for row in rows)}.")
    return top_row(ours)["arch"]


def document(done: Export, arch: str) -> dict:
    """The JSON document of an export."""
    files = [f._asdict() for f in done.files]
    left_out = [f._asdict() for f in done.left_out]
    return done._asdict() | {"folder": str(done.folder), "arch": arch, "files": files, "left_out": left_out}


def print_export(done: Export, arch: str) -> None:
    """Print what was written, how far it is from the network, how fast it runs here."""
    console = Console(highlight=False, soft_wrap=True, markup=False)
    console.print(f"Export {printable(arch)}")
    console.print(f"to {printable(str(done.folder))}: {done.parameters:,} parameters in network.safetensors")
    for file in done.files:
        console.print(
            f"  {file.file:<13} largest difference {file.difference:.1e}, {file.milliseconds:.3f} ms an image"
        )
    for file in done.left_out:
        console.print(f"  no {file.file}: {printable(file.reason)}")
    if not done.trained:
        console.print(
            "The weights are untrained: nothing trained this network to the end here. Train network.py on your data."
        )
