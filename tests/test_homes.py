"""Users without a home, folders and streams that cannot be written, packages that report: containers and cron jobs."""

from __future__ import annotations

import errno
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from nas import cli, paths
from nas.commands import tasks
from nas.export import formats
from nas.run import step_log, store, trust
from nas.training import compiler

CODE = Path(formats.__file__).parents[2]


@pytest.fixture
def homeless(monkeypatch, tmp_path):
    """A user whose number nobody knows, as containers can have."""

    def no_home(_path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", classmethod(no_home))
    monkeypatch.setattr(Path, "expanduser", lambda path: no_home(path) if str(path).startswith("~") else path)
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))


def test_a_user_without_a_home_searches(homeless, nas):
    done = nas("search", "--task", "own201/digits", "--controller", "random_search", "--evals", 2, "--name", "a")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_user_without_a_home_has_compiled_code_for_this_process_alone(homeless, monkeypatch, tmp_path):
    made = []
    monkeypatch.setattr(compiler, "_kept", lambda folder, *_: made.append(folder) or folder / "cells.so")
    compiler._built("cc", "float", compiler._SOURCE)
    assert made[0].is_dir()
    assert made[0].parent == tmp_path


def test_a_user_without_a_home_keeps_no_list_of_components(homeless):
    trust.remember([trust.Named("controller", "a.py:A", "a.py", "0")])
    assert trust._known() == set()


@pytest.mark.parametrize("task", ["folder:~/photos", "npz:~/a.npz"])
def test_the_home_of_nobody_is_no_folder(homeless, nas, task):
    done = nas("search", "--task", task)
    assert done.returncode == 2
    assert done.stderr.startswith("nas: There is no f")
    assert "~" in done.stderr


def test_a_user_without_a_home_has_tracebacks_of_our_own_errors(homeless, nas, monkeypatch, tmp_path):
    monkeypatch.setattr(tasks.catalog, "entries", lambda *_, **__: 1 / 0)
    done = nas("tasks")
    assert done.returncode == 70
    assert f"is in '{tmp_path}/nas-" in done.stderr


def test_xdg_variables_come_before_the_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert paths.user_folder("XDG_CACHE_HOME", ".cache") == tmp_path / ".cache"
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert paths.user_folder("XDG_CACHE_HOME", ".cache") == Path("/elsewhere")


@pytest.mark.parametrize(("number", "there", "hint"), [
    (errno.EROFS, True, True), (errno.EROFS, False, True), (errno.EACCES, False, True), (errno.EACCES, True, False),
])  # fmt: skip
def test_a_folder_that_cannot_be_written_is_a_line_that_says_what_would_do(
    number, there, hint, nas, monkeypatch, tmp_path
):
    """A file that may not be read is another matter."""
    file = tmp_path / "file"
    if there:
        file.touch()

    def refused(*_args, **_options):
        raise OSError(number, os.strerror(number), str(file))

    monkeypatch.setattr(tasks.catalog, "entries", refused)
    done = nas("tasks")
    assert done.returncode == 2
    assert done.stderr.startswith(f"nas: {os.strerror(number)}: '{file}'.")
    assert ("NAS_RUNS" in done.stderr) == hint


def test_onnx_runtime_is_imported_with_its_reports_switched_off(monkeypatch, tmp_path):
    (tmp_path / "onnxruntime.py").write_text("import os\nseen = os.environ.get('ORT_DISABLE_TELEMETRY')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    assert formats.onnx_runtime().seen == "1"
    del sys.modules["onnxruntime"]
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")  # Who asks for reports has them.
    assert formats.onnx_runtime().seen == "0"
    del sys.modules["onnxruntime"]
    folders = [CODE / "nas", CODE / "controller", CODE / "search_spaces"]
    texts = {path.name: path.read_text("utf-8") for folder in folders for path in folder.rglob("*.py")}
    imports = {name: text for name, text in texts.items() if re.search(r"^\s*(import|from) onnxruntime", text, re.M)}
    assert "formats.py" in imports
    assert [name for name, text in imports.items() if "ORT_DISABLE_TELEMETRY" not in text] == []


def test_a_service_without_standard_streams_searches(tmp_path):
    """What is printed must not end up in a file that was opened in place of standard output."""
    nas_ = f"exec {shlex.quote(sys.executable)} -m nas search --task own201/digits --controller random_search --evals 2 --name a"
    environment = os.environ | {"PYTHONPATH": str(CODE), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(["sh", "-c", f"{nas_} <&- >&- 2>&-"], cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 0
    with store.open_run(tmp_path / "runs/a") as run:
        assert step_log.history(run).score.numel() == 2


def test_output_that_cannot_be_written_is_no_second_error_when_the_process_ends(monkeypatch, tmp_path):
    def full():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with open(tmp_path / "full", "wb") as file:
        monkeypatch.setattr(sys, "stdout", SimpleNamespace(flush=full, fileno=file.fileno))
        cli._flush()
        os.write(file.fileno(), b"lost")  # As Python's own flush does when a process ends.
        monkeypatch.undo()
    assert (tmp_path / "full").read_bytes() == b""
