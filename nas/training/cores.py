"""A pool of threads in which PyTorch has one core for each: work that is done side by side rounds as it does alone."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier

import torch


@contextmanager
def one_each(cores: int) -> Iterator[ThreadPoolExecutor]:
    """A pool of `cores` threads; leaving it cancels what has not begun and waits for the rest."""
    before, started = torch.get_num_threads(), Barrier(cores + 1)

    def begin() -> None:
        # Of this thread: what PyTorch does between steps would otherwise take the cores of the others.
        torch.set_num_threads(1)
        # Asking makes the thread keep the number: else it would take the caller's, which is set again below.
        torch.get_num_threads()
        started.wait()

    # Threads, not processes: PyTorch and ctypes release the interpreter's lock while they compute, and images are in memory once.
    pool = ThreadPoolExecutor(cores)
    try:
        for _ in range(cores):
            pool.submit(begin)  # One a thread: each waits for all others.
        started.wait()
        # MKL has one setting for all threads; the caller's matrix products must round as if nothing ran beside them.
        torch.set_num_threads(before)
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
