"""Frames into a video file, by an encoding of a recipe."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray

from votes.errors import explained
from votes.video.convert import ONE_THREAD, chroma_at_left
from votes.video.encoders import last_packets
from votes.video.encoding import Encoding

Frames = list[NDArray[np.uint8]]


def encode_h264(
    frames: Frames, file: str | Path, qp: int, size: tuple[int, int] | None = None, tone_hz: float | None = None
) -> None:
    """As ``ffmpeg -f image2 -i %08d.png -vcodec libx264 -r 25 -qp QP -s WxH -pix_fmt yuv420p``.

    Args:
        frames: RGB uint8 (H, W, 3).
        qp: quantiser of P frames, 0 to 51.
        size: height and width to scale to, by swscale's bicubic like the ffmpeg program; both even.
        tone_hz: adds a quiet tone as AAC audio.
    """
    height, width = size or frames[0].shape[:2]
    encode(lambda: frames, Path(file), Encoding(qp=qp), (height, width), len(frames), tone_hz=tone_hz)


def encode(
    frames: Callable[[], Iterable[NDArray[np.uint8]]],
    path: Path,
    encoding: Encoding,
    size: tuple[int, int],
    count: int,
    activity: list[float] | None = None,
    tone_hz: float | None = None,
) -> None:
    """Writes a video file of `count` frames, scaled to `size` on the way; twice where there are two passes."""
    stats = path.with_suffix('.stats') if encoding.two_pass else None
    about = f'{count} frames of {size[1]}x{size[0]}'
    for number in (1, 2) if stats else (0,):
        refusals = explained(f'{encoding.codec} refuses {about}', FFmpegError)  # the caller knows where
        with refusals, av.open(str(path), 'w') as container:
            audio: Any = container.add_stream('aac', rate=44100) if tone_hz else None
            stream: Any = container.add_stream(encoding.codec, rate=encoding.rate)
            stream.height, stream.width, stream.pix_fmt = *size, encoding.pix_fmt
            stream.options = encoding.options(stats, number, count, activity)
            stream.thread_type = 'AUTO'  # else x264 cuts pictures into slices, which the ffmpeg program does not
            if encoding.codec == 'mpeg4' and encoding.qp is not None:
                stream.codec_context.qmin = stream.codec_context.qmax = encoding.qp
            given = 0
            for given, array in enumerate(frames(), 1):
                frame = av.VideoFrame.from_ndarray(array, 'rgb24')
                if encoding.chroma_siting == 'left':
                    frame = chroma_at_left(frame, size, encoding.pix_fmt)
                else:
                    frame = frame.reformat(size[1], size[0], encoding.pix_fmt, interpolation='BICUBIC', **ONE_THREAD)
                frame.pts, frame.time_base = given - 1, Fraction(1, encoding.rate)
                container.mux(stream.encode(frame))
            container.mux(last_packets(stream, given))
            if tone_hz:
                _add_tone(container, audio, tone_hz, given / encoding.rate)


def _add_tone(container: Any, audio: Any, hertz: float, seconds: float) -> None:
    samples = np.sin(2 * np.pi * hertz * np.arange(int(44100 * seconds)) / 44100) * 0.1
    for start in range(0, len(samples), 1024):
        part = samples[start : start + 1024].astype(np.float32).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(part, format='fltp', layout='mono')
        frame.sample_rate, frame.pts, frame.time_base = 44100, start, Fraction(1, 44100)
        container.mux(audio.encode(frame))
    container.mux(audio.encode(None))
