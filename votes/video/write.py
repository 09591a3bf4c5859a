"""RGB frames into a video file."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray

from votes.checkpoint import atomic_write
from votes.errors import explained
from votes.video.colour import FULL_RANGE, RGB_CODE, Colour
from votes.video.encoders import CODECS, FORMATS, RGB, Encoding, last_packets
from votes.video.tracks import MP4


@dataclass(eq=False)
class VideoWriter:
    """Frames at times of their own, colours tagged as they were encoded. The file appears when all went well.

    Args:
        path: ends in one of FORMATS; '.nut' takes every codec but ProRes, and any time.
        size: height and width.
        rate: frames a second, for players that ask.
        time_base: unit of the times given to `write`.
        colour: how RGB becomes YUV.
        aspect: width of a pixel divided by its height.

    Raises:
        UserError: the encoder refuses this.
    """

    path: Path
    size: tuple[int, int]
    rate: Fraction
    time_base: Fraction
    colour: Colour
    encoding: Encoding = field(default_factory=Encoding)
    aspect: Fraction | None = None

    def __post_init__(self) -> None:
        self.frames = 0
        if not CODECS[self.encoding.codec].ranged:
            self.colour = dataclasses.replace(self.colour, full=False)
        if self.path.suffix != '.nut':
            self.encoding.check_container(self.path)
        self._opened = self._open()

    def __enter__(self) -> VideoWriter:
        return self._opened.__enter__()

    def __exit__(self, *problem: Any) -> None:
        self._opened.__exit__(*problem)

    @contextlib.contextmanager
    def _open(self) -> Iterator[VideoWriter]:
        suffix = self.path.suffix.lower()
        # MP4 keeps the start in ticks of the whole movie, a thousandth of a second unless told otherwise
        exact = {'movie_timescale': str(self.time_base.denominator)} if suffix in MP4 else {}
        with contextlib.ExitStack() as opened:
            temporary = opened.enter_context(atomic_write(self.path))
            with explained('this video cannot be written', FFmpegError, OSError, ValueError, where=self.path):
                self.container = av.open(str(temporary), 'w', format=FORMATS[suffix], options=exact)
                opened.enter_context(self.container)
                self.stream: Any = self.container.add_stream(CODECS[self.encoding.codec].encoder, rate=self.rate)
                self._configure(self.stream.codec_context)
                self.stream.codec_context.open()
            yield self
            self.container.mux(last_packets(self.stream, self.frames))

    def _configure(self, context: Any) -> None:
        context.height, context.width = self.size
        context.pix_fmt = self.encoding.pixels(self.size)
        context.time_base = self.time_base
        if self.aspect:
            context.sample_aspect_ratio = self.aspect
        self.tags = self.colour.tags()
        if context.pix_fmt in RGB.values():
            self.tags |= {'colorspace': RGB_CODE, 'color_range': FULL_RANGE}
        for name, value in self.tags.items():
            setattr(context, name, value)
        self.stream.options = self.encoding.encoder_options(context.pix_fmt)
        self.stream.thread_type = 'AUTO'

    def write(self, rgb: NDArray[Any], pts: int) -> None:
        """Adds a frame, RGB uint8 or uint16 (H, W, 3), at `pts` in units of time_base."""
        frame = self._encodable(rgb)
        frame.colorspace, frame.color_range = self.tags['colorspace'], self.tags['color_range']
        frame.pts, frame.time_base = pts, self.time_base
        self.container.mux(self.stream.encode(frame))
        self.frames += 1

    def _encodable(self, rgb: NDArray[Any]) -> Any:
        wanted = self.stream.codec_context.pix_fmt
        if wanted == 'bgr0':
            return av.VideoFrame.from_ndarray(eight_bits(rgb), 'rgb24').reformat(format='bgr0')
        if wanted in RGB.values():
            most = 2 ** depth_of(wanted) - 1
            levels = np.rint(rgb.astype(np.float32) * (most / np.iinfo(rgb.dtype).max)).astype(np.uint16)
            return av.VideoFrame.from_ndarray(levels, wanted)
        return yuv_frame(self.colour.to_yuv(rgb, depth_of(wanted)), wanted, repeated=rgb.dtype == np.uint8)


def eight_bits(rgb: NDArray[Any]) -> NDArray[np.uint8]:
    """RGB uint8 or uint16 up to 65535 -> uint8."""
    return rgb if rgb.dtype == np.uint8 else np.rint(rgb / np.float32(257)).astype(np.uint8)


def depth_of(pixels: str) -> int:
    """Bits of a value in a planar format: 10 of yuv420p10le."""
    end = pixels.rsplit('p', 1)[-1].removesuffix('le')
    return int(end) if end.isdigit() else 8


def planar_frame(size: tuple[int, int], pixels: str, planes: Iterable[NDArray[Any]]) -> Any:
    """FFmpeg's frame of (height, width) with these planes, uint8 or uint16 (H, W) as the format `pixels` has them."""
    frame: Any = av.VideoFrame(size[1], size[0], pixels)
    for plane, values in zip(frame.planes, planes, strict=True):
        line = np.zeros((plane.height, plane.line_size // values.itemsize), values.dtype)
        line[:, : plane.width] = values
        plane.update(line)
    return frame


def yuv_frame(yuv: NDArray[Any], pixels: str, repeated: bool = True) -> Any:
    """YUV 4:4:4 (3, H, W) as a frame of FFmpeg's in a planar format, such as yuv420p10le.

    Args:
        repeated: as chroma of 8 bits is read, see `subsampled`.
    """
    depth = depth_of(pixels)
    chroma = yuv[1:] if '444' in pixels else [subsampled(x, '420' in pixels, 2**depth - 1, repeated) for x in yuv[1:]]
    planes = (values.astype('<u2' if depth > 8 else np.uint8) for values in (yuv[0], *chroma))
    return planar_frame((yuv.shape[1], yuv.shape[2]), pixels, planes)


DOWN = np.array([-1, 9, 9, -1], np.float32) / 16


def subsampled(chroma: NDArray[Any], rows: bool, most: int, repeated: bool) -> NDArray[np.float32]:
    """Half the columns, and with `rows` half the rows, of a plane of even size.

    swscale gives two neighbours the chroma that they share, so that their mean gives it back. Rows it repeats
    (`repeated`, 8 bits) or interpolates (more).
    """
    x: NDArray[Any] = chroma.astype(np.float32)
    x = (x[:, ::2] + x[:, 1::2]) / 2
    if rows and repeated:
        x = (x[::2] + x[1::2]) / 2
    elif rows:
        x = cv2.filter2D(x, -1, DOWN[:, None], anchor=(-1, 1), borderType=cv2.BORDER_REPLICATE)[::2]
    return np.asarray(np.clip(np.rint(x), 0, most), np.float32)
