"""The official NATS-Bench downloads, read without trust: their pickles may hold plain values and nothing that runs.

A download is a folder (`-simple`: `meta.pickle.pbz2` and a file an architecture) or one `.pickle.pbz2`. Either way one
architecture is in memory at a time. The format is nats_bench's `ArchResults.state_dict`: dicts, lists, texts and numbers.
"""

from __future__ import annotations

import bz2
import collections
import pickle
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from search_spaces import UserError

SUFFIX = ".pickle.pbz2"
_NUMBERS = {"f4": "f", "f8": "d", "i4": "i", "i8": "q"}


class Record(NamedTuple):
    """All that a download knows of one architecture."""

    index: int
    """Its row in `meta_archs`."""
    infos: dict[str, dict[str, Any]]
    """By the name of the training recipe (`12`, `200`; `01`, `12`, `90`), the state of an `ArchResults`."""


class Download(NamedTuple):
    """The list of a download's architectures, and where the rest is."""

    path: Path
    meta_archs: list[str]
    count: int | None
    """How many architectures it has figures of; None where that stands at its end."""


class _Dtype:
    """Stands in for `numpy.dtype`, of plain numbers only."""

    def __init__(self, kind: str, *_: bool):
        if kind not in _NUMBERS:
            raise pickle.UnpicklingError(f"a number of type '{kind}'")
        self.code = _NUMBERS[kind]
        self.order = "<"

    def __setstate__(self, state: tuple) -> None:
        self.order = "<" if state[1] in "<=|" else ">"


def _scalar(dtype: _Dtype, data: bytes) -> float:
    """Stands in for numpy's: the plain number."""
    return struct.unpack(dtype.order + dtype.code, data)[0]


_ADMITTED: dict[str, Any] = {
    "collections.OrderedDict": collections.OrderedDict,
    "collections.defaultdict": collections.defaultdict,
    "builtins.dict": dict,
    "builtins.list": list,
    "builtins.set": set,
    "builtins.int": int,
    "builtins.float": float,
    "numpy.dtype": _Dtype,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy._core.multiarray.scalar": _scalar,
}


def _admit(module: str, name: str) -> Any:
    if f"{module}.{name}" not in _ADMITTED:
        raise pickle.UnpicklingError(f"it holds '{module}.{name}', which is no part of the format")
    return _ADMITTED[f"{module}.{name}"]


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str, /) -> Any:
        return _admit(module, name)


class _Memo(dict):
    """What a pickle may refer back to; entries that are dropped still count, as new ones are numbered by the count."""

    count = 0

    def __setitem__(self, number: int, value: Any) -> None:
        self.count += 1
        super().__setitem__(number, value)

    def __len__(self) -> int:
        return self.count


class _Stream(pickle._Unpickler):  # pyright: ignore[reportAttributeAccessIssue]
    """Gives every architecture of the single file as soon as it is read, and forgets it."""

    def find_class(self, module: str, name: str, /) -> Any:
        return _admit(module, name)

    def records(self) -> Iterator[Record]:
        """The loop of `pickle._Unpickler.load`, stopping at every architecture."""
        self._unframer = pickle._Unframer(self._file_read, self._file_readline)  # pyright: ignore[reportAttributeAccessIssue]
        self.read, self.readinto, self.readline = self._unframer.read, self._unframer.readinto, self._unframer.readline
        self.metastack, self.stack, self.memo, self.proto = [], [], _Memo(), 0
        self.append = self.stack.append
        kept = 0
        while (code := self.read(1)) != pickle.STOP:
            if not code:
                raise EOFError("it ends too early")
            self.dispatch[code[0]](self)  # pyright: ignore[reportArgumentType]
            if code in (pickle.SETITEMS, pickle.SETITEM) and self._has_architecture():
                yield Record(self.stack[-2], dict(self.stack[-1]))
                self.stack[-1].clear()
                kept = self._forget(kept)

    def meta_archs(self) -> list[str]:
        """The list of architectures, which stands before them; empty where it does not."""
        for stack in self.metastack:
            if "meta_archs" in stack[::2]:
                return list(stack[stack.index("meta_archs") + 1])
        return []

    def _has_architecture(self) -> bool:
        return len(self.stack) > 1 and isinstance(self.stack[-2], int) and _is_architecture(self.stack[-1])

    def _forget(self, kept: int) -> int:
        """Drop what the last architecture left behind; the names of fields stay, as later architectures share them."""
        for number in range(kept, len(self.memo)) if kept else ():
            value = self.memo.get(number)
            if not isinstance(value, str) or "@" in value or "|" in value:
                self.memo.pop(number, None)
        return len(self.memo)


def _is_architecture(top: Any) -> bool:
    return (
        isinstance(top, dict)
        and 0 < len(top) <= 4
        and all(isinstance(state, dict) and "all_results" in state for state in top.values())
    )


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
    with _opened(path) as file:
        stream = _Stream(file)
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
                infos = _load(file)
                if not _is_architecture(infos):
                    raise UserError(f"'{file}' is not what NATS-Bench knows of an architecture.")
                yield Record(index, infos)
        return
    with _opened(download.path) as file:
        yield from (r for r in _guarded(download.path, _Stream(file).records()) if r.index not in done)


def _files(folder: Path) -> list[Path]:
    return sorted(f for f in folder.glob(f"*{SUFFIX}") if f.name.removesuffix(SUFFIX).isdigit())


def _load(path: Path) -> Any:
    with _opened(path) as file:
        return next(_guarded(path, (_Unpickler(f).load() for f in [file])))


def _opened(path: Path) -> IO[bytes]:
    return bz2.BZ2File(path)  # pyright: ignore[reportReturnType]


def _guarded(path: Path, items: Iterator[Any]) -> Iterator[Any]:
    """Whatever a damaged or foreign pickle throws is one line that names the file."""
    try:
        yield from items
    except (pickle.UnpicklingError, EOFError, OSError, ValueError, TypeError, KeyError, IndexError, AttributeError,
            struct.error, MemoryError) as error:  # fmt: skip
        if isinstance(error, UserError):
            raise
        raise UserError(f"'{path}' cannot be read as NATS-Bench data: {error}.") from None
