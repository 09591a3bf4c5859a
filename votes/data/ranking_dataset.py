"""Pairs of frames of which one has lost more to compression, for networks that are to tell which."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from typing_extensions import TypedDict

from votes.data.clip_lists import LISTS, Split
from votes.data.codec_metadata import CodecMetadata
from votes.data.pairs import ClipPairs
from votes.data.transforms import orient, random_crop, random_turn, to_tensor
from votes.errors import UserError

QUALITY = 'IPB'  # picture types of one rate factor, from the best to the worst
REACH = 8  # frames between two of different types, at most: others show something else
KINDS = ('level', 'type')
Picked = tuple[int, int]  # version, frame


class Version(TypedDict):
    """One encode of all clips: a root of frames, as of `dataroot_lq`, and what `votes metadata` says about it."""

    dataroot: str
    codec_metadata: str


class RankedVersions:
    """Encodes of the same clips, from the best to the worst, and pairs of their frames.

    A pair of the kind 'level' is one frame in two versions, of the same picture type in both; one of the kind 'type'
    is two frames of one version, not far from each other, of different types.

    Args:
        chosen: which clips, as of ClipPairs.

    Raises:
        UserError: fewer than two versions, clips that do not fit together, or some without any pair.
    """

    def __init__(self, versions: list[Version], **chosen: Any):
        if len(versions) < 2:
            raise UserError('two versions or more can be ranked', value=f'{len(versions)} in `versions`')
        best = versions[0]['dataroot']
        self.sources = [ClipPairs(best, v['dataroot'], 1, **chosen) for v in versions]
        self.metadata = [CodecMetadata(v['codec_metadata']) for v in versions]
        self.clips = [clip for clip in self.sources[0].names() if all(clip in s.lengths for s in self.sources)]
        self.types: dict[str, list[str]] = {}
        for clip in self.clips:
            length, size = self.sources[0].lengths[clip], self.sources[0].lq.size(clip)
            for metadata in self.metadata:
                metadata.check(clip, length, size)
            self.types[clip] = [''.join(metadata.about(clip)['types'][:length]) for metadata in self.metadata]
            if not any(self.draw(clip, kind, np.random.default_rng(0)) for kind in KINDS):
                raise UserError(
                    'no two frames of this clip can be ranked',
                    where=f'{clip} in {best} and other versions',
                    value=f'picture types {", ".join(self.types[clip])[:60]}',
                )

    def draw(self, clip: str, kind: str, rng: np.random.Generator) -> tuple[Picked, Picked] | None:
        """A pair, the better frame first; None where a clip has none of this kind."""
        return self._of_levels(clip, rng) if kind == 'level' else self._of_types(clip, rng)

    def _of_levels(self, clip: str, rng: np.random.Generator) -> tuple[Picked, Picked] | None:
        types = self.types[clip]
        choices = list(itertools.combinations(range(len(types)), 2))
        for number in rng.permutation(len(choices)):
            better, worse = choices[number]
            alike = [
                t for t, (a, b) in enumerate(zip(types[better], types[worse], strict=True)) if a == b and a in QUALITY
            ]
            if alike:
                frame = int(rng.choice(alike))
                return (better, frame), (worse, frame)
        return None

    def _of_types(self, clip: str, rng: np.random.Generator) -> tuple[Picked, Picked] | None:
        for version in rng.permutation(len(self.types[clip])).tolist():
            types = self.types[clip][version]
            for first in rng.permutation(len(types)).tolist():
                near = range(max(0, first - REACH), min(len(types), first + REACH + 1))
                others = [t for t in near if types[t] != types[first] and types[t] in QUALITY]
                if types[first] in QUALITY and others:
                    pair = first, int(rng.choice(others))
                    better, worse = sorted(pair, key=lambda t: QUALITY.index(types[t]))
                    return (version, better), (version, worse)
        return None

    def sample(self, clip: str, pair: tuple[Picked, Picked], crop: tuple[int, int, int, int]) -> dict[str, Any]:
        """'lq' uint8 (2, 3, h, w), the better frame first; 'pict_type' uint8 (2,); 'gt', the better one for both."""
        frames = [self.sources[version].lq.read(clip, frame, crop) for version, frame in pair]
        types = [ord(self.types[clip][version][frame]) for version, frame in pair]
        return {
            'lq': to_tensor(frames),
            'gt': to_tensor([frames[0], frames[0]]),
            'pict_type': torch.tensor(types, dtype=torch.uint8),
            'key': f'{clip}/' + ' '.join(f'{version}:{frame:08d}' for version, frame in pair),
        }


class CompressionRankingDataset(Dataset):
    """Pairs of frames to learn a ranking from, see RankedVersions: half of either kind where a clip has both.

    Args:
        versions: encodes of the same clips, from the best to the worst (CRF 15, 25, 35): {dataroot, codec_metadata}.
        meta_info_file, meta_val_file, meta_test_file, val_partition, split: which clips, as of UVSSMDataset.
        gt_size: side of the square crop.
        use_flip, use_rot: random flips; random rotations by 90 degrees.
        use_colour: red, green and blue in random order, and half of the pairs as negatives: what compression does
            looks the same in them, what was filmed does not. For few clips.

    ``dataset[epoch, index]`` is a pure function of (seed, epoch, index), see RankedVersions.sample.
    """

    by_epoch = True
    anytime = (*LISTS, 'io_backend')

    def __init__(
        self,
        versions: list[Version],
        meta_info_file: str | None = None,
        meta_val_file: str | None = None,
        meta_test_file: str | None = None,
        val_partition: str | list[str] | None = None,
        split: Split | None = None,
        io_backend: dict[str, str] | None = None,
        gt_size: int = 128,
        use_flip: bool = True,
        use_rot: bool = True,
        use_colour: bool = False,
        scale: int = 1,
    ):
        chosen: dict[str, Any] = {'meta_info_file': meta_info_file, 'split': split, 'io_backend': io_backend}
        chosen |= {'meta_val_file': meta_val_file, 'meta_test_file': meta_test_file, 'val_partition': val_partition}
        self.versions = RankedVersions(versions, **chosen)
        self.pairs, self.clips = self.versions.sources[-1], self.versions.clips
        self.side, self.use_flip, self.use_rot, self.seed = gt_size // scale, use_flip, use_rot, 0
        self.use_colour = use_colour
        for clip in self.clips:
            if self.side > min(self.pairs.lq.size(clip)):
                raise UserError('gt_size is larger than a frame', where=f'clip {clip}', value=gt_size)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        epoch, index = key
        rng = np.random.default_rng((self.seed, epoch, index))
        clip = self.clips[index % len(self.clips)]
        kinds = rng.permutation(KINDS)
        pair = self.versions.draw(clip, kinds[0], rng) or self.versions.draw(clip, kinds[1], rng)
        assert pair is not None
        sample = self.versions.sample(clip, pair, random_crop(rng, self.pairs.lq.size(clip), self.side))
        sample = orient(sample, random_turn(rng, self.use_flip, self.use_rot))
        return _recoloured(sample, rng) if self.use_colour else sample


def _recoloured(sample: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """A sample whose colours have changed places, or are those of its negative."""
    order, negative = rng.permutation(3).tolist(), bool(rng.integers(2))
    changed = {name: sample[name][:, order] for name in ('lq', 'gt')}
    return {**sample, **{name: 255 - frames if negative else frames for name, frames in changed.items()}}


class CompressionRankingTestDataset(Dataset):
    """Pairs of whole frames, the same ones every time, of which a network is to tell the better one.

    Args:
        versions, meta_info_file, split: as of CompressionRankingDataset.
        pairs_per_clip: of each kind.
    """

    baseline = {'chance': {'accuracy': 0.5}}

    def __init__(
        self,
        versions: list[Version],
        meta_info_file: str | None = None,
        split: Split | None = None,
        io_backend: dict[str, str] | None = None,
        pairs_per_clip: int = 10,
        scale: int = 1,
    ):
        self.versions = RankedVersions(versions, meta_info_file=meta_info_file, split=split, io_backend=io_backend)
        self.pairs = self.versions.sources[-1]
        self.picks = []
        for (number, clip), (which, kind) in itertools.product(enumerate(self.versions.clips), enumerate(KINDS)):
            rng = np.random.default_rng((number, which))
            drawn = (self.versions.draw(clip, kind, rng) for _ in range(pairs_per_clip))
            self.picks += [(kind, clip, pair) for pair in drawn if pair is not None]

    def positions(self) -> list[tuple[str, int]]:
        """(kind, number) of every pair."""
        return [(kind, number) for number, (kind, _, _) in enumerate(self.picks)]

    def __len__(self) -> int:
        return len(self.picks)

    def __getitem__(self, i: int) -> dict[str, Any]:
        _, clip, pair = self.picks[i]
        return self.versions.sample(clip, pair, (0, 0, *self.pairs.lq.size(clip)))

    def judge(self, result: Mapping[str, Tensor]) -> dict[str, float]:
        """What a network's 'score' (1, 2, ...) of a pair is worth: accuracy 1 where the worse frame's is larger."""
        better, worse = result['score'].flatten().tolist()
        return {'accuracy': float(worse > better)}
