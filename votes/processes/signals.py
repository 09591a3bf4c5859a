"""Requests to stop from outside: SIGTERM, SIGINT, SIGUSR1, SIGHUP. A handler only takes a note; the loop acts on it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Self

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
PREEMPTED = 75  # exit code: stopped on request after saving, run again to go on (EX_TEMPFAIL of sysexits.h)
REPORT_VARIABLE = 'VOTES_LAUNCH_REPORT'  # where `votes launch` wants to be told how a run ended


class Preempted(Exception):
    """Training stopped on request, after saving."""


class StopRequests(contextlib.ExitStack):
    """Context in which the signals are noted in `requested`. A second Ctrl-C leaves at once.

    What came since `note_from_now_on` is known to it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.requested: str | None = _early.requested if _early else None

    def asked(self) -> bool:
        return self.requested is not None

    def request(self, why: str) -> None:
        """As if a signal had come."""
        self.requested = self.requested or why

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self.callback(signal.signal, number, signal.signal(number, self._note))
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = signal.Signals(number).name


def ignore_in_worker() -> None:
    """For processes that read samples: their parent decides when they end, also when the whole group is signalled."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


_early: StopRequests | None = None


def note_from_now_on() -> None:
    """Called where a program begins, before it loads its libraries: a request to stop is then kept, not died of."""
    global _early
    if _early is None and threading.current_thread() is threading.main_thread():
        _early = StopRequests()
        _early.__enter__()
        _early.requested = _register()


def forget_early() -> None:
    """Ends what `note_from_now_on` began."""
    global _early
    if _early is not None:
        _early.close()
        _early = None


def _register() -> str | None:
    """Tells `votes launch`, where it started this process, whom to pass signals on to; returns one that came before."""
    report = os.environ.get(REPORT_VARIABLE)
    if not report or 'LOCAL_RANK' not in os.environ:
        return None
    folder = Path(report).parent
    _write(folder / f'process_{os.environ["LOCAL_RANK"]}', str(os.getpid()))
    with contextlib.suppress(OSError):
        return (folder / 'stop').read_text()
    return None


def registered(folder: Path) -> list[int]:
    """The processes that have told their launcher who they are."""
    return [int(path.read_text()) for path in folder.glob('process_*')]


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f'.{path.name}.{os.getpid()}')
    temporary.write_text(text)
    os.replace(temporary, path)


def tell_launcher(end: str, text: str) -> None:
    """Tells `votes launch`, where it started this process, how the run ended: 'stopped' or 'refused', and why."""
    report = os.environ.get(REPORT_VARIABLE)
    if report:
        with contextlib.suppress(OSError):  # a launcher that is gone need not know
            _write(Path(report), json.dumps({'end': end, 'text': text}))


def told(report: Path) -> dict[str, str] | None:
    """What a process told its launcher."""
    return json.loads(report.read_text()) if report.exists() else None
