"""RGB frames into a video file."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import cv2
import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray

from votes.checkpoint import atomic_write
from votes.errors import UserError
from votes.video.colour import FULL_RANGE, RGB_CODE, Colour

FORMATS = {
    '.mp4': 'mp4', '.m4v': 'mp4', '.mov': 'mov', '.mkv': 'matroska', '.webm': 'webm', '.avi': 'avi', '.nut': 'nut'
}  # fmt: skip


@dataclass(frozen=True)
class Codec:
    """An encoder of FFmpeg.

    Attributes:
        crf: default quality, visually lossless; None where there is nothing to choose.
        worst: largest crf.
        formats: pixel formats, the first that suits is taken: of 8 bits, then of 10.
        suffixes: containers it goes into.
        options: what else it is told. The same number of threads everywhere makes the same file everywhere.
    """

    encoder: str
    crf: int | None
    worst: int
    formats: tuple[str, str]
    suffixes: tuple[str, ...]
    options: dict[str, str] = field(default_factory=dict)
    odd_formats: tuple[str, str] = ('yuv444p', 'yuv444p10le')


CODECS = {
    'h264': Codec('libx264', 16, 51, ('yuv420p', 'yuv420p10le'), ('.mp4', '.m4v', '.mov', '.mkv'), {'threads': '4'}),
    'h265': Codec(
        'libx265', 18, 51, ('yuv420p', 'yuv420p10le'), ('.mp4', '.m4v', '.mov', '.mkv'),
        {'x265-params': 'log-level=error'},
    ),
    'av1': Codec('libsvtav1', 20, 63, ('yuv420p', 'yuv420p10le'), ('.mp4', '.mkv', '.webm'), {'preset': '6'}),
    'vp9': Codec(
        'libvpx-vp9', 18, 63, ('yuv420p', 'yuv420p'), ('.webm', '.mkv', '.mp4'),
        {'b': '0', 'row-mt': '1', 'deadline': 'good', 'cpu-used': '2', 'threads': '4'}, ('yuv444p', 'yuv444p'),
    ),
    'ffv1': Codec(
        'ffv1', None, 0, ('bgr0', 'gbrp10le'), ('.mkv', '.avi'), {'level': '3', 'slicecrc': '1'}, ('bgr0', 'gbrp10le')
    ),
    'prores': Codec(
        'prores_ks', None, 0, ('yuv422p10le', 'yuv422p10le'), ('.mov', '.mkv'), {'profile': 'hq'},
        ('yuv444p10le', 'yuv444p10le'),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Encoding:
    """How frames are compressed.

    Args:
        codec: one of CODECS.
        crf: quality, lower is better; None takes the codec's.
        preset: speed, as the encoder names it.
        options: more options of the encoder.
        bits: 8 or 10 of a colour value; codecs without 10 bits write 8, ProRes always 10.

    Raises:
        UserError: the codec is unknown or not in this build of PyAV, or a value is out of its range.
    """

    codec: str = 'h264'
    crf: int | None = None
    preset: str | None = None
    options: tuple[tuple[str, str], ...] = ()
    bits: int = 8

    def __post_init__(self) -> None:
        if self.codec not in CODECS:
            raise UserError('unknown codec', value=self.codec, fix=', '.join(CODECS))
        known = CODECS[self.codec]
        if self.crf is not None and known.crf is None:
            raise UserError(f'{self.codec} has no crf', value=self.crf, fix='leave --crf away')
        if self.crf is not None and not 0 <= self.crf <= known.worst:
            raise UserError(f'crf goes from 0 to {known.worst} with {self.codec}', value=self.crf)
        try:
            av.codec.Codec(known.encoder, 'w')
        except (FFmpegError, ValueError) as error:
            here = ', '.join(name for name, codec in CODECS.items() if codec.encoder in av.codec.codecs_available)
            raise UserError(f'this build of PyAV has no encoder {known.encoder}', fix=here) from error

    @classmethod
    def default_codec(cls, suffix: str) -> str:
        return {'.webm': 'vp9', '.avi': 'ffv1'}.get(suffix.lower(), 'h264')

    def check_container(self, path: Path) -> None:
        """Raises UserError where the codec does not go into such a file."""
        if path.suffix.lower() not in FORMATS:
            raise UserError('unknown kind of video file', where=path, fix=f'a name that ends in {", ".join(FORMATS)}')
        if path.suffix.lower() not in CODECS[self.codec].suffixes:
            raise UserError(
                f'{self.codec} does not go into {path.suffix}', where=path, fix=', '.join(CODECS[self.codec].suffixes)
            )

    def pixels(self, size: tuple[int, int]) -> str:
        """The pixel format. 4:2:0 halves both sides: an odd size keeps its chroma instead of losing a row."""
        known = CODECS[self.codec]
        formats = known.odd_formats if size[0] % 2 or size[1] % 2 else known.formats
        return formats[self.bits > 8]

    def encoder_options(self) -> dict[str, str]:
        known = CODECS[self.codec]
        crf = known.crf if self.crf is None else self.crf
        options = dict(known.options)
        if crf is not None and 'qp' not in dict(self.options):
            options['crf'] = str(crf)
        if self.preset:
            options['preset'] = self.preset
        return options | dict(self.options)


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

    def __init__(
        self,
        path: str | Path,
        size: tuple[int, int],
        rate: Fraction,
        time_base: Fraction,
        colour: Colour,
        encoding: Encoding | None = None,
        aspect: Fraction | None = None,
    ):
        self.path, self.time_base, self.colour = Path(path), time_base, colour
        self.encoding = encoding or Encoding()
        if self.path.suffix != '.nut':
            self.encoding.check_container(self.path)
        self._atomic = atomic_write(self.path)
        temporary = self._atomic.__enter__()
        suffix = self.path.suffix.lower()
        # MP4 keeps the start in ticks of the whole movie, a thousandth of a second unless told otherwise
        exact = {'movie_timescale': str(time_base.denominator)} if suffix in ('.mp4', '.mov', '.m4v') else {}
        try:
            self.container = av.open(str(temporary), 'w', format=FORMATS[suffix], options=exact)
            self.stream: Any = self.container.add_stream(CODECS[self.encoding.codec].encoder, rate=rate)
            self._configure(size, aspect)
            self.stream.codec_context.open()
        except (FFmpegError, OSError, ValueError) as error:
            self._atomic.__exit__(type(error), error, None)
            raise UserError('this video cannot be written', where=self.path, value=error) from error

    def _configure(self, size: tuple[int, int], aspect: Fraction | None) -> None:
        context = self.stream.codec_context
        context.height, context.width = size
        context.pix_fmt = self.encoding.pixels(size)
        context.time_base = self.time_base
        if aspect:
            context.sample_aspect_ratio = aspect
        self.tags = self.colour.tags()
        if context.pix_fmt in ('bgr0', 'gbrp10le'):
            self.tags |= {'colorspace': RGB_CODE, 'color_range': FULL_RANGE}
        for name, value in self.tags.items():
            setattr(context, name, value)
        self.stream.options = self.encoding.encoder_options()
        self.stream.thread_type = 'AUTO'

    def write(self, rgb: NDArray[Any], pts: int) -> None:
        """Adds a frame, RGB uint8 or uint16 (H, W, 3), at `pts` in units of time_base."""
        frame = self._encodable(rgb)
        frame.colorspace, frame.color_range = self.tags['colorspace'], self.tags['color_range']
        frame.pts, frame.time_base = pts, self.time_base
        self.container.mux(self.stream.encode(frame))

    def _encodable(self, rgb: NDArray[Any]) -> Any:
        wanted = self.stream.codec_context.pix_fmt
        if wanted == 'bgr0':
            return av.VideoFrame.from_ndarray(eight_bits(rgb), 'rgb24').reformat(format='bgr0')
        if wanted == 'gbrp10le':
            levels = np.rint(rgb.astype(np.float32) * (1023 / np.iinfo(rgb.dtype).max)).astype(np.uint16)
            return av.VideoFrame.from_ndarray(levels, 'gbrp10le')
        bits = 10 if wanted.endswith('10le') else 8
        return yuv_frame(self.colour.to_yuv(rgb, bits), wanted, repeated=rgb.dtype == np.uint8)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.container.mux(self.stream.encode(None))
            self.container.close()
        except BaseException as problem:
            self._atomic.__exit__(type(problem), problem, problem.__traceback__)
            raise
        self._atomic.__exit__(kind, error, trace)


def eight_bits(rgb: NDArray[Any]) -> NDArray[np.uint8]:
    """RGB uint8 or uint16 up to 65535 -> uint8."""
    return rgb if rgb.dtype == np.uint8 else np.rint(rgb / np.float32(257)).astype(np.uint8)


def yuv_frame(yuv: NDArray[Any], pixels: str, repeated: bool = True) -> Any:
    """YUV 4:4:4 (3, H, W) as a frame of FFmpeg's in a planar format of 8 or 10 bits, such as yuv420p10le.

    Args:
        repeated: as chroma of 8 bits is read, see `subsampled`.
    """
    frame: Any = av.VideoFrame(yuv.shape[2], yuv.shape[1], pixels)
    kind = np.dtype('<u2' if pixels.endswith('10le') else np.uint8)
    for i, plane in enumerate(frame.planes):
        values = yuv[i]
        if i and '444' not in pixels:
            values = subsampled(values, '420' in pixels, 1023 if kind.itemsize == 2 else 255, repeated)
        line = np.zeros((plane.height, plane.line_size // kind.itemsize), kind)
        line[:, : plane.width] = values
        plane.update(line)
    return frame


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
