"""Encoders: what they are told, which pixels they take, which containers they go into."""

from __future__ import annotations

import itertools
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import torch
from av.error import FFmpegError

from votes.errors import UserError, explained

FORMATS = {
    '.mp4': 'mp4', '.m4v': 'mp4', '.mov': 'mov', '.mkv': 'matroska', '.webm': 'webm', '.avi': 'avi', '.nut': 'nut'
}  # fmt: skip
RGB = {8: 'bgr0', 10: 'gbrp10le', 12: 'gbrp12le', 14: 'gbrp14le', 16: 'gbrp16le'}
DEPTHS = (8, 10, 12, 14, 16)
# where there is not the chroma that is wanted: finer first
CHROMA = {'420': ('420', '422', '444'), '422': ('422', '444', '420'), '444': ('444', '422', '420')}


@dataclass(frozen=True)
class Codec:
    """An encoder of FFmpeg.

    Attributes:
        crf: default quality, visually lossless; None where there is nothing to choose.
        worst: largest crf.
        suffixes: containers it goes into.
        options: what else it is told. The same number of threads everywhere makes the same file everywhere.
        rgb: it keeps RGB as it is.
        ranged: its files say whether their values are of full range.
    """

    encoder: str
    crf: int | None
    worst: int
    suffixes: tuple[str, ...]
    options: dict[str, str] = field(default_factory=dict)
    rgb: bool = False
    ranged: bool = True


CODECS = {
    'h264': Codec('libx264', 16, 51, ('.mp4', '.m4v', '.mov', '.mkv', '.avi'), {'threads': '4'}),
    'h265': Codec('libx265', 18, 51, ('.mp4', '.m4v', '.mov', '.mkv'), {'x265-params': 'log-level=error'}),
    'av1': Codec('libsvtav1', 20, 63, ('.mp4', '.mkv', '.webm'), {'preset': '6'}),
    'vp9': Codec(
        'libvpx-vp9', 18, 63, ('.webm', '.mkv', '.mp4'),
        {'b': '0', 'row-mt': '1', 'deadline': 'good', 'cpu-used': '2', 'threads': '4'},
    ),
    'ffv1': Codec('ffv1', None, 0, ('.mkv', '.avi'), {'level': '3', 'slicecrc': '1'}, rgb=True),
    'prores': Codec('prores_ks', None, 0, ('.mov', '.mkv'), {'profile': 'hq'}, ranged=False),
}  # fmt: skip


def last_packets(stream: Any, frames: int) -> list[Any]:
    """What an encoder holds back until its end, of so many frames in all.

    Of one or two frames x265 gives decoding times out of memory that nobody wrote: files that differ from run to run,
    or that the container refuses. Nothing is reordered among so few.
    """
    packets: list[Any] = stream.encode(None)
    if stream.codec_context.name == 'libx265' and frames < 3:
        for packet in packets:
            packet.dts = packet.pts
    return packets


def steady_x264() -> str:
    """Parameters that make x264 give the same bits in every run.

    Its AVX-512 code for the macroblock tree (core 165, with B-frames) depends on what was in memory before: 60 runs
    over one clip gave 3 to 15 results even with one thread, and one result without AVX-512 or without the tree.
    Processors that have AVX-512 have all of the others.
    """
    avx512 = platform.machine().lower() in ('x86_64', 'amd64') and torch.backends.cpu.get_cpu_capability() == 'AVX512'
    return 'asm=MMX2,SSE2Fast,SSE3,SSSE3,SSE4.2,AVX,FMA3,BMI1,BMI2,AVX2' if avx512 else ''


