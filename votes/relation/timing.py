"""Which frame of GT each frame of LQ shows: dropped, repeated, resampled, blended frames, offset, varying rate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Costs = NDArray[np.float64]
WEIGHT = 25.0  # of a frame whose difference is what compression makes, as a negative logarithm of likelihood
STEP, JUMP = 20.0, 45.0  # cost of a step that is one frame off, and of any step
MOST = 60.0  # cost of a wrong place at most; a frame that fits nowhere better than this shows nothing known
SLACK = 2.0  # as much worse than the best one of GT a frame may fit, for nothing: compression makes frames late
ODD = 30.0  # cost of a tempo that is neither that of the clock nor that of all of GT
CUT, CUTS = 1.5, 4  # cost of each frame of GT that is cut off at its ends, and how many of them cost
NEAR = 3  # frames that a step may be off before it is a jump
CLEAR = 1.15  # how much worse the neighbours must be where a frame's place is clear
BLEND = 0.6  # what is left of the difference where a frame is a blend of two
TEMPI = sorted({a / b for a in range(1, 7) for b in range(1, 7)})  # frames of GT for one of LQ that platforms make
NEAR_TEMPO = 0.1  # logarithm of what a tempo may be off the steps that were seen


@dataclass(frozen=True)
class Timing:
    """The frames of a clip on those of another.

    Attributes:
        shown: (T,) for each LQ frame the GT frame it shows, both as frame numbers; -1 where it shows none of them.
        lq: (T,) the frame numbers of LQ.
        clear: (T,) whether the frame could not as well show a neighbour: still pictures could.
        blended: (T,) whether the frame is a blend of two.
    """

    shown: NDArray[np.int64]
    lq: NDArray[np.int64]
    clear: NDArray[np.bool_]
    blended: NDArray[np.bool_]

    @property
    def matched(self) -> NDArray[np.bool_]:
        """Frames that show one frame of GT."""
        return (self.shown >= 0) & ~self.blended

    def offsets(self) -> NDArray[np.int64]:
        """By how many frames GT is ahead, of the frames whose place is clear."""
        known = self.clear & self.matched
        return np.asarray(self.shown[known] - self.lq[known])

    def dropped(self) -> list[int]:
        """GT frames between those that are shown which LQ has not, where the rates are the same."""
        shown = self.shown[self.shown >= 0]
        return sorted(set(range(int(shown.min()), int(shown.max()) + 1)) - set(shown.tolist())) if len(shown) else []

    def repeated(self) -> list[int]:
        """LQ frames that show the GT frame that the one before them shows."""
        again = (self.shown[1:] == self.shown[:-1]) & (self.shown[1:] >= 0)
        return [int(n) for n in self.lq[1:][again]]

    def rate(self) -> float:
        """GT frames for one LQ frame."""
        known = self.shown >= 0
        if known.sum() < 2 or np.ptp(self.lq[known]) == 0:
            return 1.0
        return float(np.polyfit(self.lq[known], self.shown[known], 1)[0])


def differences(lq: NDArray[np.float32], gt: NDArray[np.float32]) -> Costs:
    """(T_lq, n) and (T_gt, n) -> (T_lq, T_gt) mean squares."""
    squares = (lq.astype(np.float64) ** 2).mean(1)[:, None] + (gt.astype(np.float64) ** 2).mean(1)[None]
    return np.asarray(np.maximum(squares - 2 * (lq @ gt.T).astype(np.float64) / lq.shape[1], 0))


def expected(lq_times: NDArray[np.float64], gt_times: NDArray[np.float64], ahead: float = 0.0) -> NDArray[np.int64]:
    """Positions in GT of the frames shown at LQ's times, if GT is `ahead` by so much."""
    places = np.interp(lq_times + ahead, gt_times, np.arange(len(gt_times)), left=-1, right=len(gt_times))
    return np.asarray(np.clip(np.rint(places), 0, len(gt_times) - 1).astype(np.int64))


def local_costs(cost: Costs, noise: float) -> Costs:
    """(T_lq, T_gt) what each place of each frame costs beside its best one; nothing where it shows nothing known."""
    local = WEIGHT * cost / max(noise, 1e-6)
    least = local.min(1, keepdims=True)
    return np.asarray(np.where(least > MOST, 0, np.clip(local - least - SLACK, 0, MOST)))


