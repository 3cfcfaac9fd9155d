"""Damaged inputs of every kind that the program reads: each must be used, or refused in one line, with nothing half-written.

Called by fuzz.sh: OUT INPUTS SEED [KIND ...]. Each input has a generator of its own, seeded by kind and number, and is read in a
fork of this process. Counted are tracebacks (exit status 70, a signal, or more than one line), hangs (more than a minute of its
own time) and what a refused command left behind. What failed is printed with the number that makes it again.
OUT keeps what was found, so that a killed recipe goes on.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pkgutil
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

import controller
import nas.commands
import nas.evaluators
from nas import cli, datasets
from nas.tables import plan_file
from runs import _damage, _outcomes, _whole_inputs
from search_spaces.nasbench201 import NasBench201

SECONDS = 60
"""Of its own processor time, after which an input counts as a hang: most take less than one."""
REFUSED, BROKEN = 2, 70


class Kind(NamedTuple):
    """How inputs of a kind are damaged, and what reads them."""

    share: int
    """Of the inputs, in parts."""
    ways: tuple[tuple[str, Callable[[Path, random.Random], None]], ...]
    """Which file of the whole input, and how it is damaged."""
    reads: tuple[Callable[[], object], ...]


def command(line: str) -> Callable[[], object]:
    """A command."""
    return lambda: cli.main(line.split())


def load(name: str) -> Callable[[], object]:
    """What a search begins with: the data."""

    def read() -> object:
        cli.cli.callback = lambda: datasets.load(name) and None
        return cli.main([])

    return read


def keep_plan() -> object:
    """What a build of a table begins with."""
    cli.cli.callback = lambda: plan_file.keep(Path("shards"), {"task": "digits", "epochs": 1})
    return cli.main([])


_IMPORT = "table import nats nats.pickle.pbz2 --out new.safetensors"
_SEARCH = "search --controller random_search --evals 3 --json --name new --task"
_COMPARE = (
    "compare --tasks good/t --controllers random_search --seeds 2 --evals 4 --jobs 1 --no-figures --json --out out"
)
KINDS = {
    "run": Kind(
        4,
        (("runs/one/run.sqlite", _damage.in_bytes), ("runs/one/run.sqlite", _damage.in_database)),
        (command("show one --json"), command("runs"), command("resume one --json"), command("export one --to new --no-onnx")),
    ),
    "table": Kind(
        5,
        (("bad.safetensors", _damage.in_bytes), ("bad.safetensors", _damage.in_tensors)),
        (command(f"{_SEARCH} bad/t"), command("table verify bad"), command("table info bad"), command("table info")),
    ),
    "prior": Kind(
        3,
        (("prior.safetensors", _damage.in_bytes), ("prior.safetensors", _damage.in_tensors)),
        (command("search --evals 2 --json --name new --task good/t --prior prior.safetensors"),),
    ),
    "npz": Kind(4, (("data.npz", _damage.in_bytes), ("data.npz", _damage.in_arrays)), (load("npz:data.npz"),)),
    "pictures": Kind(3, (("pictures", _damage.in_folder),), (load("folder:pictures"),)),
    "trial": Kind(
        4, (("out/trials", _damage.in_bytes), ("out/trials", _damage.in_tensors)), (command(_COMPARE),)
    ),
    "plan.json": Kind(3, (("shards/plan.json", _damage.in_bytes), ("shards/plan.json", _damage.in_text)), (keep_plan,)),
    "CSV": Kind(
        4,
        (("own.csv", _damage.in_bytes), ("own.csv", _damage.in_text)),
        (command("table import csv own.csv --out new.safetensors"),),
    ),
    "nats_bench": Kind(2, (("nats.pickle.pbz2", _damage.in_bytes),), (command(_IMPORT),)),
    "export": Kind(
        2,
        (("runs/two/best.safetensors", _damage.in_bytes), ("runs/two/best.safetensors", _damage.in_tensors)),
        (command("show two --json"), command("export two --to new --no-onnx")),
    ),
}  # fmt: skip


def damaged(kind: str, number: int, seed: int, whole: Path, folder: Path) -> Callable[[], object]:
    """Make the input in `folder`; what reads it."""
    rng = random.Random(f"{seed} {kind} {number}")
    shutil.copytree(whole, folder, dirs_exist_ok=True)
    file, damage = rng.choice(KINDS[kind].ways)
    path = folder / file
    if path.is_dir() and damage is not _damage.in_folder:
        path = sorted(path.iterdir())[0]
    damage(path, rng)
    return rng.choice(KINDS[kind].reads)


def outcome(read: Callable[[], object], folder: Path) -> str:
    """`used`, `refused`, or what is wrong, in a fork of this process."""
    before = set(folder.rglob("*"))
    child = os.fork()
    if not child:
        _read(read, folder)
    _, status = os.waitpid(child, 0)
    said = (folder / ".err").read_text(errors="replace").strip()
    code = os.waitstatus_to_exitcode(status)
    if code == -signal.SIGXCPU or code == -signal.SIGALRM:
        return "hang"
    if code not in (0, REFUSED) or "Traceback (most recent" in said:
        return f"traceback {code}: {said[-300:]}"
    if code == REFUSED and (not said.startswith("nas: ") or "\n" in said):
        return f"traceback: more than a line: {said[-300:]}"
    new = set(folder.rglob("*")) - before - {folder / ".out", folder / ".err"}
    left = sorted(
        str(p.relative_to(folder)) for p in new if code == REFUSED or ".partial" in p.name or p.name.startswith(".")
    )
    left = [name for name in left if not name.endswith((".sqlite-wal", ".sqlite-shm", ".lock"))]
    return f"left behind: {left[0]} ({said[:200]})" if left else "used" if code == 0 else "refused"


def timed(kind: str, number: int, seed: int, whole: Path, folder: Path) -> tuple[str, float]:
    """The outcome of an input, and its seconds."""
    began = time.perf_counter()
    os.environ["NAS_TABLES"] = str(folder)
    try:
        return outcome(damaged(kind, number, seed, whole, folder), folder), time.perf_counter() - began
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _read(read: Callable[[], object], folder: Path) -> None:
    """In the child: read, with its own limits, and exit."""
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 5))
    signal.alarm(10 * SECONDS)  # Something that sleeps spends no time of its own.
    os.chdir(folder)
    for number, name in ((1, ".out"), (2, ".err")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
    code = 1
    try:
        read()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main() -> None:
    torch.set_num_threads(1)
    for package in (nas.commands, nas.evaluators, controller):  # What a fork need not load again.
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{package.__name__}.{module.name}")
    NasBench201().canonical(torch.zeros(1, 6).long())
    inputs, seed, asked = int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:] or list(KINDS)
    kept, shares = _outcomes.Outcomes(Path(sys.argv[1]) / "outcomes.jsonl"), sum(kind.share for kind in KINDS.values())
    print(
        "| kind | inputs | used | refused in a line | tracebacks | hangs | half-written | ms each |\n"
        "|---|---:|---:|---:|---:|---:|---:|---:|"
    )
    totals = Counter()
    with tempfile.TemporaryDirectory() as name:
        folder, failed = Path(name), []
        os.environ |= {"XDG_CACHE_HOME": str(folder / "cache"), "XDG_DATA_HOME": str(folder / "data")}
        whole = _whole_inputs.make(folder / "whole", asked)
        for kind in asked:
            if kind not in whole:
                print(f"| {kind} | - | - | - | - | - | - | - |", flush=True)
                continue
            counts, seconds = Counter(), 0.0
            for number in range(inputs * KINDS[kind].share // shares):
                key = f"{seed} {kind} {number}"
                found, took = kept.get(key) or kept.keep(key, timed(kind, number, seed, whole[kind], folder / "input"))
                seconds += took
                if found not in ("used", "refused"):
                    failed.append(f"{kind} {number}: {found}")
                counts[found.split(" ")[0].rstrip(":")] += 1
            done = sum(counts.values())
            each = 1000 * seconds / max(done, 1)
            row = [counts[what] for what in ("used", "refused", "traceback", "hang", "left")]
            totals.update(dict(enumerate([done, *row])))
            print(f"| {kind} | {done:,} | {' | '.join(map(str, row))} | {each:.0f} |", flush=True)
    print(f"| all | {' | '.join(f'{totals[i]:,}' for i in range(6))} | |")
    print("\n".join(failed), file=sys.stderr)
    sys.exit(bool(failed))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