@dataclass(frozen=True)
class Encoding:
    """How frames are compressed.

    Args:
        codec: one of CODECS.
        crf: quality, lower is better; None takes the codec's.
        preset: speed, as the encoder names it.
        options: more options of the encoder.
        bits: of a colour value that are wanted; the encoder's nearest are taken, see `losses`.
        chroma: '420', '422' or '444', likewise.

    Raises:
        UserError: the codec is unknown or not in this build of PyAV, or a value is out of its range.
    """

    codec: str = 'h264'
    crf: int | None = None
    preset: str | None = None
    options: tuple[tuple[str, str], ...] = ()
    bits: int = 8
    chroma: str = '420'

    def __post_init__(self) -> None:
        if self.codec not in CODECS:
            raise UserError('unknown codec', value=self.codec, fix=', '.join(CODECS))
        known = CODECS[self.codec]
        if self.crf is not None and known.crf is None:
            raise UserError(f'{self.codec} has no crf', value=self.crf, fix='leave --crf away')
        if self.crf is not None and not 0 <= self.crf <= known.worst:
            raise UserError(f'crf goes from 0 to {known.worst} with {self.codec}', value=self.crf)
        here = ', '.join(name for name, codec in CODECS.items() if codec.encoder in av.codec.codecs_available)
        with explained(f'this build of PyAV has no encoder {known.encoder}', FFmpegError, ValueError, fix=here):
            av.codec.Codec(known.encoder, 'w')

    @classmethod
    def default_codec(cls, suffix: str) -> str:
        return {'.webm': 'vp9'}.get(suffix.lower(), 'h264')

    def check_container(self, path: Path) -> None:
        """Raises UserError where the codec does not go into such a file."""
        if path.suffix.lower() not in FORMATS:
            raise UserError('unknown kind of video file', where=path, fix=f'a name that ends in {", ".join(FORMATS)}')
        if path.suffix.lower() not in CODECS[self.codec].suffixes:
            fix = ', '.join(CODECS[self.codec].suffixes)
            raise UserError(f'{self.codec} does not go into {path.suffix}', where=path, fix=fix)

    def pixels(self, size: tuple[int, int]) -> str:
        """The pixel format. 4:2:0 halves both sides: an odd size keeps its chroma instead of losing a row."""
        return self._taken(size)[2]

    def _taken(self, size: tuple[int, int]) -> tuple[str, int, str]:
        """Chroma, depth and name of the pixel format: the nearest to what is wanted that this build of the encoder
        has, finer ones first."""
        known = CODECS[self.codec]
        there = {f.name for f in av.codec.Codec(known.encoder, 'w').video_formats or ()}
        depths = sorted(DEPTHS, key=lambda depth: (depth < self.bits, abs(depth - self.bits)))
        wanted = CHROMA['444' if size[0] % 2 or size[1] % 2 else self.chroma]
        for chroma, depth in itertools.product(('444',) if known.rgb else wanted, depths):
            name = RGB[depth] if known.rgb else f'yuv{chroma}p' + (f'{depth}le' if depth > 8 else '')
            if name in there:
                return chroma, depth, name
        raise UserError(f'{self.codec} takes no pixels that are known here', value=', '.join(sorted(there)))

    def losses(self, size: tuple[int, int]) -> list[str]:
        """What of bits and chroma the encoder cannot keep, a line each."""
        chroma, depth, _ = self._taken(size)
        found = []
        if depth < self.bits:
            found.append(f'{self.bits} bits become {depth}: {CODECS[self.codec].encoder} has no more')
        if int(chroma) < int(self.chroma):
            found.append(f'chroma of {":".join(self.chroma)} becomes {":".join(chroma)}')
        return found

    def encoder_options(self, pixels: str = '') -> dict[str, str]:
        """For an encoder of these pixels; parameters of x264 and x265 add up."""
        known = CODECS[self.codec]
        crf = known.crf if self.crf is None else self.crf
        given, options = dict(self.options), dict(known.options)
        if crf is not None and 'qp' not in given:
            options['crf'] = str(crf)
        if self.codec == 'prores' and '444' in pixels:
            options['profile'] = '4444'
        if self.preset:
            options['preset'] = self.preset
        own = {'h264': 'x264-params', 'h265': 'x265-params'}.get(self.codec, '')
        more = [steady_x264() if self.codec == 'h264' else '', options.get(own, ''), given.pop(own, '')]
        if own and any(more):
            options[own] = ':'.join(text for text in more if text)
        return options | given
