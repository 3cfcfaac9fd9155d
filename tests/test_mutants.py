"""The changes that tests must notice, `tests/mutants/*.toml`, still fit the source; `runs/mutants.sh` tries them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from runs import _drawn_mutants, mutants

ROOT = Path(__file__).parent.parent
ALL = mutants.read()


@pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: mutant.name)
def test_a_change_applies_once_and_leaves_a_program(mutant):
    text = mutant.changed()
    assert text != (ROOT / mutant.file).read_text()
    if mutant.file.endswith(".py"):
        ast.parse(text)
    files = [word.partition("::")[0] for word in mutant.tests if word.startswith("tests/")]
    assert files
    assert all((ROOT / file).is_file() for file in files)


def test_names_are_different_and_so_are_changes():
    assert len({mutant.name for mutant in ALL}) == len(ALL)
    assert len({mutant[1:4] for mutant in ALL}) == len(ALL)


def test_a_change_that_no_longer_applies_is_said_in_a_line():
    gone = mutants.Mutant("gone", "nas/loop.py", "no such line", "", ())
    with pytest.raises(
        ValueError, match=r"Mutant 'gone' no longer applies: nas/loop.py has its 'old' 0 times, not once"
    ):
        gone.changed()


def test_what_is_equivalent_is_a_line_of_today_with_a_reason():
    for row in _drawn_mutants.equivalents():
        lines = [line.strip() for line in (ROOT / row["file"]).read_text().splitlines()]
        assert all(line in lines for line in row["old"].split(" / ")), row
        assert row["new"] != row["old"]
        assert row["why"]
