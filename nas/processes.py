"""Worker processes: one thread each, and none outlives the process that started it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading

import torch


def prepare(*, own_session: bool = False) -> None:
    """Ctrl-C is for the parent, which ends its workers; a parent that was killed cannot, so each watches it.

    Args:
        own_session: the process leads a session; what it has started ends with it.
    """
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(own_session,), daemon=True).start()


def _end_with_parent(own_session: bool) -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    if own_session:
        os.killpg(0, signal.SIGKILL)
    # Not `sys.exit`: it would end this thread alone.
    os._exit(1)
