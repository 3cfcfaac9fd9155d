"""Work of many parts, spread over processes of this machine or over a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from nas.guarded import DEATH, Workers
from nas.ray_workers import RayWorkers
from search_spaces import UserError

_USER_ERROR = f"{UserError.__name__}: "


def spread(
    setup: Callable[..., Callable[..., Any]],
    arguments: tuple[Any, ...],
    calls: Sequence[tuple[Any, ...]],
    count: int | None,
    ray: str = "",
) -> Iterator[tuple[int, Any]]:
    """The number and the value of each call, as they end.

    Args:
        setup: made in each worker once, from `arguments`: it gives the function that is called. Both go through a pickle.
        count: calls at once; None, with `ray`: as many as the cluster has processors.
        ray: the cluster's address, as `RayWorkers` takes it; empty: processes of this machine.

    A call whose process or machine dies is made once more. Raises `UserError` for one that fails, or dies twice; whoever leaves
    early ends what still runs.
    """
    workers = RayWorkers(setup, arguments, count, address=ray) if ray else Workers(setup, arguments, count or 1)
    try:
        died: list[int] = []
        for number, answer in workers.map(calls):
            # A machine's death is another error, and its call was made again already.
            if answer.error.startswith(DEATH):
                died.append(number)
                continue
            yield number, _value(answer.value, answer.error)
        for at, answer in workers.map([calls[number] for number in died]):
            yield died[at], _value(answer.value, answer.error)
    finally:
        workers.close()


def _value(value: Any, error: str) -> Any:
    if error.startswith(_USER_ERROR):
        raise UserError(error.removeprefix(_USER_ERROR))
    if error:
        raise UserError(f"A part of the work failed: {error}. What is done is kept; the same command goes on.")
    return value
