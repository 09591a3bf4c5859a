"""Training windows from pairs of compressed and original clips."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from votes.archs.fields import followed_backwards
from votes.archs.windows import Pick, peak_indices
from votes.data.clip_lists import CHOSEN, LISTS, Split
from votes.data.codec_metadata import CodecMetadata
from votes.data.grid import grid_of
from votes.data.pairs import ClipPairs
from votes.data.sensed import SensedClips
from votes.data.sources import Crop, Frame
from votes.data.transforms import orient, random_crop, random_turn, random_walk, to_tensor
from votes.errors import UserError


@dataclass(eq=False)
class UVSSMDataset(Dataset):
    """A sample is a clip; its window, crop and orientation are drawn anew each epoch.

    Clips are those of `meta_info_file` (default: all folders) less those of `meta_val_file`, `meta_test_file` and
    `val_partition` ('REDS4', 'official' or names); or one part of a seeded `split`.

    Args:
        num_frame: frames T of a sample, as the network sees them unless told; -1: all frames of a clip.
        centre: which of them is the centre frame, the middle one unless told; the network's where it has one.
        pick: 'next' to each other, or frames that `codec_metadata` tells, see archs.contract.Window.
        adjacent: of these, the frames next to the centre are among them.
        center_gt: GT is the centre frame alone, or all T frames; what the losses need unless told.
        gt_size: side of the square GT crop.
        scale: GT size / LQ size.
        interval_list: steps between frames, one is drawn.
        random_reverse: half of the windows run backwards.
        flip_sequence: the frames are followed by the same ones backwards, T becomes 2 T (BasicVSR's for short clips).
        moving_first_frame: how likely a sample is its first frame alone, T times, under a crop that walks by at most a
            pixel of LQ a frame (0.7 for FRVSR): motion that is known exactly, and no other.
        test_mode: takes the clips of `val_partition` alone, instead of leaving them out.
        use_flip, use_rot: random flips; random rotations by 90 degrees.
        degradation: recipes, one is drawn for each sample, that make LQ from GT; instead of `dataroot_lq`.
        dataroot_once: frames after the first of two encodes, where those of `dataroot_lq` were encoded twice: what a
            network's guess of them is compared with (target `once` of a loss).
        dataroot_dfm: what the DSM found in the frames of `dataroot_lq`, or another map of them (`votes sense`):
            training need not run the DSM.
        codec_metadata: folder of motion vectors and quantisers (`votes metadata`), added to the sample as
            CodecMetadata.read gives them.
        augment_on_device: flips and rotations are left to `transforms.orient`, on the device of the training.

    ``dataset[epoch, index]`` is a pure function of (seed, epoch, index): {'lq': uint8 (T, 3, h, w), 'gt': uint8
    (3, H, W) or (T, 3, H, W), 'key': where it comes from}, 'once' (1, 3, h, w) or (T, 3, h, w) with `dataroot_once`,
    'difference' uint8 (1, h, w) with `dataroot_dfm`, and 'turn' with `augment_on_device`. `seed` is an attribute.

    Raises:
        UserError: clips that do not fit (all of them), or a gt_size that does not.
    """

    dataroot_gt: str
    dataroot_lq: str | None = None
    meta_info_file: str | None = None
    meta_val_file: str | None = None
    meta_test_file: str | None = None
    val_partition: str | list[str] | None = None
    split: Split | None = None
    io_backend: dict[str, str] | None = None
    num_frame: int = 5
    centre: int | None = None
    pick: Pick = 'next'
    adjacent: bool = False
    center_gt: bool = True
    gt_size: int = 128
    scale: int = 2
    interval_list: list[int] | None = None
    random_reverse: bool = False
    flip_sequence: bool = False
    moving_first_frame: float = 0
    test_mode: bool = False
    use_flip: bool = True
    use_rot: bool = True
    degradation: str | list[str] | None = None
    dataroot_once: str | None = None
    dataroot_dfm: str | None = None
    codec_metadata: str | None = None
    augment_on_device: bool = False

    by_epoch = True  # samples are asked for by (epoch, index)
    given_by = {'codec_metadata': CodecMetadata.FIELDS, 'dataroot_dfm': ('difference',)}
    # may differ when a run goes on: where frames are (what they show is compared), and how they are brought
    anytime = ('dataroot_gt', 'dataroot_lq', *LISTS, 'io_backend', 'augment_on_device')
    middle_gt = False  # GT may hold the middle frame of each clip alone

    def __post_init__(self) -> None:
        if self.gt_size % self.scale:
            raise UserError(f'gt_size {self.gt_size} is no multiple of scale {self.scale}')
        self.seed, self.intervals = 0, self.interval_list or [1]
        self.place = self.num_frame // 2 if self.centre is None else self.centre
        self._check_window()
        chosen = {name: getattr(self, name) for name in CHOSEN}
        whole = self.pick != 'next' or self.num_frame == -1
        least = 1 if whole else (self.num_frame - 1) * max(self.intervals) + 1
        more: dict[str, Any] = {'degradation': self.degradation, 'middle_gt': self.middle_gt, 'least': least}
        self.pairs = ClipPairs(self.dataroot_gt, self.dataroot_lq, self.scale, **chosen, **more)
        self.once = ClipPairs(self.dataroot_once, self.dataroot_lq, 1, **chosen) if self.dataroot_once else None
        self.grid, self.clips = grid_of(self), self.pairs.names()
        self.metadata = CodecMetadata(self.codec_metadata) if self.codec_metadata else None
        self._check_clips()
        self.differences = SensedClips(self.dataroot_dfm, self.pairs, self.intervals) if self.dataroot_dfm else None

    def _check_window(self) -> None:
        """What is asked of a sample goes together."""
        where = self.dataroot_gt
        if self.pick != 'next' and not self.codec_metadata:
            what = 'neighbours of peak quality, or of a picture type, need codec_metadata'
            raise UserError(what, where=where, fix='`votes metadata`')
        if self.codec_metadata and self.pick == 'next' and self.intervals != [1]:
            what = 'motion vectors are those to the next frame, and samples would not hold it'
            value = f'interval_list {self.intervals}, codec_metadata {self.codec_metadata}'
            raise UserError(what, where=where, value=value, fix='interval_list: [1]')
        if (self.num_frame == -1 and self.intervals != [1]) or (self.flip_sequence and self.center_gt):
            what = 'whole clips have no steps between frames, mirrored ones no centre frame'
            value = f'num_frame {self.num_frame}, interval_list {self.intervals}, flip_sequence {self.flip_sequence}'
            raise UserError(what, where=where, value=value, fix='interval_list: [1], center_gt: false')

    def _check_clips(self) -> None:
        """Samples can be cut from every clip."""
        where = self.dataroot_gt
        coded = any(recipe.generations for recipe in getattr(self.pairs.lq, 'recipes', ()))
        if self.moving_first_frame and (coded or self.metadata or self.dataroot_dfm):
            fix = 'stored LQ frames, or recipes without generations; no codec_metadata, no dataroot_dfm'
            raise UserError('moving_first_frame needs frames that stand for themselves', where=where, fix=fix)
        lengths = set(self.pairs.lengths.values())
        if self.num_frame == -1 and len(lengths) > 1:
            what = 'num_frame: -1 takes whole clips, which are of different lengths'
            value, fix = f'{min(lengths)} to {max(lengths)} frames', f'num_frame: {min(lengths)} or fewer'
            raise UserError(what, where=where, value=value, fix=fix)
        for clip in self.clips:
            if self.metadata:
                self.metadata.check(clip, self.pairs.lengths[clip], self.pairs.lq.size(clip))
            largest = min(self.pairs.lq.size(clip))
            if self.gt_size // self.scale > largest:
                what, told = f'gt_size {self.gt_size} is larger than a frame', f'clip {clip} in {where}'
                value, fix = f'its shorter side is {largest * self.scale}', f'{largest // 4 * 4 * self.scale} or less'
                raise UserError(what, where=told, value=value, fix=f'gt_size: {fix}')

    def __len__(self) -> int:
        return len(self.clips)

    def _frames(self, clip: str, rng: np.random.Generator) -> list[int]:
        interval, length = int(rng.choice(self.intervals)), self.pairs.lengths[clip]
        if self.pick != 'next' and self.metadata:
            marks = self.metadata.marks(clip, self.pick)[:length]
            return peak_indices(int(rng.integers(length)), marks, self.num_frame, self.place, self.adjacent)
        if self.num_frame == -1:
            return list(range(length))
        start = int(rng.integers(length - (self.num_frame - 1) * interval))
        return [start + i * interval for i in range(self.num_frame)]

    def _moving(self, clip: str, seen: list[tuple[int, Crop]], rng: np.random.Generator) -> list[Frame]:
        """One frame under a crop that moves; a recipe is drawn alike for all of them."""
        seed = int(rng.integers(1 << 31))
        return [self.pairs.read_lq(clip, [i], crop, np.random.default_rng(seed))[0] for i, crop in seen]

    def _shift(self, turn: Tensor) -> tuple[int, int]:
        """Pixels by which GT's crop begins earlier where it is mirrored.

        Of LQ that has every S-th pixel from the first, a mirrored picture has those from the S-th one: GT that begins
        S - 1 pixels earlier makes of it what mirroring before the degradation gives.
        """
        step = self.scale - 1 if self.grid == 'origin' else 0
        return step * int(turn[1]), step * int(turn[0])

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        epoch, index = key
        rng = np.random.default_rng((self.seed, epoch, index))
        clip = self.clips[index % len(self.clips)]
        frames = self._frames(clip, rng)
        if self.random_reverse and rng.random() < 0.5:
            frames.reverse()
        crop = random_crop(rng, self.pairs.lq.size(clip), self.gt_size // self.scale)
        turn = random_turn(rng, self.use_flip, self.use_rot)
        seen = [(i, crop) for i in frames]
        moving = self.moving_first_frame and rng.random() < self.moving_first_frame
        if moving:
            seen = [(frames[0], area) for area in random_walk(rng, self.pairs.lq.size(clip), crop, len(frames))]
        centre = seen[self.place if self.num_frame != -1 else len(frames) // 2]
        restored = [centre] if self.center_gt else seen
        gt = to_tensor([self.pairs.read_gt(clip, i, area, self._shift(turn)) for i, area in restored])
        sample: dict[str, Any] = {
            'lq': to_tensor(self._moving(clip, seen, rng) if moving else self.pairs.read_lq(clip, frames, crop, rng)),
            'gt': gt[0] if self.center_gt else gt,
            'key': f'{clip}/{centre[0]:08d}',
            **({'once': to_tensor([self.once.read_gt(clip, *place) for place in restored])} if self.once else {}),
            **({'difference': self.differences.read(clip, *centre)} if self.differences else {}),
            **(self.metadata.read(clip, frames, crop) if self.metadata else {}),
        }
        if self.flip_sequence:
            sample |= followed_backwards(sample)
        return {**sample, 'turn': turn} if self.augment_on_device else orient(sample, turn)
