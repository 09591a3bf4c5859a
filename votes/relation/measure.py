"""The whole relation of one clip to another, and how much of the one the other explains."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from votes.relation.colour import PIECES, Colours, compared
from votes.relation.looks import COLOURED, GREY, Look, shrunk, within
from votes.relation.space import Space, borders, brought, refined, snapped, whole
from votes.relation.timing import WEIGHT, Timing, blends, clear_places, differences, expected, local_costs, paced

SMALL, FINE = 48, 96  # pixels: longest side of the pictures that are matched in time, and where crops are compared
BLOCKS = 16  # along the longest side, whose mean colours are compared
TRIED = 4  # places of LQ on GT that are measured, of those that are proposed
ROUGH = 96  # pixels: longest side where a place is refined for a first look
COMPARED = 6  # frames by which space is refined
BETTER = 0.997  # of the difference that is left, where another place is taken: most of it is compression
ELSEWHERE, CLEARLY = 0.75, 0.8  # pixels of LQ, and what must be left of the difference where a claim is wrong
HOPELESS = 0.8  # share of LQ's variance that is left: nothing is refined then (0.73: gravel that lies 1.5 pixels off)
STILL = 0.6  # levels: a clip that changes by less shows no motion
WHOLE = 0.97  # share of GT that is seen where nothing was cropped
UNKNOWN = 0.5  # share of a frame's variance that may be left; more, and it is no frame of GT


@dataclass(frozen=True)
class Relation:
    """What LQ is of GT.

    Attributes:
        content, window: rectangles (top, left, height, width): what of LQ shows GT, and what of GT (upright) it shows.
        correlation: of the luma of matched frames, the median over them, where both show something.
        motion: correlation of what changes over time; NaN where nothing does.
        unexplained: share of LQ's variance that GT does not explain.
        seen: share of LQ's frames that show a frame of GT.
        covered: share of GT's picture that LQ shows.
    """

    space: Space
    timing: Timing
    colours: Colours
    content: tuple[int, int, int, int]
    window: tuple[float, float, float, float]
    correlation: float
    motion: float
    unexplained: float
    seen: float
    covered: float

    def as_json(self) -> dict[str, Any]:
        """Numbers for a file; frames as lists."""
        content = asdict(self)
        content['timing'] = {name: value.tolist() for name, value in vars(self.timing).items()}
        return content


@dataclass
class _Fit:
    """One way that LQ may lie on GT, with the frames that fit best then."""

    space: Space
    way: NDArray[np.int64]
    lq: NDArray[np.float32]  # (T, n)
    gt: NDArray[np.float32]  # (T_gt, n), gain and offset as LQ's
    cost: NDArray[np.float64]
    noise: float
    left: float  # share of LQ's variance
    dear: float  # the same, with what the way through time costs
    bias: NDArray[np.float32]  # (n,) what is always different, which `lq` is without


def measure(
    lq: Look, gt: Look, spaces: Iterable[Space], start: float = 0.0, claimed: Space | None = None, thorough: bool = True
) -> Relation | None:
    """How LQ shows GT, by the best of some places that are proposed.

    Args:
        spaces: see Catalogue; they are refined.
        start: how sure it is that both begin together, see timing.path.
        claimed: the place that is said to be right: another is taken only where it lies clearly elsewhere and fits
            clearly better.
        thorough: of crops and borders, looks for the same some frames earlier and later, too.

    Returns:
        None where LQ shows nothing at any of these places.
    """
    found = _without_borders(lq, gt, list(spaces), start, thorough)
    return found or _measured(lq, gt, spaces, start, claimed, thorough)


def _without_borders(lq: Look, gt: Look, spaces: list[Space], start: float, thorough: bool) -> Relation | None:
    """Of a clip with plain borders that stay, if GT has a picture there or nothing."""
    top, left, height, width = borders(lq.grey)
    if (height, width) == lq.grey.shape[1:] or min(height, width) < 16:
        return None
    y, x = (n / s for n, s in zip(lq.size, lq.grey.shape[1:], strict=True))
    first, size = (round(top * y), round(left * x)), (round(height * y), round(width * x))
    place = Space(shift=(float(first[0]), float(first[1])))
    cut = [brought(frame, place, size, lq.size, within(size, COLOURED)) for frame in lq.coloured]
    inner = replace(
        lq,
        size=size,
        grey=lq.grey[:, top : top + height, left : left + width],
        coloured=np.rint(np.nan_to_num(np.stack(cut))).astype(np.uint8),
    )
    proposed = [whole(size, gt.size), *(space.moved(*first) for space in spaces)]
    found = _measured(inner, gt, dict.fromkeys(proposed), start, None, thorough)
    if found is None:
        return None
    space = found.space.moved(-first[0], -first[1])
    shown = space.content(lq.size, gt.size)
    if shown[2] * shown[3] > 1.02 * size[0] * size[1]:  # GT goes on there
        told = _fitted(lq, gt, space, start)
        if told is not None and told.left < 1.5 * found.unexplained + 0.002:
            return None  # and is as plain: the borders belong to the picture
    t, c, h, w = found.content
    return replace(found, space=space, content=(t + first[0], c + first[1], h, w))


def _measured(
    lq: Look, gt: Look, spaces: Iterable[Space], start: float, claimed: Space | None, thorough: bool
) -> Relation | None:
    quick = sorted(((_quick(lq, gt, space), space) for space in spaces), key=lambda pair: -pair[0])
    fits: list[_Fit] = []
    for score, space in quick[:TRIED]:
        if score <= 0 or (fits and score < 0.5 * quick[0][0]):
            break
        fit = _fitted(lq, gt, space, start)
        if fit is not None:
            fits.append(fit)
    if not fits:
        return None
    best = min(fits, key=lambda fit: fit.left)
    if best.left > HOPELESS:
        return _described(lq, gt, best)
    for _ in range(2):
        better = _fitted(lq, gt, _moved(lq, gt, best, best.way, GREY if thorough else ROUGH), start)
        if better is None or better.left > best.left:
            break
        best = better
    side = SMALL
    parts = best.space.covered(lq.size, gt.size) < WHOLE or best.space.content(lq.size, gt.size) != (0, 0, *lq.size)
    if parts and thorough:
        side = FINE
        best = _elsewhere(lq, gt, _fitted(lq, gt, best.space, start, side) or best, start)
    reach = 0.5 + 0.08 * max(lq.size) / max(lq.grey.shape[1:])
    edged = _fitted(lq, gt, snapped(best.space, lq.size, gt.size, reach), start, side)
    if edged is not None and edged.left < 1.15 * best.left + 1e-3:
        best = edged
    if claimed is not None:
        told = _fitted(lq, gt, claimed, start, side)
        if told is not None and (
            _apart(told.space, best.space, lq.size) < ELSEWHERE or best.left > CLEARLY * told.left
        ):
            best = told
    return _described(lq, gt, best)


def _apart(first: Space, second: Space, lq: tuple[int, int]) -> float:
    """By how many pixels of LQ the corners of the picture lie apart."""
    if (first.mirror, first.turn % 4) != (second.mirror, second.turn % 4):
        return float('inf')
    sides = zip(lq, first.scale, first.shift, second.scale, second.shift, strict=True)
    return max(max(abs(b - d), abs((a - c) * side + b - d)) / a for side, a, b, c, d in sides)


def _seen(clip: Look, space: Space, lq: Look, out: tuple[int, int], picks: NDArray[np.int64]) -> NDArray[np.float32]:
    """(N, h, w) GT's luma as LQ would show it; NaN where it would not."""
    upright = space.upright(clip.grey[picks], 1)
    return np.stack([brought(np.ascontiguousarray(f), space, lq.size, clip.size, out) for f in upright])


