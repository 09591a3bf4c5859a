"""Decoded frames as RGB: the one definition of decoding."""

from __future__ import annotations

import os
import threading
from fractions import Fraction
from typing import Any

import av
import av.filter
import numpy as np
from numpy.typing import NDArray

from votes.video.colour import CODE_OF_MATRIX, FULL_RANGE, Colour

# Of a conversion: what is forked from this process has none of its threads, and would wait for them for ever where it
# frees it. PyAV has one thread without being told before its version 17.
ONE_THREAD: dict[str, int] = {'threads': 1} if int(av.__version__.split('.')[0]) >= 17 else {}


def frame_bits(frame: Any) -> int:
    return int(frame.format.components[0].bits)


def chroma_of(format: Any) -> str:
    """Of a pixel format: '420', '422' or '444', the coarsest that keeps its chroma."""
    if format.is_rgb or format.has_palette:
        return '444'
    columns, rows = format.chroma_width(64), format.chroma_height(64)
    if not columns or format.name.startswith('gray'):
        return '420'
    return '444' if columns == 64 else '422' if rows == 64 else '420'


def has_alpha(format: Any) -> bool:
    """Whether a pixel format has an opacity."""
    return any(component.is_alpha for component in format.components)


def frame_to_rgb(frame: Any, colour: Colour, deep: bool = False, exact: bool = False) -> NDArray[Any]:
    """A decoded frame -> RGB (H, W, 3), uint8; with `deep` uint16 up to 65535 where it has more than 8 bits.

    The one definition of decoding: swscale's conversion with bicubic chroma, as ``ffmpeg -i IN %08d.png`` does it, with
    the matrix and the range of `colour`. (On most machines its 8-bit path truncates, to RGB one level darker than the
    formula: networks are trained on pictures made in this way. With `exact` it rounds, and looks at the chroma of every
    pixel, as the formula does.)
    """
    deep = deep and frame_bits(frame) > 8
    pixels = 'rgb48le' if deep else 'rgb24'
    if frame.format.is_rgb:
        return np.asarray(frame.to_ndarray(format=pixels, **ONE_THREAD))
    if frame_bits(frame) > 8 or exact:
        return _through_filter(frame, colour, pixels, '+accurate_rnd+full_chroma_int' if exact else '')
    code = SWSCALE_CODE[colour.matrix]
    given = {'src_colorspace': code, 'src_color_range': FULL_RANGE if colour.full else 1}
    wanted = {'dst_colorspace': code, 'dst_color_range': FULL_RANGE}
    rgb = frame.reformat(format=pixels, interpolation='BICUBIC', **given, **wanted, **ONE_THREAD)
    return np.asarray(rgb.to_ndarray())


SWSCALE_CODE = CODE_OF_MATRIX | {'bt601': 5}  # swscale numbers BT.601 in its own way
_graphs = threading.local()  # a filter belongs to one thread
os.register_at_fork(before=lambda: _graphs.__dict__.clear())  # before PyAV 17 it has threads of its own, see ONE_THREAD


def _through_filter(frame: Any, colour: Colour, pixels: str, flags: str) -> NDArray[Any]:
    """Frames of more than 8 bits, as only the filter tells swscale where their chroma lies, and with more flags."""
    # what the file says of itself is in `colour` already; unusual transfer functions would be refused
    frame.colorspace, frame.color_range, frame.color_trc, frame.color_primaries = 2, 0, 2, 2
    told = f'flags=bicubic{flags}:in_color_matrix={colour.matrix}:in_range={"full" if colour.full else "limited"}'
    return np.asarray(_scaled(frame, told, pixels).to_ndarray())


def chroma_at_left(frame: Any, size: tuple[int, int], pixels: str) -> Any:
    """RGB -> a YUV format at a size (H, W), as reformat makes it, but chroma lies at the left one of its columns of
    luma, not between them."""
    return _scaled(frame, f'{size[1]}:{size[0]}:flags=bicubic:out_h_chr_pos=0', pixels)


def _scaled(frame: Any, told: str, pixels: str) -> Any:
    """A frame through the scale filter, which is kept for the next one."""
    key = (frame.width, frame.height, frame.format.name, told, pixels)
    if getattr(_graphs, 'key', None) != key:
        _graphs.graph = filters(frame, ('scale', told), ('format', f'pix_fmts={pixels}'))
        _graphs.key = key
    _graphs.graph.push(frame)
    return _graphs.graph.pull()


def filters(frame: Any, *wanted: tuple[str, str]) -> Any:
    """A graph of filters, (name, settings) each, for frames like this one."""
    graph, unit = av.filter.Graph(), frame.time_base or Fraction(1, 90000)
    for name, value in ONE_THREAD.items():
        setattr(graph, name, value)
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=unit)
    stages = [graph.add(name, told) for name, told in wanted]
    graph.link_nodes(source, *stages, graph.add('buffersink')).configure()
    return graph
