"""`votes metrics A B --planes`: two video files compared on the planes that they hold, at their depth."""

from __future__ import annotations

import argparse
import hashlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import av
import numpy as np

from votes.data.raw_video import CHROMA_PARTS, RawFormat, format_of
from votes.data.raw_video import SUFFIXES as RAW_SUFFIXES
from votes.errors import UserError
from votes.metrics.planes import NAMES as PLANES
from votes.metrics.planes import Planes, psnr_of, squared_errors, ssim_of, weighted
from votes.metrics.vmaf import vmaf_of_frames
from votes.reports.compare import results_file
from votes.reports.protocol import shown
from votes.video.read import Reading, VideoReader
from votes.video.write import planar_frame

METRICS = ('psnr', 'ssim', 'vmaf')


@dataclass
class PlaneVideo:
    """A video's planes.

    Attributes:
        pixels: the format of its frames, as FFmpeg names it.
        frames: gives the planes of each frame, uint8 or uint16 (H, W), from the first on whenever it is called.
    """

    path: Path
    size: tuple[int, int]
    pixels: str
    bits: int
    frames: Callable[[], Iterator[Planes]]

    def __str__(self) -> str:
        return f'{self.size[1]}x{self.size[0]} {self.pixels}'


def open_planes(path: Path, raw: str | None = None) -> PlaneVideo:
    """The planes of a raw file or of a video.

    Raises:
        UserError: a format that is not known, or one without Y, U and V.
    """
    if path.suffix.lower() in RAW_SUFFIXES or (raw and path.is_file()):
        told = format_of(path, raw)
        return PlaneVideo(path, (told.height, told.width), told.pixels, told.bits, lambda: told.frames(path))
    if not path.is_file():
        raise UserError('planes are those of a video file', where=path, fix='without --planes pictures are measured')
    with VideoReader(path) as reader:
        frame: Any = next(reader.container.decode(reader.stream))
        kind = frame.format
        parts = kind.chroma_width(64), kind.chroma_height(64)
        chroma = '400' if len(kind.components) == 1 else _chroma(parts)
        if kind.is_rgb or kind.is_bit_stream or chroma is None or len(frame.planes) != len(kind.components):
            raise UserError('a video without planes of Y, U and V', where=path, value=kind.name)
        told = RawFormat(frame.width, frame.height, chroma, kind.components[0].bits)
        return PlaneVideo(path, (frame.height, frame.width), told.pixels, told.bits, lambda: _decoded(path, kind.name))


