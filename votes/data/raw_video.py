"""Raw video files: planes without a header, whose size and format are declared or read from the name, never guessed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from votes.errors import UserError

SUFFIXES = ('.yuv',)
SIZE = re.compile(r'(?<!\d)(?P<width>\d{2,5})x(?P<height>\d{2,5})(?!\d)')
EXACT = re.compile(r'(?<![a-z0-9])(yuv4(?:20|22|44)p(?:1[0246]le)?|gray(?:1[0246]le)?)(?![a-z0-9])', re.IGNORECASE)
DEPTH = re.compile(r'(?<!\d)(8|10|12|16)[-_ ]?b(?:its?|pp)?(?![a-z0-9])', re.IGNORECASE)
CHROMA = re.compile(r'(?<!\d)(?:yuv)?(420|422|444|400)p?(?!\d)', re.IGNORECASE)
CHROMA_PARTS = {'420': (2, 2), '422': (2, 1), '444': (1, 1)}  # columns and rows of luma for each of chroma
DECLARE = 'name it like CLIP_1920x1080_yuv420p10le.yuv, or --raw 1920x1080:yuv420p10le:50'


@dataclass(frozen=True)
class RawFormat:
    """How a raw file is to be read.

    Attributes:
        chroma: '420', '422', '444', or '400' of one plane.
        bits: of a value; more than 8 take two bytes, low byte first.
    """

    width: int
    height: int
    chroma: str
    bits: int
    rate: str = '25'

    @property
    def pixels(self) -> str:
        """FFmpeg's name."""
        name = 'gray' if self.chroma == '400' else f'yuv{self.chroma}p'
        return name + (f'{self.bits}le' if self.bits > 8 else '')

    def __str__(self) -> str:
        """As --raw takes it."""
        return f'{self.width}x{self.height}:{self.pixels}:{self.rate}'

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Height and width of each plane."""
        whole = self.height, self.width
        if self.chroma == '400':
            return [whole]
        across, down = CHROMA_PARTS[self.chroma]
        return [whole, *[(-(-self.height // down), -(-self.width // across))] * 2]

    @property
    def frame_bytes(self) -> int:
        return sum(height * width for height, width in self.shapes) * (1 if self.bits == 8 else 2)

    def count(self, path: Path) -> int:
        """Frames of a file, 0 if it is no whole number of them."""
        count, rest = divmod(path.stat().st_size, self.frame_bytes)
        return 0 if rest else count

    def read(self, path: Path, index: int) -> list[NDArray[Any]]:
        """The planes of a frame, uint8 or uint16 (H, W)."""
        kind: np.dtype[Any] = np.dtype(np.uint8 if self.bits == 8 else '<u2')
        data = np.fromfile(path, kind, self.frame_bytes // kind.itemsize, offset=index * self.frame_bytes)
        planes, start = [], 0
        for height, width in self.shapes:
            planes.append(data[start : start + height * width].reshape(height, width))
            start += height * width
        return planes

    def frames(self, path: Path) -> Iterator[list[NDArray[Any]]]:
        return (self.read(path, index) for index in range(self.count(path)))


def parse(text: str) -> RawFormat:
    """WIDTHxHEIGHT:FORMAT[:RATE], such as 832x480:yuv420p10le:50.

    Raises:
        UserError: it is not of that form, or a format that is not known here.
    """
    match = re.fullmatch(r'(\d+)x(\d+):(?:yuv(420|422|444)p|(gray))(1[026])?(?:le)?(?::([\d./]+))?', text)
    if match is None:
        raise UserError(
            'raw video is described as WIDTHxHEIGHT:FORMAT:RATE', value=text, fix='832x480:yuv420p:30, or yuv420p10le'
        )
    width, height, chroma, grey, bits, rate = match.groups()
    return RawFormat(int(width), int(height), '400' if grey else chroma, int(bits or 8), rate or '25')


def format_of(path: Path, declared: str | None = None) -> RawFormat:
    """The format of a raw file: as declared, or as its name says, checked against the bytes that it has.

    Names say it by FFmpeg's word (``CLIP_416x240_yuv420p10le.yuv``), or in parts: 416x240, 420, 10bit, and a number of
    frames or a rate. What the name does not say is only taken where nothing else fits the size of the file.

    Raises:
        UserError: the size is not said, no format fits the file, or several do.
    """
    if declared:
        told = parse(declared)
        if not told.count(path):
            raise _no_fit(path, [told])
        return told
    size = SIZE.search(path.stem)
    if size is None:
        raise UserError('a raw video without its size', where=path, fix=DECLARE)
    rest = (path.stem[: size.start()] + ' ' + path.stem[size.end() :]).replace('_', ' ').replace('-', ' ')
    exact = EXACT.search(rest)
    if exact:
        candidates = [parse(f'{size[0]}:{exact[1].lower()}')]
    else:
        depth, chroma = DEPTH.search(rest), CHROMA.search(rest)
        candidates = [
            RawFormat(int(size['width']), int(size['height']), kind, bits)
            for kind in ([chroma[1]] if chroma else CHROMA_PARTS)
            for bits in ([int(depth[1])] if depth else (8, 10))
        ]
    fitting = [found for found in candidates if found.count(path)]
    if not fitting:
        raise _no_fit(path, candidates)
    numbers = {int(n) for n in re.findall(r'(?<![\da-z])\d{1,6}(?![\da-z])', rest)}
    counted = [found for found in fitting if found.count(path) in numbers]
    # 10 bits take as many bytes as 16 would: one of them has to be said, 8 and 10 are told apart by the count of frames
    if len(fitting) > 1 and len(counted) == 1:
        fitting = counted
    if len(fitting) > 1:
        readings = ', '.join(f'{found.count(path)} frames of {found.pixels}' for found in fitting)
        raise UserError('a raw video that may be read in several ways', where=path, value=readings, fix=DECLARE)
    return fitting[0]


def _no_fit(path: Path, candidates: list[RawFormat]) -> UserError:
    each = ', '.join(f'{found.pixels} {found.frame_bytes}' for found in candidates[:4])
    return UserError(
        'a raw video that is no whole number of frames',
        where=path,
        value=f'{path.stat().st_size} bytes; of a frame: {each}',
        fix=f'is the size right? {DECLARE}',
    )
