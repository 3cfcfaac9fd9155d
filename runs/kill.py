"""Kills work at random instants, lets it go on, and compares what comes out with an undisturbed run.

Called by kill.sh: OUT KILLS SEED [KIND ...]. Each trial is killed up to `_IN_A_ROW` times and then left to end. The work runs in
forks of one process that has everything loaded: a start costs no import, so that kills fall into the work itself. OUT keeps what
was found, so that a killed recipe goes on.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import random
import shutil
import signal
import sqlite3
import sys
import time
from pathlib import Path

import matplotlib.figure  # noqa: F401  Loaded here, so that no fork does it again.
import safetensors.torch
import torch
import torch.utils.tensorboard

from nas import cli
from nas.export import formats, read_back
from nas.tables import build, nats_import
from runs import _outcomes

_IN_A_ROW = 10
_PARENT_DEATH_SIGNAL = 1
"""`PR_SET_PDEATHSIG` of Linux: no fork outlives this process."""
_SHARDS, _SAMPLE, _SAVED_EVERY = 6, 40, 0.02
"""Shards of a table, files of an import, seconds between its saves: work of a second or two, so that a kill costs no more."""
_REPLACES = "export in place of another"
_EXPORTED = {"network.py", "network.safetensors", "network.pt2"}
_SMALL = ("epochs=1", "channels=2", "examples=64", "final_epochs=1", "final_channels=4", "final_cells=1")
# No comparison: how long its plain network is trained follows step times, which no two runs share.
_TRAIN = ["--no-comparison", *(word for option in _SMALL for word in ("-t", option))]
_SOURCE = os.environ.get("NATS_SAMPLE", "")
_CLOCKS = ("seconds", "cost", "milliseconds")
"""Names of what is read off a clock, which no two runs share."""


def _search(*args: str) -> list[list[str]]:
    """A search, and how it goes on once its folder holds a run."""
    return [["search", "--name", "work", *args], ["resume", "runs/work"]]


KINDS: dict[str, list[list[str]]] = {
    "search by table": _search("--task", "own201/digits", "--controller", "evolution", "--seeds", "4", "--evals", "60"),
    "search with a prior": _search("--task", "own201/digits", "--evals", "24"),
    "search by training": _search("--task", "digits", "--evals", "6", "--batch", "2", *_TRAIN),
    "search by rungs": _search(
        "--task", "digits", "--controller", "hyperband", "--evals", "9", "--batch", "3", *_TRAIN, "-t", "epochs=3"
    ),
    "final training and export": _search("--task", "digits", "--evals", "1", *_TRAIN, "-t", "final_epochs=6"),
    _REPLACES: [["export", "ready/runs/done", "--to", "ex", "--force"]],
    "compare": [
        ["compare", "--tasks", "own201/digits,own201/fashion_mnist", "--controllers", "random_search,evolution,local_search",
         "--seeds", "6", "--evals", "40", "--jobs", "1", "--no-figures", "--out", "cmp"],
    ],
    "meta-train": [["meta-train", "--split", "everything", "--learner-option", "pca_steps=4", "--out", "prior"]],
    "table build": [
        ["table", "build", "--task", "digits", "--out", "t.safetensors", "--epochs", "1", "--channels", "2", "--cells", "1",
         "--train-images", "32", "--noise-sample", "1"],
    ],
    "table import": [["table", "import", "nats", "ready/sample", "--out", "t.safetensors"]],
}  # fmt: skip
"""What is killed: its command, and where that differs the one by which it goes on."""


def commands(kind: str, folder: Path) -> list[str]:
    """What to say in `folder` now: the first command, or, where its run exists, the one that resumes it."""
    first, *then = KINDS[kind]
    return then[0] if then and (folder / "runs" / "work" / "run.sqlite").is_file() else first


def fork(folder: Path, args: list[str]) -> int:
    """A process that says `nas ARGS` in `folder`; its number."""
    number = os.fork()
    if number:
        return number
    os.setpgid(0, 0)
    ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    os.chdir(folder)
    log = os.open(folder / "log", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        cli.main(args)
    except SystemExit as end:
        os._exit(end.code if isinstance(end.code, int) else 1)
    except BaseException:  # The process must end here and not in the caller's loop.
        os._exit(99)
    os._exit(0)


def end(number: int) -> int:
    """Its exit status once it has ended."""
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])


def digest(folder: Path) -> str:
    """Of all that a command made, without what is read off a clock."""
    found = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and "ready" not in p.parts):
        for part in _contents(path):
            found.update(repr((str(path.relative_to(folder)), part)).encode())
    return found.hexdigest()[:16]


def _contents(path: Path) -> list[object]:
    if path.name == "run.sqlite":
        return _of_run(path)
    if path.suffix == ".safetensors" and not path.name.startswith("checkpoint"):
        return _of_tensors(path.read_bytes())
    return [path.read_bytes()] if path.suffix in (".py", ".csv") else []


def _of_tensors(data: bytes) -> list[object]:
    held = safetensors.torch.load(data)
    return [
        (name, str(tensor.dtype), tuple(tensor.shape), tensor.contiguous().numpy().tobytes())
        for name, tensor in sorted(held.items())
        if not any(clock in name for clock in _CLOCKS)
    ]


def _of_run(path: Path) -> list[object]:
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
        steps = [_of_tensors(data) for (data,) in connection.execute("select data from step order by number")]
        state = [
            (name, _of_tensors(data))
            for name, data in connection.execute("select path, data from state order by path")
            if not any(clock in name for clock in _CLOCKS)
        ]
    return [steps, state]


def trial(kind: str, folder: Path, ready: Path, kills: int, took: float, draw: random.Random) -> tuple[int, str]:
    """How often the work was killed before it ended, and the digest of what it made; words where it could not go on."""
    fresh(folder, ready, kind)
    killed = 0
    for _ in range(kills):
        if finished(kind, folder):
            break
        number = fork(folder, commands(kind, folder))
        time.sleep(draw.uniform(0, took))
        ended, status = os.waitpid(number, os.WNOHANG)
        if ended:
            if os.waitstatus_to_exitcode(status) not in (0, 2):
                return killed, f"ended with {os.waitstatus_to_exitcode(status)}"
            break
        os.killpg(number, signal.SIGKILL)
        end(number)
        killed += 1
        if kind == _REPLACES and not whole(folder / "ex"):
            return killed, "lost the earlier export"
    status = 0 if finished(kind, folder) else end(fork(folder, commands(kind, folder)))
    if status != 0:
        return killed, f"ended with {status}: {(folder / 'log').read_text().strip().splitlines()[-1]}"
    hidden = [path.name for path in folder.rglob(".*") if path.name.endswith((".partial", ".old"))]
    return killed, f"left {hidden[0]}" if hidden else digest(folder)


def finished(kind: str, folder: Path) -> bool:
    """Whether work that refuses to begin anew has its product: a kill came after it."""
    return kind == "table import" and (folder / "t.safetensors").exists()


def whole(export: Path) -> bool:
    """Whether an export is there with all its files: the earlier or the new one."""
    return {path.name for path in export.iterdir()} >= _EXPORTED if export.is_dir() else False


def fresh(folder: Path, ready: Path, kind: str) -> None:
    """An empty folder for a trial, in which `ready` names what was there before; with an earlier export where one is replaced."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "ready").symlink_to(ready.resolve())
    if kind == _REPLACES:
        shutil.copytree(ready / "runs" / "done" / "export", folder / "ex")


