"""Which changes of the source no test notices. Called by mutants.sh."""

from __future__ import annotations

import argparse
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

from runs import _drawn_mutants, _mutant_coverage
from runs._mutation import ROOT, Copy, Outcome, working_copy

FOLDER = ROOT / "tests" / "mutants"


class Mutant(NamedTuple):
    """A change that a test must notice."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    """Arguments of pytest."""

    def changed(self, root: Path = ROOT) -> str:
        """The file's text after the change. Raises `ValueError` where the change does not apply."""
        text = (root / self.file).read_text()
        if (count := text.count(self.old)) != 1:
            raise ValueError(
                f"Mutant '{self.name}' no longer applies: {self.file} has its 'old' {count} times, not once."
            )
        return text.replace(self.old, self.new)


def read() -> list[Mutant]:
    """Every change of `tests/mutants/*.toml`."""
    found = []
    for path in sorted(FOLDER.glob("*.toml")):
        for row in tomllib.loads(path.read_text()).get("mutant", []):
            found.append(Mutant(**(row | {"tests": tuple(row["tests"])})))
    return found


def named(words: list[str]) -> int:
    """Apply each change that has one of `words`; the status: 0 all noticed, 1 one survived, 2 one cannot be tried."""
    chosen = [m for m in read() if not words or any(word in f"{m.name} {m.file} {m.tests}" for word in words)]
    status, survived = 0, 0
    # All of them first: an hour later is late to learn that one does not apply.
    for mutant in chosen:
        try:
            mutant.changed()
        except (ValueError, OSError) as error:
            print(error, file=sys.stderr)
            status = 2
    if status:
        return status
    print("| change | file | noticed by |\n|---|---|---|")
    with working_copy() as copy:
        unchanged: dict[tuple[str, ...], Outcome] = {}
        for mutant in chosen:
            if mutant.tests not in unchanged:
                unchanged[mutant.tests] = copy.test(mutant.tests)
            before = unchanged[mutant.tests]
            if before.failed or not before.passed:
                why = f"fail without it ({before.failed})" if before.failed else "are all skipped here"
                print(f"Mutant '{mutant.name}' cannot be tried: its tests {why}.", file=sys.stderr)
                status = 2
                continue
            noticed = _tried(copy, mutant)
            survived += not noticed
            print(
                f"| {mutant.name} | {mutant.file} | {f'`{noticed}`' if noticed else '**nothing: it survives**'} |",
                flush=True,
            )
    print(f"\n{len(chosen)} changes, {survived} survive.")
    return status or int(bool(survived))


def _tried(copy: Copy, mutant: Mutant) -> str:
    with copy.changed(mutant.file, mutant.changed(copy.root)):
        return copy.test(mutant.tests).failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    kinds.add_parser("named").add_argument("words", nargs="*")
    kinds.add_parser("coverage").add_argument("tests", nargs="*", help="files of tests; without them all")
    drawn = kinds.add_parser("drawn")
    drawn.add_argument("--seed", type=int, required=True)
    drawn.add_argument("--count", type=int, default=120)
    drawn.add_argument("--survivors", action="store_true", help="try those anew that survived, with the tests of now")
    asked = parser.parse_args()
    if asked.kind == "named":
        return named(asked.words)
    if asked.kind == "coverage":
        return _mutant_coverage.collect(asked.tests)
    return _drawn_mutants.drawn(asked.seed, asked.count, asked.survivors)


if __name__ == "__main__":
    sys.exit(main())
