"""Who imports whom, read from the imports: the drawing in CONTRIBUTING.md cannot rot.

Spaces <- controllers <- nas; inside them a package imports only those before it; a component imports no other component.
"""

import ast
import os
import subprocess
import sys
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


ORDER = (
    {"search_spaces"},
    {"controller._base"},
    {"controller.models"},
    {"controller.policies"},
    {"controller.candidates"},
    {"controller"},
    {"controller.meta"},
    {"nas"},
    {"nas.training", "nas.export"},
    {"nas.datasets"},
    {"nas.baselines"},
    {"nas.few_shot"},
    {"nas.few_shot.learners"},
    {"nas.tables"},
    {"nas.evaluators"},
    {"nas.tasks"},
    {"nas.run"},
    {"nas.compare", "nas.integrations", "nas.meta"},
    {"nas.testing", "nas.tune"},
    {"nas.commands"},
)
"""Packages from the ground up: each imports itself and what stands before it. `controller._base` has the shared files of
`controller`, and its face; `controller` the components; `nas` the files that lie in `nas/` itself."""

SHARED = {
    f"search_spaces.{name}"
    for name in (
        "_ops",
        "_noise",
        "_sampling",
        "_files",
        "_products",
        "_cells",
        "_network_costs",
        "_measured",
        "_settings",
        "_figures",
    )
}
"""Files that other packages import though their names begin with an underscore: in a folder of components every other name is a
component's. They are the ground that all stand on: index and enumerate, random numbers, sampling, whole files, exact products,
the network of cells, what networks cost, the part of a space that a table holds, settings from text, figures known beforehand."""

MAX_LAYERS = 9
MODULES = {module(f).removesuffix(".__init__"): f for f in FILES}


def edges(name):
    """The modules that a module imports, and the names it takes from each."""
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                if whole in MODULES or node.module in MODULES:
                    yield (whole, "") if whole in MODULES else (node.module, alias.name)


GRAPH = {name: {to for to, _ in edges(name)} - {name} for name in MODULES}


def package(name):
    """The package that a module is of, as `ORDER` has them."""
    if name.startswith("controller._") or name == "controller":
        return "controller._base"
    return name if MODULES[name].name == "__init__.py" else name.rpartition(".")[0]


def test_every_package_has_its_place():
    assert {package(name) for name in MODULES} == set().union(*ORDER)


@pytest.mark.parametrize("name", MODULES)
def test_a_package_imports_only_those_before_it(name):
    place = {p: i for i, packages in enumerate(ORDER) for p in packages}
    own = package(name)
    if name == "nas":  # The face names what stands above it, and loads that when it is asked for.
        return
    wrong = {to for to in GRAPH[name] if package(to) != own and place[package(to)] >= place[own]}
    assert not wrong


@pytest.mark.parametrize("name", MODULES)
def test_what_begins_with_an_underscore_is_imported_in_its_package_only(name):
    for to, taken in edges(name):
        inside = name.startswith(to.rpartition(".")[0] + ".") or MODULES[name].parent == MODULES[to].parent
        assert inside or not to.rpartition(".")[2].startswith("_") or to in SHARED, f"{name} imports {to}"
        assert not taken.startswith("_"), f"{name} takes {taken} from {to}"


def _longest(graph):
    """The longest chain of a graph; an assertion names the circle where it has one."""
    chains = {}

    def chain(node, above):
        assert node not in above, f"a circle: {' -> '.join([*above[above.index(node) :], node])}"
        if node not in chains:
            below = [chain(to, [*above, node]) for to in sorted(graph[node])]
            chains[node] = [node, *max(below, key=len, default=[])]
        return chains[node]

    return max((chain(node, []) for node in graph), key=len)


def test_no_module_imports_itself_in_a_circle():
    assert _longest(GRAPH)


def test_no_package_imports_itself_in_a_circle_and_there_are_nine_layers_at_most():
    def layer(name):
        """A package of `nas`, a file that lies in `nas/` itself, or another top-level package as one."""
        return name.split(".")[0] if not name.startswith("nas.") else ".".join(name.split(".")[:2])

    graph = {layer(name): set() for name in MODULES}
    for name, imports in GRAPH.items():
        graph[layer(name)] |= {layer(to) for to in imports} - {layer(name)}
    chain = _longest(graph)
    assert len(chain) <= MAX_LAYERS, " -> ".join(chain)


def test_whole_columns_are_for_judges_only():
    """`nas.tasks.full_columns` reads all scores of a task: no search may lead there."""
    searchers = [name for name in MODULES if name.startswith(("controller", "nas.run", "nas.loop", "nas.evaluators"))]
    assert len(searchers) > 20
    for name in searchers:
        assert "nas.tasks.full_columns" not in GRAPH[name]


def test_whole_test_columns_are_read_by_judges_and_after_a_run_alone():
    readers = {name for name in MODULES if "nas.tasks.test_scores" in GRAPH[name]}
    assert readers == {"nas.tasks.full_columns", "nas.compare.yardstick", "nas.run.test_place"}
    assert {name for name in MODULES if "nas.run.test_place" in GRAPH[name]} == {"nas.run.finish", "nas.run.summary"}


@pytest.mark.parametrize("hidden", ["controller.py", "search_spaces/__init__.py"])
def test_a_project_with_a_module_of_our_name_is_told_so(hidden, tmp_path):
    (tmp_path / hidden).parent.mkdir(exist_ok=True)
    (tmp_path / hidden).write_text("")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for command in (["-c", "import nas"], ["-m", "nas", "runs"]):
        run = [sys.executable, *command]
        done = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 1
        said = done.stderr.splitlines()
        assert f"{hidden}' hides it. metacell takes the names controller, nas and search_spaces" in said[-1]
    assert len(said) == 1  # The command's; where a program imports, Python shows where.
