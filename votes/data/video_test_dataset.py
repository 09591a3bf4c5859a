"""Evaluation clips: every frame of every clip, once, in order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from torch import Tensor

from votes.archs.windows import Padding, Pick
from votes.data.clip_lists import Split
from votes.data.codec_metadata import CodecMetadata
from votes.data.pairs import ClipPairs
from votes.data.sensed import SensedClips
from votes.data.transforms import to_tensor
from votes.errors import UserError


@dataclass(eq=False)
class VideoUVSSMTestDataset:
    """Clips of LQ and GT frames, frame by frame: `positions` of what is evaluated, what is `shown` and its `gt`.

    Args:
        num_frame: the least length of a clip; -1: one frame, as networks that see clips need no more.
        padding: what stands in for frames beyond a clip's end, see `window_indices`.
        cache_data: keep all decoded LQ frames in memory.
        center_gt: accepted for the release's option files; GT is always of the frame that is restored.
        warm_up: frames before each clip that networks with a state are shown first, the clip's own in reverse (5, 4, 3,
            2, 1 of five): their results are dropped. FRVSR and COMISR are published with 5.
        mirror: networks are shown each clip and then the same frames backwards, of which the first half counts: how
            BasicVSR and others that go through clips are tested on septuplets of Vimeo-90K.
        block: each clip is shown so many frames at a time, with nothing before and after them; 0: whole. OVQE is
            published with 150, RealViformer with 100.
        skip_ends: frames at either end of a clip that are not measured. DUF and COMISR are published with 2.
        measure: 'all' frames, or the 'middle' one of each clip, the only one of which GT need be there (Vimeo-90K).
        codec_metadata: folder of motion vectors and quantisers (`votes metadata`), for networks that read them.
        dataroot_dfm: maps of the frames (`votes sense`), for networks with `map_source: stored`.
        Others: see UVSSMDataset.
    """

    dataroot_gt: str
    dataroot_lq: str
    meta_info_file: str | None = None
    split: Split | None = None
    io_backend: dict[str, str] | None = None
    num_frame: int = 5
    center_gt: bool = True
    padding: Padding = 'reflection_circle'
    cache_data: bool = False
    warm_up: int = 0
    mirror: bool = False
    block: int = 0
    skip_ends: int = 0
    measure: Literal['all', 'middle'] = 'all'
    codec_metadata: str | None = None
    dataroot_dfm: str | None = None
    scale: int = 2

    given_by = {'codec_metadata': CodecMetadata.FIELDS, 'dataroot_dfm': ('difference',)}

    def __post_init__(self) -> None:
        self._check_ways()
        chosen = {name: getattr(self, name) for name in ('meta_info_file', 'split', 'io_backend')}
        least = max(1, self.num_frame, self.warm_up + 1, 2 * self.skip_ends + 1)
        middle_gt = self.measure == 'middle'
        self.pairs = ClipPairs(
            self.dataroot_gt, self.dataroot_lq, self.scale, **chosen, middle_gt=middle_gt, least=least
        )
        self.clips = self.pairs.names()
        self.metadata = CodecMetadata(self.codec_metadata) if self.codec_metadata else None
        self.differences = SensedClips(self.dataroot_dfm, self.pairs, [1]) if self.dataroot_dfm else None
        for clip in self.clips if self.metadata else ():
            self.metadata.check(clip, self.pairs.lengths[clip], self.pairs.lq.size(clip))  # type: ignore[union-attr]
        self.places = [(clip, index) for clip in self.clips for index in self.measured(clip)]
        self._read = cache(self.pairs.lq.read) if self.cache_data else self.pairs.lq.read

    def _check_ways(self) -> None:
        """Of the ways to be shown a clip there is one."""
        ways = {'warm_up': self.warm_up, 'mirror': self.mirror, 'block': self.block}
        told = self.codec_metadata or (self.warm_up and self.dataroot_dfm)
        least = min(self.warm_up, self.block, self.skip_ends)
        if sum(map(bool, ways.values())) > 1 or (told and (self.warm_up or self.mirror)) or least < 0:
            what = 'one of warm_up, mirror and block, none below 0; those that go backwards have no metadata of frames'
            value = f'{ways}, skip_ends {self.skip_ends}, metadata {told}'
            raise UserError(what, where=self.dataroot_lq, value=value)

    def positions(self) -> list[tuple[str, int]]:
        """(clip, frame) of everything that is evaluated, in order."""
        return self.places

    def measured(self, clip: str) -> range:
        """The frames of a clip that are evaluated."""
        length = self.pairs.lengths[clip]
        if self.measure == 'middle':
            return range(length // 2, length // 2 + 1)
        return range(self.skip_ends, length - self.skip_ends)

    def passes(self, clip: str) -> list[tuple[list[int], int]]:
        """How networks are shown a clip: frames in their order, and from which of them on results count, once each."""
        length = self.pairs.lengths[clip]
        if self.block:
            return [(list(range(a, min(a + self.block, length))), 0) for a in range(0, length, self.block)]
        if self.mirror:
            return [([*range(length), *reversed(range(length))], 0)]
        return [([abs(i - self.warm_up) for i in range(length + self.warm_up)], self.warm_up)]

    def shown(self, clip: str, index: int) -> dict[str, Tensor]:
        """A frame and its side information, as a network is shown them: 'lq' uint8 (1, 3, h, w), fields (1, ...)."""
        found = {'lq': to_tensor([self._read(clip, index)])}
        if self.differences is not None:
            found['difference'] = self.differences.read(clip, index)[None]
        if self.metadata is not None:
            height, width = self.pairs.lq.size(clip)
            found |= self.metadata.read(clip, [index], (0, 0, height, width))
        return found

    def gt(self, clip: str, index: int) -> Tensor:
        """The original of a frame, uint8 (3, S*h, S*w)."""
        return to_tensor([self.pairs.read_gt(clip, index)])[0]

    def peak(self, clip: str, pick: Pick = 'peaks') -> Callable[[int], int] | None:
        """The marks of a clip's frames, where they are known, see CodecMetadata."""
        return None if self.metadata is None else self.metadata.marks(clip, pick).__getitem__

    def __len__(self) -> int:
        return len(self.places)


class VideoTestVimeo90KDataset(VideoUVSSMTestDataset):
    """Vimeo-90K's test septuplets, of which the middle frame (im4) is measured, as BasicSR's option files name them.
    See VideoUVSSMTestDataset; networks that go through clips are tested with `mirror: true`.
    """

    def __init__(self, dataroot_gt: str, dataroot_lq: str, mirror: bool = False, **arguments: Any):
        super().__init__(dataroot_gt, dataroot_lq, mirror=mirror, measure='middle', **arguments)