def undisturbed(kind: str, folder: Path, ready: Path) -> tuple[str, float]:
    """The digest of the work left alone, and the seconds that it took."""
    fresh(folder, ready, kind)
    began = time.perf_counter()
    status = end(fork(folder, KINDS[kind][0]))
    if status != 0:
        sys.exit(f"'{kind}' does not end well by itself: {(folder / 'log').read_text()[-500:]}")
    return digest(folder), time.perf_counter() - began


def cut_short() -> None:
    """Let the long kinds end after a second or two; forks inherit it."""
    build.shards = lambda plan, whole=build.shards: whole(plan)[:_SHARDS]
    nats_import._SAVED_EVERY = _SAVED_EVERY
    read_back.has_onnx = lambda: False
    # Workers are spawned and know nothing of the above; which shards there are is said by their parent.


class _Same(torch.nn.Module):
    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels + 0


def load_exporter(scratch: Path) -> None:
    """Have torch import here what it imports at its first export, so that no fork does it again."""
    formats.save(formats.trace(_Same(), torch.zeros(2, 1, 2, 2)), scratch)
    formats.load(scratch)


def main() -> None:
    out, kills, seed, *wanted = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:]
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    ready = out / "ready"
    if not (ready / "runs" / "done" / "export").is_dir():
        shutil.rmtree(ready, ignore_errors=True)
        ready.mkdir()
        search = ["search", "--name", "done", "--task", "digits", "--evals", "1", *_TRAIN]
        if end(fork(ready, search)) != 0:
            sys.exit((ready / "log").read_text())
    if _SOURCE and not (ready / "sample").is_dir():
        (ready / "sample").mkdir()
        files = sorted(Path(_SOURCE).iterdir())
        for file in [*files[:_SAMPLE], *(f for f in files if "meta" in f.name)]:
            shutil.copy(file, ready / "sample")
    cut_short()
    load_exporter(out / "loaded.pt2")
    kept = _outcomes.Outcomes(out / "outcomes.jsonl")
    kinds = wanted or [kind for kind in KINDS if kind != "table import" or _SOURCE]
    share = -(-kills // len(kinds))
    print(f"| work | kills | repetitions | seconds alone | results that differ | not continued |\n|---|{'---:|' * 5}")
    totals, bad = [0, 0, 0, 0], []
    for kind in kinds:
        expected, took = kept.get(f"{kind} alone") or kept.keep(
            f"{kind} alone", undisturbed(kind, out / "alone" / kind, ready)
        )
        counts, number = [0, 0, 0, 0], 0
        while counts[0] < share:
            key, draw = f"{kind} {seed} {number}", random.Random(f"{seed} {kind} {number}")
            at_most = min(_IN_A_ROW, share - counts[0])
            killed, came = kept.get(key) or kept.keep(key, trial(kind, out / "trial", ready, at_most, took, draw))
            number += 1
            counts = [counts[0] + killed, counts[1] + 1, counts[2], counts[3]]
            if came != expected:
                counts[3 if " " in came else 2] += 1
                bad.append(f"{kind}, trial {number - 1}: {came}")
                shutil.copytree(out / "trial", out / "bad" / f"{kind}-{number - 1}", symlinks=True, dirs_exist_ok=True)
        print(f"| {kind} | {counts[0]} | {counts[1]} | {took:.1f} | {counts[2]} | {counts[3]} |", flush=True)
        totals = [a + b for a, b in zip(totals, counts)]
    print(f"| all | {totals[0]} | {totals[1]} | | {totals[2]} | {totals[3]} |")
    print("\n".join(bad))
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
