"""Trials on disk: each a file of raw evaluations, run once, by whichever process comes to it first."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import lru_cache
from importlib import metadata
from pathlib import Path

import safetensors.torch
from torch import Tensor

from nas.compare import trial, trial_file
from nas.compare.trial import ColumnsRead, Trial, TrialSpec
from nas.spread import spread
from nas.text import counted
from search_spaces import UserError
from search_spaces._files import atomic_write


def run(spec: TrialSpec, folder: Path) -> Path:
    """The file of a trial, run if it is not there or another version ran it. `UserError` if the file is of another trial."""
    path = spec.path(folder)
    # Another version may propose otherwise: one table must not mix the two.
    if outdated([spec], folder) or not path.is_file():
        keep(path, made(spec))
    return path


def made(spec: TrialSpec) -> bytes:
    """Run a trial: what its file holds."""
    done, columns_read = trial.run(spec)
    tensors = {
        name: tensor for name, tensor in done._asdict().items() if tensor is not None and _is_informative(name, tensor)
    }
    # One key: safetensors writes several in any order.
    about = {trial_file.FORMAT: json.dumps({"spec": asdict(spec), "columns_read": columns_read, "version": version()})}
    return safetensors.torch.save({name: tensor.contiguous() for name, tensor in tensors.items()}, about)


def keep(path: Path, content: bytes) -> None:
    """Write the file of a trial, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as partial:
        partial.write_bytes(content)


def _size(spec: TrialSpec) -> str:
    """What a trial's file name does not say: how many searches, and how long."""
    budgets = [counted(spec.evals, "evaluation")] if spec.evals is not None else []
    budgets += [f"{spec.seconds:g} simulated seconds"] if spec.seconds is not None else []
    batches = f" in batches of {spec.batch}" if spec.batch > 1 else ""
    return f"{counted(spec.seeds, 'seed')} of {' or '.join(budgets)}{batches}"


def _is_informative(name: str, tensor: Tensor) -> bool:
    """Whether a tensor has information: costs that are all zero are left out."""
    return name != "cost" or bool(tensor.any())


def read_spec(path: Path) -> TrialSpec:
    """What a file's trial ran."""
    return trial_file.about(path).spec


def read_version(path: Path) -> str:
    """The version of the code that ran a trial; empty for those without one."""
    return trial_file.about(path).version


@lru_cache
def version() -> str:
    """The version of this code: that of the package installed."""
    try:
        return metadata.version("metacell")
    except metadata.PackageNotFoundError:
        return "not installed"


def outdated(specs: list[TrialSpec], folder: Path) -> list[Path]:
    """The files of trials that another version ran; they are run anew. `UserError` if a file of any is of another trial."""
    there = [(spec, spec.path(folder)) for spec in specs if spec.path(folder).is_file()]
    for spec, path in there:
        stored = read_spec(path)
        if stored != spec:
            raise UserError(
                f"'{path}' holds {_size(stored)}; this comparison asks for {_size(spec)}. "
                "Name another folder with --out, or leave it out."
            )
    return [path for _, path in there if read_version(path) != version()]


def kept(specs: list[TrialSpec], folder: Path) -> list[TrialSpec]:
    """The specs as the folder has their trials: without the digest of the data where it has one from before that was kept.

    What such a trial saw is not known. It is taken for what there is today, as long as the version is the same.
    """
    return [_kept(spec, folder) for spec in specs]


def _kept(spec: TrialSpec, folder: Path) -> TrialSpec:
    before = replace(spec, data="")
    path = before.path(folder)
    is_known = not spec.path(folder).is_file() and path.is_file() and read_version(path) == version()
    return before if is_known else spec


def read_columns_read(path: Path) -> ColumnsRead:
    """Which columns a trial read, and how often."""
    return trial_file.about(path).columns_read


def read(path: Path) -> Trial:
    """The evaluations of a trial. Raises `UserError` for a file that is none, or not whole."""
    return trial_file.read(path)


def run_all(specs: list[TrialSpec], folder: Path, jobs: int | None, ray: str = "") -> Iterator[Path]:
    """The files of trials as they are done; first those that exist already. `jobs` and `ray` are as `spread` takes them."""
    old = outdated(specs, folder)
    waiting = [spec for spec in specs if spec.path(folder) in old or not spec.path(folder).is_file()]
    yield from (run(spec, folder) for spec in specs if spec not in waiting)
    if not ray and (jobs == 1 or len(waiting) < 2):
        yield from (run(spec, folder) for spec in waiting)
        return
    count = None if jobs is None else min(jobs, len(waiting))
    for number, content in spread(_maker, (), [(spec,) for spec in waiting], count, ray):
        path = waiting[number].path(folder)
        keep(path, content)  # By this process: the machines of a cluster need no folder in common.
        yield path


def _maker() -> Callable[[TrialSpec], bytes]:
    """In a worker: what runs a trial."""
    return made
