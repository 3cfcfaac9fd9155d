"""A copy of the working tree in which one file is changed, and what the tests say to it. For mutants.py."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
_CPU_SECONDS = 180
"""Of one run of tests: a change can make a loop endless. Processor time, so that a busy machine kills no mutant."""
_MEMORY = 12 << 30
"""Bytes of address space: a change can ask for a tensor of any size."""
_PYTEST = [
    *("-n", "0", "-x", "-q", "-o", "addopts=", "--strict-markers", "-m", "not slow", "-p", "no:cacheprovider"),
    *("--no-header", "--tb=no", "--color=no", "-rfE"),
]


class Outcome(NamedTuple):
    """What a run of tests came to."""

    failed: str
    """The first test that failed, or what else went wrong; empty where all passed."""
    passed: int
    seconds: float


class Copy:
    """A copy of the working tree with caches of its own, so that no change leaves anything behind."""

    def __init__(self, folder: Path):
        self.root, self._primed, self._cache = folder / "tree", folder / "primed", folder / "cache"
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, capture_output=True, check=True, text=True,
        )  # fmt: skip
        for name in filter(None, listed.stdout.split("\0")):
            if (ROOT / name).is_file():
                (self.root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, self.root / name)
        # By the digest of the source: a change of the same size within the same second would go unnoticed by time and size.
        compiled = ["-m", "compileall", "-q", "--invalidation-mode", "checked-hash", "."]
        subprocess.run([sys.executable, *compiled], cwd=self.root, check=True)
        # What the caches of an unchanged copy hold: compiled kernels, fonts. Each run begins with it.
        self._primed.mkdir()
        prime = (
            "import torch, matplotlib.font_manager; from nas.training import attack, compiler;"
            "compiler.library(); compiler.library(torch.float64); attack.library()"
        )
        subprocess.run([sys.executable, "-c", prime], cwd=self.root, env=self._environment(self._primed), check=True)

    def _environment(self, cache: Path) -> dict[str, str]:
        own = {"PYTHONPATH": str(self.root), "PYTHONDONTWRITEBYTECODE": "1", "XDG_CACHE_HOME": str(cache)}
        return os.environ | own | {"OMP_NUM_THREADS": "1", "XDG_DATA_HOME": str(cache)}

    @contextlib.contextmanager
    def changed(self, file: str, text: str) -> Iterator[None]:
        """With `file` saying `text`."""
        path = self.root / file
        before = path.read_text()
        path.write_text(text)
        try:
            yield
        finally:
            path.write_text(before)

    def test(self, arguments: Sequence[str]) -> Outcome:
        """Run pytest until a test fails."""
        shutil.rmtree(self._cache, ignore_errors=True)
        shutil.copytree(self._primed, self._cache)
        said = self._cache / "pytest.txt"
        words = [*_PYTEST, f"--basetemp={self._cache / 'tests'}", *arguments]
        began = time.monotonic()
        process = _SERVER.Process(target=_run, args=(words, self.root, self._environment(self._cache), said))
        process.start()
        # Twenty times: for a machine as busy as that, and for what waits and takes no processor time.
        process.join(20 * _CPU_SECONDS)
        # The group that `_run` made: what the tests started ends with them.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.join()
        output = said.read_text(errors="replace") if said.exists() else ""
        passed = re.search(r"(\d+) passed", output)
        failed = _first_failure(process.exitcode, output)
        return Outcome(failed, int(passed[1]) if passed else 0, time.monotonic() - began)


_SERVER = multiprocessing.get_context("forkserver")
# Forks of a process that has imported what is slow to import and no change can touch: half of the time of a short run.
_SERVER.set_forkserver_preload(
    ["torch", "scipy.stats", "sklearn.datasets", "pytest", "safetensors.torch", "rich.progress"]
)


def _run(words: list[str], root: Path, environment: dict[str, str], said: Path) -> None:
    """Pytest in the copy at `root`, in this process; ends it with pytest's status."""
    os.setsid()
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    with said.open("wb") as file, open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(root)
    os.environ.update(environment)
    sys.dont_write_bytecode = True
    # Our own modules come from the copy.
    sys.path[:] = [str(root), *(entry for entry in sys.path if Path(entry or ".").resolve() != ROOT)]
    for name in [
        name for name in sys.modules if name.partition(".")[0] in ("runs", "nas", "controller", "search_spaces")
    ]:
        del sys.modules[name]
    import pytest

    status = int(pytest.main(words))
    sys.stdout.flush()
    sys.stderr.flush()
    # Not `sys.exit`: threads that a change left running would hold the process.
    os._exit(status)


@contextlib.contextmanager
def working_copy() -> Iterator[Copy]:
    """A copy of the working tree, as it is now, that is deleted at the end."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        yield Copy(Path(folder))


def _first_failure(status: int | None, output: str) -> str:
    if status == 0:
        return ""
    if status is None or status < 0:
        return f"ended by {signal.Signals(-(status or -signal.SIGKILL)).name}"
    named = re.search(r"^(?:FAILED|ERROR) (\S.*?)(?: - .*)?$", output, re.MULTILINE)
    if named:
        return named[1]
    lines = [line for line in output.splitlines() if line.strip()]
    return f"pytest's status {status}: {lines[-1] if lines else 'nothing printed'}"
