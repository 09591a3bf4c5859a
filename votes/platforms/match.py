"""A download and the original that it came of: how sure that is, and what is said of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from votes.relation.measure import Relation

SURE = 0.5  # confidence from which a pair is written


@dataclass
class Match:
    """A download and the original that it came of, as far as anyone knows.

    Attributes:
        original: the likeliest; None where nothing is alike.
        rival, rival_left: the next one, and the share of the download that it does not explain.
        confidence: 0 to 1.
        why: what makes it unsure, in words; empty where it is sure.
        left_out: why a sure one is not written.
        pair: what its clip is called.
    """

    download: str
    original: str | None = None
    rival: str | None = None
    confidence: float = 0.0
    why: str = ''
    relation: Relation | None = None
    left_out: str = ''
    pair: str = ''
    rival_left: float | None = None

    @property
    def sure(self) -> bool:
        return self.relation is not None and not self.why


def rank(measured: tuple[str, Relation]) -> float:
    """Low is likely: how little is left, of how many frames."""
    return measured[1].unexplained / max(0.05, measured[1].seen)


def judged(download: str, measured: list[tuple[str, Relation]]) -> Match:
    """The best of what was measured, and how sure it is: alike, moving alike, and clearly better than the next one."""
    if not measured:
        return Match(download, why='no original is like it')
    (original, best), *others = sorted(measured, key=rank)
    rival, left = (others[0][0], others[0][1].unexplained) if others else (None, None)
    return verdict(download, original, best, rival, left)


def verdict(download: str, original: str, best: Relation, rival: str | None, rival_left: float | None) -> Match:
    """How sure it is that a download came of an original, beside the next one."""
    left = math.inf if rival_left is None else rival_left
    like = _share(best.correlation, 0.75, 0.92)
    moves = 1.0 if math.isnan(best.motion) else _share(best.motion, 0.5, 0.8)
    alone = _share(1 - (best.unexplained + 2e-4) / (left + 2e-4), 0.0, 0.4)
    seen = _share(best.seen, 0.2, 0.6)
    told = _share(-best.unexplained, -0.25, -0.1)
    confidence = like * moves * alone * seen * told
    reasons = {
        like: f'it shows something else (correlation {best.correlation:.2f})',
        moves: f'it moves differently (correlation {best.motion:.2f})',
        alone: f'{rival} fits nearly as well',
        seen: f'only {100 * best.seen:.0f} % of its frames are in the original',
        told: f'{100 * best.unexplained:.0f} % of what it shows is not in the original',
    }
    why = '' if confidence >= SURE else reasons[min(reasons)]
    return Match(download, original, rival, round(confidence, 3), why, best, rival_left=rival_left)


def _share(value: float, nothing: float, everything: float) -> float:
    return float(np.clip((value - nothing) / (everything - nothing), 0, 1))


def described(match: Match) -> str:
    """A line for people."""
    if match.relation is None or match.original is None:
        return f'{match.download}: {match.why}'
    found = match.relation
    said = [f'{match.download} shows {match.original}', f'confidence {match.confidence:.2f}', *facts(found)]
    if match.why:
        return f'NOT SURE: {"; ".join([said[0], match.why, *said[1:]])}'
    return '; '.join([*said, *([f'NOT WRITTEN: {match.left_out}'] if match.left_out else [])])


def facts(found: Relation) -> list[str]:
    """What a relation says beside the plain case, in words."""
    space, timing = found.space, found.timing
    scale = (
        f'shrunk {space.scale[1]:.4g}'
        + ('' if abs(np.log(space.scale[0] / space.scale[1])) < 0.004 else f' x {space.scale[0]:.4g}')
        + ' times'
    )
    said = [scale]
    if space.mirror:
        said.append('mirrored')
    if space.turn:
        said.append(f'turned by {90 * space.turn} degrees')
    if found.covered < 0.97:
        top, left, height, width = found.window
        said.append(f'crop {width:.0f}x{height:.0f} at {left:.0f},{top:.0f}')
    if any(found.content[:2]):
        said.append(f'borders around {found.content[3]}x{found.content[2]} at {found.content[1]},{found.content[0]}')
    offsets = timing.offsets()
    if len(offsets) and (offsets == offsets[0]).all():
        said += [f'{offsets[0]} frames into the original'] if offsets[0] else []
    elif abs(timing.rate() - 1) > 0.02:
        said.append(f'every {timing.rate():.3g}th frame')
    for words, count in (
        ('repeated', len(timing.repeated())),
        ('blended', int(timing.blended.sum())),
        ('of something else', int((timing.shown < 0).sum())),
    ):
        said += [f'{count} frames {words}'] if count else []
    return [*said, *found.colours.mistakes()]
