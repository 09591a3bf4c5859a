"""Where restored frames go: segments of a video, or of a folder of pictures, and the whole that becomes of them."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from votes.checkpoint import whole_folder
from votes.data.sources import write_picture
from votes.errors import UserError
from votes.restore.inputs import Reader
from votes.restore.job import Job, Segment
from votes.restore.ledger import Announcement, announce, check
from votes.video.encoders import Encoding
from votes.video.mux import Plan, Source, assemble
from votes.video.write import VideoWriter

Write = Callable[[NDArray[Any], int, int], None]  # of a picture, its number and its time


class VideoSink:
    """Segments are small videos that are joined without encoding again.

    Args:
        source: what everything but the picture is taken from; None where only the picture is written.
    """

    def __init__(
        self, target: Path, job: Job, size: tuple[int, int], reader: Reader, encoding: Encoding, source: Source | None
    ):
        self.target, self.job, self.size, self.encoding, self.source = target, job, size, encoding, source
        self.reader = reader

    @functools.cached_property
    def announcement(self) -> Announcement:
        """Whether the output can be written, and what it will lack: found out before anything is computed."""
        return announce(self.target, self.size, self.reader, self.encoding, self.source)

    @contextlib.contextmanager
    def segment(self, number: int) -> Iterator[tuple[Path, Write]]:
        """Where a segment will be, and what takes its frames; where that raises nothing is left of it."""
        path = self.job.folder / f'{number:06d}{".mov" if self.encoding.codec == "prores" else ".nut"}'
        about = self.reader
        with VideoWriter(
            path, self.size, about.rate, about.time_base, about.colour, self.encoding, about.aspect
        ) as writer:
            yield path, lambda rgb, index, pts: writer.write(rgb, pts)

    def join(self, segments: list[Segment]) -> tuple[Path, list[str]]:
        """Makes the output of all segments; where it is, and what was kept, converted and dropped."""
        said = self.announcement
        try:
            assemble(segments, self.target, said.shape, self.source, said.plan)
        except UserError as error:
            return self._saved(segments, said, error)
        frames = sum(segment.frames for segment in segments)
        different = check(said, self.reader, self.target, self.source, frames)
        if different:
            what = 'the output differs from its source in what was not announced'
            fix = 'the output is there and can be used; please report this'
            raise UserError(what, where=self.target, value='; '.join(different.values()), fix=fix)
        return self.target, said.lines()

    def _saved(self, segments: list[Segment], said: Announcement, error: UserError) -> tuple[Path, list[str]]:
        """The last resort: the picture alone, in the container that takes everything."""
        target = self.target.with_name(f'{self.target.name}.mkv')
        assemble(segments, target, dataclasses.replace(said.shape, grid=None), None, Plan())
        reason = error.details['value'] or error.what
        told = f'{self.target.name} could not be written ({reason}): this is the picture alone'
        return target, [told, *said.losses.values()]


class PictureSink:
    """``OUTPUT/00000000.png``: a folder of pictures, numbered from 0, of 8 or 16 bits a value."""

    announcement = None  # pictures can always be written

    def __init__(self, target: Path, job: Job):
        self.target, self.job = target, job

    @contextlib.contextmanager
    def segment(self, number: int) -> Iterator[tuple[Path, Write]]:
        """As of VideoSink."""
        whole = self.job.folder / f'{number:06d}'
        with whole_folder(whole) as folder:
            yield whole, lambda rgb, index, pts: write_picture(folder / f'{index:08d}.png', rgb)
            for path in folder.iterdir():
                with open(path, 'rb') as file:
                    os.fsync(file.fileno())

    def join(self, segments: list[Segment]) -> tuple[Path, list[str]]:
        whole = self.job.folder / 'all'
        whole.mkdir(exist_ok=True)
        for segment in segments:
            for path in segment.path.iterdir() if segment.path.is_dir() else ():
                if not (whole / path.name).exists():
                    os.link(path, whole / path.name)
        if self.target.is_dir():  # it may be replaced, or the user was asked before
            shutil.rmtree(self.target)
        whole.rename(self.target)
        return self.target, ['only pictures are written: no sound, no times']


Sink = VideoSink | PictureSink
