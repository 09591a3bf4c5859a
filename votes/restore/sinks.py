"""Where restored frames go: segments of a video, or of a folder of pictures, and the whole that becomes of them."""

from __future__ import annotations

import os
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from votes.errors import UserError
from votes.restore.job import Job, Segment
from votes.video.colour import Colour
from votes.video.encoders import Encoding
from votes.video.mux import Piece, assemble
from votes.video.write import VideoWriter


class Sink(Protocol):
    """Frames of a segment, one after the other; then all segments at once."""

    def open(self, number: int) -> None:
        """Begins segment `number`."""

    def write(self, rgb: NDArray[Any], index: int, pts: int) -> None:
        """Adds a frame to it."""

    def close(self) -> Path:
        """Ends it; the file is whole."""

    def drop(self) -> None:
        """Forgets a segment that was not finished."""

    def join(self, segments: list[Segment]) -> list[str]:
        """Makes the output of all segments; says what was kept and dropped."""


class VideoSink:
    """Segments are small videos that are joined without encoding again."""

    def __init__(
        self, target: Path, job: Job, size: tuple[int, int], reader: Any, encoding: Encoding, source: Path | None
    ):
        self.target, self.job, self.size, self.encoding, self.source = target, job, size, encoding, source
        self.rate: Fraction = reader.rate
        self.time_base: Fraction = reader.time_base
        self.colour: Colour = reader.colour
        self.aspect: Fraction | None = reader.aspect
        self.index: int = reader.index
        self.writer: VideoWriter | None = None

    def open(self, number: int) -> None:
        suffix = '.mov' if self.encoding.codec == 'prores' else '.nut'
        path = self.job.folder / f'{number:06d}{suffix}'
        self.writer = VideoWriter(
            path, self.size, self.rate, self.time_base, self.colour, self.encoding, self.aspect
        ).__enter__()

    def write(self, rgb: NDArray[Any], index: int, pts: int) -> None:
        assert self.writer is not None
        self.writer.write(rgb, pts)

    def close(self) -> Path:
        assert self.writer is not None
        writer, self.writer = self.writer, None
        writer.__exit__(None, None, None)
        return writer.path

    def drop(self) -> None:
        if self.writer is not None:
            writer, self.writer = self.writer, None
            error = InterruptedError('not finished')
            writer.__exit__(type(error), error, None)

    def join(self, segments: list[Segment]) -> list[str]:
        pieces = [Piece(segment.path, segment.first) for segment in segments]
        tags = self.colour.tags()
        return assemble(pieces, self.target, self.time_base, tags, self.source, self.index)


class PictureSink:
    """``OUTPUT/00000000.png``: a folder of pictures, numbered from 0, of 8 or 16 bits a value."""

    def __init__(self, target: Path, job: Job):
        self.target, self.job = target, job
        self.folder: Path | None = None

    def open(self, number: int) -> None:
        self.drop()
        self.folder = self.job.folder / f'{number:06d}'
        shutil.rmtree(self.folder, ignore_errors=True)  # of a run that was killed
        self.folder.mkdir()

    def write(self, rgb: NDArray[Any], index: int, pts: int) -> None:
        assert self.folder is not None
        path = self.folder / f'{index:08d}.png'
        if not cv2.imwrite(str(path), np.ascontiguousarray(rgb[..., ::-1])):
            raise UserError('a picture cannot be written', where=path, fix='is the disk full?')

    def close(self) -> Path:
        assert self.folder is not None
        folder, self.folder = self.folder, None
        for path in folder.iterdir():
            with open(path, 'rb') as file:
                os.fsync(file.fileno())
        return folder

    def drop(self) -> None:
        if self.folder is not None:
            shutil.rmtree(self.folder)
            self.folder = None

    def join(self, segments: list[Segment]) -> list[str]:
        whole = self.job.folder / 'all'
        whole.mkdir(exist_ok=True)
        for segment in segments:
            for path in segment.path.iterdir() if segment.path.is_dir() else ():
                if not (whole / path.name).exists():
                    os.link(path, whole / path.name)
        if self.target.is_dir():  # it may be replaced, or the user was asked before
            shutil.rmtree(self.target)
        whole.rename(self.target)
        return ['only pictures are written: no sound, no times']
