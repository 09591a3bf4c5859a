"""How far a restoration is: a bar on a terminal, a line every ten seconds in a log, or JSON for programs."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

KINDS = ('auto', 'bar', 'lines', 'json', 'none')
EVERY = 10.0  # seconds


def peak_memory(device: torch.device) -> int:
    """The most bytes used so far: of the GPU, or of this process."""
    if device.type == 'cuda':
        return int(torch.cuda.max_memory_allocated(device))
    status = Path('/proc/self/status')  # getrusage would count the parent, before this program was loaded
    if status.is_file():
        return int(status.read_text().split('VmHWM:')[1].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == 'darwin' else 1024)


class Reporter:
    """Told of every frame; shows some.

    Args:
        kind: one of KINDS; 'auto' is a bar on a terminal, else lines.
        total: frames expected, 0 if unknown.
        done: frames that were there before.
    """

    def __init__(self, kind: str, total: int, done: int, device: torch.device):
        self.kind = ('bar' if sys.stdout.isatty() else 'lines') if kind == 'auto' else kind
        self.total, self.before, self.device = total, done, device
        self.done, self.started, self.shown = done, time.monotonic(), time.monotonic()
        self.bar: Progress | None = None
        if self.kind == 'bar':
            columns = (TextColumn('restoring'), BarColumn(), TaskProgressColumn(), TextColumn('{task.fields[text]}'))
            self.bar = Progress(*columns, TimeRemainingColumn())
            self.task = self.bar.add_task('', total=total or None, completed=done, text='')
            self.bar.start()

    def state(self) -> dict[str, Any]:
        """The numbers that are shown."""
        rate = (self.done - self.before) / max(time.monotonic() - self.started, 1e-9)
        left = (self.total - self.done) / rate if self.total and rate else None
        return {
            'frame': self.done,
            'frames': self.total or None,
            'frames_per_second': round(rate, 3),
            'seconds_left': None if left is None else round(max(0.0, left)),
            'peak_bytes': peak_memory(self.device),
        }

    def advance(self, frames: int = 1) -> None:
        self.done += frames
        if self.bar is not None:
            state = self.state()
            text = f'{self.done}/{self.total or "?"} {state["frames_per_second"]:.2f} frames/s'
            self.bar.update(self.task, completed=self.done, text=text)
        elif self.kind in ('lines', 'json') and time.monotonic() - self.shown > (EVERY if self.kind == 'lines' else 1):
            self.shown = time.monotonic()
            self.show()

    def show(self) -> None:
        state = self.state()
        self.event('progress', **state)
        if self.kind == 'json':
            return
        share = f' {100 * self.done / self.total:.0f}%' if self.total else ''
        left = '' if state['seconds_left'] is None else f' ETA {clock(state["seconds_left"])}'
        speed, memory = f'{state["frames_per_second"]:.2f} frames/s', f'{state["peak_bytes"] / 2**30:.1f} GiB'
        print(f'frame {self.done}/{self.total or "?"}{share} {speed}{left} {memory}', flush=True)

    def event(self, name: str, **values: Any) -> None:
        """Something that is not a frame; only programs are told."""
        if self.kind == 'json':
            print(json.dumps({'event': name, **values}), flush=True)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.stop()


def clock(seconds: float) -> str:
    """As 8:51 or 1:02:03."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f'{hours}:{minute:02d}:{second:02d}' if hours else f'{minute}:{second:02d}'
