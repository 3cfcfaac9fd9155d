"""Compiling `cell_kernels.c` on first use, for the processor at hand; the result stays in the user's cache.

So is a file that includes it, as `attack_kernels.c`.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

import torch

from search_spaces._files import atomic_write

_SOURCE = Path(__file__).with_name("cell_kernels.c")
# No -ffast-math: sums must round in the order that the code says. -march=native: the code never leaves this machine.
_FLAGS = ("-O3", "-march=native", "-std=gnu11", "-shared", "-fPIC")
_REAL = {torch.float32: "float", torch.float64: "double"}


@lru_cache
def library(dtype: torch.dtype = torch.float32, source: Path = _SOURCE) -> ctypes.CDLL | None:
    """The compiled `source` for numbers of `dtype`; None without a compiler that takes it, and where `NAS_COMPILE=0`."""
    compiler = os.environ.get("CC") or next((c for c in ("cc", "gcc", "clang") if shutil.which(c)), None)
    if compiler is None or os.environ.get("NAS_COMPILE") == "0":
        return None
    # Whatever the compiler or the loader does not like, PyTorch can train instead: slower, but it works.
    try:
        loaded = ctypes.CDLL(str(_built(compiler, _REAL[dtype], source)))
    except (OSError, subprocess.SubprocessError):
        return None
    # ctypes takes 32-bit results for granted.
    loaded.bytes_of_a_vector.restype = ctypes.c_int64
    loaded.train.restype = loaded.predict.restype = None
    return loaded


def _built(compiler: str, real: str, source: Path) -> Path:
    """The file of the compiled code, made if it is not there: its name holds all that it depends on."""
    # Another source includes this one: both are part of what it depends on.
    own = "" if source == _SOURCE else source.read_text(encoding="utf-8")
    parts = "\0".join(
        [_SOURCE.read_text(encoding="utf-8") + own, compiler, *_FLAGS, real, platform.machine(), _processor()]
    )
    name = f"cells-{hashlib.sha256(parts.encode()).hexdigest()[:16]}.so"
    # Homes are shared between machines: the processor's instructions are part of the name, or one would run another's code.
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "metacell"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        return _compile(compiler, real, source, cache / name)
    except OSError:  # A home that cannot be written, as in some containers.
        return _compile(compiler, real, source, Path(tempfile.mkdtemp()) / name)


def _compile(compiler: str, real: str, source: Path, path: Path) -> Path:
    if not path.exists():
        # Atomic: two processes may compile at the same time, and neither may load half a file.
        with atomic_write(path) as partial:
            command = [*compiler.split(), *_FLAGS, f"-DREAL={real}", str(source), "-o", str(partial), "-lm"]
            subprocess.run(command, check=True, capture_output=True, timeout=120)
    return path


def _processor() -> str:
    """What tells processors apart whose instructions differ."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
    except OSError:
        return platform.processor()
