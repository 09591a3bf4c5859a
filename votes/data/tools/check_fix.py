"""`votes check-data --write-fixed`: clips written again, what is wrong with them undone where that can be done."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from votes.data.pairs import ClipPairs
from votes.data.related import RelatedClip, RelatedSource, related
from votes.data.sources import Crop, Frame, cropped
from votes.data.tools.check_content import OTHER, OTHERWISE, TOGETHER, overflowed
from votes.data.tools.check_content import related as relation_of
from votes.data.tools.layouts import Clips, Layout
from votes.data.tools.prepare import Wish, write_layout
from votes.errors import UserError
from votes.relation.catalogue import KEPT, Catalogue
from votes.relation.looks import Look, look, shrunk
from votes.relation.measure import Relation, measure

ENLARGED = 0.9  # GT is enlarged by no more than this
BLANK = 1.5  # standard deviation in levels of a frame that shows nothing
ASKED = 300  # clips among which the original of another clip's LQ is looked for


class Originals:
    """GT of a data set of pairs, cut to `scale` times LQ where a clip's sizes fit, as a frame source."""

    def __init__(self, pairs: ClipPairs):
        self.pairs = pairs

    def clips(self) -> list[str]:
        return self.pairs.gt.clips()

    def length(self, clip: str) -> int:
        return self.pairs.gt.length(clip)

    def _fits(self, clip: str) -> bool:
        return clip in self.pairs.lengths

    def size(self, clip: str) -> tuple[int, int]:
        if not self._fits(clip):
            return self.pairs.gt.size(clip)
        height, width = self.pairs.lq.size(clip)
        return height * self.pairs.scale, width * self.pairs.scale

    def read(self, clip: str, index: int, crop: Crop | None = None) -> Frame:
        if not self._fits(clip):
            return self.pairs.gt.read(clip, index, crop)
        return cropped(self.pairs.read_gt(clip, index), crop)


def write_fixed(pairs: ClipPairs, spoilt: Iterable[str], target: Path, least: int) -> Iterator[tuple[str, str, str]]:
    """Writes target/{HQ_frames,LQ_frames}/CLIP and target/meta_info_train.txt: clips without errors as they are, the
    others repaired; (clip, what was done, what to do) for these.

    Args:
        spoilt: clips with errors.
        least: frames that a clip must keep.
    """
    originals = Originals(pairs)
    fixed: dict[str, RelatedClip] = {}
    lookup: Catalogue | None = None
    for clip in sorted(spoilt):
        try:
            lookup = lookup or _catalogue(pairs)
            found, whose = _repaired(pairs, originals, clip, lookup)
        except UserError as error:
            yield clip, f'is left out: {error.line}', 'replace it'
            continue
        if isinstance(found, str):
            yield clip, f'is left out: {found}', 'replace it'
        elif len(found.frames) < least:
            yield clip, f'is left out: only {len(found.frames)} frames of it can be used', 'replace it'
        else:
            fixed[clip] = found
            with_other = '' if whose == clip else f', with the GT of {whose}'
            yield clip, f'is repaired: {len(found.frames)} frames{with_other}', f'it is in {target}'
    good = [clip for clip in pairs.names() if clip not in set(spoilt)]
    gt: Clips = {clip: (pairs.gt, clip) for clip in good}
    lq: Clips = {clip: (pairs.lq, clip) for clip in good}
    gt |= {clip: (RelatedSource(fixed, 'gt'), clip) for clip in fixed}
    lq |= {clip: (RelatedSource(fixed, 'lq'), clip) for clip in fixed}
    if gt:
        layout = Layout(gt, {'LQ_frames': lq}, parts={'train': sorted(gt)})
        write_layout(layout, target, Wish(), say=lambda line: None)
        yield f'{len(gt)} clips', 'are written', f'dataroot_gt: {target / "HQ_frames"}, meta_info_file beside it'


def _catalogue(pairs: ClipPairs) -> Catalogue:
    """The GT of all clips, for LQ that shows another one's."""
    catalogue = Catalogue()
    for clip in pairs.gt.clips()[:ASKED]:
        picks = np.unique(np.linspace(0, pairs.gt.length(clip) - 1, KEPT).astype(int)).tolist()
        catalogue.add(clip, look((i, float(i), pairs.gt.read(clip, i)) for i in picks))
    return catalogue


def _read(source: Originals | ClipPairs, clip: str) -> Look:
    frames = source.lq if isinstance(source, ClipPairs) else source
    return look((i, float(i), frames.read(clip, i)) for i in range(frames.length(clip)))


def _repaired(pairs: ClipPairs, originals: Originals, clip: str, lookup: Catalogue) -> tuple[RelatedClip | str, str]:
    """The clip with equal frames, or why there is none; and the clip whose GT it is."""
    lq = _read(pairs, clip)
    whose, relation, gt = clip, None, None
    if clip in pairs.gt.clips():
        gt = _read(originals, clip)
        relation = relation_of(lq, gt)
    if relation is None or not _fits(relation):
        for candidate in lookup.candidates(lq)[:3]:
            other = _read(originals, candidate.name)
            found = measure(lq, other, candidate.spaces, TOGETHER)
            if found is not None and _fits(found) and (relation is None or found.unexplained < relation.unexplained):
                whose, relation, gt = candidate.name, found, other
    if relation is None or gt is None or not _fits(relation):
        return 'its GT is not there', clip
    relation = _useful(relation, lq, gt)
    made = related((pairs.lq, clip), (originals, whose), relation, pairs.scale)
    if made.ratio() < ENLARGED * pairs.scale:
        return f'GT is only {made.ratio():.3g} times as large there', clip
    picks = sorted({0, len(made.frames) // 2, len(made.frames) - 1}) if made.frames else []
    shares = []
    for i in picks:
        frame = made.lq_frame(i).astype(np.float32)
        shares.append(overflowed(frame, shrunk(made.gt_frame(i), frame.shape[:2]).astype(np.float32)))
    if shares and float(np.median(shares)) > 5e-4:
        return 'its values overflowed', clip
    return made, whose


def _fits(relation: Relation) -> bool:
    return relation.correlation >= OTHER and (math.isnan(relation.motion) or relation.motion >= OTHERWISE)


def _useful(relation: Relation, lq: Look, gt: Look) -> Relation:
    """Without frames that show nothing, that are there twice, or whose GT stands where it should move."""
    timing = relation.timing
    again = np.isin(timing.lq, timing.repeated())
    position = np.searchsorted(gt.numbers, np.maximum(timing.shown, 0)).clip(0, len(gt) - 1)
    stands = np.array([i > 0 and bool((gt.grey[i] == gt.grey[i - 1]).all()) for i in position])
    empty = (lq.grey.std((1, 2)) < BLANK) | (gt.grey[position].std((1, 2)) < BLANK)
    moving = np.abs(np.diff(lq.grey.astype(float), axis=0, prepend=lq.grey[:1])).mean((1, 2)) > 2
    shown = np.where(again | empty | (stands & moving), -1, timing.shown)
    return replace(relation, timing=replace(timing, shown=shown))
