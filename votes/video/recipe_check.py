"""Whether an encoder will do what a recipe says: what it would refuse, ignore or clamp is found before the start."""

from __future__ import annotations

import io
import re
from fractions import Fraction
from functools import lru_cache
from typing import Any

import av
import numpy as np
from av import logging as av_logging
from av.error import FFmpegError

X26_PRESETS = (
    'ultrafast', 'superfast', 'veryfast', 'faster', 'fast', 'medium', 'slow', 'slower', 'veryslow', 'placebo'
)  # fmt: skip


class Limits:
    """What an encoder takes; None of what it ignores.

    Args:
        qp, crf, bframes: smallest and largest value.
        presets: their names.
    """

    def __init__(
        self,
        qp: tuple[int, int] | None,
        crf: tuple[int, int] | None,
        bframes: tuple[int, int] | None,
        presets: tuple[str, ...] | None,
        params: bool = False,
    ):
        self.ranges = {'qp': qp, 'crf': crf, 'bframes': bframes}
        self.presets, self.params = presets, params


LIMITS = {
    'libx264': Limits((0, 51), (0, 51), (0, 16), X26_PRESETS, params=True),
    'libx265': Limits((0, 51), (0, 51), (0, 16), X26_PRESETS, params=True),
    'libvpx-vp9': Limits(None, (0, 63), None, None),
    'libsvtav1': Limits((1, 63), (1, 63), None, tuple(map(str, range(14)))),
    'mpeg4': Limits((1, 31), None, (0, 16), None),
}


def out_of_limits(codec: str, given: dict[str, Any]) -> list[str]:
    """What an encoder would ignore or clamp of 'qp', 'crf', 'bframes', 'preset', 'params' and 'pix_fmt'; a sentence
    each."""
    limits, found = LIMITS[codec], []
    for name, allowed in limits.ranges.items():
        value = given.get(name)
        if value is None:
            continue
        if allowed is None:
            found.append(f'{codec} has no {name}')
        elif not allowed[0] <= value <= allowed[1]:
            found.append(f'{name} of {codec} goes from {allowed[0]} to {allowed[1]}, not {value}')
    preset = given.get('preset')
    if preset is not None and limits.presets is None:
        found.append(f'{codec} has no presets')
    elif preset is not None and limits.presets and preset not in limits.presets:
        found.append(f'{codec} has no preset {preset!r}: {", ".join(limits.presets)}')
    if given.get('params') and not limits.params:
        found.append(f'{codec} takes no params')
    taken = {f.name for f in av.codec.Codec(codec, 'w').video_formats or ()}
    if given.get('pix_fmt') and given['pix_fmt'] not in taken:
        found.append(f'{codec} does not take {given["pix_fmt"]}')
    return found


@lru_cache(maxsize=64)
def refused(codec: str, pix_fmt: str, options: tuple[tuple[str, str], ...], params: str) -> list[str]:
    """What an encoder says against its options when it is given a few small frames; a sentence each.

    Args:
        params: a=1:b=2 of a recipe. x264 and x265 write what they use into the stream; where that is another number
            than was asked for, they have clamped it.
    """
    file, error = io.BytesIO(), ''
    level = av_logging.get_level()
    av_logging.set_level(av_logging.WARNING)
    try:
        with av_logging.Capture() as logged:
            try:
                _encode_grey(file, codec, pix_fmt, dict(options))
            except (FFmpegError, OSError, ValueError) as problem:
                error = str(problem)
    finally:
        av_logging.set_level(level)
    said = [text.strip() for _, name, text in logged if name == codec]
    found = [f'{codec}: {text}' for text in said if not text.startswith('Cannot open')]
    if error and not found:
        found = [f'{codec}: {error}']
    return found or _clamped(file.getvalue(), codec, params)


def _encode_grey(file: io.BytesIO, codec: str, pix_fmt: str, options: dict[str, str]) -> None:
    with av.open(file, 'w', format='matroska') as container:
        stream: Any = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt, stream.options = 128, 128, pix_fmt, options
        grey = av.VideoFrame.from_ndarray(np.full((128, 128, 3), 128, np.uint8), 'rgb24').reformat(format=pix_fmt)
        for number in range(2):
            grey.pts, grey.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(grey))
        container.mux(stream.encode(None))


def _clamped(stream: bytes, codec: str, params: str) -> list[str]:
    written = re.search(rb'options: ([ -~]+)', stream)
    if written is None:
        return []
    used = dict(re.findall(r'([\w-]+)=(-?[\d.]+)(?=[ :,]|$)', written[1].decode().replace('-', '_')))
    used |= {name: '-' + value[1:] for name, value in used.items() if value.startswith('_')}
    found = []
    for name, value in re.findall(r'([\w-]+)=(-?[\d.]+)(?=:|$)', params):
        there = used.get(name.replace('-', '_'))
        if there is not None and abs(float(there) - float(value)) > 0.006 + 0.001 * abs(float(value)):
            found.append(f'{codec} makes {there} of {name}={value}')
    return found
