"""Which of many clips another may show, and where its pixels may lie there: by features of a few frames, and by their
coarse looks. What comes out is to be measured (`measure`)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from votes.relation.looks import Look, shrunk, within
from votes.relation.space import Size, Space, borders, filled, whole

KEPT, ASKED = 8, 4  # frames of a clip that are kept here, and that are looked up
POINTS, SHOWN = 250, 200  # features of a frame that is kept, and of one that is looked up
CHUNK = 60_000  # features that are compared at a time
ALIKE = 0.82  # cosine of descriptors that may be of one point
LEAST = 7  # points that must agree on a place
COARSE = 12  # pixels: side of the coarse looks
SHORTLIST = 6  # clips that are proposed for each of the two reasons
WINDOW = 40  # pixels: longest side of the pictures in which a crop is searched
CROPS = (1.0, 0.9, 0.8, 0.71, 0.63, 0.56)  # of the original's width or height, whichever is filled
PLAIN = 2.0  # levels: a frame of less contrast is found everywhere
SEARCHED, SLID = 3, 3  # frames of the one that is looked up, and places that are proposed on a clip
ORIENTATIONS = [(mirror, turn) for mirror in (False, True) for turn in range(4)]


@dataclass
class Candidate:
    """A clip that may be the original, and where LQ may lie on it, likelier places first."""

    name: str
    spaces: list[Space]
    score: float


@dataclass
class _Points:
    """Features of one frame: places x, y in pixels of the clip, and unit vectors."""

    places: NDArray[np.float32]
    vectors: NDArray[np.float32]


def _picks(count: int, wanted: int) -> list[int]:
    return sorted({int((i + 0.5) * count / wanted) for i in range(min(wanted, count))})


def _points(grey: NDArray[np.uint8], size: Size, most: int) -> _Points:
    found, vectors = cv2.SIFT_create(most, contrastThreshold=0.02).detectAndCompute(grey, None)  # type: ignore[attr-defined]
    if vectors is None:
        return _Points(np.zeros((0, 2), np.float32), np.zeros((0, 128), np.float32))
    places = (np.array([p.pt for p in found], np.float32) + 0.5) * np.array(
        [size[1] / grey.shape[1], size[0] / grey.shape[0]], np.float32
    )
    rooted = np.sqrt(vectors / (vectors.sum(1, keepdims=True) + 1e-6))  # Hellinger's kernel as a plain product
    return _Points(places, rooted.astype(np.float32))


def _coarse(grey: NDArray[Any]) -> NDArray[np.float32]:
    small = shrunk(grey.astype(np.float32), (COARSE, COARSE)).ravel()
    small = small - small.mean()
    return np.asarray(small / (np.linalg.norm(small) + 1e-3), np.float32)


class Catalogue:
    """Originals that downloads are looked up in."""

    def __init__(self) -> None:
        self.sizes: dict[str, Size] = {}
        self._points: list[tuple[str, _Points]] = []  # a frame each
        self._coarse: list[tuple[str, NDArray[np.float32]]] = []
        self._small: dict[str, list[NDArray[np.float32]]] = {}
        self._stacked: tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]] | None = None

    def add(self, name: str, clip: Look) -> None:
        self.sizes[name] = clip.size
        top, left, height, width = borders(clip.grey)
        self._small[name] = [
            shrunk(clip.grey[i].astype(np.float32), within(clip.size, WINDOW)) for i in _picks(len(clip), KEPT)
        ]
        for i in _picks(len(clip), KEPT):
            self._points.append((name, _points(clip.grey[i], clip.size, POINTS)))
            self._coarse.append((name, _coarse(clip.grey[i])))
            if (height, width) != clip.grey.shape[1:] and height > 8 < width:
                self._coarse.append((name, _coarse(clip.grey[i, top : top + height, left : left + width])))
        self._stacked = None

    def candidates(self, lq: Look) -> list[Candidate]:
        """Clips that `lq` may show, likelier ones first."""
        by_points = self._by_points(lq)
        by_looks = self._by_looks(lq)
        names = dict.fromkeys([*by_points, *by_looks])
        found = []
        for name in names:
            spaces = [*by_points.get(name, (0.0, []))[1], *by_looks.get(name, (0.0, []))[1]]
            spaces += [whole(lq.size, self.sizes[name])]
            score = by_points.get(name, (0.0,))[0] + by_looks.get(name, (0.0,))[0]
            found.append(Candidate(name, list(dict.fromkeys(spaces)), score))
        return sorted(found, key=lambda c: -c.score)

    def cropped(self, lq: Look) -> list[Candidate]:
        """Clips of which `lq` may show a part, by sliding it over their frames: for crops with too few features, such
        as small, strongly compressed, plain or regular ones. Dearer than `candidates`; the same order.
        """
        top, left, height, width = borders(lq.grey)
        factor = lq.size[0] / lq.grey.shape[1], lq.size[1] / lq.grey.shape[2]
        content = top * factor[0], left * factor[1], height * factor[0], width * factor[1]
        frames = [lq.grey[i, top : top + height, left : left + width] for i in _picks(len(lq), SEARCHED)]
        found = []
        for name, kept in self._small.items():
            places = [
                place
                for mirror in (False, True)
                for share in CROPS
                if (place := _slid(frames, kept, content, self.sizes[name], share, mirror)) is not None
            ]
            places.sort(key=lambda place: -place[0])
            if places:
                found.append(Candidate(name, [space for _, space in places[:SLID]], places[0][0]))
        return sorted(found, key=lambda c: -c.score)[:SHORTLIST]

    def _stack(self) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
        if self._stacked is None:
            owner = np.concatenate([np.full(len(p.vectors), i) for i, (_, p) in enumerate(self._points)])
            vectors = np.concatenate([p.vectors for _, p in self._points])
            self._stacked = vectors, owner, np.stack([c for _, c in self._coarse])
        return self._stacked

    def _by_points(self, lq: Look) -> dict[str, tuple[float, list[Space]]]:
        vectors, owner, _ = self._stack()
        if not len(vectors):
            return {}
        starts = np.searchsorted(owner, np.arange(len(self._points)))
        best: dict[str, tuple[float, list[Space]]] = {}
        votes: Counter[tuple[int, int, bool]] = Counter()
        matches = {}
        for pick in _picks(len(lq), ASKED):
            for mirror in (False, True):
                grey = np.ascontiguousarray(lq.grey[pick][:, ::-1] if mirror else lq.grey[pick])
                points = _points(grey, lq.size, SHOWN)
                if mirror:
                    points.places[:, 0] = lq.size[1] - points.places[:, 0]
                mine, theirs = _alike(points.vectors, vectors)
                frames = owner[theirs]
                for frame in np.unique(frames):
                    chosen = frames == frame
                    votes[pick, int(frame), mirror] = len(np.unique(mine[chosen]))
                    matches[pick, int(frame), mirror] = points.places[mine[chosen]], theirs[chosen] - starts[frame]
        tried: Counter[str] = Counter()
        for key, count in votes.most_common(60):
            name, kept = self._points[key[1]]
            if count < LEAST or tried[name] >= 4:
                continue
            tried[name] += 1
            places, theirs = matches[key]
            placed = _placed(places, kept.places[theirs], lq.size, self.sizes[name])
            if placed is not None:
                score, spaces = best.get(name, (0.0, []))
                best[name] = max(score, placed[1]), [*spaces, placed[0]]
        return dict(sorted(best.items(), key=lambda item: -item[1][0])[:SHORTLIST])

    def _by_looks(self, lq: Look) -> dict[str, tuple[float, list[Space]]]:
        _, _, kept = self._stack()
        top, left, height, width = borders(lq.grey)
        factor = lq.size[0] / lq.grey.shape[1], lq.size[1] / lq.grey.shape[2]
        parts: list[tuple[int, int, int, int]] = [(0, 0, *lq.grey.shape[1:])]
        if (height, width) != lq.grey.shape[1:] and height > 8 < width:
            parts.append((top, left, height, width))
        best: dict[str, list[tuple[float, Space]]] = {}
        for y, x, h, w in parts:
            content = y * factor[0], x * factor[1], h * factor[0], w * factor[1]
            cut = [lq.grey[i, y : y + h, x : x + w] for i in _picks(len(lq), ASKED)]
            for mirror, turn in ORIENTATIONS:
                # GT is mirrored, then turned: undone on LQ in the other order
                back = [np.rot90(c, -turn)[:, ::-1] if mirror else np.rot90(c, -turn) for c in cut]
                alike = np.stack([_coarse(np.ascontiguousarray(b)) for b in back]) @ kept.T
                of_frame = np.median(-np.sort(-alike, 0)[: max(1, len(cut) // 2 + 1)], 0)
                values: dict[str, float] = {}
                for (name, _), value in zip(self._coarse, of_frame.tolist(), strict=True):
                    values[name] = max(value, values.get(name, -1.0))
                for name, value in values.items():
                    gt = self.sizes[name]
                    best.setdefault(name, []).append((value, whole(lq.size, gt, mirror, turn, content)))
                    upright = gt[::-1] if turn % 2 else gt
                    if len(parts) == 1 and abs(np.log(upright[0] / upright[1] * lq.size[1] / lq.size[0])) > 0.02:
                        best[name].append((value - 0.05, filled(lq.size, gt, mirror, turn)))
        ranked = {name: sorted(of, key=lambda pair: -pair[0])[:3] for name, of in best.items()}
        chosen = sorted(ranked.items(), key=lambda item: -item[1][0][0])[:SHORTLIST]
        return {name: (of[0][0], [space for _, space in of]) for name, of in chosen}


def _slid(
    frames: list[NDArray[np.uint8]],
    kept: list[NDArray[np.float32]],
    content: tuple[float, float, float, float],
    gt: Size,
    share: float,
    mirror: bool,
) -> tuple[float, Space] | None:
    """Where frames fit best on kept ones of a clip, taking a share of its picture, and how alike they are there.

    Args:
        content: top, left, height and width of what the frames show, in pixels of LQ.
    """
    size = kept[0].shape
    scale = share * min(gt[0] / content[2], gt[1] / content[3])  # pixels of GT for one of LQ
    side = tuple(max(1, round(n * scale * s / g)) for n, s, g in zip(content[2:], size, gt, strict=True))
    if min(side) < 8 or side[0] > size[0] or side[1] > size[1]:
        return None
    values, places = [], []
    for frame in frames:
        template = shrunk((frame[:, ::-1] if mirror else frame).astype(np.float32), (side[0], side[1]))
        if template.std() < PLAIN:
            continue
        maps = [cv2.matchTemplate(picture, template, cv2.TM_CCOEFF_NORMED) for picture in kept]
        best = max(range(len(maps)), key=lambda i: float(maps[i].max()))
        values.append(float(maps[best].max()))
        places.append(np.unravel_index(int(maps[best].argmax()), maps[best].shape))
    if not values:
        return None
    y, x = (float(place) * g / s for place, g, s in zip(places[int(np.argmax(values))], gt, size, strict=True))
    x = gt[1] - x - content[3] * scale if mirror else x
    return float(np.mean(values)), Space(mirror, 0, (scale, scale), (y - scale * content[0], x - scale * content[1]))


def _alike(mine: NDArray[np.float32], theirs: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions of vectors that may be of one point: near ones that are nearly as near as the nearest."""
    rows, columns, values = [], [], []
    for start in range(0, len(theirs), CHUNK):
        product = mine @ theirs[start : start + CHUNK].T
        r, c = np.nonzero(product > ALIKE)
        rows.append(r)
        columns.append(c + start)
        values.append(product[r, c])
    row, column, value = (np.concatenate(x) for x in (rows, columns, values))
    nearest = np.zeros(len(mine), np.float32)
    np.maximum.at(nearest, row, value)
    kept = value > 0.95 * nearest[row]
    return row[kept], column[kept]


