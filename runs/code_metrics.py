"""Measures of the source tree in a folder: packages, import layers, sizes, comments, prose, and what one proposal passes through.

Called by code_metrics.sh: ROOT. Only the last two rows import the tree; the others read it.
"""

from __future__ import annotations

import ast
import io
import re
import statistics
import sys
import tokenize
from collections import Counter
from pathlib import Path

PACKAGES = ("search_spaces", "controller", "nas")
PROSE = ("README.md", "CONTRIBUTING.md", "docs")
OLD_WORDS = (
    "foretell", "foretold", "foretells", "standing", "sight", "scout", "scouts", "grounds", "atlas", "landscape", "landscapes",
    "made-up", "twins", "kin", "trusts", "likeness", "told", "usual", "mood", "to the bit", "points off", "sitting", "left off",
    "taken up", "hands you",
)  # fmt: skip
"""Private words of version 0.1, each with a term of the field in its place (tests/test_docs.py)."""


def modules(root: Path) -> dict[str, ast.Module]:
    """Every module of the packages, parsed, by its dotted name."""
    files = [f for package in PACKAGES for f in sorted((root / package).rglob("*.py"))]
    return {name_of(root, f): ast.parse(f.read_text()) for f in files}


def name_of(root: Path, file: Path) -> str:
    return ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def imports(trees: dict[str, ast.Module]) -> dict[str, set[str]]:
    """Of each module those that it imports, anywhere in it; through a package's face it imports the package."""
    found: dict[str, set[str]] = {}
    for name, tree in trees.items():
        found[name] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
                found[name] |= {n if n in trees else node.module for n in names if n in trees or node.module in trees}
    return {name: targets - {name} for name, targets in found.items()}


def components_of(graph: dict[str, set[str]]) -> list[list[str]]:
    """Strongly connected components, those imported first (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    out: list[list[str]] = []

    def visit(v: str) -> None:
        index[v] = low[v] = len(index)
        stack.append(v)
        for w in sorted(graph.get(v, ())):
            if w not in index:
                visit(w)
                low[v] = min(low[v], low[w])
            elif w in stack:
                low[v] = min(low[v], index[w])
        if low[v] == index[v]:
            at = stack.index(v)
            out.append(stack[at:])
            del stack[at:]

    for v in sorted(graph):
        if v not in index:
            visit(v)
    return out


def rooms(trees: dict[str, ast.Module], graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """The graph of packages: `search_spaces`, `controller`, and those of `nas` (its own modules each by itself)."""
    packages = {name for name in trees for other in trees if other.startswith(f"{name}.") and name.count(".") == 1}

    def room(name: str) -> str:
        parts = name.split(".")
        if parts[0] != "nas":
            return parts[0]
        return ".".join(parts[:2]) if ".".join(parts[:2]) in packages else name

    found: dict[str, set[str]] = {}
    for name, targets in graph.items():
        found.setdefault(room(name), set()).update(room(t) for t in targets if room(t) != room(name))
    return found


def layers(graph: dict[str, set[str]]) -> int:
    """The longest chain of imports; a circle counts as one."""
    groups = components_of(graph)
    of = {name: i for i, group in enumerate(groups) for name in group}
    depth: dict[int, int] = {}
    for i, group in enumerate(groups):  # What is imported comes first.
        below = {of[t] for name in group for t in graph.get(name, ()) if t in of} - {i}
        depth[i] = 1 + max((depth[b] for b in below), default=0)
    return max(depth.values())


def functions(trees: dict[str, ast.Module]) -> list[int]:
    """The lines of each function."""
    nodes = [n for tree in trees.values() for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
    return [(n.end_lineno or n.lineno) - n.lineno + 1 for n in nodes]


def comments(text: str) -> int:
    """The lines with a comment that says something, markers for tools not counted."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    said = [t for t in tokens if t.type == tokenize.COMMENT and not re.match(r"# *(noqa|fmt|pyright|type:)", t.string)]
    return len({t.start[0] for t in said})


def prose(root: Path) -> list[str]:
    """The sentences of README and docs, without code, tables, headings and links' addresses."""
    pages = [
        p for name in PROSE for p in ([root / name] if name.endswith(".md") else sorted((root / name).rglob("*.md")))
    ]
    return [s for p in pages if p.is_file() for s in sentences(p.read_text())]


