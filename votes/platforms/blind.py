"""What can be said of a platform from its videos alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from votes.platforms import streams as told
from votes.platforms.generations import block_grid, other_origin
from votes.platforms.pairs import Frames
from votes.platforms.values import Measured, spread
from votes.platforms.verify import spectrum
from votes.video.bitstream import Bitstream, read_bitstream
from votes.video.read import VideoReader

LOOKED_AT = 12
CUT = 25.0  # dB by which the finest details lie below the coarsest where a picture seems to have been enlarged
UNKNOWN = 'cannot be told without originals'


def without_originals(files: Sequence[Path]) -> dict[str, Measured]:
    """Codec, structure, quantisers, bits, traces of blocks; and what is not known.

    Raises:
        UserError: a file cannot be read.
    """
    streams = [read_bitstream(path) for path in files]
    found = {'codec': told.codec_of(streams)}
    same = [s for s in streams if told.ENCODERS.get(s.codec) == found['codec'].value]
    if same:
        found |= told.structure(same) | told.own_words(same, str(found['codec'].value))
        found |= _strength(same)
    frames = [_frames(path) for path in files]
    grids = [block_grid(clip)[8] for clip in frames]
    found['blockiness'] = Measured(round(float(np.median(grids)), 3), 0.9, 'change across borders of 8x8 blocks')
    place, clear = max((other_origin(clip) for clip in frames), key=lambda row: row[1])
    if clear > max(1.15, 1.05 * float(np.median(grids))):
        found['older_grid'] = Measured(place, min(0.8, clear - 0.6), f'blocks {place} columns off the grid: cropped')
    drop = float(np.median([(s := spectrum(clip))[1] - s[-1] for clip in frames]))
    enlarged = drop > CUT + 20
    found['enlarged'] = Measured(enlarged, 0.3, f'the finest details lie {drop:.0f} dB below coarse ones')
    for name in ('kernel', 'scale', 'sharpen', 'frame_rate'):
        found[name] = Measured(None, 0.0, UNKNOWN)
    return found


def _strength(streams: Sequence[Bitstream]) -> dict[str, Measured]:
    fixed = [told.constant(stream) for stream in streams]
    found = {
        'kbps': spread([stream.kbps for stream in streams], 1.0, 'kbit/s', (0, 1e9)),
        'bits_per_pixel': spread(
            [1000 * s.kbps / s.rate / (s.size[0] * s.size[1]) for s in streams], 0.005, 'bits a pixel', (0, 100)
        ),
    }
    found['bits_per_pixel'].value = round(
        float(np.median([1000 * s.kbps / s.rate / (s.size[0] * s.size[1]) for s in streams])), 4
    )
    means = [stream.qp for stream in streams if stream.qp is not None]
    if all(qp is not None for qp in fixed):
        found['qp'] = spread([float(qp or 0) for qp in fixed], 0.5, 'one quantiser for a type of frames', (0, 51), True)
    elif means:
        found['mean_qp'] = spread(means, 0.5, 'mean quantiser of a clip', (0, 255))
    return found


def _frames(path: Path) -> Frames:
    found: Frames = []
    with VideoReader(path) as reader:
        for frame in reader:
            found.append(frame.rgb)
            if len(found) >= LOOKED_AT:
                break
    return found
