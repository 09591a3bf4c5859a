"""What an output depends on, where it may be written, and what is told when it is there."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path

from votes.archs.contract import AMP
from votes.checkpoint import check_target
from votes.errors import UserError
from votes.inference.ensemble import parse_ensemble
from votes.restore.job import was_joining
from votes.video.encoders import FORMATS, Encoding
from votes.video.read import Reading


@dataclass(frozen=True)
class Settings:
    """All that an output depends on, beside the network and the source.

    Attributes:
        codec, crf, preset, encoder_options: see Encoding; the codec that the container is for by default.
        amp: 'none', 'bf16', 'fp16', or 'auto': bf16 on a GPU where it makes no visible difference.
        compile: torch.compile; costs minutes at the start, and equals `forward` to rounding only.
        ensemble: see `parse_ensemble`.
        tile: side of tiles in pixels, 0 for whole frames, None for what fits into memory.
        overlap: pixels that tiles share.
        batch: windows at a time.
        segment: frames that are kept together when the work is interrupted.
        chunk: frames at a time of a recurrent network, which also sees a quarter as many before and after them.
        strength: share of what the network made; the rest is the source, enlarged bicubically. Above 1, up to 2,
            more is changed than the network did.
        frames: first and last + 1 of the frames that are restored; None for the end.
        reading: how the source is read.
    """

    codec: str | None = None
    crf: int | None = None
    preset: str | None = None
    encoder_options: tuple[tuple[str, str], ...] = ()
    amp: str = 'none'
    compile: bool = False
    ensemble: str = 'none'
    tile: int | None = None
    overlap: int = 32
    batch: int = 1
    segment: int = 64
    chunk: int = 16
    strength: float = 1.0
    frames: tuple[int, int | None] = (0, None)
    reading: Reading = dataclasses.field(default_factory=Reading)

    def __post_init__(self) -> None:
        parse_ensemble(self.ensemble)
        tiled, (first, stop) = not self.tile or self.tile >= 32, self.frames
        for right, what, value in (
            (self.amp in (*AMP, 'auto'), f'unknown precision: {", ".join(AMP)} or auto', self.amp),
            *((getattr(self, n) >= 1, f'{n} is at least 1', getattr(self, n)) for n in ('batch', 'segment', 'chunk')),
            (tiled and self.overlap >= 0, 'tiles are at least 32 pixels wide, and overlap', (self.tile, self.overlap)),
            (0 <= self.strength <= 2, 'the strength is 0 to 2', self.strength),
            (first >= 0 and (stop is None or stop > first), 'no frames in this range', f'{first} to {stop}'),
        ):
            if not right:
                raise UserError(what, value=value)

    def asked_for(self, index: int) -> bool:
        first, stop = self.frames
        return index >= first and (stop is None or index < stop)

    def count(self, total: int) -> int:
        """How many of `total` frames are asked for; 0 where nobody knows."""
        return len(range(total or self.frames[1] or 0)[slice(*self.frames)])

    @property
    def whole(self) -> bool:
        return self.frames == (0, None)

    def encoding(self, target: Path, bits: int = 8, chroma: str = '420') -> Encoding:
        codec = self.codec or Encoding.default_codec(target.suffix)
        options = self.encoder_options
        if target.suffix.lower() == '.avi' and codec == 'h264':  # AVI has one time for a frame, not two
            options = (('bf', '0'), *options)
        encoding = Encoding(codec, self.crf, self.preset, options, bits, chroma)
        encoding.check_container(target)
        return encoding


@dataclass
class Summary:
    """What was done."""

    frames: int
    seconds: float
    size: tuple[int, int]
    new_size: tuple[int, int]
    notes: list[str]
    output: Path
    peak_bytes: int = 0
    resumed: int = 0

    def __str__(self) -> str:
        sizes = ' to '.join(f'{width}x{height}' for height, width in (self.size, self.new_size))
        speed, memory = self.frames / max(self.seconds, 1e-9), self.peak_bytes / 2**30
        first = f'{self.output}: {self.frames} frames, {sizes}, {speed:.2f} frames/s, peak memory {memory:.1f} GiB'
        before = [f'{self.resumed} segments were there before'] if self.resumed else []
        return '\n'.join([first, *(f'  {note}' for note in [*before, *self.notes])])


def check_paths(source: str | Path, target: str | Path, overwrite: bool = False) -> None:
    """Raises UserError where `target` must not or cannot be written; called before anything expensive starts."""
    source, target = Path(source), Path(target)
    if '-' in (str(source), str(target)):
        raise UserError('videos are not read from a pipe, nor written into one', value='-', fix='name a file')
    if target.exists() and source.exists() and os.path.samefile(source, target):
        raise UserError('output and input are the same file', where=target)
    if target.suffix and target.suffix.lower() not in FORMATS:
        fix = f'a name that ends in {", ".join(FORMATS)}, or in nothing'
        raise UserError('unknown kind of video file', where=target, fix=fix)
    if not target.absolute().parent.is_dir():
        raise UserError('the folder of the output does not exist', where=target.absolute().parent)
    overwrite = overwrite or was_joining(target)  # it was allowed before
    if target.is_dir() and not (overwrite and all(p.suffix == '.png' for p in target.iterdir())):
        fix = 'name a video file, such as OUT.mp4, or a folder that is not there yet'
        raise UserError('the output is a folder that exists', where=target, fix=fix)
    check_target(target, overwrite)
    if not os.access(target.absolute().parent, os.W_OK):
        raise UserError('the folder of the output cannot be written to', where=target.absolute().parent)
