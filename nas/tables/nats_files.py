"""The official NATS-Bench downloads, read without trust: their pickles may hold plain values and nothing that runs.

A download is a folder (`-simple`: `meta.pickle.pbz2` and a file an architecture) or one `.pickle.pbz2`. Either way one
architecture is in memory at a time. The format is nats_bench's `ArchResults.state_dict`: dicts, lists, texts and numbers.
"""

from __future__ import annotations

import bz2
import hashlib
import pickle
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from nas.tables._nats_pickle import Record, Stream, Unpickler, is_architecture
from search_spaces import UserError

SUFFIX = ".pickle.pbz2"


_OTHER_FORMS = {
    ".pth": "a file of PyTorch, as NAS-Bench-201's first download is: one pickle, read only as a whole. "
    "NATS-Bench holds the same trainings; fetch 'NATS-tss-v1_0-3ffb9-simple.tar', unpack it, and name its folder.",
    ".tar": "a folder that is still packed; `tar xf` it, and name the folder.",
}
"""What people have beside the two forms that are read, by the end of the name, and what to do."""


class Download(NamedTuple):
    """The list of a download's architectures, and where the rest is."""

    path: Path
    meta_archs: list[str]
    count: int | None
    """How many architectures it has results of; None where only its end would say."""


def open_download(path: Path) -> Download:
    """What there is to read. Raises `UserError` for a path that is no NATS-Bench download."""
    if path.is_dir():
        if not (path / f"meta{SUFFIX}").is_file():
            raise UserError(f"'{path}' has no 'meta{SUFFIX}'; a NATS-Bench folder ('...-simple') has.")
        meta = _load(path / f"meta{SUFFIX}")
        if not isinstance(meta, dict) or "meta_archs" not in meta:
            raise UserError(f"'{path / f'meta{SUFFIX}'}' names no 'meta_archs'; that of NATS-Bench does.")
        return Download(path, list(meta["meta_archs"]), len(_files(path)))
    if not path.is_file():
        raise UserError(f"There is no NATS-Bench download '{path}'.")
    for suffix, what in _OTHER_FORMS.items():
        if path.name.endswith(suffix):
            raise UserError(f"'{path}' is {what}")
    with _opened(path) as file:
        # The list stands before the first architecture: reading that one is enough.
        stream = Stream(file)
        meta_archs = stream.meta_archs() if next(_guarded(path, stream.records()), None) else []
    if not meta_archs:
        raise UserError(f"'{path}' does not begin with 'meta_archs' and architectures; a NATS-Bench file does.")
    return Download(path, meta_archs, None)


def records(download: Download, done: set[int]) -> Iterator[Record]:
    """The architectures whose index is not in `done`, one at a time. Raises `UserError` naming a file that is damaged."""
    if download.path.is_dir():
        for file in _files(download.path):
            index = int(file.name.removesuffix(SUFFIX))
            if index not in done:
                yield _record(file, index)
        return
    with _opened(download.path) as file:
        yield from (r for r in _guarded(download.path, Stream(file).records()) if r.index not in done)


def infos(download: Download, index: int) -> dict[str, dict[str, Any]]:
    """What a folder knows of one architecture; nothing where it lacks it. Raises `UserError` for a file that is damaged."""
    file = download.path / f"{index:06d}{SUFFIX}"
    return _record(file, index).infos if file.is_file() else {}


def load_all(download: Download) -> dict[int, dict[str, dict[str, Any]]]:
    """All architectures of the single file at once. Raises `UserError` for a file that is damaged."""
    loaded = _load(download.path)
    found = loaded.get("arch2infos") if isinstance(loaded, dict) else None
    if not isinstance(found, dict) or not all(map(is_architecture, found.values())):
        raise UserError(f"'{download.path}' is not what NATS-Bench knows of its architectures.")
    return found


def _record(file: Path, index: int) -> Record:
    infos = _load(file)
    if not is_architecture(infos):
        raise UserError(f"'{file}' is not what NATS-Bench knows of an architecture.")
    return Record(index, infos)


def digest(download: Download) -> str:
    """Tells a download from another: of the list of its architectures and of the sizes of its files, the first 16 digits.

    The files themselves are gigabytes, too many to read at each start.
    """
    files = _files(download.path) if download.path.is_dir() else [download.path]
    sizes = [f"{file.name if download.path.is_dir() else ''} {file.stat().st_size}" for file in files]
    return hashlib.sha256("\n".join([*download.meta_archs, *sizes]).encode()).hexdigest()[:16]


def _files(folder: Path) -> list[Path]:
    return sorted(f for f in folder.glob(f"*{SUFFIX}") if f.name.removesuffix(SUFFIX).isdecimal())


def _load(path: Path) -> Any:
    with _opened(path) as file:
        return next(_guarded(path, (Unpickler(f).load() for f in [file])))


def _opened(path: Path) -> IO[bytes]:
    return bz2.BZ2File(path)  # pyright: ignore[reportReturnType]


def _guarded(path: Path, items: Iterator[Any]) -> Iterator[Any]:
    """Whatever a damaged or foreign pickle throws is one line that names the file."""
    try:
        yield from items
    # All that an unpickler does with bytes that are not its format. `UserError` is a ValueError and has its line already.
    except (pickle.UnpicklingError, EOFError, OSError, ValueError, TypeError, KeyError, IndexError, AttributeError,
            struct.error, MemoryError) as error:  # fmt: skip
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"'{path}' cannot be read as NATS-Bench data: {error}; `nas table import csv` reads results of your own."
        ) from None
