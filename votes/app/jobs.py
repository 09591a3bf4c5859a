"""The videos of the page: a folder each, with upload, settings, the job of `votes restore`, result."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from votes.app.catalogue import Weights
from votes.checkpoint import read_record, write_record
from votes.errors import UserError
from votes.processes.lease import owner_of
from votes.processes.parent import child_environment
from votes.processes.signals import PREEMPTED
from votes.restore.job import Segment, job_folder, segments_in
from votes.video.encoders import CODECS

ID = '[0-9a-f]{12}'
ABOUT = 'video.json'
KEPT = ('name', 'file', 'about', 'state', 'settings', 'message', 'notes', 'output', 'count', 'created')
READY, WAITING, RUNNING, STOPPING, STOPPED, DONE, FAILED = (
    'ready', 'waiting', 'running', 'stopping', 'stopped', 'done', 'failed'
)  # fmt: skip
HELD_BACK = 0.3  # seconds between looks at a job that a process of an earlier page still works on


@dataclass
class Video:
    """An upload, and what becomes of it.

    Attributes:
        file: the upload in its folder: ``video`` with its suffix, whatever it was called.
        about: what `votes probe` found.
        settings: 'weights' (path), 'shown' (of them), 'strength', 'frames' ([first, last + 1 or None]), 'segment'.
        message: why it failed.
        output, count: the result in its folder, and its frames, 0 if not known.
    """

    id: str
    folder: Path
    name: str
    file: str
    about: dict[str, Any]
    state: str = READY
    settings: dict[str, Any] = field(default_factory=dict)
    message: str = ''
    notes: list[str] = field(default_factory=list)
    output: str = ''
    count: int = 0
    created: float = 0.0
    progress: dict[str, Any] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None
    known: dict[int, Segment] = field(default_factory=dict)

    @property
    def source(self) -> Path:
        return self.folder / self.file

    @property
    def target(self) -> Path:
        """Where `votes restore` is told to write."""
        suffix = self.source.suffix
        return self.folder / f'result{suffix if suffix in CODECS["h264"].suffixes else ".mp4"}'

    def save(self) -> None:
        write_record(self.folder / ABOUT, {key: getattr(self, key) for key in KEPT})

    def segments(self) -> dict[int, Segment]:
        """Those that are finished; none where the result is there, or nothing has begun."""
        if self.state in (READY, DONE):
            return {}
        self.known = segments_in(job_folder(self.target), self.known)
        return self.known

    def frames(self) -> list[tuple[int, int]]:
        """First frame and number of frames of each part that can be looked at, counted in the result."""
        if self.state == DONE:
            first, stop = self.settings['frames']
            total, size = self.count or (stop or self.about['frames']) - first, self.settings['segment']
            starts = [0, *range(size - first % size, total, size)]
            return [(a, b - a) for a, b in zip(starts, [*starts[1:], total], strict=True)]
        found, at = [], 0
        for _, segment in sorted(self.segments().items()):
            found.append((at, segment.frames))
            at += segment.frames
        return found

    def restored(self, index: int) -> tuple[Path, int]:
        """The file that holds frame `index` of the result, and which of its frames that is.

        Raises:
            UserError: it is not there yet.
        """
        if self.state == DONE:
            return self.folder / self.output, index
        for (at, count), (_, segment) in zip(self.frames(), sorted(self.segments().items()), strict=True):
            if at <= index < at + count:
                return segment.path, index - at
        raise UserError('this frame is not restored yet', value=index)

    def shown(self) -> dict[str, Any]:
        """What the page is told."""
        settings = {k: v for k, v in self.settings.items() if k != 'weights'}
        told = {'id': self.id, 'settings': settings, 'progress': self.progress, 'parts': self.frames()}
        about = {k: v for k, v in self.about.items() if k not in ('file', 'quantisers')}
        return told | {'about': about} | {k: getattr(self, k) for k in ('name', 'state', 'message', 'notes', 'created')}


class Jobs:
    """All videos of a folder, and the thread that restores those that wait, one at a time.

    Args:
        folder: where they lie; nobody else may read it.
        device: as of `votes restore`.
        segment: frames that are shown and kept together.
    """

    def __init__(self, folder: Path, device: str, segment: int):
        self.folder, self.device, self.segment = folder, device, segment
        self.lock = threading.Condition()
        self.ended = False
        self.videos: dict[str, Video] = {}
        for path in sorted(folder.iterdir()):
            if re.fullmatch(ID, path.name):
                self._take_up(path)
        self.thread = threading.Thread(target=self._work, name='restorations', daemon=True)
        self.thread.start()

    def _take_up(self, folder: Path) -> None:
        """What an earlier page left: an upload that broke off is removed, a restoration goes on."""
        if not (folder / ABOUT).exists():
            shutil.rmtree(folder, ignore_errors=True)
            return
        try:
            content = read_record(folder / ABOUT, unsigned=True)
            video = Video(folder.name, folder, **{key: content[key] for key in KEPT})
        except (OSError, ValueError, LookupError, TypeError) as error:
            print(f'{folder} is left alone: what it says cannot be read: {error!r}', file=sys.stderr)
            return
        if video.state in (RUNNING, STOPPING, WAITING):
            finished = video.target.is_file() and not job_folder(video.target).exists()
            video.state, video.output = (DONE, video.target.name) if finished else (WAITING, '')
        self.videos[video.id] = video

    def get(self, key: str) -> Video:
        """Raises UserError where there is no such video."""
        with self.lock:
            if key not in self.videos:
                raise UserError('there is no such video here', fix='was it removed?')
            return self.videos[key]

    def shown(self) -> list[dict[str, Any]]:
        """What the page is told of all, the newest first."""
        with self.lock:
            return [video.shown() for video in sorted(self.videos.values(), key=lambda v: -v.created)]

    def place(self) -> Path:
        """A new folder for an upload. It counts only when `add` is called."""
        folder = self.folder / secrets.token_hex(6)
        folder.mkdir(mode=0o700)
        return folder

    def add(self, folder: Path, name: str, file: str, about: dict[str, Any]) -> Video:
        """An upload that is whole, and a video."""
        video = Video(folder.name, folder, name, file, about, created=time.time())
        video.save()
        with self.lock:
            self.videos[video.id] = video
        return video

    def again(self, key: str) -> Video:
        """The same upload once more, for other settings; the first result stays."""
        old = self.get(key)
        folder = self.place()
        try:
            os.link(old.source, folder / old.file)
        except OSError:  # file systems without links
            shutil.copyfile(old.source, folder / old.file)
        return self.add(folder, old.name, old.file, old.about)

    def start(self, key: str, weights: Weights, strength: float, part: tuple[float, float | None]) -> None:
        """Puts a video into the queue.

        Args:
            part: seconds from the start, the end or None.

        Raises:
            UserError: it has been restored, or the values make no sense.
        """
        video = self.get(key)
        if not 0 < strength <= 1:
            raise UserError('the strength is more than 0 and at most 1', value=strength)
        first, stop = frames_of(part, video.about)
        with self.lock:
            if video.state != READY:
                raise UserError('this video has been started', fix='take it once more for other settings')
            video.settings = {'weights': str(weights.path), 'shown': weights.shown(), 'strength': strength}
            video.settings |= {'frames': [first, stop], 'segment': self.segment}
            self._queue(video)

    def _queue(self, video: Video) -> None:
        video.state, video.message = WAITING, ''
        video.save()
        self.lock.notify_all()

    def go_on(self, key: str) -> None:
        """After a stop or a failure: what is finished is kept."""
        video = self.get(key)
        with self.lock:
            if video.state not in (STOPPED, FAILED):
                raise UserError('this video is not stopped', value=video.state)
            self._queue(video)

    def stop(self, key: str) -> None:
        """The segment at hand is finished first."""
        video = self.get(key)
        with self.lock:
            if video.state == WAITING:
                video.state = STOPPED
                video.save()
            elif video.state == RUNNING and video.process is not None:
                video.state = STOPPING
                video.process.send_signal(signal.SIGTERM)

    def remove(self, key: str) -> None:
        """The upload, the result, everything."""
        with self.lock:
            video = self.get(key)
            del self.videos[key]
            process = video.process
        if process is not None:
            process.kill()
            process.wait()
        shutil.rmtree(video.folder, ignore_errors=True)

    def close(self) -> None:
        """Asks what runs to finish its segment, and waits for that; the next page goes on."""
        with self.lock:
            self.ended = True
            for video in self.videos.values():
                if video.process is not None:
                    video.process.send_signal(signal.SIGTERM)
            self.lock.notify_all()
        self.thread.join()

    def _work(self) -> None:
        """Lives as long as the page: the kernel ends a child with the thread that started it."""
        while True:
            with self.lock:
                self.lock.wait_for(lambda: self.ended or self._next() is not None)
                video = self._next()
                if self.ended or video is None:
                    return
            try:
                self._restore(video)
            except OSError as error:
                self._set(video, FAILED, message=f'it could not be started: {error}')

    def _next(self) -> Video | None:
        waiting = [video for video in self.videos.values() if video.state == WAITING]
        return min(waiting, key=lambda video: video.created, default=None)

    def _restore(self, video: Video) -> None:
        if owner_of(job_folder(video.target)) is not None:  # of an earlier page, which finishes its segment
            time.sleep(HELD_BACK)
            return
        with self.lock:
            if self.ended or video.state != WAITING or video.id not in self.videos:
                return
            environment = os.environ | child_environment() | {'PYTHONPATH': os.pathsep.join(p for p in sys.path if p)}
            log = open(video.folder / 'log.txt', 'w+', encoding='utf-8', errors='replace')  # noqa: SIM115
            video.process = subprocess.Popen(
                command_of(video, self.device),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,  # Ctrl-C is for the page, which asks its children itself
            )
            video.state, video.progress = RUNNING, {}
            video.save()
        output, notes, count = '', list[str](), 0
        with log, video.process as process:
            for line in process.stdout or ():
                with suppress(ValueError):
                    event = json.loads(line)
                    if event['event'] == 'done':
                        output, notes, count = Path(event['output']).name, event['notes'], event['frames']
                    else:
                        video.progress = event
            code = process.wait()
            log.seek(0)
            text = log.read()
        with self.lock:
            video.process = None
            if video.id not in self.videos:
                return
        if code == 0 and output:
            self._set(video, DONE, output=output, notes=notes, count=count)
        elif code in (PREEMPTED, -signal.SIGTERM):
            self._set(video, WAITING if self.ended else STOPPED)
        else:
            self._set(video, FAILED, message=_told(text, code))

    def _set(self, video: Video, state: str, **values: Any) -> None:
        with self.lock:
            for key, value in (values | {'state': state, 'progress': {}}).items():
                setattr(video, key, value)
            if video.id in self.videos:  # not removed meanwhile
                video.save()


def command_of(video: Video, device: str) -> list[str]:
    """The `votes restore` that makes a video's result."""
    said = video.settings
    first, stop = said['frames']
    command = [sys.executable, '-m', 'votes.cli', 'restore', str(video.source), str(video.target)]
    command += ['--weights', said['weights'], '--strength', str(said['strength']), '--segment', str(said['segment'])]
    command += ['--device', device, '--progress', 'json']
    return command + ([] if (first, stop) == (0, None) else ['--frames', f'{first}:{"" if stop is None else stop}'])


def frames_of(part: tuple[float, float | None], about: dict[str, Any]) -> tuple[int, int | None]:
    """First and last + 1 of the frames between two times in seconds.

    Raises:
        UserError: there are none.
    """
    rate, total = about['frames_per_second'], about['frames']
    first = round(part[0] * rate)
    stop = None if part[1] is None else round(part[1] * rate)
    if not 0 <= first < total or (stop is not None and stop <= first):
        raise UserError('no frames between these times', value=f'{part[0]} s to {part[1]} s of {about["seconds"]} s')
    return first, None if stop is None or stop >= total else stop


def _told(log: str, code: int) -> str:
    """Why a restoration failed: the error that it printed, else its last lines."""
    lines = [line for line in log.strip().splitlines() if 'Warning' not in line]
    begin = max((i for i, line in enumerate(lines) if line.startswith('error: ')), default=max(0, len(lines) - 3))
    return '\n'.join(lines[begin : begin + 6]).removeprefix('error: ') or f'it ended with code {code}'
