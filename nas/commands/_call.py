"""`nas.search(task=...)`: the command `nas search` from Python, by the same code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import click

from nas import guarded, outside_code
from nas.commands import _options, _shared, search
from nas.run.result import Result
from search_spaces import UserError, unknown

_NOT_HERE = ("as_json", "dry_run", "help")
"""Options that only a command line has."""


def search_task(*, quiet: bool = True, **options: Any) -> Result:
    """Search, train what is best to the end, export it; the run that `nas search` with the same options makes.

    Args:
        quiet: print nothing; else what the command prints before the search, and how it goes on.
        options: those of `nas search` by their names in Python: `task`, `minutes`, `evals`, `controller`, `name`, ...;
            `training_options` and `controller_options` are dicts.

    Raises `UserError` for an option that does not exist, and whatever else the command answers with one line.
    """
    guarded.refuse_unguarded()
    if callable(options.get("objective")):
        raise UserError(
            "objective is a function object, which no other process can import; name its file: 'FILE.py:FUNCTION'."
        )
    arguments = [argument for name, value in options.items() for argument in _arguments(name, value)]
    try:
        with search.command.make_context("search", arguments) as context:
            given = {name: value for name, value in context.params.items() if name not in (*_NOT_HERE, "name")}
            config, setup = _options.configure(**given)
            with search.start(context.params["name"], config, setup) as run:
                if not quiet:
                    search.announce(run, setup)
                _shared.work(run, setup, quiet=quiet)
                return Result(run.folder)
    except click.ClickException as error:
        raise UserError(error.format_message()) from None
    except SystemExit as error:
        if (place := outside_code.place_of(error)) is not None:
            raise UserError(f"Line {place.line} of '{place.file}' raised SystemExit: {error}.") from None
        raise KeyboardInterrupt from None  # How `work` ends after Ctrl-C, once it has said how to go on.


def _arguments(name: str, value: Any) -> Iterable[str]:
    """A keyword as the command line has it."""
    known = {each.name: each for each in search.command.params if each.name and each.name not in _NOT_HERE}
    if name not in known:
        raise unknown("option of nas.search", name, list(known))
    option = known[name]
    if value is None:
        return []
    if isinstance(option, click.Option) and option.is_flag:
        return (option.opts if value else option.secondary_opts)[:1]
    if isinstance(value, Mapping):
        return [part for key, each in value.items() for part in (option.opts[0], f"{key}={_text(each)}")]
    several = isinstance(value, list | tuple)
    if several and not option.multiple and option.nargs == 1:
        raise UserError(f"{name} is {value!r:.80}; it takes one value.")
    values = value if several else [value]
    return [part for each in values for part in (option.opts[0], _text(each))]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