def _chroma(parts: tuple[int, int]) -> str | None:
    return next((name for name, (x, y) in CHROMA_PARTS.items() if (64 // x, 64 // y) == parts), None)


def _decoded(path: Path, kind: str) -> Iterator[Planes]:
    with VideoReader(path) as reader:
        for frame in reader.container.decode(reader.stream):
            if frame.format.name != kind:
                raise UserError('the pixel format changes', where=path, value=f'{kind}, then {frame.format.name}')
            size: np.dtype[Any] = np.dtype(np.uint8 if frame.format.components[0].bits <= 8 else '<u2')
            values = ((plane, np.frombuffer(memoryview(plane), size)) for plane in frame.planes)
            yield [lines.reshape(plane.height, -1)[:, : plane.width] for plane, lines in values]


def cut_by_rgb(path: Path, raw: str | None = None) -> list[str]:
    """What a measurement through 8-bit RGB cuts of a video, a line each."""
    try:
        video = open_planes(path, raw)
    except UserError:
        return []
    found = []
    if video.bits > 8:
        found.append(f'{path.name}: its {video.bits} bits are cut to 8')
    described = str(format_of(path, raw)) if path.suffix.lower() in RAW_SUFFIXES else None
    with VideoReader(path, reading=Reading(raw=described)) as reader:
        full = reader.colour.full
    if not full:
        low, high = (level << (video.bits - 8) for level in (16, 235))
        beyond = [float(((planes[0] < low) | (planes[0] > high)).mean()) for planes in video.frames()]
        share = fmean(beyond) if beyond else 0.0
        if share:
            found.append(f'{path.name}: {100 * share:.2g} % of its luma lies beyond {low} to {high}, which RGB cuts')
    return found


def compare_planes(first: Path, second: Path, metrics: list[str], raw: str | None = None) -> dict[str, Any]:
    """A results file: the planes of `first` against those of the reference `second`.

    'mean' is over frames; 'pooled' has the PSNR of the mean squared error over all frames, which FFmpeg's filter psnr
    ends with. 'yuv' counts every value of all planes alike.

    Raises:
        UserError: the sides differ in size, format or number of frames, or a metric is not one of planes.
    """
    sides = open_planes(first, raw), open_planes(second, raw)
    if str(sides[0]) != str(sides[1]):
        raise UserError(
            'planes of different sizes or formats',
            where=f'{first}, {second}',
            value=f'{sides[0]}, {sides[1]}',
            fix='without --planes both are measured as 8-bit RGB',
        )
    sums = hashlib.sha256(), hashlib.sha256()
    rows: list[dict[str, float]] = []
    errors: list[list[float]] = []
    sizes: Planes = ()
    start = ''
    for number, (a, b) in enumerate(itertools.zip_longest(sides[0].frames(), sides[1].frames())):
        if a is None or b is None:
            raise UserError(
                'the sides have different numbers of frames', where=first, value=f'one ends after {number} frames'
            )
        for total, planes in zip(sums, (a, b), strict=True):
            for plane in planes:
                total.update(np.ascontiguousarray(plane).data)
        start = start or sums[1].hexdigest()
        rows.append(_row(a, b, sides[0].bits, metrics))
        errors.append(squared_errors(a, b))
        sizes = a
    if not rows:
        raise UserError('no frames', where=first)
    unavailable: dict[str, str] = {}
    if 'vmaf' in metrics:
        measure = partial(vmaf_of_frames, _frames(sides[0]), _frames(sides[1]), sides[0].pixels)
        add_vmaf(rows, measure, metrics, unavailable)
    data = {
        name: f'sha256 of decoded planes {total.hexdigest()}'
        for name, total in zip(('restored', 'reference'), sums, strict=True)
    }
    content = _results(second.stem, rows, errors, sizes, sides[0].bits, metrics)
    more = {'data': {**data, 'of_clips': {second.stem: start}}, 'cuts': [], 'not_available': unavailable}
    return results_file(first, second, None, described(sides[0], metrics), content, more)


def add_vmaf(
    rows: list[dict[str, float]], measure: Callable[[], list[float]], metrics: list[str], unavailable: dict[str, str]
) -> None:
    """VMAF into the rows of all frames; into `unavailable`, why it cannot be measured.

    Raises:
        UserError: it cannot, and nothing else is asked for.
    """
    try:
        for row, value in zip(rows, measure(), strict=True):
            row['vmaf'] = value
    except UserError as error:
        if metrics == ['vmaf']:
            raise
        unavailable['vmaf'] = error.line


def _row(a: Planes, b: Planes, bits: int, metrics: list[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    if 'psnr' in metrics:
        errors = squared_errors(a, b)
        found |= {f'psnr_{name}': psnr_of(error, bits) for name, error in zip(PLANES, errors, strict=False)}
        found['psnr_yuv'] = psnr_of(weighted(errors, a), bits)
    if 'ssim' in metrics:
        values = [ssim_of(x, y, bits) for x, y in zip(a, b, strict=True)]
        found |= {f'ssim_{name}': value for name, value in zip(PLANES, values, strict=False)}
        found['ssim_yuv'] = weighted(values, a)
    return found


def _results(
    clip: str, rows: list[dict[str, float]], errors: list[list[float]], sizes: Planes, bits: int, metrics: list[str]
) -> dict[str, Any]:
    means = {name: fmean(row[name] for row in rows) for name in rows[0]}
    content: dict[str, Any] = {
        'mean': {'restored': means},
        'clips': {'restored': {name: {clip: value} for name, value in means.items()}},
        'frames': [{'clip': clip, 'index': index, 'restored': row} for index, row in enumerate(rows)],
    }
    if 'psnr' in metrics:
        mean = [fmean(error[i] for error in errors) for i in range(len(errors[0]))]
        pooled = {f'psnr_{name}': psnr_of(error, bits) for name, error in zip(PLANES, mean, strict=False)}
        content['pooled'] = {'restored': {**pooled, 'psnr_yuv': psnr_of(weighted(mean, sizes), bits)}}
    return content


def described(video: PlaneVideo, metrics: list[str]) -> dict[str, Any]:
    """The protocol, for a results file."""
    about = {'planes': video.pixels, 'bits': video.bits, 'peak': 2**video.bits - 1}
    how = {
        'psnr': 'each plane, and yuv: all values alike (FFmpeg: average)',
        'ssim': '8x8 windows every 4 pixels, as FFmpeg and x264',
        'vmaf': 'vmaf_v0.6.1 of libvmaf, on the planes as stored',
    }
    return {
        'metrics': {name: {'type': f'{name} of stored planes', 'how': how[name], **about} for name in metrics},
        'channel': 'y, u, v',
        'crop_border': 0,
        'range': f'as stored, 0 to {2**video.bits - 1}, peak {2**video.bits - 1}',
        'rounding': 'none: planes as decoded',
        'aggregation': 'mean over frames; pooled: PSNR of the mean squared error over all frames',
        'window_padding': 'none',
    }


def _frames(video: PlaneVideo) -> Iterator[av.VideoFrame]:
    for planes in video.frames():
        yield planar_frame(video.size, video.pixels, planes)


def run(args: argparse.Namespace, names: list[str]) -> dict[str, Any]:
    """Measures and prints; returns the results file."""
    unknown = [name for name in names if name not in METRICS]
    if unknown or args.lq or args.crop not in (None, 0):
        raise UserError(
            'planes are measured whole, by psnr, ssim and vmaf',
            value=', '.join(unknown) or (f'--lq {args.lq}' if args.lq else f'--crop {args.crop}'),
            fix='without --planes',
        )
    first, second = (Path(p) for p in args.inputs)
    content = compare_planes(first, second, names, args.raw)
    result = content['results'][second.stem]
    for title, values in (('mean', result['mean']['restored']), ('pooled', result.get('pooled', {}).get('restored'))):
        if values:
            print(f'{title:<12}' + '  '.join(f'{name} {shown(value)}' for name, value in values.items()))
    return content
