"""Where the pixels of one clip lie on another: mirrored, turned, scaled, cropped, with borders."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from votes.relation.looks import shrunk

Size = tuple[int, int]
Rectangle = tuple[float, float, float, float]  # top, left, height, width
Grey = NDArray[Any]
SAMPLES = 30_000  # pixels of all frames that a step is fitted to
OUTLIER = 3.0  # residuals of so many standard deviations count half
LEAK = 0.4  # of what the next lines have: a line with less belongs to a border
SNAP = 0.6  # pixels of LQ within which an edge counts as the edge of the picture


@dataclass(frozen=True)
class Space:
    """GT is mirrored left to right, then makes quarter turns counter-clockwise; then LQ's place y, x (in pixels from
    the upper left corner, the centre of the first pixel lies at 0.5) shows GT's place scale * (y, x) + shift.

    Attributes:
        scale, shift: (vertical, horizontal), in pixels of GT.
    """

    mirror: bool = False
    turn: int = 0
    scale: tuple[float, float] = (1.0, 1.0)
    shift: tuple[float, float] = (0.0, 0.0)

    def upright(self, gt: NDArray[Any], first: int = 0) -> NDArray[Any]:
        """GT as LQ stands; `first` is the axis of its rows."""
        turned = np.flip(gt, first + 1) if self.mirror else gt
        return np.rot90(turned, self.turn, (first, first + 1))

    def upright_size(self, gt: Size) -> Size:
        return (gt[1], gt[0]) if self.turn % 2 else gt

    def content(self, lq: Size, gt: Size) -> tuple[int, int, int, int]:
        """Top, left, height and width of what shows GT in LQ, in whole pixels of it; the rest are borders."""
        found = []
        for side, whole, scale, shift in zip(lq, self.upright_size(gt), self.scale, self.shift, strict=True):
            first, last = -shift / scale, (whole - shift) / scale
            begin = max(0, int(np.ceil(first - SNAP / 2)))
            found.append((begin, max(0, min(side, int(np.floor(last + SNAP / 2))) - begin)))
        return found[0][0], found[1][0], found[0][1], found[1][1]

    def window(self, content: Rectangle) -> Rectangle:
        """Top, left, height and width of what a rectangle of LQ shows, in pixels of GT as it stands in LQ."""
        top, left, height, width = content
        (a, b), (y, x) = self.scale, self.shift
        return a * top + y, b * left + x, a * height, b * width

    def covered(self, lq: Size, gt: Size) -> float:
        """Which share of GT is seen in LQ."""
        height, width = self.window(self.content(lq, gt))[2:]
        return float(height * width / (gt[0] * gt[1]))

    def moved(self, top: float, left: float) -> Space:
        """The same for LQ without so many rows and columns before its first ones."""
        (a, b), (y, x) = self.scale, self.shift
        return replace(self, shift=(y + a * top, x + b * left))


def whole(lq: Size, gt: Size, mirror: bool = False, turn: int = 0, content: Rectangle | None = None) -> Space:
    """All of GT fills LQ, or a part of it (the rest being borders)."""
    top, left, height, width = content or (0, 0, *lq)
    upright = (gt[1], gt[0]) if turn % 2 else gt
    scale = upright[0] / height, upright[1] / width
    return Space(mirror, turn, scale, (-scale[0] * top, -scale[1] * left))


def filled(lq: Size, gt: Size, mirror: bool = False, turn: int = 0) -> Space:
    """The middle of GT fills LQ, its pixels being square: what a platform does that crops to a shape."""
    upright = (gt[1], gt[0]) if turn % 2 else gt
    scale = min(upright[0] / lq[0], upright[1] / lq[1])
    shift = (upright[0] - scale * lq[0]) / 2, (upright[1] - scale * lq[1]) / 2
    return Space(mirror, turn, (scale, scale), shift)


def _maps(space: Space, lq: Size, gt: Size, out: Size, stored: Size) -> list[tuple[float, float]]:
    """For rows and columns (a, b): pixel i of an LQ picture of size `out` shows pixel a*i + b of an upright GT picture
    of size `stored`."""
    found = []
    sides = zip(lq, space.upright_size(gt), out, stored, space.scale, space.shift, strict=True)
    for small, large, o, s, scale, shift in sides:
        a = scale * small / o * s / large
        found.append((a, a / 2 + shift * s / large - 0.5))
    return found


def brought(gt: NDArray[Any], space: Space, lq_size: Size, gt_size: Size, out: Size) -> NDArray[np.float32]:
    """An upright picture of GT (H, W[, C]), of any size, as LQ of size `out` shows it; NaN where LQ shows no GT.

    Args:
        lq_size, gt_size: of the frames that `space` speaks of.
    """
    maps = _maps(space, lq_size, gt_size, out, gt.shape[:2])
    fits = tuple(max(1, round(n / max(1.0, a))) for n, (a, _) in zip(gt.shape[:2], maps, strict=True))
    small = shrunk(gt, (fits[0], fits[1])).astype(np.float32)
    (ay, by), (ax, bx) = _maps(space, lq_size, gt_size, out, (fits[0], fits[1]))
    matrix = np.array([[ax, 0, bx], [0, ay, by]], np.float64)
    warped = cv2.warpAffine(
        small, matrix, out[::-1], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
    )
    rows, columns = np.arange(out[0]) * ay + by, np.arange(out[1]) * ax + bx
    inside_rows = (rows > -0.5 - 0.02) & (rows < fits[0] - 0.5 + 0.02)
    inside_columns = (columns > -0.5 - 0.02) & (columns < fits[1] - 0.5 + 0.02)
    result: NDArray[np.float32] = np.asarray(warped, np.float32)
    result[~inside_rows] = np.nan
    result[:, ~inside_columns] = np.nan
    return result


def refined(
    space: Space, lq: Grey, gt: Grey, lq_size: Size, gt_size: Size, finest: int = 4096, rounds: int = 5
) -> Space:
    """Moves and stretches until the pictures fit: Gauss and Newton on grey levels, with gain and offset free.

    Args:
        lq, gt: (N, h, w) and (N, H, W) luma of frames that show the same; GT upright.
        finest: longest side of LQ's pictures that are compared at last.
    """
    last = min(finest, max(lq.shape[1:]))
    for side in (48, 96, last):
        out = tuple(max(8, round(n * min(1.0, side / max(lq.shape[1:])))) for n in lq.shape[1:])
        small = np.stack([cv2.GaussianBlur(shrunk(f, (out[0], out[1])).astype(np.float32), (0, 0), 0.7) for f in lq])
        for _ in range(rounds):
            moved, step = _step(space, small, gt, lq_size, gt_size)
            if moved is None:
                return space
            space = moved
            if step < 0.02:
                break
        if side >= last:
            break
    return space


def _step(space: Space, lq: Grey, gt: Grey, lq_size: Size, gt_size: Size) -> tuple[Space | None, float]:
    """One step, and its size in pixels of these pictures; None where there is too little to see."""
    out = lq.shape[1], lq.shape[2]
    y, x = np.mgrid[: out[0], : out[1]].astype(np.float32)
    middle = (out[0] - 1) / 2, (out[1] - 1) / 2
    yn, xn = (y - middle[0]) / (middle[0] or 1), (x - middle[1]) / (middle[1] or 1)
    columns, wanted = [], []
    for frame, original in zip(lq, gt, strict=True):
        seen = brought(original, space, lq_size, gt_size, out)
        known = cv2.erode(np.isfinite(seen).astype(np.uint8), np.ones((5, 5), np.uint8), borderValue=1) > 0
        if known.mean() < 0.05:
            return None, 0.0
        blurred = cv2.GaussianBlur(np.where(np.isfinite(seen), seen, float(np.nanmean(seen))), (0, 0), 0.7)
        gy, gx = np.gradient(blurred)
        columns.append(np.stack([blurred, np.ones_like(blurred), gy * yn, gy, gx * xn, gx], -1)[known])
        wanted.append(frame[known])
    every = max(1, sum(map(len, wanted)) // SAMPLES) | 1  # odd: no column of pixels is always left out
    a, b = np.concatenate(columns)[::every].astype(np.float64), np.concatenate(wanted)[::every].astype(np.float64)
    weights = np.ones(len(b))
    for _ in range(3):
        weighted = a * weights[:, None]
        found = np.linalg.lstsq(weighted.T @ a, weighted.T @ b, rcond=None)[0]
        left = b - a @ found
        spread = 1.4826 * float(np.median(np.abs(left))) + 0.1
        weights = 1 / (1 + (left / (OUTLIER * spread)) ** 2)
    if abs(found[0]) < 0.2:
        return None, 0.0
    grow_y, move_y, grow_x, move_x = np.clip(found[2:] / found[0], -3, 3)
    scale, shift = [], []
    sides = zip(lq_size, out, space.scale, space.shift, middle, (grow_y, grow_x), (move_y, move_x), strict=True)
    for whole_side, side, s, t, mid, grow, move in sides:
        unit = s * whole_side / side  # pixels of GT for one of these pictures'
        factor = 1 + grow / (mid or 1)
        scale.append(s * factor)
        shift.append(t + unit * (move - grow + 0.5 * (1 - factor)))
    moved = replace(space, scale=(scale[0], scale[1]), shift=(shift[0], shift[1]))
    return moved, float(max(abs(grow_y), abs(move_y), abs(grow_x), abs(move_x)))


def snapped(space: Space, lq: Size, gt: Size, reach: float = SNAP) -> Space:
    """Edges that nearly are edges of both pictures, or lie on a whole pixel of LQ where there is a border, become so.

    Args:
        reach: how near, in pixels of LQ.
    """
    scale, shift = [], []
    for side, large, s, t in zip(lq, space.upright_size(gt), space.scale, space.shift, strict=True):
        first, last = -t / s, (large - t) / s  # where GT begins and ends, in pixels of LQ
        first = 0.0 if abs(first) < reach else float(np.rint(first)) if first > 0 else first
        last = float(side) if abs(last - side) < reach else float(np.rint(last)) if last < side else last
        scale.append(large / (last - first))
        shift.append(-first * scale[-1])
    return replace(space, scale=(scale[0], scale[1]), shift=(shift[0], shift[1]))


def _edge(apart: NDArray[Any], plain: NDArray[np.bool_]) -> int:
    """Lines of a border, with those at its end into which compression has carried something of the picture."""
    if plain.all() or not plain[0]:
        return 0
    first = int(np.argmin(plain))
    leaks = [i for i in (first, first + 1) if i + 3 < len(apart) and apart[i] < LEAK * apart[i + 1 : i + 3].mean()]
    return leaks[-1] + 1 if leaks else first


def borders(grey: NDArray[Any], flat: float = 3.0) -> tuple[int, int, int, int]:
    """Top, left, height and width of what lies within plain borders that stay, of pictures (T, h, w)."""
    picks = grey[:: max(1, len(grey) // 12)].astype(np.float32)
    found = []
    for axis in (1, 2):
        lines = np.moveaxis(picks, axis, 0).reshape(picks.shape[axis], -1)
        edge = []
        for ordered in (lines, lines[::-1]):
            level = float(np.median(ordered[0]))
            apart = np.abs(ordered - level).mean(1)
            plain = (apart < flat) & (ordered.std(1) < 2 * flat)
            edge.append(_edge(apart, plain))
        found.append((edge[0], lines.shape[0] - edge[0] - edge[1]))
    return found[0][0], found[1][0], found[0][1], found[1][1]
