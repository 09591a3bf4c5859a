"""Evaluation clips: every frame of every clip, once, in order."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from votes.archs.windows import Padding, Pick, window_indices
from votes.data.clip_lists import Split
from votes.data.codec_metadata import CodecMetadata
from votes.data.pairs import ClipPairs
from votes.data.sources import Frame
from votes.data.transforms import to_tensor
from votes.errors import UserError


class VideoUVSSMTestDataset(Dataset):
    """Clips of LQ and GT frames; ``dataset[i]`` is the window around frame i of all frames: {'lq': uint8 (T, 3, h, w),
    'gt': uint8 (3, S*h, S*w), 'clip': name, 'index': frame of the clip}.

    Args:
        num_frame: the least length of a clip, and the window of ``dataset[i]``; -1: one frame, as networks that see
            clips need no more.
        padding: what stands in for frames beyond a clip's end, see `window_indices`.
        cache_data: keep all decoded LQ frames in memory.
        center_gt: accepted for the release's option files; GT is always of the frame that is restored.
        warm_up: frames before each clip that networks with a state are shown first, the clip's own in reverse (5, 4, 3,
            2, 1 of five): their results are dropped. FRVSR and COMISR are published with 5.
        codec_metadata: folder of motion vectors and quantisers (`votes metadata`), for networks that read them.
        Others: see UVSSMDataset.
    """

    given_by = {'codec_metadata': CodecMetadata.FIELDS}

    def __init__(
        self,
        dataroot_gt: str,
        dataroot_lq: str,
        meta_info_file: str | None = None,
        split: Split | None = None,
        io_backend: dict[str, str] | None = None,
        num_frame: int = 5,
        center_gt: bool = True,
        padding: Padding = 'reflection_circle',
        cache_data: bool = False,
        warm_up: int = 0,
        codec_metadata: str | None = None,
        scale: int = 2,
    ):
        num_frame = max(1, num_frame)
        if warm_up < 0 or (warm_up and codec_metadata):
            raise UserError(
                'warm_up is a number of frames, whose motion is not that of codec_metadata',
                where=dataroot_lq,
                value=f'warm_up {warm_up}, codec_metadata {codec_metadata}',
                fix='one of the two',
            )
        self.warm_up = warm_up
        self.num_frame, self.padding = num_frame, padding
        self.pairs = ClipPairs(
            dataroot_gt,
            dataroot_lq,
            scale,
            meta_info_file=meta_info_file,
            split=split,
            io_backend=io_backend,
            least=max(num_frame, warm_up + 1),
        )
        self.clips = self.pairs.names()
        self.metadata = CodecMetadata(codec_metadata) if codec_metadata else None
        for clip in self.clips if self.metadata else ():
            self.metadata.check(clip, self.pairs.lengths[clip], self.pairs.lq.size(clip))  # type: ignore[union-attr]
        self.ends = list(itertools.accumulate(self.pairs.lengths.values()))
        self._read = lru_cache(maxsize=None if cache_data else num_frame + 2)(self._read_lq)

    def _read_lq(self, clip: str, index: int) -> Frame:
        return self.pairs.lq.read(clip, index)

    def positions(self) -> list[tuple[str, int]]:
        """(clip, frame) of everything that is evaluated, in order."""
        return [(clip, index) for clip in self.clips for index in range(self.pairs.lengths[clip])]

    def shown(self, clip: str, index: int) -> dict[str, Tensor]:
        """A frame and its side information, as a network is shown them: 'lq' uint8 (1, 3, h, w), fields (1, ...)."""
        frame = to_tensor([self._read(clip, index)])
        if self.metadata is None:
            return {'lq': frame}
        height, width = self.pairs.lq.size(clip)
        return {'lq': frame, **self.metadata.read(clip, [index], (0, 0, height, width))}

    def gt(self, clip: str, index: int) -> Tensor:
        """The original of a frame, uint8 (3, S*h, S*w)."""
        return to_tensor([self.pairs.read_gt(clip, index)])[0]

    def peak(self, clip: str, pick: Pick = 'peaks') -> Callable[[int], bool] | None:
        """Which frames of a clip are picked, where that is known, see Window."""
        return None if self.metadata is None else self.metadata.peaks(clip, pick).__getitem__

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, i: int) -> dict[str, Any]:
        if not 0 <= i < len(self):
            raise IndexError(i)
        position = bisect.bisect_right(self.ends, i)
        clip = self.clips[position]
        length = self.pairs.lengths[clip]
        index = i - (self.ends[position] - length)
        lq = [self._read(clip, j) for j in window_indices(index, length, self.num_frame, self.padding)]
        return {'lq': to_tensor(lq), 'gt': self.gt(clip, index), 'clip': clip, 'index': index}