def _quick(lq: Look, gt: Look, space: Space) -> float:
    """Correlation of a few frames of LQ with the likest ones of GT; 0 where the places do not overlap."""
    out = within(lq.size, 24)
    some = np.unique(np.linspace(0, len(lq) - 1, 5).astype(int))
    many = np.unique(np.linspace(0, len(gt) - 1, 16).astype(int))
    seen = _seen(gt, space, lq, out, many)
    known = np.isfinite(seen[0])
    if known.mean() < 0.04:
        return 0.0
    a = np.stack([shrunk(lq.grey[i].astype(np.float32), out)[known] for i in some])
    b = seen[:, known]
    a, b = (x - x.mean(1, keepdims=True) for x in (a, b))
    a, b = (x / (np.linalg.norm(x, axis=1, keepdims=True) + 5.0) for x in (a, b))
    return float(np.median((a @ b.T).max(1))) * float(known.mean()) ** 0.25


def _fitted(lq: Look, gt: Look, space: Space, start: float, side: int = SMALL) -> _Fit | None:
    """Frames matched by what they show, then without what is always different.

    Where little moves, what is always different looks like frames that are all some too late, and the other way: so
    frames are matched from three sides (nothing is always different; all frames lie by the clock, or spread over the
    clip), and the likeliest outcome is taken.
    """
    out = within(lq.size, side)
    seen = _seen(gt, space, lq, out, np.arange(len(gt)))
    known = np.isfinite(seen[0])
    if known.sum() < 30:
        return None
    a = np.stack([shrunk(frame.astype(np.float32), out)[known] for frame in lq.grey])
    b = np.ascontiguousarray(seen[:, known])
    clock = expected(lq.times, gt.times)
    spread = np.arange(len(lq)) * len(gt) // len(lq)
    ways = [None, clock] if np.abs(spread - clock).max() < 2 else [None, clock, spread]
    return min((_settled(lq, gt, space, start, a, b, way) for way in ways), key=lambda fit: fit.dear)


