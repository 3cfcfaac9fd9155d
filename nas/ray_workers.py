"""A person's own function, called on the machines of a Ray cluster; needs the extra `ray`.

Each call runs in a guarded process of its machine, as without Ray, so that crashes, hangs and memory end no worker of Ray. A call
whose machine or worker dies is made once more, and fails if that dies too.
"""

from __future__ import annotations

import importlib
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from nas.guarded import Answer, Workers, one_line
from search_spaces import UserError

_TRIES = 2
_ANSWERS = 5.0
"""Seconds in which a cluster takes a connection."""
_here: dict[str, Workers] = {}
"""In a worker of Ray: the guarded process of each setup."""


class RayWorkers:
    """What `nas.guarded.Workers` is, on a cluster.

    Args:
        address: `local` starts Ray on this machine, `auto` finds the cluster that this machine belongs to; or its address.
        count: calls at once; None: as many as the cluster has processors (graphics cards, where a call takes one).
        gpus: graphics cards that a call takes; it may be a part of one.

    Raises `UserError` where Ray is not installed or no cluster answers.
    """

    def __init__(
        self,
        setup: Callable[..., Callable[..., Any]],
        arguments: tuple[Any, ...],
        count: int | None = None,
        timeout: float | None = None,
        memory: float | None = None,
        address: str = "auto",
        gpus: float = 0.0,
    ):
        self._ray = _ray()
        if not self._ray.is_initialized():
            _connect(self._ray, address)
        self.count = count or _fits(self._ray, gpus)
        remote = self._ray.remote(_call)
        # Retried by us, so that a run says what became of it.
        self._remote = remote.options(num_cpus=1, num_gpus=gpus, max_retries=0)
        self._fixed = (setup, arguments, timeout, memory)
        self._running: dict[Any, tuple[int, tuple[Any, ...], int]] = {}

    def map(self, calls: Sequence[tuple[Any, ...]]) -> Iterator[tuple[int, Answer]]:
        """The number and the answer of each call, as they end."""
        waiting = list(range(len(calls)))[::-1]
        try:
            while waiting or self._running:
                while waiting and len(self._running) < self.count:
                    self.submit(number := waiting.pop(), calls[number])
                yield self.wait()
        finally:
            self.abandon()

    def submit(self, key: int, call: tuple[Any, ...]) -> None:
        """Begin a call; `wait` gives its answer with the key."""
        self._submit(key, call, 1)

    def wait(self) -> tuple[int, Answer]:
        """The key and the answer of one call, as soon as one has ended. Raises `UserError` for a setup that fails."""
        while True:
            (ended, *_), _ = self._ray.wait([*self._running], num_returns=1)
            key, call, tries = self._running.pop(ended)
            try:
                kind, value = self._ray.get(ended)
            except self._ray.exceptions.RayError as error:
                if tries < _TRIES:
                    self._submit(key, call, tries + 1)
                    continue
                return key, Answer(None, 0.0, f"its worker died {tries} times: {one_line(error)}")
            if kind == "broken":
                raise UserError(value)
            return key, Answer(*value)

    def abandon(self) -> None:
        """End the calls that still run."""
        for reference in [*self._running]:
            self._ray.cancel(reference, force=True)
        self._running.clear()

    def close(self) -> None:
        """End the calls; the cluster stays."""
        self.abandon()

    def _submit(self, key: int, call: tuple[Any, ...], tries: int) -> None:
        self._running[self._remote.remote(*self._fixed, call)] = (key, call, tries)


def _call(
    setup: Callable[..., Callable[..., Any]],
    arguments: tuple[Any, ...],
    timeout: float | None,
    memory: float | None,
    call: tuple[Any, ...],
) -> tuple[str, Any]:
    """In a worker of Ray."""
    key = repr((setup, arguments, timeout, memory))
    if key not in _here:
        _here[key] = Workers(setup, arguments, 1, timeout, memory)
    try:
        ((_, answer),) = _here[key].map([call])
    except UserError as error:
        return "broken", str(error)
    return "answer", tuple(answer)


def _ray() -> Any:
    # What a run's folder says is enough: Ray need not tell anybody that it is used.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        return importlib.import_module("ray")
    except ImportError:
        raise UserError("--ray needs Ray: pip install 'metacell[ray]'.") from None


def _connect(ray: Any, address: str) -> None:
    try:
        if ":" in address:  # Ray itself tries for minutes.
            host, _, port = address.removeprefix("ray://").rpartition(":")
            socket.create_connection((host, int(port)), timeout=_ANSWERS).close()
        ray.init(address=None if address == "local" else address, log_to_driver=False, logging_level="error")
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        raise UserError(
            f"--ray is '{address}', and no cluster answers ({one_line(error)}). 'local' starts Ray on this machine; 'auto' takes "
            "the cluster that `ray start` made this machine a part of."
        ) from None


def _fits(ray: Any, gpus: float) -> int:
    resources = ray.cluster_resources()
    fits = int(resources.get("GPU", 0) / gpus) if gpus else int(resources.get("CPU", 1))
    if fits < 1:
        raise UserError(f"-t gpus is {gpus:g}, and the cluster has {resources.get('GPU', 0):g} graphics cards.")
    return fits
