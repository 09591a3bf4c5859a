"""Processes that end with the one that started them, also where that one was killed and could not tell them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time

PARENT_VARIABLE = 'VOTES_PARENT'  # the process that started this one and that it must not outlive
PR_SET_PDEATHSIG = 1


def child_environment() -> dict[str, str]:
    """What a process adds to the environment of those that are to end with it."""
    return {PARENT_VARIABLE: str(os.getpid())}


def end_with_parent(number: signal.Signals = signal.SIGTERM) -> None:
    """Has `number` sent to this process when the one that started it ends, if that one asked for it.

    The kernel sends it where it can (Linux); elsewhere a thread looks every second.
    """
    parent = os.environ.pop(PARENT_VARIABLE, None)
    if parent is None or not parent.isdigit() or os.getppid() not in (int(parent), 1):
        return  # a grandchild that inherited the variable
    told = False
    if sys.platform == 'linux':
        with contextlib.suppress(OSError, AttributeError):
            told = ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0) == 0
    if os.getppid() != int(parent):  # it ended before the kernel knew
        os.kill(os.getpid(), number)
    elif not told:
        threading.Thread(target=_watch, args=(int(parent), number), name='parent', daemon=True).start()


def _watch(parent: int, number: signal.Signals) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), number)
