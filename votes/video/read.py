"""Video files as RGB frames with their times."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError, InvalidDataError
from av.stream import Disposition
from numpy.typing import NDArray

from votes.errors import UserError, explained
from votes.video.colour import FULL_RANGE, MATRICES, Colour
from votes.video.convert import chroma_of, filters, frame_bits, frame_to_rgb, has_alpha
from votes.video.survey import Survey, survey

RATE = 25  # frames a second, where nothing says
HDR_TRANSFERS = {16: 'PQ', 18: 'HLG'}
TIMELESS = {'h264', 'hevc', 'vvc', 'm4v', 'mpegvideo', 'cavsvideo', 'vc1', 'dirac'}  # streams without times
USUAL = [
    *map(Fraction, (5, 8, 10, 12, 15, 24, 25, 30, 48, 50, 60, 90, 100, 120, 240)),
    *(Fraction(n * 1000, 1001) for n in (24, 30, 60, 120)),
    Fraction(25, 2),
]


CUT_OFF = 'was the download or the recording interrupted?'
NO_INDEX = 'An MP4 without its end has no index'


@dataclass(frozen=True)
class Reading:
    """How an input is read, where it does not say so itself or says it wrongly.

    Attributes:
        matrix, full: of a video's YUV: 'bt601', 'bt709' or 'bt2020'; True for full range.
        deinterlace: makes one whole frame of the two fields of each (bwdif), for interlaced video.
        rate: frames a second of a folder of pictures, or of a stream that has neither times nor a rate; None for RATE.
        raw: ``WIDTHxHEIGHT:FORMAT:RATE`` of a file without a header, such as 832x480:yuv420p:30.
        exact: RGB is rounded, see convert.frame_to_rgb.
    """

    matrix: str | None = None
    full: bool | None = None
    deinterlace: bool = False
    rate: Fraction | None = None
    raw: str | None = None
    exact: bool = False


class TimedFrame:
    """A frame of a video.

    Attributes:
        rgb: (H, W, 3), upright, uint8 or uint16 (see VideoReader); converted when it is asked for.
        pts: its time in units of the reader's time_base.
    """

    def __init__(self, rgb: NDArray[Any] | Callable[[], NDArray[Any]], pts: int):
        self._rgb, self.pts = rgb, pts

    @property
    def rgb(self) -> NDArray[Any]:
        if callable(self._rgb):
            self._rgb = self._rgb()
        return self._rgb


def is_cover(stream: Any) -> bool:
    """A picture that players show for music, which containers keep as a video of one frame."""
    return bool(stream.disposition & Disposition.attached_pic)


def _whole_frames(frames: Iterator[Any]) -> Iterator[Any]:
    """Interlaced frames, each with its two fields joined, at its own time."""
    for first in frames:
        graph, unit = filters(first, ('bwdif', 'mode=send_frame:deint=all')), first.time_base
        for frame in itertools.chain((first,), frames, (None,)):
            graph.push(frame)
            with contextlib.suppress(BlockingIOError, EOFError):
                while True:
                    whole = graph.pull()
                    # the filter halves its ticks
                    whole.pts, whole.time_base = round(whole.pts * whole.time_base / unit), unit
                    yield whole


def _raw_options(text: str) -> dict[str, str]:
    match = re.fullmatch(r'(\d+x\d+):(\w+)(?::([\d./]+))?', text)
    if match is None:
        raise UserError('raw video is described as WIDTHxHEIGHT:FORMAT:RATE', value=text, fix='832x480:yuv420p:30')
    size, pixels, rate = match.groups()
    return {'video_size': size, 'pixel_format': pixels, 'framerate': rate or str(RATE)}


def _usual(rate: Fraction) -> Fraction:
    """The rate that is meant by one that was measured over rounded times."""
    near = min(USUAL, key=lambda known: abs(known - rate))
    return near if abs(near - rate) < 0.004 * rate else rate.limit_denominator(1001)


class VideoReader(contextlib.AbstractContextManager['VideoReader']):
    """The first video stream of a file, frame by frame in the order of display.

    Attributes:
        time_base, rate: seconds a tick; frames a second on average.
        size: height and width of the upright picture.
        colour: how YUV is read.
        frames_hint: expected number of frames, 0 if unknown.
        notes: what a user should know, a line each.
        aspect: width of a pixel divided by its height, None if the file does not say.
        bits: of a colour value, 8 or more.
        chroma: '420', '422' or '444', whichever keeps the video's; '444' of RGB.
        alpha: whether pixels have an opacity, which is not read.
        rgb: its values are RGB.
        corrupt: times (in ticks) of the frames so far that are damaged, or that could not be decoded.

    Args:
        deep: frames of a video with more than 8 bits are uint16 up to 65535, not uint8.
        tolerant: goes on after what cannot be decoded, knows the number of frames before (`survey`), and times go on
            where the clock of a joined file starts anew.
        threads: that decode, 0 for as many as there are cores.
        reading: what the file does not say, or says wrongly.

    Raises:
        UserError: the file is missing, damaged, holds no video, or HDR video; while iterating: it breaks off.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        deep: bool = False,
        tolerant: bool = False,
        threads: int = 0,
        reading: Reading = Reading(),
    ):
        self.path, self.deep, self.tolerant, self.threads = Path(path), deep, tolerant, threads
        self.reading = reading
        self.survey: Survey | None = None
        self.notes: list[str] = []
        self.corrupt: list[int] = []
        self.raw, self.kind = _raw_options(reading.raw) if reading.raw else {}, 'rawvideo' if reading.raw else None
        if reading.matrix and reading.matrix not in MATRICES:
            raise UserError('unknown colour matrix', value=reading.matrix, fix=', '.join(MATRICES))
        if not self.path.is_file():
            near = sorted(p.name for p in self.path.parent.iterdir()) if self.path.parent.is_dir() else []
            raise UserError('video not found', where=self.path, fix=f'beside it: {", ".join(near[:5]) or "nothing"}')
        with explained('not a readable video', FFmpegError, OSError, where=self.path, fix=f'{CUT_OFF} {NO_INDEX}'):
            self._open()
            try:
                self._describe(self._first_frame())
            except BaseException:
                self.container.close()
                raise

    def _first_frame(self) -> Any:
        """Finds out how fast the stream is, and whether it can be decoded."""
        context: Any = self.stream.codec_context
        if context is None:
            raise OSError('its codec is unknown')
        transfer = HDR_TRANSFERS.get(int(context.color_trc or 0))
        if transfer:
            what = f'HDR video ({transfer}) is not supported: networks are trained on SDR and would shift its colours'
            raise UserError(what, where=self.path, fix='tone-map it to SDR (BT.709) first')
        self._find_rate()
        first = next(self.container.decode(self.stream), None)
        self._rewind()
        if first is None:
            size = f'{self.path.stat().st_size} bytes'
            raise UserError('no frame can be decoded', where=self.path, value=size, fix=CUT_OFF)
        return first

    def _find_rate(self) -> None:
        """Of a stream without times from what it says itself, else from the times of all packets."""
        if self.container.format.name in TIMELESS:
            said: Any = self.stream.codec_context
            rate = said.framerate or self.reading.rate
            if rate and rate != self.stream.average_rate:
                self.raw = {'framerate': str(rate)}
                self._rewind()
            if not said.framerate:
                more = '' if self.reading.rate else ' are assumed, --rate changes it'
                self.notes.append(
                    f'the stream has neither times nor a rate: {float(rate or RATE):g} frames a second{more}'
                )
        self.time_base = self.stream.time_base or Fraction(1, 90000)
        self.rate = self.stream.average_rate or self.stream.guessed_rate or Fraction(RATE)
        if not self.tolerant:
            return
        self.survey = survey(self.path, self.index, self.raw, self.kind)
        times = self.survey.times
        if len(times) > 1 and times[-1] > times[0]:
            measured = (len(times) - 1) / ((times[-1] - times[0]) * self.time_base)
            if abs(measured - self.rate) > 0.02 * self.rate:
                self.rate = _usual(measured)
        for at in self.survey.jumps:
            self.notes.append(f'the clock of the file starts anew after {at:.2f} s; times go on from there')

    def _rewind(self) -> None:
        """Back to the start, by opening the file again: raw streams cannot be sought in."""
        self.container.close()
        self._open()

    def _open(self) -> None:
        self.container = av.open(str(self.path), format=self.kind, options=self.raw)
        moving = [s for s in self.container.streams.video if not is_cover(s)]
        if not moving:
            kinds = ', '.join('cover picture' if is_cover(s) else s.type for s in self.container.streams) or 'nothing'
            self.container.close()
            raise UserError('no video in this file', where=self.path, value=f'it holds {kinds}')
        self.stream, self.index = moving[0], moving[0].index
        self.stream.thread_type = 'AUTO'
        self.stream.thread_count = self.threads

    def _describe(self, first: Any) -> None:
        """Takes what only a decoded frame tells."""
        self.rotation = int(getattr(first, 'rotation', 0) or 0) % 360
        self.size = self._upright_size(first)
        ratio = self.stream.sample_aspect_ratio
        self.aspect = 1 / ratio if ratio and self.rotation in (90, 270) else ratio
        full = int(first.color_range) or (FULL_RANGE if first.format.name.startswith('yuvj') else 1)
        if self.reading.full is not None:
            full = FULL_RANGE if self.reading.full else 1
        context: Any = self.stream.codec_context
        others = int(context.color_primaries or 0), int(context.color_trc or 0)
        self.colour = Colour.of(int(first.colorspace), full, first.height, first.width, *others)
        if self.reading.matrix or first.format.is_rgb:
            matrix = self.reading.matrix or self.colour.matrix
            self.colour = dataclasses.replace(self.colour, matrix=matrix, assumed=False)
        self.bits = max(8, frame_bits(first))
        self.chroma = chroma_of(first.format)
        self.alpha = has_alpha(first.format)
        self.rgb = bool(first.format.is_rgb or first.format.has_palette)
        self.frames_hint = len(self.survey.times) if self.survey else int(self.stream.frames)
        if not self.frames_hint and self.container.duration:
            self.frames_hint = round(self.container.duration / av.time_base * self.rate)
        matrix, halves = self.colour.matrix, getattr(first, 'interlaced_frame', False)
        joined = 'its fields are joined to whole frames'
        apart = 'and treated as progressive: --deinterlace joins its fields'
        told = {
            f'{self.bits}-bit video is read with 8 bits': self.bits > 8 and not self.deep,
            f'the video does not name its colour matrix; {matrix} is assumed from its size': self.colour.assumed,
            f'the video is interlaced, {joined if self.reading.deinterlace else apart}': halves,
            f'rotated by {self.rotation} degrees; frames are handled upright': self.rotation,
        }
        self.notes += [note for note, so in told.items() if so]

    def _upright_size(self, frame: Any) -> tuple[int, int]:
        return (frame.width, frame.height) if self.rotation in (90, 270) else (frame.height, frame.width)

    def __iter__(self) -> Iterator[TimedFrame]:
        previous: int | None = None
        step = max(1, round(1 / (self.rate * self.time_base)))
        self.corrupt.clear()
        decoded = self._decoded()
        try:
            for frame in _whole_frames(decoded) if self.reading.deinterlace else decoded:
                size = self._upright_size(frame)
                if size != self.size:
                    value = f'{size[1]}x{size[0]} after {self.size[1]}x{self.size[0]}'
                    where = f'{self.path}, after pts {previous}'
                    raise UserError('the picture changes its size', where=where, value=value)
                pts = frame.pts if frame.pts is not None else 0 if previous is None else previous + step
                if self.tolerant and previous is not None and pts <= previous:  # damage; encoders want rising times
                    pts = previous + 1
                previous = pts
                if getattr(frame, 'is_corrupt', False):
                    self.corrupt.append(pts)
                yield TimedFrame(partial(self._upright, frame), pts)
        except (FFmpegError, OSError) as error:
            raise UserError('the video breaks off', where=f'{self.path}, after pts {previous}', value=error) from error

    def _decoded(self) -> Iterator[Any]:
        if not self.tolerant:
            yield from self.container.decode(self.stream)
            return
        assert self.survey is not None
        clock = self.survey.clock()
        with contextlib.suppress(InvalidDataError):  # the survey said so, and why
            for packet in self.container.demux(self.stream):
                clock.mend(packet)
                try:
                    yield from packet.decode()
                except InvalidDataError:
                    if packet.pts is not None:
                        self.corrupt.append(packet.pts)

    def _upright(self, frame: Any) -> NDArray[Any]:
        rgb = frame_to_rgb(frame, self.colour, self.deep, self.reading.exact)
        return np.ascontiguousarray(np.rot90(rgb, self.rotation // 90))

    def frame_times(self) -> tuple[list[int], list[int]]:
        """The times of all frames in the order of display, and which of them are key frames; nothing is decoded."""
        times: dict[int, bool] = {}
        with explained('the video breaks off', FFmpegError, OSError, where=self.path):
            self._rewind()
            for packet in self.container.demux(self.stream):
                if packet.pts is not None and packet.size:
                    times[packet.pts] = times.get(packet.pts, False) or packet.is_keyframe
            self._rewind()
        order = sorted(times)
        return order, sorted({0, *(i for i, pts in enumerate(order) if times[pts])})

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

    def __exit__(self, *_: object) -> None:
        self.container.close()
