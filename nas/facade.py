"""`nas.search`: the loop of a search over objects, or with `task=` a whole search as `nas search` makes it."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any, overload

from controller import Controller, State, Step
from nas import loop
from nas.types import Evaluate
from search_spaces import UserError


@overload
def search(controller: Controller, evaluate: Evaluate, state: State, batch: int = 1) -> Iterator[Step]: ...


@overload
def search(*, task: str, **options: Any) -> Any: ...


def search(*args: Any, **options: Any) -> Any:
    """Search, in one of two ways.

    `search(controller, evaluate, state, batch=1)` is an iterator of steps without end: see `nas.loop.search`.

    `search(task="folder:photos", minutes=10)` is the command `nas search` with the options of the same names. It returns when
    the run has ended, with a `nas.Result`, and prints nothing unless `quiet=False`.

    Raises `UserError`, in the second form, for whatever the command answers with one line.

    Example:
        result = nas.search(task="folder:photos", minutes=10)
        print(result.test_accuracy, result.predict(["new/1.jpg"])[0].named)
    """
    controller = options.get("controller") or ""
    if args and isinstance(args[0], str):
        raise UserError(f"The task has a name among the arguments: nas.search(task={args[0]!r:.80}, ...).")
    if "task" in options and not args and not isinstance(controller, str):
        raise UserError(
            f"controller is {controller!r:.80}; with a task it takes a name, as 'evolution', or FILE.py:Class."
        )
    if args or not isinstance(controller, str):
        return loop.search(*args, **options)
    # Not above: what is below the command line does not need it, and a search over objects loads none of it.
    return importlib.import_module("nas.commands._call").search_task(**options)