def _settled(
    lq: Look,
    gt: Look,
    space: Space,
    start: float,
    a: NDArray[np.float32],
    b: NDArray[np.float32],
    way: NDArray[np.int64] | None,
) -> _Fit:
    """LQ's pictures `a` and GT's `b` matched in two rounds, the first of them beside what `way` says (None: nothing) is
    always different."""
    if way is None:
        way, bias = expected(lq.times, gt.times), np.zeros(a.shape[1], np.float32)
        b_fit = float(a.std() / max(b.std(), 1e-3)) * (b - b.mean()) + a.mean()
    else:
        b_fit, bias = _levelled(a, b, way)
    for _ in range(2):
        cost = differences(a - bias, b_fit)
        noise = float(np.median(cost.min(1))) + 0.05
        ahead = float(np.median(gt.times[way] - lq.times))
        planned = expected(lq.times, gt.times, ahead) if start == 0 else expected(lq.times, gt.times)
        way, total = paced(cost, planned, noise, start)
        steps = total - float(local_costs(cost, noise)[np.arange(len(way)), way].sum())
        b_fit, bias = _levelled(a, b, way)
    rest = a - b_fit[way]
    variance = float(((a - a.mean()) ** 2).mean()) + 0.5
    dear = (float(((rest - bias) ** 2).mean()) + steps * noise / WEIGHT / len(way)) / variance
    cost = differences(a - bias, b_fit)
    return _Fit(space, way, a - bias, b_fit, cost, noise, float((rest**2).mean()) / variance, dear, bias)


