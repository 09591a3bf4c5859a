"""Compressed clips and their originals side by side."""

from __future__ import annotations

import numpy as np

from votes.data.clip_lists import Split, partition, read_meta_info, split_clips
from votes.data.degrading import OnTheFly
from votes.data.sources import Crop, Frame, FrameSource, open_source
from votes.errors import UserError, listed


class ClipPairs:
    """LQ and GT clips of the same names, checked before anything is trained on them.

    A platform rounds odd sizes, and codecs want even ones: in each direction GT may be up to 2 * scale - 1 pixels
    larger than scale x LQ, or scale - 1 pixels smaller. What exceeds is cropped from the right and the bottom of GT,
    what is missing there is filled by repeating GT's edge.

    Args:
        meta_info_file: takes only the clips in this list, and so many frames of each (default: all folders).
        split: takes only one part of a seeded split.
        meta_val_file, meta_test_file, val_partition: clips to leave out: those of lists and of a partition.
        test_mode: takes the clips of `val_partition` alone.
        middle_gt: GT may hold the middle frame of each clip alone.
        least: a clip must have so many frames.
        degradation: recipes (see `votes degrade`) that make LQ when a sample is drawn, instead of `dataroot_lq`.
        tolerant: clips that do not fit are left out and told in `problems`.

    Raises:
        UserError: with every clip that does not fit (the first ten, and how many there are).
    """

    def __init__(
        self,
        dataroot_gt: str,
        dataroot_lq: str | None = None,
        scale: int = 2,
        *,
        meta_info_file: str | None = None,
        split: Split | None = None,
        meta_val_file: str | None = None,
        meta_test_file: str | None = None,
        val_partition: str | list[str] | None = None,
        test_mode: bool = False,
        middle_gt: bool = False,
        io_backend: dict | None = None,
        least: int = 1,
        degradation: str | list[str] | None = None,
        tolerant: bool = False,
    ):
        self.gt = open_source(dataroot_gt, io_backend)
        recipes = [degradation] if isinstance(degradation, str) else degradation or []
        if bool(recipes) == bool(dataroot_lq):
            raise UserError('either dataroot_lq or degradation is needed', where=f'gt {dataroot_gt}')
        stored = open_source(dataroot_lq, io_backend) if dataroot_lq else None
        self.lq: FrameSource = stored or OnTheFly(self.gt, recipes, scale)
        self.scale, self.middle_gt = scale, middle_gt
        self.lengths: dict[str, int] = {}
        self._there = {'LQ': frozenset(self.lq.clips()), 'GT': frozenset(self.gt.clips())}
        everything = sorted(self._there['LQ'] | self._there['GT'])
        counts = read_meta_info(meta_info_file) if meta_info_file else dict.fromkeys(everything)
        names = split_clips(sorted(counts), split) if split else list(counts)
        excluded = {clip for path in (meta_val_file, meta_test_file) if path for clip in read_meta_info(path)}
        parted = frozenset(partition(val_partition))
        names = [name for name in names if name not in excluded and (name in parted) == test_mode]
        if not names:
            where = meta_info_file or dataroot_gt
            raise UserError('no clips are left', where=where, fix='check the lists and the split')
        self.problems: dict[str, str] = {}
        for name in names:
            try:
                self.lengths[name] = self._length(name, counts[name], least)
            except UserError as error:  # of the frame source too: a gap in the numbering, a picture without a header
                told = (error.what, *error.details.values())
                self.problems[name] = ', '.join(str(part) for part in told if part is not None)
        problems = [f'{name}: {problem}' for name, problem in self.problems.items()]
        if problems and not tolerant:
            what = listed(f'{len(problems)} of {len(names)} clips cannot be used:', problems)
            fix = 'mend them, or name the clips to use in a meta_info_file'
            raise UserError(what, where=f'lq {dataroot_lq or degradation}, gt {dataroot_gt}', fix=fix)

    def _length(self, name: str, listed: int | None, least: int) -> int:
        """Frames of a clip that are taken.

        Raises:
            UserError: its sides do not fit together.
        """
        missing = [kind for kind, there in self._there.items() if name not in there]
        if missing:
            raise UserError(f'no folder in {" and ".join(missing)}')
        found, of_gt = self.lq.length(name), self.gt.length(name)
        if found != of_gt and not (self.middle_gt and of_gt == 1):
            raise UserError(f'LQ has {found} frames, GT has {of_gt}')
        length = found if listed is None else listed
        if length > found:
            raise UserError(f'the list says {listed} frames, there are {found}')
        (height, width), (gt_height, gt_width) = self.lq.size(name), self.gt.size(name)
        more = gt_height - self.scale * height, gt_width - self.scale * width
        if not all(-self.scale < n < 2 * self.scale for n in more):
            raise UserError(f'LQ {width}x{height} times scale {self.scale} is not GT {gt_width}x{gt_height}')
        if length < least:
            raise UserError(f'{length} frames are shorter than the window of {least}')
        return length

    def names(self) -> list[str]:
        return list(self.lengths)

    def read_lq(self, clip: str, indices: list[int], crop: Crop, rng: np.random.Generator) -> list[Frame]:
        """The frames of a window, cropped; `rng` decides how they are degraded where that happens now."""
        window = getattr(self.lq, 'window', None)
        if window:
            return list(window(clip, indices, crop, rng))
        return [self.lq.read(clip, i, crop) for i in indices]

    def read_gt(self, clip: str, index: int, lq_crop: Crop | None = None, shift: tuple[int, int] = (0, 0)) -> Frame:
        """The original of LQ frame `index`, or of a crop of it (in LQ pixels): exactly scale times as large.

        Args:
            shift: pixels of GT that the crop begins further up and to the left.
        """
        top, left, height, width = lq_crop or (0, 0, *self.lq.size(clip))
        scale = self.scale
        if self.middle_gt and self.gt.length(clip) == 1:
            if index != self.lengths[clip] // 2:
                value = f'frame {index} is compared'
                raise UserError('GT holds the middle frame of each clip alone', where=clip, value=value)
            index = 0
        starts = top * scale - shift[0], left * scale - shift[1]
        before = max(0, -starts[0]), max(0, -starts[1])
        sides = height * scale - before[0], width * scale - before[1]
        frame = self.gt.read(clip, index, (max(0, starts[0]), max(0, starts[1]), *sides))
        after = sides[0] - frame.shape[0], sides[1] - frame.shape[1]
        if any(before + after):
            frame = np.pad(frame, (*zip(before, after, strict=True), (0, 0)), mode='edge')
        return frame
