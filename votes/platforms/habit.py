"""What a platform does to the times of most clips, and the clips whose own frames do not tell it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from votes.platforms.match import Match, verdict
from votes.relation.looks import Look
from votes.relation.measure import measure
from votes.relation.timing import TEMPI, Timing

LEAST = 3  # clips of one habit, and at least half of all that were matched
HABIT = 20.0  # cost of a frame that is off the habit, as of `start` in timing.path
WORSE = 1.1  # of the share that is left, where the habit is believed

Habit = tuple[float, int]  # frames of GT for one of LQ, and the first one


def steady(timing: Timing) -> Habit | None:
    """The tempo and the first frame of a clip whose frames all lie as these say."""
    if len(timing.lq) < 2 or (timing.shown < 0).any():
        return None
    tempo = min(TEMPI, key=lambda t: abs(t - timing.rate()))
    first = int(timing.shown[0])
    return (tempo, first) if (_places((tempo, first), timing.lq) == timing.shown).all() else None


def _places(habit: Habit, numbers: np.ndarray) -> np.ndarray:
    return np.floor(habit[1] + habit[0] * numbers + 1e-6).astype(np.int64)


def of_most(matches: Iterable[Match]) -> Habit | None:
    """What most of the clips that are sure have in common."""
    sure = [steady(match.relation.timing) for match in matches if match.sure and match.relation is not None]
    counted = Counter(habit for habit in sure if habit is not None).most_common(1)
    return counted[0][0] if counted and counted[0][1] >= max(LEAST, len(sure) / 2) else None


def followed(match: Match, habit: Habit, look: Callable[[str, str], Look]) -> Match | None:
    """A match by the habit of most, where what its frames show does not speak against it; else None.

    Of a clip in which little moves, frames show what the encoder kept of others, and lie anywhere near.
    """
    if match.relation is None or match.original is None or steady(match.relation.timing) == habit:
        return None
    lq, gt = look('download', match.download), look('original', match.original)
    lq = replace(lq, times=np.asarray(habit[1] + habit[0] * lq.numbers, np.float64))
    gt = replace(gt, times=gt.numbers.astype(np.float64))
    found = measure(lq, gt, [match.relation.space], HABIT)
    if found is None or steady(found.timing) != habit or found.unexplained > WORSE * match.relation.unexplained:
        return None
    again = verdict(match.download, match.original, found, match.rival, match.rival_left)
    return again if again.sure else None
