"""Ctrl-C waits until no module is half imported: NumPy and PyTorch swallow it there, or fail at every later use."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_PAUSE = 0.05
"""Seconds until it is looked at again whether the import has ended."""
_IMPORTER = "<frozen importlib"
"""Begins the file name of the frames in which Python imports."""


@contextmanager
def after_imports() -> Iterator[None]:
    """Ctrl-C raises `KeyboardInterrupt` as ever, but between imports; a second one does not wait.

    Where somebody else answers it, as in a notebook, it stays theirs.
    """
    main = threading.main_thread()
    if threading.current_thread() is not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    waiting, ours = threading.Event(), threading.Event()

    def again() -> None:
        if waiting.is_set():
            ours.set()
            # To the main thread: one that waits for something is woken by it.
            if hasattr(signal, "pthread_kill"):
                signal.pthread_kill(main.ident or 0, signal.SIGINT)
            else:
                signal.raise_signal(signal.SIGINT)

    def stop(number: int, frame: FrameType | None) -> None:
        another = waiting.is_set() and not ours.is_set()
        ours.clear()
        if another or not _imports(frame):
            waiting.clear()
            signal.default_int_handler(number, frame)
        waiting.set()
        timer = threading.Timer(_PAUSE, again)
        timer.daemon = True
        timer.start()

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        waiting.clear()
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _imports(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith(_IMPORTER):
            return True
        frame = frame.f_back
    return False
