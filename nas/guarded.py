"""A person's own function, called in processes that may crash, hang or use up memory without harm to the caller.

Each worker is a process of its own, in a session of its own, so that what it has started ends with it. One that dies or takes too
long is replaced.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple

from nas import processes
from search_spaces import UserError

_GRACE = 120.0
"""Seconds that a worker has to import what it needs."""
_GIB = 1 << 30
UNGUARDED = 97
"""Status of a worker that was asked to search while it still read its caller's script, which has no guard for its main part."""
DEATH = "its process ended"
"""How the error of a call begins whose worker has died."""


class Answer(NamedTuple):
    """What a call gave."""

    value: Any
    """None where it failed."""
    seconds: float
    error: str = ""
    """Why it failed: one line."""


class Workers:
    """`count` processes, each with one thread, that make calls.

    Args:
        setup: made in each worker once, from `arguments`: it gives the function that is called. Both go through a pickle.
        timeout: seconds that a call may take; None: as long as it likes.
        memory: GiB of address space that a worker may take; None: no limit. Not every system keeps it.
    """

    def __init__(
        self,
        setup: Callable[..., Callable[..., Any]],
        arguments: tuple[Any, ...],
        count: int = 1,
        timeout: float | None = None,
        memory: float | None = None,
    ):
        self._setup, self._arguments, self._timeout, self._memory = setup, arguments, timeout, memory
        self._workers: list[_Worker | None] = [None] * count
        self._running: dict[int, int] = {}  # By worker, the key of its call.
        # Not daemons, which may start no processes of their own, as data loaders do: ended before Python waits for them.
        atexit.register(_close, weakref.ref(self))

    def map(self, calls: Sequence[tuple[Any, ...]]) -> Iterator[tuple[int, Answer]]:
        """The number and the answer of each call, as they end.

        Raises `UserError` for a `setup` that fails, which no call can mend. Whoever leaves early ends what still runs.
        """
        waiting = list(range(len(calls)))[::-1]
        try:
            while waiting or self._running:
                while waiting and len(self._running) < len(self._workers):
                    self.submit(number := waiting.pop(), calls[number])
                yield self.wait()
        finally:
            self.abandon()

    def submit(self, key: int, call: tuple[Any, ...]) -> None:
        """Begin a call by a worker that is free; `wait` gives its answer with the key."""
        at = next(at for at in range(len(self._workers)) if at not in self._running)
        self._worker(at).send(call)
        self._running[at] = key

    def wait(self) -> tuple[int, Answer]:
        """The key and the answer of one call, as soon as one has ended. Raises `UserError` for a `setup` that fails."""
        while True:
            for at in self._ready(self._running):
                worker = self._workers[at]
                assert worker is not None
                answer = worker.answer(self._timeout)
                if answer is None:
                    continue
                if worker.ended:
                    self._workers[at] = None
                return self._running.pop(at), answer

    def abandon(self) -> None:
        """End the calls that still run."""
        for at in [*self._running]:
            del self._running[at]
            self._end(at)

    def close(self) -> None:
        """End all workers."""
        self._running.clear()
        for at in range(len(self._workers)):
            self._end(at)

    def __del__(self) -> None:
        self.close()

    def _end(self, at: int) -> None:
        worker, self._workers[at] = self._workers[at], None
        if worker is not None:
            worker.kill()

    def _worker(self, at: int) -> _Worker:
        worker = self._workers[at]
        if worker is None:
            worker = self._workers[at] = _Worker(self._setup, self._arguments, self._memory)
        return worker

    def _ready(self, running: dict[int, int]) -> list[int]:
        """Workers that have answered, have ended or are out of time."""
        workers = {at: self._workers[at] for at in running}
        left = [w.left(self._timeout) for w in workers.values() if w is not None]
        finite = [seconds for seconds in left if seconds is not None]
        ends = [end for w in workers.values() if w is not None for end in (w.connection, w.process.sentinel)]
        found = set(wait(ends, timeout=min(finite) if finite else None))
        return [
            at
            for at, w in workers.items()
            if w is not None and (found & {w.connection, w.process.sentinel} or w.left(self._timeout) == 0)
        ]


