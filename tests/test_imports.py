"""Who imports whom: spaces <- controllers <- nas; a component imports no other component."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = {"search_spaces": set(), "controller": {"search_spaces"}, "nas": {"search_spaces", "controller"}}
FILES = [f for room in ROOMS for f in sorted((ROOT / room).rglob("*.py"))]
COMPONENTS = [
    f
    for folder in ("search_spaces", "controller", "controller/meta", "nas/evaluators")
    for f in sorted((ROOT / folder).glob("*.py"))
    if not f.name.startswith("_")
]


def module(file):
    return ".".join(file.relative_to(ROOT).with_suffix("").parts)


def imported(file):
    """Every module that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("file", FILES, ids=module)
def test_a_room_imports_only_the_rooms_below(file):
    room = module(file).split(".")[0]
    rooms = {name.split(".")[0] for name in imported(file)} & {*ROOMS, "tests"}
    assert rooms <= ROOMS[room] | {room}


@pytest.mark.parametrize("file", COMPONENTS, ids=module)
def test_a_component_imports_no_other_component_of_its_room(file):
    siblings = {module(f) for f in COMPONENTS if f.parent == file.parent} - {module(file)}
    assert not siblings & set(imported(file))


@pytest.mark.parametrize("file", COMPONENTS, ids=module)
def test_a_component_is_one_class(file):
    tree = ast.parse(file.read_text())
    exports = [n.value for n in tree.body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "__all__"]
    assert len(exports) == 1
    assert len(ast.literal_eval(exports[0])) == 1
