"""Which test runs which line, and how long each test takes: what a drawn mutant is tried by. For mutants.py."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from functools import lru_cache
from pathlib import Path

from runs._mutation import ROOT

WHERE = ("controller", "search_spaces", "nas/compare", "nas/training")
"""The folders that are changed."""
HERE = ROOT / "runs" / "mutants"
_COVERAGE = HERE / "coverage.db"
_SECONDS = 90
"""Of tests for one change, as timed: a line that half of the suite runs would else take the whole suite."""


def collect(tests: list[str]) -> int:
    """Run the whole suite, or add the files `tests` to what is known, and keep which test ran which line and how long it took."""
    HERE.mkdir(parents=True, exist_ok=True)
    for path in [] if tests else [_COVERAGE, *_times()]:
        path.unlink(missing_ok=True)
    packages = [f"--cov={name.replace('/', '.')}" for name in WHERE]
    command = [sys.executable, "-m", "pytest", "-n", "0", *packages, "--cov-context=test", "--cov-report="]
    command += [
        "--cov-append",
        f"--junitxml={HERE / f'times-{len(_times())}.xml'}",
        "-o",
        "junit_family=xunit1",
        *tests,
    ]
    return subprocess.run(command, cwd=ROOT, env=os.environ | {"COVERAGE_FILE": str(_COVERAGE)}).returncode


def there() -> bool:
    """Whether `collect` has run."""
    return _COVERAGE.is_file() and bool(_times())


def tests_of(file: str, line: int) -> list[str]:
    """The tests that run the statement at a line, then those of its file, the quickest first, as many as `_SECONDS` allow."""
    lines = _lines_run(file)
    of_line = {test for at in _statement(file, line) for test in lines.get(at, ())}
    # A line that is run at import belongs to no test, and one whose result is cached to the first alone: then come those that
    # run anything of its file.
    of_file = {test for tests in lines.values() for test in tests}
    times, chosen, total = _seconds(), [], 0.0
    for test in sorted(of_file & times.keys(), key=lambda test: (test not in of_line, times[test], test)):
        total += times[test]
        if total > _SECONDS:
            break
        chosen.append(test)
    return chosen


def _statement(file: str, line: int) -> range:
    """The lines of the innermost statement around a line; of one with a body, its head."""
    best = range(line, line + 1)
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.stmt):
            body = getattr(node, "body", None)
            end = body[0].lineno if body else (node.end_lineno or node.lineno) + 1
            if node.lineno <= line < end and (node.lineno >= best.start or len(best) == 1):
                best = range(node.lineno, end)
    return best


@lru_cache
def _lines_run(file: str) -> dict[int, set[str]]:
    """The tests that ran each line of a file."""
    from coverage import CoverageData

    data = CoverageData(str(_COVERAGE))
    data.read()
    measured = next((name for name in data.measured_files() if name.endswith(f"/{file}")), "")
    found = data.contexts_by_lineno(measured) if measured else {}
    return {line: {c.rpartition("|")[0] for c in contexts if "|" in c} for line, contexts in found.items()}


@lru_cache
def _seconds() -> dict[str, float]:
    """How long each test took, those that passed."""
    found = {}
    for path in _times():
        for case in ElementTree.parse(path).getroot().iter("testcase"):
            if not len(case):
                found[f"{case.get('file')}::{case.get('name')}"] = float(case.get("time", 0))
    return found


def _times() -> list[Path]:
    return sorted(HERE.glob("times*.xml"))
