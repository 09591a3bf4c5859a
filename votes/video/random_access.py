"""Frames of a video in any order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from votes.errors import UserError
from votes.video.read import TimedFrame, VideoReader


class RandomAccess:
    """One open video with the time of every frame, and where the decoder stands.

    Attributes:
        times, keys: of all frames in the order of display, and which of them are key frames.

    Raises:
        UserError: see VideoReader.
    """

    def __init__(self, path: Path):
        self.reader = VideoReader(path, threads=1)  # workers are what is many; each decoder's threads hold frames
        self.times, self.keys = self.reader.frame_times()
        self.frames: Iterator[TimedFrame] | None = None
        self.next = 0

    def read(self, index: int) -> NDArray[Any]:
        """Frame `index` in the order of display, RGB (H, W, 3); decodes on from where it stands if that is shorter."""
        if not 0 <= index < len(self.times):
            raise UserError('no such frame in the video', where=self.reader.path, value=f'{index} of {len(self.times)}')
        if self.frames is None or index < self.next or self._key_before(index) > self._key_before(max(0, self.next)):
            key = self._key_before(index)
            self.frames, self.next = self.reader.frames_from(self.times[key]), key
        rgb = self._decode_to(index)
        if rgb is None:  # some containers (MPEG-TS) land behind the time that was asked for: once more, from the start
            self.frames = self.reader.frames_from(None)
            rgb = self._decode_to(index)
        if rgb is not None:
            return rgb
        value = f'frame {index} of {len(self.times)}'
        raise UserError('a frame of the video cannot be decoded', where=self.reader.path, value=value)

    def _decode_to(self, index: int) -> NDArray[Any] | None:
        """Frame `index`, known by its time, or None if the decoder is past it."""
        for frame in self.frames or ():
            if frame.pts >= self.times[index]:
                self.next = index + 1
                return frame.rgb if frame.pts == self.times[index] else None
        return None

    def _key_before(self, index: int) -> int:
        return self.keys[int(np.searchsorted(self.keys, index, side='right')) - 1]
