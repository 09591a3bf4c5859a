"""RGB frames into a video file, with the sound of another."""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray

from votes.checkpoint import atomic_write
from votes.errors import UserError
from votes.video.colour import CODE_OF_MATRIX, Colour

CONTAINERS = ('.mp4', '.mkv', '.mov', '.m4v')


def _try_header(stream: Any, suffix: str) -> None:
    """Raises FFmpegError where a container refuses a stream, which it only tells when its header is written."""
    kind = {'.mkv': 'matroska', '.mov': 'mov'}.get(suffix.lower(), 'mp4')
    with av.open(io.BytesIO(), 'w', format=kind) as trial:
        trial.add_stream_from_template(stream)
        trial.start_encoding()


class VideoWriter:
    """H.264 at a constant rate factor, colours tagged as they were encoded. The file appears when all went well.

    Args:
        path: .mp4, .mkv or .mov.
        size: height and width.
        rate: frames a second, for players that ask; times are the frames' own.
        time_base: unit of the times given to `write`.
        colour: how RGB becomes YUV.
        crf: 0 to 51, lower is better; 16 can hardly be told from the original.
        aspect: width of a pixel divided by its height.
        audio_from: a video file whose audio packets are copied as they are.

    Attributes:
        notes: which streams of `audio_from` were kept and dropped.

    Raises:
        UserError: the container is unknown or does not take what it should.
    """

    def __init__(
        self,
        path: str | Path,
        size: tuple[int, int],
        rate: Fraction,
        time_base: Fraction,
        colour: Colour,
        *,
        crf: int = 16,
        aspect: Fraction | None = None,
        audio_from: str | Path | None = None,
    ):
        self.path, self.size, self.time_base, self.colour = Path(path), size, time_base, colour
        self.notes: list[str] = []
        if self.path.suffix.lower() not in CONTAINERS:
            raise UserError(
                'unknown kind of video file', where=self.path, fix=f'a name that ends in {", ".join(CONTAINERS)}'
            )
        if not 0 <= crf <= 51:
            raise UserError('crf goes from 0 to 51', value=crf)
        self._atomic = atomic_write(self.path)
        self._temporary = self._atomic.__enter__()
        try:
            # MP4 keeps the start in ticks of the whole movie, a thousandth of a second unless told otherwise
            exact = (
                {'movie_timescale': str(time_base.denominator)}
                if self.path.suffix.lower() in ('.mp4', '.mov', '.m4v')
                else {}
            )
            self.container = av.open(str(self._temporary), 'w', options=exact)
            self.stream: Any = self.container.add_stream('libx264', rate=rate)
            self._configure(crf, aspect)
            self.source = av.open(str(audio_from)) if audio_from else None
            self._copies = self._copied_streams()
            self._packets = self._audio_packets()
            self._next_audio = next(self._packets, None)
        except (FFmpegError, OSError, ValueError) as error:
            self._atomic.__exit__(type(error), error, None)
            raise UserError(
                'this video cannot be written', where=self.path, value=error, fix='use .mp4, .mkv or .mov'
            ) from error

    def _configure(self, crf: int, aspect: Fraction | None) -> None:
        height, width = self.size
        context = self.stream.codec_context
        context.width, context.height = width, height
        # 4:2:0 halves both sides: an odd size keeps its chroma instead of losing a row
        context.pix_fmt = 'yuv420p' if height % 2 == 0 and width % 2 == 0 else 'yuv444p'
        context.time_base = self.time_base
        if aspect:
            context.sample_aspect_ratio = aspect
        context.colorspace = context.color_primaries = context.color_trc = CODE_OF_MATRIX[self.colour.matrix]
        context.color_range = 2 if self.colour.full else 1
        self.stream.options = {'crf': str(crf), 'preset': 'medium'}

    def _copied_streams(self) -> dict[int, Any]:
        """Source stream index -> stream here, for audio."""
        copies: dict[int, Any] = {}
        if self.source is None:
            return copies
        for stream in self.source.streams:
            if stream.type == 'audio':
                try:
                    _try_header(stream, self.path.suffix)
                    copies[stream.index] = self.container.add_stream_from_template(stream)
                    self.notes.append(f'kept: audio ({stream.codec_context.name})')
                except (FFmpegError, ValueError) as error:
                    self.notes.append(
                        f'dropped: audio ({stream.codec_context.name}), {self.path.suffix} does not take it: {error}'
                    )
            elif stream.type != 'video':
                self.notes.append(f'dropped: {stream.type}')
        return copies

    def _audio_packets(self) -> Iterator[Any]:
        if self.source is None or not self._copies:
            return
        streams = [s for s in self.source.streams if s.index in self._copies]
        for packet in self.source.demux(streams):
            if packet.dts is not None:
                yield packet

    def _mux_audio_until(self, seconds: float) -> None:
        """Sound goes in beside its pictures, so that neither has to be kept in memory."""
        while self._next_audio is not None and float(self._next_audio.dts * self._next_audio.time_base) <= seconds:
            packet = self._next_audio
            packet.stream = self._copies[packet.stream.index]
            self.container.mux(packet)
            self._next_audio = next(self._packets, None)

    def write(self, rgb: NDArray[np.uint8], pts: int) -> None:
        """Adds a frame, RGB uint8 (H, W, 3), at `pts` in units of time_base."""
        frame = av.VideoFrame.from_ndarray(self.colour.to_yuv(rgb), format='yuv444p')
        code, range_code = CODE_OF_MATRIX[self.colour.matrix], 2 if self.colour.full else 1
        frame = frame.reformat(
            format=self.stream.codec_context.pix_fmt,
            src_color_range=range_code,
            dst_color_range=range_code,
            src_colorspace=5,
            dst_colorspace=5,
            interpolation='BICUBIC',
        )
        frame.colorspace, frame.color_range = code, range_code
        frame.pts, frame.time_base = pts, self.time_base
        self._mux(self.stream.encode(frame))

    def _mux(self, packets: list[Any]) -> None:
        for packet in packets:
            self._mux_audio_until(float(packet.dts * packet.time_base))
            self.container.mux(packet)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._mux(self.stream.encode(None))
                self._mux_audio_until(float('inf'))
            self.container.close()
            if self.source is not None:
                self.source.close()
        except BaseException as problem:
            self._atomic.__exit__(type(problem), problem, problem.__traceback__)
            raise
        self._atomic.__exit__(kind, error, trace)
