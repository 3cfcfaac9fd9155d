"""Pickles of NATS-Bench read without trust: plain values and nothing that runs, one architecture in memory at a time."""

from __future__ import annotations

import collections
import pickle
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

# The numbers that NATS-Bench's files hold; any other type is refused, and with it every object array.
_NUMBERS = {"f4": "f", "f8": "d", "i4": "i", "i8": "q"}


class Record(NamedTuple):
    """All results of one architecture in a download."""

    index: int
    """Its row in `meta_archs`."""
    infos: dict[str, dict[str, Any]]
    """By the name of the training recipe (`12`, `200`; `01`, `12`, `90`), the state of an `ArchResults`."""


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


# A list of what may be called, and not of what may not: whatever a pickle names that is not here stops the reading.
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
    # NumPy 2 moved it; the downloads have the old name.
    "numpy._core.multiarray.scalar": _scalar,
}


def _admit(module: str, name: str) -> Any:
    if f"{module}.{name}" not in _ADMITTED:
        raise pickle.UnpicklingError(f"it holds '{module}.{name}', which is no part of the format")
    return _ADMITTED[f"{module}.{name}"]


class Unpickler(pickle.Unpickler):
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


# Python's own unpickler and not C's, slow as it is: only its loop can be stopped between architectures. The single file holds
# all of them in one dict, gigabytes of it.
class Stream(pickle._Unpickler):  # pyright: ignore[reportAttributeAccessIssue]
    """Yields every architecture of the single file as soon as it is read, and frees it."""

    def find_class(self, module: str, name: str, /) -> Any:
        return _admit(module, name)

    def records(self) -> Iterator[Record]:
        """The loop of `pickle._Unpickler.load`, stopping at every architecture."""
        self._unframer = pickle._Unframer(self._file_read, self._file_readline)  # pyright: ignore[reportAttributeAccessIssue]
        self.read, self.readinto, self.readline = self._unframer.read, self._unframer.readinto, self._unframer.readline
        self.metastack, self.stack, self.memo, self.proto = [], [], _Memo(), 0
        self.append = self.stack.append
        shared = 0
        while (code := self.read(1)) != pickle.STOP:
            if not code:
                raise EOFError("it ends too early")
            self.dispatch[code[0]](self)  # pyright: ignore[reportArgumentType]
            # A dict of results is complete where its items are set; it is yielded and emptied before the next is read.
            if code in (pickle.SETITEMS, pickle.SETITEM) and self._has_architecture():
                yield Record(self.stack[-2], dict(self.stack[-1]))
                self.stack[-1].clear()
                shared = self._forget(shared)

    def meta_archs(self) -> list[str]:
        """The list of architectures, which stands before them; empty where it does not."""
        for stack in self.metastack:
            if "meta_archs" in stack[::2]:
                return list(stack[stack.index("meta_archs") + 1])
        return []

    def _has_architecture(self) -> bool:
        return len(self.stack) > 1 and isinstance(self.stack[-2], int) and is_architecture(self.stack[-1])

    def _forget(self, shared: int) -> int:
        """Drop what the last architecture left behind; the names of fields stay, as later architectures share them."""
        for number in range(shared, len(self.memo)) if shared else ():
            value = self.memo.get(number)
            # Texts with @ or | (a metric after an epoch, a cell) belong to one architecture: stored, they would pile up.
            if not isinstance(value, str) or "@" in value or "|" in value:
                self.memo.pop(number, None)
        return len(self.memo)


def is_architecture(top: Any) -> bool:
    return (
        isinstance(top, dict)
        and 0 < len(top) <= 4
        and all(isinstance(state, dict) and "all_results" in state for state in top.values())
    )
