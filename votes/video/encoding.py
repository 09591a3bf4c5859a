"""One generation of a recipe: a codec, how hard it compresses, and how that changes in the course of a clip."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from votes.video.encoders import steady_x264
from votes.video.recipe_check import out_of_limits, refused

QP_OPTION = {'libx264': 'qp', 'libx265': None, 'libvpx-vp9': None, 'libsvtav1': 'qp', 'mpeg4': 'qscale'}
X26 = ('libx264', 'libx265')


class Follow(BaseModel):
    """A rate that follows content: pieces of a clip get bits as they are hard, relative to the clip's mean."""

    model_config = ConfigDict(extra='forbid')
    frames: int = Field(default=24, ge=1, le=1000, description='of a piece')
    strength: float = Field(default=0.5, ge=0, le=2, description='0: all pieces alike; 1: as their activity')


class Encoding(BaseModel):
    """One generation: a codec and how hard it compresses. Exactly one of qp, crf, kbps and qp_cycle."""

    model_config = ConfigDict(extra='forbid')
    codec: Literal['libx264', 'libx265', 'libvpx-vp9', 'libsvtav1', 'mpeg4'] = 'libx264'
    qp: int | None = Field(default=None, ge=0, le=63)
    crf: int | float | None = Field(default=None, ge=0, le=63)
    kbps: int | None = Field(default=None, ge=1, le=2_000_000, description='average bitrate, kilobits a second')
    two_pass: bool = False
    preset: str | None = None
    gop: int | None = Field(default=None, ge=1, description='frames from key frame to key frame at most')
    bframes: int | None = Field(default=None, ge=0)
    rate: int = Field(default=25, ge=1, le=1000, description='frames a second')
    pix_fmt: Literal['yuv420p', 'yuv422p', 'yuv444p'] = 'yuv420p'
    chroma_siting: Literal['centre', 'left'] = Field(
        default='centre',
        description='where chroma of 4:2:0 and 4:2:2 lies: between columns of luma, or at the left one',
    )
    params: str = Field(default='', description="more of the encoder's own parameters, a=1:b=2 (x264 and x265)")
    qp_cycle: list[int] | None = Field(
        default=None,
        min_length=2,
        max_length=64,
        description='quantisers of the first frames, which then repeat to the end (libx264 without B-frames)',
    )
    follow: Follow | None = Field(default=None, description='a rate that follows content (libx264 with crf or kbps)')
    switch: list[tuple[int, int]] | None = Field(
        default=None,
        description='[[frame, factor], ...]: from this frame on coded at 1/factor of the size, and enlarged afterwards',
    )

    @model_validator(mode='after')
    def _one_measure(self) -> Encoding:
        if sum(value is not None for value in (self.qp, self.crf, self.kbps, self.qp_cycle)) != 1:
            raise ValueError('exactly one of qp, crf and kbps is needed (or qp_cycle)')
        if self.qp_cycle and (self.codec != 'libx264' or self.bframes != 0 or 'zones' in self.params):
            raise ValueError('qp_cycle needs libx264, bframes: 0, and no zones in params')
        if self.chroma_siting != 'centre' and self.pix_fmt == 'yuv444p':
            raise ValueError('chroma_siting needs yuv420p or yuv422p')
        if self.two_pass and (self.kbps is None or self.codec not in X26):
            raise ValueError('two_pass needs kbps, and libx264 or libx265')
        if self.qp is not None and self.codec == 'libvpx-vp9':
            raise ValueError('libvpx-vp9 takes crf or kbps')
        if self.crf is not None and self.codec not in X26 and self.crf != int(self.crf):
            raise ValueError(f'crf of {self.codec} is a whole number')
        if self.follow and (self.codec != 'libx264' or (self.crf is None and self.kbps is None) or self.switch):
            raise ValueError('follow needs libx264, crf or kbps, and no switch')
        if self.switch:
            self._check_switch(self.switch)
        given = self.model_dump()
        problems = out_of_limits(self.codec, given)
        for qp in self.qp_cycle or ():
            problems += out_of_limits(self.codec, {'qp': qp})
        if problems:
            raise ValueError('; '.join(dict.fromkeys(problems)))
        return self

    @staticmethod
    def _check_switch(switch: list[tuple[int, int]]) -> None:
        starts = [start for start, _ in switch]
        if starts[0] != 0 or starts != sorted(set(starts)):
            raise ValueError('switch begins with frame 0, and its frames rise')
        if not all(1 <= factor <= 8 for _, factor in switch):
            raise ValueError('factors of a switch go from 1 to 8')

    def options(
        self, stats: Path | None = None, number: int = 0, frames: int = 2, activity: list[float] | None = None
    ) -> dict[str, str]:
        """For the encoder; `stats` and `number` of one of two passes, `frames` of the whole clip, `activity` of its
        pieces where the rate follows them (see `activity_of`)."""
        own = [self.params] if self.params else []
        found: dict[str, str] = {'threads': '2'}  # x264 with one thread encodes differently: the same everywhere
        if self.qp is not None:
            name = QP_OPTION[self.codec]
            if name:
                found[name] = str(self.qp)
            else:
                own.append(f'qp={self.qp}')
        if self.qp_cycle:
            # x264 keeps a quantiser within what its ratios allow between I, P and B: as far apart as in the cycle
            zones = (f'{i},{i},q={self.qp_cycle[i % len(self.qp_cycle)]}' for i in range(frames))
            own += ['qpstep=51:ipratio=1:pbratio=4', 'zones=' + '/'.join(zones)]
            found['qp'] = str(self.qp_cycle[0])
        elif self.codec == 'libx264' and self.qp is None and steady_x264():
            own.append(steady_x264())
        if self.follow and activity:
            own.append('zones=' + '/'.join(self._shares(self.follow, activity, frames)))
        if self.crf is not None:
            found |= {'crf': str(self.crf), **({'b': '0'} if self.codec == 'libvpx-vp9' else {})}
        if self.kbps is not None:
            found['b'] = f'{self.kbps}k'
        if self.preset:
            found['preset'] = self.preset
        if self.gop:
            found['g'] = str(self.gop)
        if self.bframes is not None:
            found['bf'] = str(self.bframes)
        if self.codec == 'libx265':
            own += ['log-level=none', 'pools=2', 'frame-threads=1']
        if stats is not None:
            own += [f'pass={number}', f'stats={stats}']
        if own and self.codec in X26:
            found[f'{self.codec[3:]}-params'] = ':'.join(own)
        return found

    @staticmethod
    def _shares(follow: Follow, activity: list[float], frames: int) -> list[str]:
        """How many times the bits of an ordinary piece each piece gets; x264 takes 1/100 to 100."""
        shares = (np.array(activity) / max(1e-9, float(np.mean(activity)))) ** follow.strength
        shares = np.clip(shares / shares.mean(), 0.1, 10)
        starts = range(0, frames, follow.frames)
        return [
            f'{start},{min(start + follow.frames, frames) - 1},b={share:.3f}'
            for start, share in zip(starts, shares, strict=True)
        ]

    def pieces(self, count: int, size: tuple[int, int]) -> list[tuple[int, tuple[int, int]]]:
        """How many frames are coded together, and their height and width: one piece unless the resolution switches."""
        switch = [(start, factor) for start, factor in self.switch or [(0, 1)] if start < count]
        ends = [start for start, _ in switch[1:]] + [count]
        even = 1 if self.pix_fmt == 'yuv444p' else 2
        found = []
        for (start, factor), end in zip(switch, ends, strict=True):
            height, width = (max(even, n // factor // even * even) for n in size)
            found.append((end - start, (height, width) if factor > 1 else size))
        return found

    def problems(self) -> list[str]:
        """What the encoder would refuse, ignore or clamp, tried on two small frames; a sentence each."""
        return refused(self.codec, self.pix_fmt, tuple(sorted(self.options().items())), self.params)


def activity_of(frames: Iterable[NDArray[np.uint8]], piece: int) -> list[float]:
    """How hard to compress each piece of so many frames is: mean absolute change from pixel to pixel and from frame to
    frame, in levels of luma at a quarter of the size."""
    found: list[list[float]] = []
    before: Any = None
    for number, frame in enumerate(frames):
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        small = cv2.resize(grey, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA).astype(np.float32)
        within = float(np.abs(np.diff(small, axis=1)).mean() + np.abs(np.diff(small, axis=0)).mean())
        between = 0.0 if before is None else float(np.abs(small - before).mean())
        if number % piece == 0:
            found.append([])
        found[-1].append(within + between)
        before = small
    return [float(np.mean(values)) for values in found]
