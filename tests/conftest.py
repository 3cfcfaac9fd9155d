"""What tests share: where the benchmark tables are, and one thread, so that workers do not fight over cores.

NAS_TEST_THREADS asks for more of them (runs/processors.sh).
"""

import atexit
import gc
import os
import shutil
import tempfile
from types import SimpleNamespace

import pytest
import torch

from nas import tables
from nas.cli import main
from nas.export import formats

threads = os.environ.get("NAS_TEST_THREADS", "1")
torch.set_num_threads(int(threads))
# Libraries make hundreds of thousands of objects that stay: looking through them again and again takes a tenth of the time.
gc.freeze()
gc.set_threshold(100_000, 50, 50)
os.environ["OMP_NUM_THREADS"] = threads
os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # Tests ask whether the package is there before ours imports it.
# What tests run of their own components is none of what the user has run.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="metacell-tests-")
atexit.register(shutil.rmtree, os.environ["XDG_STATE_HOME"], ignore_errors=True)


@pytest.fixture(autouse=True, scope="module")
def quick_onnx(request):
    """ONNX files by torch's older exporter, which is faster, but in `test_export`; subprocesses keep the newer."""
    if request.module.__name__ == "test_export":
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(formats, "save_onnx", lambda module, _, *rest: formats.save_onnx_from_module(module, *rest))
        yield


@pytest.fixture
def table():
    """Finds a table by name; skips, naming it, where NAS_TABLES has none of that name."""

    def find(name):
        if name not in tables.names():
            pytest.skip(f"needs the table '{name}' in a folder of NAS_TABLES")
        return tables.find(name)

    return find


@pytest.fixture
def nasbench201(table):
    """The table itself, for tests whose subprocesses find it by name."""
    return table("nasbench201")


@pytest.fixture
def nats_sample():
    """The folder of 300 architectures in nats_bench's own format; skips where no folder of NAS_TABLES has it beside it."""
    for folder in tables.folders():
        if (folder.parent / "nats-tss-sample").is_dir():
            return folder.parent / "nats-tss-sample"
    pytest.skip("needs 'nats-tss-sample' beside a folder of NAS_TABLES")


@pytest.fixture
def nas(capsys, monkeypatch, tmp_path):
    """Calls the command line here and now, in an empty folder: `nas("tasks", "--json")` gives status, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*args):
        with pytest.raises(SystemExit) as stop:
            main([str(arg) for arg in args])
        printed = capsys.readouterr()
        return SimpleNamespace(returncode=stop.value.code or 0, stdout=printed.out, stderr=printed.err)

    return run
