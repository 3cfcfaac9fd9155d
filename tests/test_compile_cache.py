"""The compiled library comes from a folder of the user's own, and is what was compiled."""

from __future__ import annotations

import os
import shutil
import stat

import pytest

from nas.training import compiler

CODE = "long bytes_of_a_vector(void) { return 8; } void train(void) {} void predict(void) {}\n"

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler here")


@pytest.fixture
def build(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source = tmp_path / "tiny.c"
    source.write_text(CODE)
    return lambda: compiler._built("cc", "float", source)


def test_it_is_compiled_once_into_a_folder_that_nobody_else_may_enter(build):
    path = build()
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    made = path.stat()
    assert build() == path
    assert path.stat().st_mtime_ns == made.st_mtime_ns
    assert [f.name for f in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    "spoil", [lambda whole: whole[: len(whole) // 2], lambda whole: whole + b"x", lambda whole: b""]
)
def test_one_that_is_cut_or_changed_is_made_anew(build, spoil):
    path = build()
    whole = path.read_bytes()
    path.write_bytes(spoil(whole))
    assert build().read_bytes() == whole


def test_what_lay_in_a_folder_that_others_could_write_is_not_loaded(build):
    path = build()
    theirs = path.with_name(f"{path.stem.rpartition('-')[0]}-{compiler._digest(path)}.so")
    path.parent.chmod(0o777)
    (path.parent / "planted.so").touch()
    before = path.stat().st_ino
    again = build()
    assert again == theirs
    assert again.stat().st_ino != before or not (path.parent / "planted.so").exists()
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_folder_of_somebody_else_and_a_link_are_not_used(build, tmp_path):
    cache = tmp_path / "cache" / "metacell"
    cache.mkdir(parents=True)
    (tmp_path / "theirs").mkdir(mode=0o700)
    (cache / "compiled").symlink_to(tmp_path / "theirs")
    assert not build().is_relative_to(tmp_path)
    assert not list((tmp_path / "theirs").iterdir())
    if not os.geteuid():
        (cache / "compiled").unlink()
        (cache / "compiled").mkdir(mode=0o700)
        os.chown(cache / "compiled", 65534, 65534)
        assert not build().is_relative_to(tmp_path)


def test_a_compiler_that_fails_says_why(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    source = tmp_path / "wrong.c"
    source.write_text("int x = ;\n")
    compiler.build.cache_clear()
    found = compiler.build(source=source)
    assert found.library is None
    assert "' failed: " in found.failure
