"""What standard output cannot show is drawn in letters that it has, and never as escapes."""

from types import SimpleNamespace

import pytest

TASKS = ("own201/digits", "natsbench-size/cifar10")
"""A cell, and widths, which are drawn as bars."""


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_a_run_is_shown_in_letters_that_the_output_has(encoding, task, table, nas, monkeypatch):
    table(task.partition("/")[0])
    monkeypatch.setattr("nas.terminal.sys", SimpleNamespace(stdout=SimpleNamespace(encoding=encoding)))
    options = ("--controller", "random_search", "--seeds", 2, "--evals", 30, "--name", "r")
    done = nas("search", "--task", task, *options)
    assert done.returncode == 0, done.stderr
    done.stdout.encode(encoding)
    path = next(line for line in done.stdout.splitlines() if line.startswith("so far"))
    drawn = path.split()[3]
    assert len(drawn) == 30
    assert (drawn[0], drawn[-1]) == (("▁", "█") if encoding == "utf-8" else ("_", "#"))
    assert list(drawn) == sorted(drawn, key=("▁▂▃▄▅▆▇█" if encoding == "utf-8" else "_.-=#").index)
