"""`nas export` of a run that searched for a few-shot backbone: the learner that was trained on it to the end."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from nas.commands import _shared
from nas.evaluators.few_shot import FewShot
from nas.export.export import refuse_taken
from nas.few_shot import final
from nas.run import provenance, session, trust
from nas.run.store import Run
from nas.terminal import printable
from search_spaces import Space, UserError, representatives
from search_spaces._files import atomic_folder


def find(folder: Path, space: Space, arch: str) -> Path | None:
    """The export of the final training of `arch` in a run's folder; None where there is none."""
    if not (folder / final.FOLDER).is_dir():
        return None
    # What was trained is the one backbone of all that compute the same.
    return final.export_of(folder, space.describe(representatives(space, space.parse(arch))))


def refuse(*, onnx: bool | None, onnx_input: str) -> None:
    """Raise `UserError` for options of files that a few-shot learner is not exported as."""
    if onnx or onnx_input != "float32":
        asked = "--onnx" if onnx else "--onnx-input"
        raise UserError(f"A few-shot learner is exported as network.py and embedding.pt2; leave {asked} out.")


def train(run: Run, space: Space, arch: str, *, trusted: bool) -> Path:
    """The export of a backbone that the search did not hand out, after its final training, which may take long."""
    config = provenance.located(run)
    if not trusted:
        trust.refuse_unknown(str(run.folder), trust.outside(config))
    click.echo("The search handed out another backbone; this one is trained to the end first.", err=True)
    evaluator = session.load(config).evaluator
    assert isinstance(evaluator, FewShot)
    evaluator.cache_to(run.folder)
    evaluator.report(space.parse(arch)[None])
    made = find(run.folder, space, arch)
    assert made is not None
    return made


def write(learned: Path, to: Path, arch: str, *, force: bool, as_json: bool) -> None:
    """Copy the export of the final training, for `nas few-shot classify`. Raises `UserError` for a folder that is taken."""
    files = sorted(file.name for file in learned.iterdir())
    refuse_taken(to, force, tuple(files))
    with atomic_folder(to) as partial:
        shutil.copytree(learned, partial, dirs_exist_ok=True)
    if as_json:
        _shared.print_json({"folder": str(to), "arch": arch, "files": files})
        return
    click.echo(printable(f"Export {arch}\nto {to}: {', '.join(files)}"))
    click.echo(
        printable(f"nas few-shot classify {to} --support FOLDER IMAGES... names classes by a few images of each.")
    )