def _levelled(
    a: NDArray[np.float32], b: NDArray[np.float32], way: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """GT's pictures with LQ's gain and mean, and what is always different then."""
    shown = b[way]
    centred = shown - shown.mean()
    gain = float((centred * (a - a.mean())).sum() / max(1e-3, (centred**2).sum()))
    b_fit = (gain if gain > 0.2 else 1.0) * (b - shown.mean()) + a.mean()
    return b_fit, (a - b_fit[way]).mean(0)


def _elsewhere(lq: Look, gt: Look, fit: _Fit, start: float) -> _Fit:
    """The same some frames earlier or later, where that fits better.

    Of a camera that pans, a crop that lies further left shows nearly the same in a later frame: only what moves on its
    own, and the ends of the clip, tell.
    """
    steps: tuple[int, ...] = (-1, 1, -3, 3)
    for _ in range(6):
        tried: dict[int, _Fit] = {}
        for late in steps:
            way = np.clip(fit.way + late, 0, len(gt) - 1)
            other = _fitted(lq, gt, _moved(lq, gt, fit, way), start, FINE)
            tried |= {} if other is None else {late: other}
        late = min(tried, key=lambda step: tried[step].dear, default=0)
        if not late or tried[late].dear >= (CLEARLY if start else BETTER) * fit.dear:
            break
        fit, steps = tried[late], (1, 3, 8) if late > 0 else (-1, -3, -8)
    return fit


def _moved(lq: Look, gt: Look, fit: _Fit, way: NDArray[np.int64], finest: int = GREY) -> Space:
    """The fit's space refined by frames spread over the clip."""
    own = fit.cost[np.arange(len(fit.way)), fit.way]
    good = np.flatnonzero(own <= np.quantile(own, 0.8) + 1e-6)
    picks = good[np.unique(np.linspace(0, len(good) - 1, COMPARED).astype(int))]
    upright = fit.space.upright(gt.grey[way[picks]], 1).astype(np.float32)
    return refined(fit.space, lq.grey[picks].astype(np.float32), upright, lq.size, gt.size, finest)


def _described(lq: Look, gt: Look, fit: _Fit) -> Relation:
    own = fit.cost[np.arange(len(fit.way)), fit.way]
    spread = fit.lq.var(1) + 0.5
    unknown = (own > UNKNOWN * spread) & (own > 6 * fit.noise + 4)
    blended = blends(fit.lq, fit.gt, fit.way, fit.noise)
    clear = clear_places(fit.cost, fit.way, fit.noise)
    shown = np.where(unknown, -1, gt.numbers[fit.way])
    timing = Timing(shown.astype(np.int64), lq.numbers, clear, blended & ~unknown)
    matched = np.flatnonzero(timing.matched)
    picks = matched if len(matched) else np.arange(len(fit.way))
    a, b = fit.lq[picks], fit.gt[fit.way[picks]]
    correlations = [_correlation(x, y) for x, y in zip(a + fit.bias, b, strict=True)]
    moving_a, moving_b = a - a.mean(0), b - b.mean(0)
    moves = float(np.sqrt((moving_b**2).mean())) > STILL
    colours = _colours(lq, gt, fit, picks)
    content = fit.space.content(lq.size, gt.size)
    return Relation(
        fit.space,
        timing,
        colours,
        content,
        fit.space.window(content),
        float(np.median(correlations)),
        _correlation(moving_a, moving_b) if moves else float('nan'),
        fit.left,
        float((~unknown).mean()),
        fit.space.covered(lq.size, gt.size),
    )


def _correlation(a: NDArray[Any], b: NDArray[Any]) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / np.sqrt(((a * a).sum() + 1e-3) * ((b * b).sum() + 1e-3)))


def _colours(lq: Look, gt: Look, fit: _Fit, picks: NDArray[np.int64]) -> Colours:
    """By blocks of frames spread over the clip."""
    chosen = picks[np.unique(np.linspace(0, len(picks) - 1, 24).astype(int))]
    fine, out = (lq.coloured.shape[1], lq.coloured.shape[2]), within(lq.size, BLOCKS)
    ours, theirs, groups = [], [], []
    rows, columns = np.mgrid[: out[0], : out[1]]
    piece = (rows * 2 // out[0]) * 4 + columns * 4 // out[1]  # PIECES parts of the picture
    for i in chosen:
        original = np.ascontiguousarray(fit.space.upright(gt.coloured[fit.way[i]]))
        seen = brought(original, fit.space, lq.size, gt.size, fine)
        there = np.isfinite(seen[..., 0])
        known = shrunk(there.astype(np.float32), out) > 0.999
        seen = shrunk(np.where(there[..., None], seen, 0), out)
        ours.append(shrunk(lq.coloured[i].astype(np.float32), out)[known])
        theirs.append(seen[known])
        groups.append(piece[known] % PIECES)
    return compared(np.concatenate(ours), np.concatenate(theirs), np.concatenate(groups))