def sentences(text: str) -> list[str]:
    """The sentences of a page in Markdown."""
    text = re.sub(r"^(```|~~~).*?^\1", "\n\n", text, flags=re.S | re.M)
    text = re.sub(r"\$\$.*?\$\$", "\n\n", text, flags=re.S)
    text = re.sub(r"^\s*(\||#|!\[|:::|<).*$", "\n", text, flags=re.M)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    text = re.sub(r"`[^`]*`", "x", text)
    blocks = re.split(r"\n\s*\n|^\s*(?:[-*]|\d+\.)\s+", text, flags=re.M)
    found = [s for b in blocks for s in re.split(r"(?<=[.!?])\s+(?=[A-Z`\[])", " ".join(b.split()))]
    return [s for s in found if len(s.split()) > 2]


def old_words(root: Path) -> Counter[str]:
    """How often the private words of 0.1 occur in code and prose, but for the one file that translates them."""
    files = [f for p in PACKAGES for f in (root / p).rglob("*.py") if f.name != "legacy.py"]
    files += [p for name in PROSE for p in ([root / name] if name.endswith(".md") else (root / name).rglob("*.md"))]
    count: Counter[str] = Counter()
    for file in files:
        text = file.read_text()
        for word in OLD_WORDS:
            count[word] += len(re.findall(rf"\b{word}\b", text))
    return count


def proposal(root: Path) -> tuple[int, int]:
    """Files of `controller` that one proposal of the default controller passes, and the functions that return in it."""
    import torch

    torch.set_num_threads(1)

    from nas import plugins, tasks

    try:
        from controller.models.prior_file import read
        from nas.run.priors import SHIPPED
    except ImportError:  # Version 0.1.
        from controller._prior import read  # type: ignore
        from nas.priors import SHIPPED  # type: ignore
    evaluator, seeds = tasks.find("own201/digits@4"), torch.arange(2)
    controller = plugins.load("controller", "transfer_bo")(evaluator.space)
    state = controller.begin(evaluator.task, seeds, read(str(SHIPPED)))
    evaluate = evaluator.load(seeds)
    for _ in range(12):
        proposed = controller.propose(state, 1)
        state = controller.learn(state, proposed, evaluate(proposed))
    seen: set[tuple[str, str]] = set()

    def trace(frame, event, _arg):
        file = frame.f_code.co_filename
        if event == "return" and str(root / "controller") in file and not frame.f_code.co_name.startswith("<"):
            seen.add((file, frame.f_code.co_qualname))

    sys.setprofile(trace)
    controller.propose(state, 1)
    sys.setprofile(None)
    return len({file for file, _ in seen}), len(seen)


def main() -> None:
    root = Path(sys.argv[1]).resolve()
    trees, texts = modules(root), {}
    for name in trees:
        path = root.joinpath(*name.split("."))
        texts[name] = (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text()
    graph = imports(trees)
    code = {n: t for n, t in texts.items() if len(t.splitlines()) > 3}
    lines = [len(t.splitlines()) for t in code.values()]
    words = [len(s.split()) for s in prose(root)]
    files, returns = proposal(root)
    found = old_words(root)
    rows = {
        "files in nas/ itself": len(list((root / "nas").glob("*.py"))),
        "layers of modules": layers(graph),
        "layers of packages": layers(rooms(trees, graph)),
        "import circles between modules": sum(len(g) > 1 for g in components_of(graph)),
        "lines of Python": sum(lines),
        "median lines a file": statistics.median(lines),
        "files over 200 lines": sum(n > 200 for n in lines),
        "median lines a function": statistics.median(functions(trees)),
        "comments a thousand lines": round(1000 * sum(map(comments, code.values())) / sum(lines), 1),
        "words a sentence, README and docs": round(statistics.mean(words), 1),
        "sentences over 35 words": f"{sum(n > 35 for n in words) / len(words):.1%}",
        "private words of 0.1": sum(found.values()),
        "files of controller/ that one proposal passes": files,
        "functions that return in it": returns,
    }
    for name, value in rows.items():
        print(f"| {name} | {value} |")
    print("| the private words | " + ", ".join(f"{w} {n}" for w, n in found.most_common() if n) + " |")


if __name__ == "__main__":
    main()
