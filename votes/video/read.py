"""Video files as RGB frames with their times."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray

from votes.errors import UserError
from votes.video.colour import Colour

HDR_TRANSFERS = {16: 'PQ', 18: 'HLG'}


@dataclass
class TimedFrame:
    """A decoded frame: RGB uint8 (H, W, 3), upright, and its time in units of the reader's time_base."""

    rgb: NDArray[np.uint8]
    pts: int


def frame_to_rgb(frame: Any, colour: Colour) -> NDArray[np.uint8]:
    """A decoded YUV frame -> RGB uint8 (H, W, 3)."""
    # the range is named on both sides, so that only chroma is resampled
    code = 2 if colour.full else 1
    yuv = frame.reformat(
        format='yuv444p',
        src_color_range=code,
        dst_color_range=code,
        src_colorspace=5,
        dst_colorspace=5,
        interpolation='BICUBIC',
    ).to_ndarray()
    return colour.to_rgb(np.asarray(yuv, np.uint8))


class VideoReader:
    """The first video stream of a file, frame by frame in the order of display.

    Attributes:
        time_base, rate: seconds a tick; frames a second on average.
        size: height and width of the upright picture.
        colour: how YUV is read.
        frames_hint: expected number of frames, 0 if unknown.
        notes: what a user should know, a line each.
        aspect: width of a pixel divided by its height, None if the file does not say.
        corrupt: frames so far that the decoder marked as damaged.

    Raises:
        UserError: the file is missing, damaged, holds no video, or HDR video; while iterating: it breaks off.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not self.path.is_file():
            near = sorted(p.name for p in self.path.parent.iterdir()) if self.path.parent.is_dir() else []
            raise UserError('video not found', where=self.path, fix=f'beside it: {", ".join(near[:5]) or "nothing"}')
        try:
            self.container = av.open(str(self.path))
        except (FFmpegError, OSError) as error:
            raise self._unreadable(error) from error
        if not self.container.streams.video:
            kinds = ', '.join(s.type for s in self.container.streams) or 'nothing'
            self.container.close()
            raise UserError('no video in this file', where=self.path, value=f'it holds {kinds}')
        self.stream = self.container.streams.video[0]
        self.stream.thread_type = 'AUTO'
        context: Any = self.stream.codec_context
        if context is None:
            self.container.close()
            raise self._unreadable(ValueError('its codec is unknown'))
        transfer = HDR_TRANSFERS.get(int(context.color_trc or 0))
        if transfer:
            self.container.close()
            raise UserError(f'HDR video ({transfer}) is not supported', where=self.path, fix='convert it to SDR first')
        self.time_base = self.stream.time_base or Fraction(1, 90000)
        self.rate = self.stream.average_rate or self.stream.guessed_rate or Fraction(25)
        self.notes: list[str] = []
        self.corrupt = 0
        try:
            first = next(self.container.decode(self.stream), None)
            self._rewind()
        except (FFmpegError, OSError) as error:
            self.container.close()
            raise self._unreadable(error) from error
        if first is None:
            self.container.close()
            raise UserError(
                'no frame can be decoded',
                where=self.path,
                value=f'{self.path.stat().st_size} bytes',
                fix='was the download or the recording interrupted?',
            )
        self._describe(first)

    def _rewind(self) -> None:
        """Back to the start, by opening the file again: raw streams cannot be sought in."""
        self.container.close()
        self.container = av.open(str(self.path))
        self.stream = self.container.streams.video[0]
        self.stream.thread_type = 'AUTO'

    def _unreadable(self, error: Exception) -> UserError:
        return UserError(
            'not a readable video',
            where=self.path,
            value=error,
            fix='was the download or the recording interrupted? An MP4 without its end has no index',
        )

    def _describe(self, first: Any) -> None:
        """Takes what only a decoded frame tells."""
        self.rotation = int(getattr(first, 'rotation', 0) or 0) % 360
        self.size = (first.width, first.height) if self.rotation in (90, 270) else (first.height, first.width)
        ratio = self.stream.sample_aspect_ratio
        self.aspect = 1 / ratio if ratio and self.rotation in (90, 270) else ratio
        full = int(first.color_range) if int(first.color_range) else (2 if first.format.name.startswith('yuvj') else 1)
        self.colour = Colour.of(int(first.colorspace), full, first.height, first.width)
        self.frames_hint = int(self.stream.frames)
        if not self.frames_hint and self.container.duration:
            self.frames_hint = round(self.container.duration / av.time_base * self.rate)
        if self.colour.assumed:
            self.notes.append(
                f'the video does not name its colour matrix; {self.colour.matrix} is assumed from its size'
            )
        if getattr(first, 'interlaced_frame', False):
            self.notes.append('the video is interlaced; it is treated as progressive')
        if self.rotation:
            self.notes.append(f'rotated by {self.rotation} degrees; frames are handled upright')
        if first.format.components[0].bits > 8:
            self.notes.append(f'{first.format.components[0].bits}-bit video is read with 8 bits')

    def __iter__(self) -> Iterator[TimedFrame]:
        previous: int | None = None
        step = max(1, round(1 / (self.rate * self.time_base)))
        try:
            for frame in self.container.decode(self.stream):
                self.corrupt += bool(getattr(frame, 'is_corrupt', False))
                rgb = np.rot90(frame_to_rgb(frame, self.colour), self.rotation // 90)
                if rgb.shape[:2] != self.size:
                    raise UserError(
                        'the picture changes its size',
                        where=f'{self.path}, after pts {previous}',
                        value=f'{rgb.shape[1]}x{rgb.shape[0]} after {self.size[1]}x{self.size[0]}',
                    )
                pts = frame.pts if frame.pts is not None else 0 if previous is None else previous + step
                previous = pts
                yield TimedFrame(np.ascontiguousarray(rgb), pts)
        except (FFmpegError, OSError) as error:
            raise UserError('the video breaks off', where=f'{self.path}, after pts {previous}', value=error) from error

    def frame_times(self) -> tuple[list[int], list[int]]:
        """The times of all frames in the order of display, and which of them are key frames; nothing is decoded."""
        times: dict[int, bool] = {}
        try:
            self._rewind()
            for packet in self.container.demux(self.stream):
                if packet.pts is not None and packet.size:
                    times[packet.pts] = times.get(packet.pts, False) or packet.is_keyframe
            self._rewind()
        except (FFmpegError, OSError) as error:
            raise UserError('the video breaks off', where=self.path, value=error) from error
        order = sorted(times)
        keys = [i for i, pts in enumerate(order) if times[pts]]
        return order, keys if keys and keys[0] == 0 else [0, *keys]

    def frames_from(self, pts: int | None) -> Iterator[TimedFrame]:
        """Frames in the order of display from the key frame at or before time `pts`, or from the start."""
        if pts is None:
            self._rewind()
        else:
            try:
                self.container.seek(pts, stream=self.stream, backward=True)
            except FFmpegError:  # an index that is damaged
                self._rewind()
        return iter(self)

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.container.close()
