"""The cells of a comparison on disk: each a file of raw evaluations, made once, by whichever process comes to it."""

from __future__ import annotations

import json
import multiprocessing
import signal
from collections.abc import Iterator
from dataclasses import asdict
from functools import lru_cache, partial
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from nas.compare import trial
from nas.compare.trial import Ask, Reads, Trace
from search_spaces import UserError

FORMAT = "nas-compare/1"


def cell(ask: Ask, folder: Path) -> Path:
    """The file of a cell, made if it is not there or was made by another version. `UserError` for one made otherwise."""
    path = ask.path(folder)
    if path.is_file():
        made = read_ask(path)
        if made != ask:
            raise UserError(f"'{path}' holds another comparison ({made}); name another folder with --out.")
        if read_version(path) == version():
            return path
    trace, reads = trial.run(ask)
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor for name, tensor in trace._asdict().items() if tensor is not None and _told(name, tensor)}
    half = path.with_suffix(".part")
    # One key: safetensors writes several in any order.
    about = {FORMAT: json.dumps({"ask": asdict(ask), "reads": reads, "version": version()})}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, half, about)
    half.replace(path)
    return path


def _told(name: str, tensor: Tensor) -> bool:
    """Whether a tensor says something: costs of nothing are left out."""
    return name != "cost" or bool(tensor.any())


def read_ask(path: Path) -> Ask:
    """What a cell was asked."""
    return Ask(**_about(path)["ask"])


def read_version(path: Path) -> str:
    """The version of the code that made a cell; empty for those that did not say."""
    return _about(path).get("version", "")


@lru_cache
def version() -> str:
    """The version of this code: that of the package installed."""
    try:
        return metadata.version("metacell")
    except metadata.PackageNotFoundError:
        return "not installed"


def outdated(asks: list[Ask], folder: Path) -> list[Path]:
    """The files of cells that another version made; they are made anew."""
    there = [ask.path(folder) for ask in asks if ask.path(folder).is_file()]
    return [path for path in there if read_version(path) != version()]


def read_reads(path: Path) -> Reads:
    """Which columns the making of a cell read, and how often."""
    return _about(path)["reads"]


def read(path: Path) -> Trace:
    """The evaluations of a cell."""
    with safe_open(path, framework="pt") as file:
        kept = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return Trace(**({"cost": torch.zeros_like(kept["score"])} | kept))


def _about(path: Path) -> dict[str, Any]:
    with safe_open(path, framework="pt") as file:
        return json.loads((file.metadata() or {}).get(FORMAT, "{}"))


def work(asks: list[Ask], folder: Path, jobs: int) -> Iterator[Path]:
    """The cells' files as they come to be; those that are there at once."""
    old = outdated(asks, folder)
    waiting = [ask for ask in asks if ask.path(folder) in old or not ask.path(folder).is_file()]
    yield from (cell(ask, folder) for ask in asks if ask not in waiting)
    if jobs == 1 or len(waiting) < 2:
        yield from (cell(ask, folder) for ask in waiting)
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(min(jobs, len(waiting)), _prepare_process) as pool:
        yield from pool.imap_unordered(partial(cell, folder=folder), waiting)


def _prepare_process() -> None:
    """One thread each; Ctrl-C is for the parent, which ends its workers."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
