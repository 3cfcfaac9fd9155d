"""An error that nobody foresaw is one line too, and its traceback is kept."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest

from nas.commands import tasks


@pytest.fixture
def broken(monkeypatch):
    def fail(*_args, **_options):
        raise ZeroDivisionError("nobody\nforesaw this")

    monkeypatch.setattr(tasks.catalog, "entries", fail)


def test_an_error_of_our_own_is_one_line_with_status_70_and_a_file(broken, nas, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    done = nas("tasks")
    assert (done.returncode, done.stdout) == (70, "")
    assert done.stderr.count("\n") == 1
    assert "ZeroDivisionError: nobody foresaw this" in done.stderr
    file = Path(re.search(r"is in '([^']+)'", done.stderr)[1])
    assert file.parent == tmp_path / "cache/metacell/tracebacks"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    text = file.read_text()
    assert "  nas tasks\n" in text
    assert "in fail" in text
    assert text.endswith("foresaw this\n")


def test_where_the_cache_cannot_be_written_the_folder_of_temporary_files_takes_it(broken, nas, tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "temporary"))
    done = nas("tasks")
    assert done.returncode == 70
    assert f"'{tmp_path / 'temporary'}/nas-" in done.stderr


def test_who_works_on_the_program_sees_the_traceback(broken, monkeypatch):
    from nas.cli import main

    monkeypatch.setenv("NAS_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        main(["tasks"])
