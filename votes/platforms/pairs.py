"""Pairs of originals and what a platform made of them, with the downloaded files themselves."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from votes.checkpoint import read_record
from votes.data.sources import FrameSource, open_source
from votes.data.video_source import VIDEO_SUFFIXES
from votes.errors import UserError
from votes.video.bitstream import Bitstream, read_bitstream

Frames = list[NDArray[np.uint8]]
HQ, LQ = 'HQ_frames', 'LQ_frames'


@dataclass
class Pair:
    """One clip.

    Attributes:
        gt, lq: where its frames are.
        stream: of the downloaded file; None where there is none.
        scale: how many times as large GT is.
        about: what pairs.json says of it.
    """

    name: str
    gt: FrameSource
    lq: FrameSource
    scale: int
    stream: Bitstream | None = None
    about: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return min(self.gt.length(self.name), self.lq.length(self.name))

    @property
    def size(self) -> tuple[int, int]:
        """H and W of LQ."""
        return self.lq.size(self.name)

    @property
    def matrix(self) -> str:
        """With which colours were coded: what pairing found where the stream does not say so, else the stream's."""
        found = ' '.join(self.about.get('colours', []))
        if 'BT.709 video' in found or 'BT.601 video' in found:
            return 'bt709' if 'BT.709 video' in found else 'bt601'
        return str(self.stream.features.get('matrix', 'bt601')) if self.stream else 'bt601'

    def shown(self) -> Bitstream:
        """The stream with the frames of this pair alone."""
        assert self.stream is not None
        numbers = self.about.get('lq_frames') or range(len(self))
        there = self.stream.frames
        return replace(self.stream, frames=[there[n] for n in numbers if n < len(there)])

    @property
    def borders(self) -> tuple[int, int, int, int]:
        """Rows above, columns left, rows below and columns right that the downloaded file has around LQ."""
        content = self.about.get('content')
        if content is None or self.stream is None:
            return 0, 0, 0, 0
        (top, left), (height, width), whole = content[:2], self.size, self.stream.size
        return top, left, max(0, whole[0] - top - height), max(0, whole[1] - left - width)

    def framed(self, count: int | None = None) -> Frames:
        """GT with black borders where the download has borders: they take few bits, and others get more."""
        top, left, bottom, right = (n * self.scale for n in self.borders)
        return [np.pad(frame, ((top, bottom), (left, right), (0, 0))) for frame in self.frames(count)[0]]

    def frames(self, count: int | None = None, side: int | None = None) -> tuple[Frames, Frames]:
        """(GT, LQ): the first `count` frames, whole or of LQ's middle at most `side` pixels wide and high."""
        height, width = (n // 2 * 2 for n in self.size)
        top = left = 0
        if side and side < max(height, width):
            h, w = min(side, height), min(side, width)
            top, left = (height - h) // 32 * 16, (width - w) // 32 * 16  # on the grid of macroblocks
            height, width = h, w
        s = self.scale
        total = len(self) if count is None else min(count, len(self))
        gt = [self.gt.read(self.name, i, (top * s, left * s, height * s, width * s)) for i in range(total)]
        lq = [self.lq.read(self.name, i, (top, left, height, width)) for i in range(total)]
        return gt, lq


def _clips(path: Path) -> dict[str, Any]:
    """Clip -> what `votes pair` wrote of it; nothing of pairs that were made otherwise."""
    try:
        return dict(read_record(path)['clips']) if path.is_file() else {}
    except ValueError as error:
        fix = 'votes pair with the same folders makes it again'
        raise UserError('what is known of the pairs cannot be read', where=path, value=error, fix=fix) from error


def open_pairs(root: Path, downloads: Path | None = None, limit: int | None = None) -> list[Pair]:
    """The clips of ROOT/HQ_frames and ROOT/LQ_frames, with what ROOT/pairs.json says of their files.

    Args:
        downloads: folder of the downloaded files, under the clips' names, where pairs.json does not name them.
        limit: of frames of the streams.

    Raises:
        UserError: there are no pairs, or sizes that do not fit.
    """
    if not (root / HQ).is_dir() or not (root / LQ).is_dir():
        raise UserError(
            'no pairs', where=root.absolute(), fix='votes pair ORIGINALS DOWNLOADS PAIRS, or HQ_frames and LQ_frames'
        )
    gt, lq = open_source(root / HQ), open_source(root / LQ)
    clips = _clips(root / 'pairs.json')
    found = []
    for name in sorted(set(gt.clips()) & set(lq.clips())):
        large, small = gt.size(name), lq.size(name)
        scale = round(large[0] / small[0])
        if scale < 1 or any(abs(a - scale * b) > scale for a, b in zip(large, small, strict=True)):
            raise UserError(
                'GT is not a whole number of times as large as LQ',
                where=name,
                value=f'{large[1]}x{large[0]} and {small[1]}x{small[0]}',
                fix='votes pair writes pairs that fit',
            )
        about = clips.get(name, {})
        path = _file(root, name, about, downloads)
        stream = read_bitstream(path, limit) if path else None
        found.append(Pair(name, gt, lq, scale, stream, about))
    if not found:
        raise UserError('no clip is in both folders', where=root.absolute())
    scales = {pair.scale for pair in found}
    if len(scales) > 1:
        raise UserError('clips of several scales', where=root, value=sorted(scales), fix='calibrate each for itself')
    return found


def _file(root: Path, name: str, about: dict[str, Any], downloads: Path | None) -> Path | None:
    named = about.get('download')
    if named:
        path = Path(named) if Path(named).is_absolute() else root / named
        if path.is_file():
            return path
    for folder in filter(None, (downloads, root / 'downloads')):
        for suffix in itertools.chain(VIDEO_SUFFIXES, ('.264', '.h264', '.hevc')):
            if (folder / f'{name}{suffix}').is_file():
                return folder / f'{name}{suffix}'
    return None
