"""Frames straight from video files and from raw YUV."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from votes.data.raw_video import EXACT, RawFormat, format_of
from votes.data.raw_video import SUFFIXES as RAW_SUFFIXES
from votes.data.sources import Crop, Frame, KnownClips, cropped
from votes.video.colour import Colour
from votes.video.convert import frame_to_rgb
from votes.video.random_access import RandomAccess
from votes.video.write import planar_frame

VIDEO_SUFFIXES = (
    '.mp4', '.mkv', '.mov', '.webm', '.avi', '.m4v', '.ts', '.mts', '.m2ts', '.mpg', '.mpeg', '.wmv', '.flv', '.3gp'
)  # fmt: skip


class VideoSource(KnownClips):
    """``root/CLIP.mp4`` (mkv, webm ...): a video file a clip. Frames are counted by decoding times, not guessed.

    Made for frames that are read in order or in short windows: a far jump decodes from the key frame before it.

    Raises:
        UserError: no such folder, no videos in it, or a video that cannot be read.
    """

    OPEN = 4  # videos that stay open in a process

    told_by = tuple(f'*{suffix}' for suffix in VIDEO_SUFFIXES)

    def _find(self) -> dict[str, Any]:
        self._opened: dict[str, RandomAccess] = {}
        self._process = os.getpid()
        return self._listed('videos', VIDEO_SUFFIXES, lambda path: (path.stem, (0, (0, 0), path)))

    def path(self, clip: str) -> Path:
        """The video file of a clip."""
        return Path(super()._of(clip)[2])

    def _of(self, clip: str) -> Any:
        if not super()._of(clip)[0]:  # frames are counted when they are asked for
            self._video(clip)
        return self.known[clip]

    def _video(self, clip: str) -> RandomAccess:
        path = self.path(clip)
        if self._process != os.getpid():  # a decoder does not survive a fork
            self._opened, self._process = {}, os.getpid()
        if clip not in self._opened:
            while len(self._opened) >= self.OPEN:
                self._opened.pop(next(iter(self._opened))).reader.container.close()
            video = self._opened[clip] = RandomAccess(path)
            self.known[clip] = len(video.times), video.reader.size, path
        return self._opened[clip]

    def times(self, clip: str) -> list[float]:
        """Seconds at which frames are shown."""
        video = self._video(clip)
        return [float(pts * video.reader.time_base) for pts in video.times]

    def read(self, clip: str, index: int, crop: Crop | None = None) -> Frame:
        return cropped(self._video(clip).read(index), crop)


class YuvSource(KnownClips):
    """``root/CLIP_1920x1080_yuv420p.yuv``: planar YUV in limited range, its size and format in the name, see
    raw_video.format_of.

    The matrix is BT.709 from 720 lines or 1280 columns up, else BT.601. A raw file does not say where its chroma
    samples lie: they are taken to lie in the middle of their four pixels (H.264's lie at the left).

    Raises:
        UserError: no such files, a name that does not say how a file is to be read, or one that does not hold whole
            frames of it.
    """

    told_by = ('*.yuv',)

    def _find(self) -> dict[str, Any]:
        return dict(sorted(self._listed('raw videos', RAW_SUFFIXES, self._told).items()))

    def _told(self, path: Path) -> tuple[str, tuple[int, tuple[int, int], Path, RawFormat]]:
        told = format_of(path)
        name = EXACT.sub('', f'{path.stem} '.replace(f'{told.width}x{told.height}', '').replace('_', ' '))
        return '_'.join(name.split()).strip('_-. ') or path.stem, (told.count(path), told.shapes[0], path, told)

    def path(self, clip: str) -> Path:
        """The file of a clip."""
        return Path(self._of(clip)[2])

    def read(self, clip: str, index: int, crop: Crop | None = None) -> Frame:
        _, size, path, told = self._of(clip)
        frame = planar_frame(size, told.pixels, told.read(path, index))
        return cropped(frame_to_rgb(frame, Colour.of(2, 1, *size)), crop)


class LumaSource(YuvSource):
    """The Y of such files alone, as grey: what protocols that measure Y compare, whatever the matrix of the colours and
    though no RGB of 8 bits had them. Chosen by ``io_backend: {type: luma}`` alone.

    The grey of Y is ``255 (Y - 16) / 219``, rounded: metrics of Y (`test_y_channel`) see Y within half a level, and
    what lies outside of 16 to 235 as these.
    """

    def read(self, clip: str, index: int, crop: Crop | None = None) -> Frame:
        *_, path, told = self._of(clip)
        luma = told.read(path, index)[0] / (1 << (told.bits - 8))
        grey = ((luma - 16) * (255 / 219)).round().clip(0, 255).astype(np.uint8)
        return cropped(np.repeat(grey[..., None], 3, 2), crop)
