"""Frames into an H.264 file, as the ffmpeg program makes it."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from votes.video.convert import ONE_THREAD

RATE = 25
Frames = list[NDArray[np.uint8]]


def encode_h264(
    frames: Iterable[NDArray[np.uint8]],
    file: str | Path,
    qp: int,
    size: tuple[int, int] | None = None,
    tone_hz: float | None = None,
) -> None:
    """As ``ffmpeg -f image2 -i %08d.png -vcodec libx264 -r 25 -qp QP -s WxH -pix_fmt yuv420p``, into MP4.

    Args:
        frames: RGB uint8 (H, W, 3).
        qp: quantiser of P frames, 0 to 51.
        size: height and width to scale to, by swscale's bicubic like the ffmpeg program; both even.
        tone_hz: adds a quiet tone as AAC audio.
    """
    with av.open(str(file), 'w', format='mp4') as container:
        stream: Any = None
        audio: Any = container.add_stream('aac', rate=44100) if tone_hz else None
        count = 0
        for array in frames:
            height, width = size or array.shape[:2]
            if stream is None:
                stream = container.add_stream('libx264', rate=RATE)
                stream.width, stream.height, stream.pix_fmt = width, height, 'yuv420p'
                # x264 with one thread encodes differently from x264 with several: the same on every machine
                stream.options = {'qp': str(qp), 'threads': '2'}
                stream.thread_type = 'AUTO'  # else it cuts pictures into slices, which the ffmpeg program does not
            frame = av.VideoFrame.from_ndarray(array, 'rgb24').reformat(
                width, height, 'yuv420p', interpolation='BICUBIC', **ONE_THREAD
            )
            frame.pts, frame.time_base = count, Fraction(1, RATE)
            container.mux(stream.encode(frame))
            count += 1
        container.mux(stream.encode(None))
        if audio is not None and tone_hz:
            _add_tone(container, audio, tone_hz, count / RATE)


def _add_tone(container: Any, audio: Any, hertz: float, seconds: float) -> None:
    samples = np.sin(2 * np.pi * hertz * np.arange(int(44100 * seconds)) / 44100) * 0.1
    for start in range(0, len(samples), 1024):
        part = samples[start : start + 1024].astype(np.float32).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(part, format='fltp', layout='mono')
        frame.sample_rate, frame.pts, frame.time_base = 44100, start, Fraction(1, 44100)
        container.mux(audio.encode(frame))
    container.mux(audio.encode(None))
