"""Clips as pairs of equal frames: what votes.relation measured between LQ and GT is undone when frames are read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from votes.data.sources import Crop, Frame, FrameSource, cropped
from votes.data.video_source import VideoSource
from votes.relation.looks import GREY, Look, look, luma, shrunk, within
from votes.relation.measure import WHOLE, Relation
from votes.relation.space import Space, borders, refined, snapped, whole

Place = tuple[FrameSource, str]  # where a clip is, and its name there
POLISHED = 4  # frames by which the place of a crop is measured again, larger
LARGE = 640  # pixels: longest side of LQ for that
EXACT = 1e-3  # pixels of GT: nearer to whole ones than this, nothing is interpolated


def look_at(place: Place, most: int | None = None) -> Look:
    """A clip of a frame source, with the times of its frames where it has any.

    Raises:
        UserError: a frame cannot be read.
    """
    source, clip = place
    count = min(source.length(clip), most or source.length(clip))
    times: list[float] = source.times(clip) if isinstance(source, VideoSource) else [float(i) for i in range(count)]
    return look((i, times[i] - times[0], source.read(clip, i)) for i in range(count))


@dataclass(frozen=True)
class RelatedClip:
    """One clip of both sides, with their relation.

    Attributes:
        frames: (LQ frame, GT frame) for each frame of the pair.
        scale: how many times as large GT is written.
    """

    lq: Place
    gt: Place
    space: Space
    content: tuple[int, int, int, int]
    frames: list[tuple[int, int]]
    relation: Relation
    scale: int

    @property
    def size(self) -> tuple[int, int]:
        """Of LQ, without borders."""
        return self.content[2:]

    def lq_frame(self, index: int) -> Frame:
        """LQ without borders, its colours read as GT's are; pixels are as they came back."""
        source, clip = self.lq
        frame = source.read(clip, self.frames[index][0])
        return self.relation.colours.undone(np.ascontiguousarray(cropped(frame, self.content)))

    def gt_frame(self, index: int) -> Frame:
        """What LQ shows of GT, standing as LQ does, `scale` times as large."""
        source, clip = self.gt
        upright = self.space.upright(source.read(clip, self.frames[index][1]))
        size = self.size[0] * self.scale, self.size[1] * self.scale
        return fitted(np.ascontiguousarray(upright), self.space.window(self.content), size)

    def ratio(self) -> float:
        """Pixels of GT for one of LQ, the lesser of both directions."""
        return min(self.space.scale)


def related(lq: Place, gt: Place, relation: Relation, scale: int = 1) -> RelatedClip:
    """The pair that a relation makes of two clips; the place of a crop is measured again on larger pictures.

    Raises:
        UserError: a frame cannot be read.
    """
    timing = relation.timing
    frames = [(int(n), int(s)) for n, s, m in zip(timing.lq, timing.shown, timing.matched, strict=True) if m]
    space, content = relation.space, relation.content
    size, large = lq[0].size(lq[1]), gt[0].size(gt[1])
    if frames and content != (0, 0, *size):
        content = _bordered(lq, relation, frames)
        if relation.covered > WHOLE:  # nothing but borders
            return RelatedClip(
                lq, gt, whole(size, large, space.mirror, space.turn, content), content, frames, relation, scale
            )
    if frames and relation.covered < WHOLE:
        space = _polished(lq, gt, relation, content, frames)
        shown = space.moved(*content[:2]).content(content[2:], large)
        content = content[0] + shown[0], content[1] + shown[1], shown[2], shown[3]
    return RelatedClip(lq, gt, space, content, frames, relation, scale)


def _picks(frames: list[tuple[int, int]]) -> list[tuple[int, int]]:
    return sorted({frames[int((i + 0.5) * len(frames) / POLISHED)] for i in range(POLISHED)})


def _bordered(lq: Place, relation: Relation, frames: list[tuple[int, int]]) -> tuple[int, int, int, int]:
    """The rectangle within LQ's borders, to the pixel where they are plain."""
    size = lq[0].size(lq[1])
    exact = borders(np.stack([luma(lq[0].read(lq[1], n)) for n, _ in _picks(frames)]))
    reach = 2 + 2 * max(size) / GREY
    near = all(abs(a - b) <= 2 * reach for a, b in zip(exact, relation.content, strict=True))
    return exact if near else relation.content


def _polished(
    lq: Place, gt: Place, relation: Relation, content: tuple[int, int, int, int], frames: list[tuple[int, int]]
) -> Space:
    picks, size, large = _picks(frames), content[2:], gt[0].size(gt[1])
    out = within(size, LARGE)
    ours = np.stack([shrunk(luma(cropped(lq[0].read(lq[1], n), content)), out) for n, _ in picks])
    theirs = np.stack([luma(relation.space.upright(gt[0].read(gt[1], s))) for _, s in picks])
    inner = refined(relation.space.moved(*content[:2]), ours, theirs, size, large)
    return snapped(inner, size, large, 0.35).moved(-content[0], -content[1])


def fitted(picture: NDArray[Any], window: tuple[float, float, float, float], size: tuple[int, int]) -> Frame:
    """A rectangle (top, left, height, width) of a picture at another size: cut where its edges are whole pixels and
    nothing has to be resized, averaged where it is shrunk, else by cubic interpolation."""
    rounded = [round(x) for x in window]
    aligned = all(abs(x - r) < EXACT for x, r in zip(window, rounded, strict=True))
    top, left, height, width = rounded
    inside = top >= 0 <= left and top + height <= picture.shape[0] and left + width <= picture.shape[1]
    if aligned and inside:
        part = picture[top : top + height, left : left + width]
        if part.shape[:2] == size:
            return np.ascontiguousarray(part)
        if size[0] <= height and size[1] <= width:
            return np.asarray(cv2.resize(part, size[::-1], interpolation=cv2.INTER_AREA), np.uint8)
    steps = window[2] / size[0], window[3] / size[1]
    smooth = [0.45 * float(np.sqrt(max(0.0, s * s - 1))) for s in steps]  # what would alias
    if max(smooth) > 0.05:
        picture = cv2.GaussianBlur(picture, (0, 0), sigmaX=max(smooth[1], 1e-2), sigmaY=max(smooth[0], 1e-2))
    matrix = np.array([[steps[1], 0, window[1] + steps[1] / 2 - 0.5], [0, steps[0], window[0] + steps[0] / 2 - 0.5]])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpAffine(picture, matrix, size[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE), np.uint8
    )


class RelatedSource:
    """One side of many related clips, as a frame source.

    Args:
        side: 'lq' or 'gt'.
    """

    def __init__(self, pairs: dict[str, RelatedClip], side: str):
        self.pairs, self.side = pairs, side

    def clips(self) -> list[str]:
        return sorted(self.pairs)

    def length(self, clip: str) -> int:
        return len(self.pairs[clip].frames)

    def size(self, clip: str) -> tuple[int, int]:
        pair = self.pairs[clip]
        factor = 1 if self.side == 'lq' else pair.scale
        return pair.size[0] * factor, pair.size[1] * factor

    def read(self, clip: str, index: int, crop: Crop | None = None) -> Frame:
        pair = self.pairs[clip]
        return cropped(pair.lq_frame(index) if self.side == 'lq' else pair.gt_frame(index), crop)


def of_scale(pairs: dict[str, RelatedClip], scale: int) -> dict[str, RelatedClip]:
    """The same pairs with GT at another scale."""
    return {name: replace(pair, scale=scale) for name, pair in pairs.items()}
