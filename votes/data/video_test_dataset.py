"""Evaluation windows: every frame of every clip, once, in order."""

from __future__ import annotations

import bisect
import itertools
from functools import lru_cache
from typing import Any

from torch.utils.data import Dataset

from votes.data.clip_lists import Split
from votes.data.pairs import ClipPairs
from votes.data.sources import Frame
from votes.data.transforms import to_tensor
from votes.data.windows import Padding, window_indices


class VideoUVSSMTestDataset(Dataset):
    """``dataset[i]``: {'lq': uint8 (T, 3, h, w), 'gt': uint8 (3, S*h, S*w), 'clip': name, 'index': frame of the clip}.

    Args:
        padding: what stands in for frames beyond a clip's end, see `window_indices`.
        cache_data: keep all decoded LQ frames in memory (otherwise those of a window).
        center_gt: accepted for the release's option files; GT is always the centre frame.
        Others: see UVSSMDataset.
    """

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
        scale: int = 2,
    ):
        self.num_frame, self.padding = num_frame, padding
        self.pairs = ClipPairs(
            dataroot_gt,
            dataroot_lq,
            scale,
            meta_info_file=meta_info_file,
            split=split,
            io_backend=io_backend,
            least=num_frame,
        )
        self.clips = self.pairs.names()
        self.ends = list(itertools.accumulate(self.pairs.lengths.values()))
        self._read = lru_cache(maxsize=None if cache_data else num_frame + 2)(self._read_lq)

    def _read_lq(self, clip: str, index: int) -> Frame:
        return self.pairs.lq.read(clip, index)

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
        gt = to_tensor([self.pairs.read_gt(clip, index)])[0]
        return {'lq': to_tensor(lq), 'gt': gt, 'clip': clip, 'index': index}
