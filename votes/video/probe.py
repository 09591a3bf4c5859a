"""`votes probe`: what a video file holds, and how strongly it seems to be compressed."""

from __future__ import annotations

import argparse
import itertools
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from votes.video.metadata import TRUSTED_QP, each_frame
from votes.video.read import VideoReader
from votes.video.tracks import describe_stream

LOOKED_AT = 100  # frames of which quantisers and types are read
# the lowest mean quantiser of H.264, or the highest bits a pixel, at which a video is called so: rules of thumb
STRENGTHS = (('hardly', 0, 0.3), ('lightly', 21, 0.12), ('clearly', 28, 0.05), ('strongly', 35, 0.0))


@dataclass
class Strength:
    """How strongly a video seems to be compressed: a guess.

    Attributes:
        word: 'hardly', 'lightly', 'clearly' or 'strongly'.
        measure: what the guess rests on.
        types: picture types of the first frames, such as 'IPPBP'.
        qp: mean quantiser of each of them; empty where the codec does not give any.
        quantiser: their mean; of other codecs what it might be of H.264 with as many bits a pixel, as six steps halve
            the bits.
    """

    word: str
    measure: str
    types: str
    quantiser: float
    qp: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        return f'{self.word} compressed, by {self.measure} (a guess)'


def strength(path: str | Path, frames: int = LOOKED_AT) -> Strength:
    """From the quantisers of H.264, or for other codecs from bits a pixel.

    Raises:
        UserError: see VideoReader.
    """
    found = list(itertools.islice(each_frame(path), frames))
    types = ''.join(frame.type for frame in found)
    qp = [float(frame.qp.mean()) for frame in found if frame.qp is not None]
    if len(qp) == len(found):
        mean = float(np.mean(qp))
        word = next(word for word, least, _ in reversed(STRENGTHS) if mean >= least)
        return Strength(word, f'a mean quantiser of {mean:.1f}', types, mean, qp)
    bits = 8 * fmean(frame.bytes for frame in found) / math.prod(found[0].size)
    word = next(word for word, _, least in STRENGTHS if bits >= least)
    return Strength(word, f'{bits:.3f} bits a pixel', types, 28 - 6 * math.log2(max(bits, 1e-6) / 0.12))


def probe(path: str | Path) -> dict[str, Any]:
    """What is known of a video file, to be shown or given to programs.

    Raises:
        UserError: see VideoReader.
    """
    with VideoReader(path, deep=True) as reader:
        times, keys = reader.frame_times()
        context: Any = reader.stream.codec_context
        container: Any = reader.container
        steps = {b - a for a, b in itertools.pairwise(times)}
        size = Path(path).stat().st_size
        seconds = float((times[-1] - times[0]) * reader.time_base + 1 / reader.rate) if times else 0.0
        about: dict[str, Any] = {
            'file': str(path),
            'container': container.format.name,
            'bytes': size,
            'seconds': round(seconds, 3),
            'frames': len(times),
            'key_frames': len(keys),
            'frames_per_second': round(float(reader.rate), 3),
            'variable_rate': len(steps) > 1 and max(steps) - min(steps) > 1,
            'starts_at': round(float(times[0] * reader.time_base), 3) if times else None,
            'codec': context.name,
            'size': f'{reader.size[1]}x{reader.size[0]}',
            'pixels': context.pix_fmt,
            'bits': reader.bits,
            'rotation': reader.rotation,
            'pixel_aspect': str(reader.aspect) if reader.aspect else None,
            'matrix': reader.colour.matrix + (' (assumed)' if reader.colour.assumed else ''),
            'range': 'full' if reader.colour.full else 'limited',
            'primaries': reader.colour.primaries,
            'transfer': reader.colour.transfer,
            'kilobits_per_second': round(size * 8 / 1000 / seconds, 1) if seconds else None,
            'streams': [describe_stream(s) for s in container.streams],
            'chapters': len(container.chapters()),
            'notes': reader.notes,
        }
    guess = strength(path)
    return about | {
        'picture_types': guess.types,
        'quantisers': [round(q, 1) for q in guess.qp] if about['codec'] in TRUSTED_QP else None,
        'compression': str(guess),
    }


def as_text(about: dict[str, Any]) -> str:
    """A line each; of the many numbers a summary."""
    shown = dict(about)
    quantisers = shown.pop('quantisers')
    if quantisers:
        values = f'{min(quantisers)} to {max(quantisers)}, mean {np.mean(quantisers):.1f}'
        shown['quantisers'] = f'{values} (first {len(quantisers)} frames)'
    types = shown['picture_types']
    shown['picture_types'] = f'{types[:40]}{"..." if len(types) > 40 else ""}'
    rows = [(k, ', '.join(v) if isinstance(v, list) else v) for k, v in shown.items() if v not in (None, [], '')]
    return '\n'.join(f'{key.replace("_", " "):20} {value}' for key, value in rows)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('videos', type=Path, nargs='+', metavar='FILE', help='video files')
    parser.add_argument('--json', action='store_true', help='everything, for programs')


def run(args: argparse.Namespace) -> int:
    found = [probe(path) for path in args.videos]
    print(json.dumps(found, indent=1) if args.json else '\n\n'.join(map(as_text, found)))
    return 0
