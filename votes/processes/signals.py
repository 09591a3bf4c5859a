"""Requests to stop from outside: SIGTERM, SIGINT, SIGUSR1, SIGHUP. A handler only takes a note; the loop acts on it."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
PREEMPTED = 75  # exit code: stopped on request after saving, run again to go on (EX_TEMPFAIL of sysexits.h)
REPORT_VARIABLE = 'VOTES_LAUNCH_REPORT'  # where `votes launch` wants to be told how a run ended


class Preempted(Exception):
    """Training stopped on request, after saving."""


class StopRequests:
    """Context in which the signals are noted in `requested`. A second Ctrl-C leaves at once."""

    def __init__(self) -> None:
        self.requested: str | None = None
        self.previous: dict[signal.Signals, Any] = {}

    def asked(self) -> bool:
        return self.requested is not None

    def __enter__(self) -> StopRequests:
        if threading.current_thread() is threading.main_thread():
            self.previous = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = signal.Signals(number).name


def ignore_in_worker() -> None:
    """For processes that read samples: their parent decides when they end, also when the whole group is signalled."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def tell_launcher(end: str, text: str) -> None:
    """Tells `votes launch`, where it started this process, how the run ended: 'stopped' or 'refused', and why."""
    report = os.environ.get(REPORT_VARIABLE)
    if report:
        Path(report).write_text(json.dumps({'end': end, 'text': text}))


def told(report: Path) -> dict[str, str] | None:
    """What a process told its launcher."""
    return json.loads(report.read_text()) if report.exists() else None