def _close(workers: weakref.ref[Workers]) -> None:
    alive = workers()
    if alive is not None:
        alive.close()


class _Worker:
    def __init__(self, setup: Callable[..., Any], arguments: tuple[Any, ...], memory: float | None):
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, setup, arguments, memory), daemon=False)
        self.process.start()
        theirs.close()
        self.ended = False
        self._ready = False
        self._began = time.monotonic()

    def send(self, call: tuple[Any, ...]) -> None:
        if self._ready:
            self._began = time.monotonic()
        with suppress(OSError):  # Of one that has just died: its sentinel tells.
            self.connection.send(call)

    def left(self, timeout: float | None) -> float | None:
        """Seconds until it is out of time; None: never."""
        limit = timeout if self._ready else _GRACE
        return None if limit is None else max(0.0, self._began + limit - time.monotonic())

    def answer(self, timeout: float | None) -> Answer | None:
        """What it says, None where it has only begun."""
        seconds = time.monotonic() - self._began
        try:
            if self.connection.poll():
                kind, value = self.connection.recv()
                if kind == "broken":
                    self.kill()
                    raise UserError(value)
                if kind == "ready":
                    self._ready, self._began = True, time.monotonic()
                    return None
                return Answer(value, seconds) if kind == "value" else Answer(None, seconds, value)
        except (EOFError, OSError):
            pass
        else:
            if self.process.is_alive():
                left = self.left(timeout)
                if left is None or left > 0:
                    return None
                self.kill()
                if not self._ready:
                    raise UserError(f"A worker needed more than {_GRACE:g} s to begin; see what the file imports.")
                return Answer(None, seconds, f"no answer within {timeout:g} s")
        self.process.join()
        code = self.process.exitcode
        self.kill()
        if code == UNGUARDED and not self._ready:
            raise UserError(
                "The script called this again in the process that it started for your function, which reads the script first; "
                "put the call under `if __name__ == '__main__':`."
            )
        return Answer(None, seconds, _death(code))

    def kill(self) -> None:
        """End it and what it has started."""
        self.ended = True
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid or 0, signal.SIGKILL)  # Its session is its own once it has begun.
        self.process.kill()
        self.process.join()
        self.connection.close()


def refuse_unguarded() -> None:
    """End this process if it is a worker that still reads its caller's script: a call there would start workers without end."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise SystemExit(UNGUARDED)


def _death(code: int | None) -> str:
    if code is not None and code < 0:
        with suppress(ValueError):
            name = signal.Signals(-code).name
            return f"{DEATH} by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    return f"{DEATH} with status {code}"


def _serve(connection: Connection, setup: Callable[..., Any], arguments: tuple[Any, ...], memory: float | None) -> None:
    """A worker's life."""
    os.setsid()
    processes.prepare(own_session=True)
    if memory is not None:
        import resource  # Not above: systems that have no such limits have no such module.

        resource.setrlimit(resource.RLIMIT_AS, (int(memory * _GIB), int(memory * _GIB)))
    try:
        function = setup(*arguments)
    except BaseException as error:  # Somebody's file may do anything, exit included.
        connection.send(("broken", str(error) if isinstance(error, UserError) else one_line(error)))
        return
    connection.send(("ready", None))
    while True:
        try:
            call = connection.recv()
        except EOFError:
            return
        try:
            answer = ("value", function(*call))
        except BaseException as error:
            answer = ("error", one_line(error))
        connection.send(answer)


def one_line(error: BaseException) -> str:
    """What an error says, on one line of at most 200 characters."""
    text = " ".join(str(error).split())
    return (f"{type(error).__name__}: {text}" if text else type(error).__name__)[:200]
