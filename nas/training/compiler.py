"""Compiling `cell_kernels.c` on first use, for the processor at hand; the result stays in the user's cache,
in a folder that is nobody else's.

So is a file that includes it, as `attack_kernels.c`.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch

from nas.paths import user_folder

_SOURCE = Path(__file__).with_name("cell_kernels.c")
# No -ffast-math: sums must round in the order that the code says. -march=native: the code never leaves this machine.
_FLAGS = ("-O3", "-march=native", "-std=gnu11", "-shared", "-fPIC")
_REAL = {torch.float32: "float", torch.float64: "double"}


class Build(NamedTuple):
    """What came of compiling."""

    library: ctypes.CDLL | None
    digest: str = ""
    """Of the library's bytes, the first 12 digits; two of one digest compute the same bitwise."""
    failure: str = ""
    """Why there is none although there is a compiler; else empty."""


def library(dtype: torch.dtype = torch.float32, source: Path = _SOURCE) -> ctypes.CDLL | None:
    """The compiled `source` for numbers of `dtype`; None without a compiler that takes it, and where `NAS_COMPILE=0`."""
    return build(dtype, source).library


@lru_cache
def build(dtype: torch.dtype = torch.float32, source: Path = _SOURCE) -> Build:
    """As `library`, with what tells it from others, or why there is none."""
    compiler = os.environ.get("CC") or next((c for c in ("cc", "gcc", "clang") if shutil.which(c)), None)
    if compiler is None or os.environ.get("NAS_COMPILE") == "0":
        return Build(None)
    # Whatever the compiler or the loader does not like, PyTorch can train instead: slower, but it works.
    try:
        path = _built(compiler, _REAL[dtype], source)
        loaded = ctypes.CDLL(str(path))
    except subprocess.CalledProcessError as error:
        return Build(None, failure=f"'{compiler}' failed: {_last_line(error.stderr.decode(errors='replace'))}")
    except (OSError, subprocess.SubprocessError) as error:
        return Build(None, failure=_last_line(str(error)))
    # ctypes takes 32-bit results for granted.
    loaded.bytes_of_a_vector.restype = ctypes.c_int64
    loaded.train.restype = loaded.train_soft.restype = loaded.predict.restype = None
    return Build(loaded, path.stem.rpartition("-")[2][:12])


def compiler_failure() -> str:
    """Why compiled code trains nothing here although there is a compiler; else empty."""
    return build().failure


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it says nothing"])[-1]


def _built(compiler: str, real: str, source: Path) -> Path:
    """The file of the compiled code, made if it is not there: its name holds all that it depends on, and its own digest."""
    # Another source includes this one: both are part of what it depends on.
    own = "" if source == _SOURCE else source.read_text(encoding="utf-8")
    # Homes are shared between machines: the processor's instructions are part of the name, or one would run another's code.
    parts = "\0".join(
        [_SOURCE.read_text(encoding="utf-8") + own, compiler, *_FLAGS, real, platform.machine(), _processor()]
    )
    name = f"cells-{hashlib.sha256(parts.encode()).hexdigest()[:16]}"
    command = [*compiler.split(), *_FLAGS, f"-DREAL={real}", str(source), "-lm"]
    cache = user_folder("XDG_CACHE_HOME", ".cache")
    try:
        if cache is not None:
            return _kept(_private(cache / "metacell" / "compiled"), name, command)
    except OSError:  # A home that cannot be written, as in some containers, or a folder that is not the user's own.
        pass
    folder = Path(tempfile.mkdtemp(prefix="metacell-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return _kept(folder, name, command)


def _private(folder: Path) -> Path:
    """The folder, the user's alone: what is loaded from it runs. Raises `OSError` where it is a link or somebody else's."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise PermissionError(f"'{folder}' is not a folder of this user's own")
    if found.st_mode & 0o077:
        # Others could write there, so whatever it holds may be theirs.
        folder.chmod(0o700)
        for file in folder.iterdir():
            file.unlink()
    return folder


def _kept(folder: Path, name: str, command: list[str]) -> Path:
    """The library `NAME-DIGEST.so` of a folder whose content has that digest; one that was cut or changed is made anew."""
    for path in folder.glob(f"{name}-*.so"):
        if not path.is_symlink() and path.stem.rpartition("-")[2] == _digest(path):
            return path
        path.unlink(missing_ok=True)
    # Each process its own: two may compile at the same time, and neither may load half a file.
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        made = Path(scratch) / "cells.so"
        subprocess.run([*command, "-o", str(made)], check=True, capture_output=True, timeout=120)
        return made.rename(folder / f"{name}-{_digest(made)}.so")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _processor() -> str:
    """What tells processors apart whose instructions differ."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
    except OSError:
        return platform.processor()
