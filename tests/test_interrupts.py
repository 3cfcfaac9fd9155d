"""Ctrl-C waits until no module is half imported, and is not lost."""

from __future__ import annotations

import subprocess
import sys

import pytest

MODULE = """
import os, signal, time
for _ in range({times}):
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)
    except KeyboardInterrupt:
        print("swallowed", flush=True)
print("imported", flush=True)
"""
PROGRAM = """
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # A job in the background has none.
from nas import _interrupts
try:
    with _interrupts.after_imports():
        import half
        time.sleep(20)
        print("lost")
except KeyboardInterrupt:
    print("stopped")
print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""


@pytest.mark.parametrize(
    ("times", "says"),
    [(1, ["imported", "stopped", "True"]), (2, ["swallowed", "imported"])],
)
def test_an_import_ends_before_ctrl_c_and_a_second_does_not_wait(times, says, tmp_path):
    (tmp_path / "half.py").write_text(MODULE.format(times=times))
    program = PROGRAM if times == 1 else PROGRAM.replace("time.sleep(20)", "time.sleep(0.3)")
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{program}"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[: len(says)] == says


def test_whoever_answers_ctrl_c_already_keeps_it(tmp_path):
    program = """
import signal
from nas import _interrupts
def mine(*_): print("mine")
signal.signal(signal.SIGINT, mine)
with _interrupts.after_imports():
    signal.raise_signal(signal.SIGINT)
print(signal.getsignal(signal.SIGINT) is mine)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["mine", "True"], done.stderr