def paced(cost: Costs, planned: NDArray[np.int64], noise: float, start: float = 0.0) -> tuple[NDArray[np.int64], float]:
    """The `path` by the clock, or by a steady tempo of its own where that explains the frames better.

    Downloads often have no clock that can be trusted, or their originals have none. A platform that drops every second
    frame then looks like one whose frames are all one off, and where little moves that is dearer than wrong frames.
    """
    way, total = path(cost, planned, noise, start)
    count, length = cost.shape
    if total < count or count < 3:  # hardly a frame fits better elsewhere
        return way, total
    numbers = np.arange(count)
    slopes = float(np.polyfit(numbers, way, 1)[0]), float(np.median(np.diff(way))), length / count
    steady: list[tuple[float, float, NDArray[np.int64]]] = []
    for tempo in TEMPI:
        if min(abs(np.log(tempo / max(slope, 1e-3))) for slope in slopes) < NEAR_TEMPO:
            first = np.floor(np.median(way - tempo * numbers)) + np.arange(-2, 3, 1 / 12)
            places = np.floor(first[:, None] + tempo * numbers + 1e-6).astype(np.int64)
            fit = cost[numbers, np.clip(places, 0, length - 1)].mean(1)
            odd = ODD if abs(tempo * count - length) > max(1, tempo) else 0
            steady.append((float(fit.min()), odd, places[fit.argmin()]))
    for _, odd, places in sorted(steady, key=lambda row: row[0])[:2]:
        other, value = path(cost, places, noise, start)
        way, total = (other, value + odd) if value + odd < total else (way, total)
    return way, total


def path(cost: Costs, planned: NDArray[np.int64], noise: float, start: float = 0.0) -> tuple[NDArray[np.int64], float]:
    """Positions in GT that never go back, of least cost, and the cost: Viterbi's way through the differences.

    Args:
        cost: (T_lq, T_gt) mean squares.
        planned: positions as they would be by the clock; only the steps between them count, and their first one.
        noise: the mean square that compression makes.
        start: how sure `planned` is: cost of each frame that the first one is off (at most that of a jump), and what a
            step costs more that is one off.
    """
    count, length = cost.shape
    local = local_costs(cost, noise)
    places = np.arange(length)
    total = local[0] + np.minimum(start * np.abs(places - planned[0]), JUMP) + CUT * np.minimum(places, CUTS)
    back = np.zeros((count, length), np.int32)
    for i in range(1, count):
        step = int(planned[i] - planned[i - 1])
        lowest = np.minimum.accumulate(total)
        first = np.maximum.accumulate(np.where(total == lowest, places, 0))
        best, come = lowest + JUMP, first
        for off in range(-NEAR, NEAR + 1):
            advance = step + off
            if advance < 0 or advance >= length:
                continue
            value = np.full(length, np.inf)
            value[advance:] = total[: length - advance] + (STEP + start) * abs(off)
            better = value < best
            best, come = np.where(better, value, best), np.where(better, places - advance, come)
        back[i] = come
        total = best + local[i]
    total = total + CUT * np.minimum(length - 1 - places, CUTS)
    way = np.empty(count, np.int64)
    way[-1] = int(total.argmin())
    for i in range(count - 1, 0, -1):
        way[i - 1] = back[i, way[i]]
    return way, float(total.min())


def clear_places(cost: Costs, way: NDArray[np.int64], noise: float, reach: int = 2) -> NDArray[np.bool_]:
    """Where both neighbours of a frame's place fit clearly less well, as far as there are any."""
    found = np.zeros(len(way), np.bool_)
    for i, j in enumerate(way):
        others = [k for k in range(max(0, j - reach), min(cost.shape[1], j + reach + 1)) if k != j]
        if 0 < j < cost.shape[1] - 1 and others:
            found[i] = min(cost[i, k] for k in others) > CLEAR * cost[i, j] + 0.1 * noise
    return found


def blends(lq: NDArray[np.float32], gt: NDArray[np.float32], way: NDArray[np.int64], noise: float) -> NDArray[np.bool_]:
    """Which LQ frames are a blend of their GT frame and a neighbour of it, both with a share of 0.3 and more."""
    found = np.zeros(len(way), np.bool_)
    for i, j in enumerate(way):
        left = lq[i] - gt[j]
        for k in (j - 1, j + 1):
            if not 0 <= k < len(gt):
                continue
            move = gt[k] - gt[j]
            energy = float(move @ move)
            if energy / len(move) < 8 * noise:
                continue
            share = float(left @ move) / energy
            rest = left - share * move
            found[i] |= 0.3 < share < 0.7 and float(rest @ rest) < BLEND * float(left @ left)
    return found