def _turned(places: NDArray[Any], gt: Size, mirror: bool, turn: int) -> NDArray[Any]:
    """Places x, y in GT as they lie when it stands as LQ does."""
    x, y = places[:, 0], places[:, 1]
    height, width = gt
    x = width - x if mirror else x
    for _ in range(turn):  # counter-clockwise
        x, y, height, width = y, width - x, width, height
    return np.stack([x, y], 1)


def _placed(lq: NDArray[Any], gt: NDArray[Any], lq_size: Size, gt_size: Size) -> tuple[Space, float] | None:
    """The space most of the matched points agree on, and how many do."""
    if len(lq) < LEAST:
        return None
    reach = max(gt_size) * 0.012
    affine, agreed = cv2.estimateAffine2D(lq, gt, method=cv2.RANSAC, ransacReprojThreshold=reach, maxIters=1500)
    if affine is None or agreed is None:
        return None
    kept = agreed.ravel() > 0
    if len(np.unique(lq[kept], axis=0)) < LEAST:
        return None
    for mirror, turn in ORIENTATIONS:
        upright = _turned(gt[kept].astype(np.float64), gt_size, mirror, turn)
        columns = np.column_stack([lq[kept].astype(np.float64), np.ones(kept.sum())])
        found = np.linalg.lstsq(columns, upright, rcond=None)[0].T  # rows x, y
        (sx, skew_x, _), (skew_y, sy, _) = found
        if min(sx, sy) <= 0.05 or max(abs(skew_x) / sx, abs(skew_y) / sy) > 0.12 or not 0.5 < sx / sy < 2:
            continue
        scale, shift = [], []
        for axis in (1, 0):
            slope, start = np.polyfit(columns[:, axis], upright[:, axis], 1)
            scale.append(float(slope))
            shift.append(float(start))
        return Space(mirror, turn, (scale[0], scale[1]), (shift[0], shift[1])), float(kept.sum())
    return None
