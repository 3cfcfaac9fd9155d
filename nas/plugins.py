"""From a name on the command line to the class of a component; listing never imports.

A component is ours, by the name of its file; that of another installed package, by the name of its entry point (groups
`metacell.spaces`, `metacell.controllers`, `metacell.meta_learners`, `metacell.evaluators`); or one of the user's own project, as
`FILE.py:Class` or `package.module:Class`.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from nas import outside_code
from search_spaces import UserError, unknown

KINDS = ("space", "controller", "meta-learner", "evaluator")
_PACKAGES = {
    "space": "search_spaces",
    "controller": "controller",
    "meta-learner": "controller.meta",
    "evaluator": "nas.evaluators",
}


METHODS = {
    "controller": ("begin", "propose", "learn"),
    "space": ("valid", "canonical", "build", "describe", "parse"),
    "meta-learner": ("init", "update", "prior"),
    "evaluator": ("load", "report"),
}
"""What tells the kinds apart: the methods of their Protocols."""


class Origin(NamedTuple):
    """Where a component from outside came from."""

    name: str
    """What finds it again: `FILE.py:Class` with a whole path, `package.module:Class`, or an entry point's name."""
    source: str
    """The file of its source."""
    sha256: str
    """Of that file's bytes."""


def names(kind: str) -> list[str]:
    """Our components of a kind (one of `KINDS`), by listing their folder."""
    folder = Path(__file__).parent.parent.joinpath(*_PACKAGES[kind].split("."))
    return sorted(f.stem for f in folder.glob("*.py") if not f.name.startswith("_"))


def installed(kind: str) -> dict[str, metadata.EntryPoint]:
    """The components of a kind that other installed packages offer, by name. Ours win where two have one name."""
    group = f"metacell.{kind.replace('-', '_')}s"
    return {e.name: e for e in metadata.entry_points(group=group) if e.name not in names(kind)}


def load(kind: str, name: str) -> Any:
    """The class of one component. A dash may stand for an underscore. Raises `UserError` for a name that leads nowhere."""
    if is_outside(name):
        return _checked(kind, name, _load_outside(kind, name))
    ours = name.replace("-", "_")
    if kind == "controller":
        # Not above, as it loads torch and `nas --help` must not; by name, as `plugins` stands on no component's package.
        ours = importlib.import_module("controller.models.legacy").controller(ours)
    if ours in names(kind):
        module = importlib.import_module(f"{_PACKAGES[kind]}.{ours}")
        return getattr(module, module.__all__[0])
    entries = installed(kind)
    if name in entries:
        try:
            found = entries[name].load()
        except (Exception, SystemExit) as error:  # A module that exits must not end the listing of all others.
            raise UserError(f"{kind.capitalize()} '{name}' cannot be imported: {_one_line(error)}") from None
        outside_code.remember(found.__module__)
        return _checked(kind, name, found)
    raise _with_files(kind, name, [*names(kind), *entries])


def is_outside(name: str) -> bool:
    """Whether a name is `FILE.py:Class`, `FILE.py` or `package.module:Class`."""
    return ":" in name or name.endswith(".py")


def absolute(name: str) -> str:
    """The same component by a name that does not depend on the current folder."""
    file, class_name = _split(name)
    return f"{Path(file).resolve()}:{class_name}" if file.endswith(".py") and class_name else name


def settled(kind: str, name: str) -> str:
    """`absolute`, and one of ours as its file is called: a dash may stand for an underscore in its name, and in no path."""
    ours = name.replace("-", "_")
    return ours if ours in names(kind) else absolute(name)


def origin(kind: str, name: str) -> Origin | None:
    """Where a component came from; None for ours."""
    if not is_outside(name) and name not in installed(kind):
        return None
    source = inspect.getsourcefile(load(kind, name))
    if source is None:
        return Origin(absolute(name), "", "")
    return Origin(absolute(name), source, hashlib.sha256(Path(source).read_bytes()).hexdigest())


def sha256(kind: str, name: str) -> str | None:
    """Of the source of a component from outside; None for ours."""
    found = origin(kind, name)
    return None if found is None else found.sha256


def _split(name: str) -> tuple[str, str]:
    """File or module, and class; a class that is not named is the first of the file's `__all__`."""
    if name.endswith(".py"):
        return name, ""
    where, _, class_name = name.rpartition(":")
    return where, class_name


