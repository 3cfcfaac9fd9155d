"""Changes that cosmic-ray draws, each tried by the tests that run its line, the quickest first. For mutants.py.

Places are drawn uniformly, then one of the changes that the tool knows for each: otherwise arithmetic, with a dozen changes an
operator, would be most of the sample.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import json
import random
import sys
import tomllib
from collections.abc import Iterator
from typing import NamedTuple

from runs import _mutant_coverage
from runs._mutant_coverage import HERE, WHERE
from runs._mutation import ROOT, working_copy


class Draw(NamedTuple):
    """A change, and where."""

    file: str
    line: int
    operator: str
    text: str
    """The file's, after the change."""

    @property
    def lines(self) -> tuple[str, str]:
        """What stood there and what stands there now."""
        diff = difflib.ndiff((ROOT / self.file).read_text().splitlines(), self.text.splitlines())
        parts: dict[str, list[str]] = {"-": [], "+": []}
        for line in diff:
            if line[:2] in ("- ", "+ "):
                parts[line[0]].append(line[2:].strip())
        return " / ".join(parts["-"]), " / ".join(parts["+"])

    @property
    def key(self) -> str:
        return hashlib.sha256(f"{self.file}\0{self.text}".encode()).hexdigest()[:16]


def drawn(seed: int, count: int, survivors: bool) -> int:
    """Try `count` changes drawn with `seed`, those not tried before; print each and the score."""
    if not _mutant_coverage.there():
        print("First say: runs/mutants.sh coverage", file=sys.stderr)
        return 2
    results = HERE / f"drawn-{seed}.jsonl"
    known = {row["key"]: row for row in map(json.loads, results.read_text().splitlines())} if results.is_file() else {}
    equivalent = {(row["file"], row["old"], row["new"]): row["why"] for row in equivalents()}
    rows = []
    # Drawn before the copy is made, so that both are of one moment.
    draws = list(_sample(seed, count))
    with working_copy() as copy:
        for draw in draws:
            row = known.get(draw.key)
            why = equivalent.get((draw.file, *draw.lines), "")
            if row is None or (survivors and not row["failed"] and not why):
                tests = _mutant_coverage.tests_of(draw.file, draw.line)
                with copy.changed(draw.file, draw.text):
                    outcome = copy.test(tests) if tests else None
                row = {"key": draw.key, "file": draw.file, "line": draw.line, "operator": draw.operator}
                row |= {"tests": len(tests), "failed": outcome.failed if outcome else ""}
                with results.open("a") as file:
                    file.write(json.dumps(row) + "\n")
            rows.append((draw, row, why))
            noticed = row["failed"] or (f"equivalent: {why}" if why else f"SURVIVES {row['tests']} tests")
            old, new = draw.lines
            print(f"{draw.file}:{draw.line} {draw.operator}\n  - {old}\n  + {new}\n  {noticed}", flush=True)
    killed = sum(bool(row["failed"]) for _, row, _ in rows)
    same = sum(not row["failed"] and bool(why) for _, row, why in rows)
    print(
        f"\nseed {seed}: {len(rows)} changes, {killed} noticed, {len(rows) - killed - same} survive, {same} equivalent by hand; "
        f"score {killed / (len(rows) - same):.1%}, {killed / len(rows):.1%} with equivalent ones counted as survivors"
    )
    return 0


def equivalents() -> list[dict[str, str]]:
    """Changes that change nothing anyone could see, with the reason."""
    return tomllib.loads((ROOT / "tests" / "mutants" / "equivalent.toml").read_text())["equivalent"]


def _sample(seed: int, count: int) -> Iterator[Draw]:
    """`count` places drawn, with one change each."""
    # Here: only this recipe needs the tool.
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    places = _places()
    chance = random.Random(seed)
    order = chance.sample(sorted(places), len(places))
    for place in order:
        if not count:
            return
        file, (line, _), _ = place
        operator, occurrence = chance.choice(places[place])
        source = (ROOT / file).read_text()
        text = mutate_code(source, get_operator(operator)(), occurrence)
        # Some changes give the same program, as `/` for `/` in other spacing.
        if text is None or _tree(text) == _tree(source):
            continue
        count -= 1
        yield Draw(file, line, operator.removeprefix("core/"), text)


def _tree(source: str) -> str:
    try:
        return ast.dump(ast.parse(source))
    except SyntaxError:
        return source


Place = tuple[str, tuple[int, int], str]
"""File, line and column, kind of change."""


def _places() -> dict[Place, list[tuple[str, int]]]:
    """Every place that can be changed, and its changes: the operator and which of its occurrences in the file."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.plugins import get_operator, operator_names

    found: dict[Place, list[tuple[str, int]]] = {}
    for path in sorted(path for folder in WHERE for path in (ROOT / folder).rglob("*.py")):
        file, source = str(path.relative_to(ROOT)), path.read_text()
        nodes = list(ast_nodes(get_ast(source)))
        blank = _without_meaning(source)
        for name in operator_names():
            operator = get_operator(name)
            if operator.arguments():
                continue
            positions = ((start, end) for node in nodes for start, end in operator().mutation_positions(node))
            for occurrence, (start, end) in enumerate(positions):
                if not any(low <= start and end <= high for low, high in blank):
                    found.setdefault((file, start, name.split("_")[0]), []).append((name, occurrence))
    return found


def _without_meaning(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Where a change changes nothing: annotations, which are never evaluated, and caches that only save time."""
    found = []
    for node in ast.walk(ast.parse(source)):
        notes = [getattr(node, "annotation", None), getattr(node, "returns", None)]
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript | ast.BinOp):
            # `Curve = tuple[...]`: a type's name.
            notes += [node.value] if all(isinstance(t, ast.Name) and t.id.istitle() for t in node.targets) else []
        caches = [d for d in getattr(node, "decorator_list", []) if "cache" in ast.unparse(d)]
        for part in [*filter(None, notes), *caches]:
            # The `@` stands a column before.
            found.append(((part.lineno, part.col_offset - 1), (part.end_lineno, part.end_col_offset + 1)))
    return found