def _load_outside(kind: str, name: str) -> Any:
    where, class_name = _split(name)
    try:
        module = _module_of_file(Path(where)) if where.endswith(".py") else _module_named(where)
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # An exit at import would end the command with the status of its choice.
        raise UserError(f"{kind.capitalize()} '{name}' cannot be imported: {_one_line(error)}") from None
    classes = {n: c for n, c in vars(module).items() if inspect.isclass(c) and c.__module__ == module.__name__}
    class_name = class_name or next(iter(getattr(module, "__all__", [])), "")
    if not class_name:
        first = next((n for n, c in classes.items() if kinds_of(c)), "Class")
        raise UserError(f"'{name}' names no class and has no __all__; say {where}:{first}.")
    if not inspect.isclass(getattr(module, class_name, None)):
        raise unknown(f"class of '{where}'", class_name, sorted(classes))
    outside_code.remember(module.__name__)
    return getattr(module, class_name)


def _module_named(name: str) -> Any:
    found = importlib.import_module(name)
    _refuse_other_floats(name)
    return found


def kinds_of(component: type) -> list[str]:
    """The kinds of component that a class is, by its methods."""
    return [kind for kind, methods in METHODS.items() if all(hasattr(component, m) for m in methods)]


def _checked(kind: str, name: str, component: Any) -> Any:
    """A component from outside. Raises `UserError` for one of another kind, and for one that cannot be built."""
    if kind not in METHODS:
        return component
    lacking = [m for m in (*METHODS[kind], *(["of"] if kind == "evaluator" else [])) if not hasattr(component, m)]
    if lacking:
        kinds = kinds_of(component)
        what = (
            f"is {'an' if kinds[0][0] in 'aeiou' else 'a'} {kinds[0]}"
            if kinds and kinds[0] != kind
            else f"lacks {', '.join(lacking)}"
        )
        raise UserError(f"'{name}' {what}; a {kind} is asked for. `nas check {name}` says what one needs.")
    given = {"controller": ("space",), "meta-learner": ("tasks",), "space": ()}.get(kind)
    if kind in ("controller", "meta-learner") and not hasattr(component, "__dataclass_fields__"):
        raise UserError(f"'{name}' is no dataclass; write @dataclass(frozen=True) above class {component.__name__}.")
    if given is not None:
        parameters = inspect.signature(component).parameters.values()
        bare = [p.name for p in parameters if p.default is p.empty and p.name not in given and p.kind != p.VAR_KEYWORD]
        if bare:
            raise UserError(f"Field '{bare[0]}' of '{name}' has no default; every field of a {kind} takes one.")
    if kind == "space":
        # Not above, as it loads torch.
        importlib.import_module("nas.component_checks").refuse_wrong_space(component, name)
    return component


def module_of_file(path: Path, form: str) -> Any:
    """A user's file as a module. What stands beside it can be imported from it.

    Args:
        form: what he is told of a file that is not there, as `a component of your own is FILE.py:Class`.

    Raises `UserError` for a file that is not there or cannot be imported.
    """
    try:
        return _module_of_file(path, form)
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # An exit at import would end the command with the status of its choice.
        raise UserError(f"'{path}' cannot be imported: {_one_line(error)}") from None


def _module_of_file(path: Path, form: str = "a component of your own is FILE.py:Class") -> Any:
    if not path.is_file():
        raise UserError(f"There is no file '{path}'; {form}.")
    path = path.resolve()
    key = f"metacell_outside_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}_{path.stem}"
    if key in sys.modules:
        return sys.modules[key]
    spec = importlib.util.spec_from_file_location(key, path)
    assert spec is not None
    assert spec.loader is not None
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # At the end: a user's `controller/` must not hide ours.
    module = sys.modules[key] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        _refuse_other_floats(str(path))
    except BaseException:
        del sys.modules[key]
        raise
    return module


def _refuse_other_floats(name: str) -> None:
    """Raises `UserError` where an import changed the type of numbers that PyTorch makes; what is here counts on float32."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_default_dtype() != torch.float32:
        found = torch.get_default_dtype()
        torch.set_default_dtype(torch.float32)
        raise UserError(
            f"'{name}' sets PyTorch's default dtype to {found} at import; set the dtype where tensors are made."
        )


def _with_files(kind: str, name: str, there_are: list[str]) -> UserError:
    return UserError(f"{unknown(kind, name, there_are)} A component of your own is FILE.py:Class.")


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
