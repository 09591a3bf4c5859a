"""Whether LQ shows what GT shows: not another picture, mirrored, shifted, cropped or late, nor with other colours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from votes.data.pairs import ClipPairs
from votes.data.sources import FolderSource, FrameSource
from votes.relation.catalogue import Catalogue
from votes.relation.looks import Look, look, shrunk
from votes.relation.measure import Relation, measure
from votes.relation.space import Space, whole

Finding = tuple[str, str, str]  # level, what, what to do
SAMPLED, RUNS = 24, 4  # frames of a clip that are read unless all are asked for, in so many runs
REACH = 5  # frames that LQ and GT may be apart and still be recognised by these
ODD = 12  # frames more that are read because their files stand out
SMALL_FILE, LARGE_FILE = 0.25, 4.0  # of the median: a frame that shows nothing, or something else
SMALLEST = 32  # pixels: less is not enough to compare
PLAIN = 4.0  # standard deviation in levels below which a picture shows nothing that could be compared
ALIKE, OTHER = 0.97, 0.75  # correlations: above the first nothing else is tried, below the second it is another picture
OTHERWISE = 0.25  # correlation of what moves, below which something else moves
MANY_BITS = 48.0  # dB: LQ that is so close to the shrunk GT was hardly compressed
TOGETHER = 2.0  # cost of each frame that LQ begins away from where GT does
BRIGHTER, LIGHTER = 0.08, 6.0  # gain and offset (levels) that are worth a word
LOOKED_AT = 3  # frames that are compared pixel by pixel
MATCH = 'match LQ and GT again (votes pair, or --write-fixed)'
FIX = '--write-fixed DIR writes it repaired'


@dataclass
class Examined:
    """What was found in a clip, of how many frames of LQ; no relation where nothing can be compared."""

    relation: Relation | None
    found: list[Finding] = field(default_factory=list)
    read: int = 0


def examined(pairs: ClipPairs, clip: str, everything: bool) -> Examined:
    """Compares LQ and GT of a clip. Where something is wrong with its timing, all of its frames are read.

    Raises:
        UserError: a frame cannot be read.
    """
    count = pairs.lengths[clip]
    ours, theirs = (list(range(count)), list(range(count))) if everything else picked(pairs, clip)
    lq, gt = looks(pairs, clip, ours, theirs)
    relation = related(lq, gt)
    found = list(blank(lq, gt))
    if relation is not None and not everything and len(ours) < count and list(timing(relation, lq)):
        return examined(pairs, clip, True)
    other = None if found or relation is None else another(relation)
    found += frozen(lq, gt)
    if relation is None:
        return Examined(None, found, len(lq))
    placed = list(place(relation, lq, gt))
    spilt = list(overflow(pairs, clip, lq)) if other is not None or not placed else []
    if spilt:
        found += spilt
    elif other is not None:
        found.append(other)
    else:
        found += [*timing(relation, lq), *placed, *bits(lq, gt), *colours(relation)]
    return Examined(relation, found, len(lq))


def looks(pairs: ClipPairs, clip: str, ours: list[int], theirs: list[int]) -> tuple[Look, Look]:
    """LQ, and GT cut to what belongs to it, of some frames."""
    lq = look((i, float(i), pairs.lq.read(clip, i)) for i in ours)
    return lq, look((i, float(i), pairs.read_gt(clip, i)) for i in theirs)


def picked(pairs: ClipPairs, clip: str) -> tuple[list[int], list[int]]:
    """Frames of LQ, in runs spread over the clip and where files stand out; and those of GT around them."""
    count = pairs.lengths[clip]
    if count <= SAMPLED + REACH:
        return list(range(count)), list(range(count))
    length = SAMPLED // RUNS
    starts = np.linspace(0, count - length, RUNS).round().astype(int).tolist()
    ours = {i for start in starts for i in range(start, start + length)}
    ours |= {i for source in (pairs.lq, pairs.gt) for i in standing_out(source, clip, count)}
    theirs = {j for i in ours for j in range(max(0, i - REACH), min(count, i + REACH + 1))}
    return sorted(ours), sorted(theirs)


def standing_out(source: FrameSource, clip: str, count: int) -> list[int]:
    """Frames whose files are much smaller or larger than the others, or as large as the one before: grey frames, or one
    that is there twice. Only sizes are read."""
    if not isinstance(source, FolderSource):
        return []
    sizes = np.array([(source.root / clip / name).stat().st_size for name in source.files(clip)[:count]], float)
    median = float(np.median(sizes))
    odd = np.flatnonzero((sizes < SMALL_FILE * median) | (sizes > LARGE_FILE * median)).tolist()
    again = [i for i in np.flatnonzero(sizes[1:] == sizes[:-1]).tolist() for i in (i, i + 1)]
    return sorted({*odd[:ODD], *again[:ODD]})


def related(lq: Look, gt: Look) -> Relation | None:
    """The relation of both, the plain one unless another is clearly right; None where nothing can be compared."""
    if min(lq.size) < SMALLEST or min(lq.grey.std((1, 2)).max(), gt.grey.std((1, 2)).max()) < PLAIN:
        return None
    plain = whole(lq.size, gt.size)
    relation = measure(lq, gt, [plain], TOGETHER, plain)
    if relation is not None and relation.correlation > ALIKE and relation.space == plain:
        return relation
    catalogue = Catalogue()
    catalogue.add('gt', gt)
    spaces: list[Space] = [plain, *(s for c in catalogue.candidates(lq) for s in c.spaces)]
    return measure(lq, gt, spaces, TOGETHER, plain)


def another(relation: Relation) -> Finding | None:
    """LQ of another clip."""
    if relation.correlation >= OTHER and not relation.motion < OTHERWISE:  # False of NaN
        return None
    like, moves = f'their correlation is {relation.correlation:.2f}', f'that of what moves {relation.motion:.2f}'
    return 'error', f'LQ shows another picture than GT ({like}, {moves})', MATCH


def timing(relation: Relation, lq: Look) -> Iterator[Finding]:
    """Frames that are shifted, dropped, repeated or blended in LQ."""
    told = relation.timing
    clear = told.clear & told.matched
    late = told.shown[clear] - told.lq[clear]
    repeated = [n for n in told.repeated() if clear[np.searchsorted(told.lq, n)] and n - 1 in told.lq]
    if repeated:
        yield 'error', f'LQ repeats a frame at {_some(repeated)} where GT moves', FIX
    blended = [int(n) for n in told.lq[told.blended & told.clear]]
    if len(blended) > 1:
        yield 'error', f'LQ blends two frames at {_some(blended)}', FIX
    if not len(late):
        return
    sure = f'{len(late)} of {len(told.lq)} frames could be placed'
    values = sorted(set(late.tolist()))
    if len(values) == 1 and values[0]:
        after = values[0] < 0
        yield (
            'error',
            f'LQ shows frame i {"after" if after else "before"} GT does: it is {abs(values[0])} frames '
            f'{"late" if after else "early"} ({sure}, and all agree)',
            f'remove the first {abs(values[0])} frames of {"LQ" if after else "GT"} and renumber, or {FIX}',
        )
    elif len(values) > 1:
        numbers = told.lq[clear]
        at = int(numbers[np.flatnonzero(np.diff(late))[0] + 1])
        yield (
            'error',
            f'LQ and GT part at frame {at}: offsets {values}; frames were dropped or inserted there ({sure})',
            f'cut the clip before that frame, drop it, or {FIX}',
        )


def place(relation: Relation, lq: Look, gt: Look) -> Iterator[Finding]:
    """LQ that is mirrored, turned, shifted, cropped or has borders."""
    space, scale = relation.space, gt.size[0] / lq.size[0]
    if space == whole(lq.size, gt.size) and relation.content == (0, 0, *lq.size):
        return
    stands = {(True, 0): 'mirrored left to right', (True, 2): 'upside down'}
    stands |= {(False, turn): f'turned by {90 * turn} degrees' for turn in (1, 2, 3)}
    if (space.mirror, space.turn) != (False, 0):
        how = stands.get((space.mirror, space.turn), f'mirrored, then turned by {90 * space.turn} degrees')
        yield 'error', f'LQ is GT {how}', f'turn one of them, or {FIX}'
    top, left, height, width = relation.content
    below, right = lq.size[0] - top - height, lq.size[1] - left - width
    bars = [f'{a} and {b} {name}' for a, b, name in ((top, below, 'rows'), (left, right, 'columns')) if a + b >= 3]
    zoom = scale / float(np.sqrt(space.scale[0] * space.scale[1]))
    if len(bars) and (min(top, below) > 0 or min(left, right) > 0):
        yield (
            'error',
            f'LQ has black bars or other borders where GT has a picture: {", ".join(bars)}',
            f'crop them, or {FIX}',
        )
    elif abs(zoom - 1) < 0.012:
        down, across = (-shift / s for shift, s in zip(space.shift, space.scale, strict=True))
        if max(abs(down), abs(across)) > 0.5:
            text = f'LQ is shifted by {across:+.1f} pixels to the right and {down:+.1f} down'
            yield 'error', text, f'crop GT alike, or {FIX}'
    else:
        t, x, h, w = relation.window
        shows = f'a part of GT ({w:.0f}x{h:.0f} at {x:.0f},{t:.0f})' if zoom > 1 else 'more than GT'
        yield 'error', f'LQ shows {shows}: about {zoom:.3g} times as large', f'crop GT to what LQ shows, or {FIX}'


def colours(relation: Relation) -> Iterator[Finding]:
    """Channels, matrix and range that were read otherwise, and another brightness."""
    told = relation.colours
    for name in told.mistakes():
        yield 'error', f'colours differ as by {name}', f'extract both with the same matrix, range and order, or {FIX}'
    middle = (told.gain - 1) * 128 + told.offset
    if not told.mistakes() and (abs(told.gain - 1) > BRIGHTER or abs(middle) > LIGHTER):
        yield (
            'warning',
            f'LQ is {"brighter" if middle > 0 else "darker"} than GT: {told.gain:.2f} times it {told.offset:+.0f}',
            'nothing, if that is what the platform does',
        )


def bits(lq: Look, gt: Look) -> Iterator[Finding]:
    """LQ that is GT."""
    both = [n for n in lq.numbers if n in gt.numbers]
    if lq.grey.shape[1:] != gt.grey.shape[1:] and lq.coloured.shape[1:] != gt.coloured.shape[1:]:
        return
    ours = lq.coloured[np.searchsorted(lq.numbers, both)].astype(float)
    theirs = gt.coloured[np.searchsorted(gt.numbers, both)].astype(float)
    mse = float(((ours - theirs) ** 2).mean())
    if mse < 1e-9 and lq.size == gt.size:
        yield 'error', 'LQ equals GT', 'dataroot_lq names the original?'
    elif mse < 255**2 / 10 ** (MANY_BITS / 10):
        yield 'warning', 'LQ is the shrunk GT, hardly compressed', 'is this the folder that the platform made?'


def blank(lq: Look, gt: Look) -> Iterator[Finding]:
    """Frames that show nothing where the other side has a picture."""
    both = [int(n) for n in lq.numbers if n in gt.numbers]
    for name, one, other in (('LQ', lq, gt), ('GT', gt, lq)):
        flat, deep = (x.grey[np.searchsorted(x.numbers, both)].std((1, 2)) for x in (one, other))
        empty = [n for n, a, b in zip(both, flat, deep, strict=True) if a < 1.5 and b > 3 * PLAIN]
        if empty:
            yield 'error', f'{name} shows nothing at frame {empty[0]} ({len(empty)} such frames)', FIX


def frozen(lq: Look, gt: Look) -> Iterator[Finding]:
    """A GT that stands where LQ moves."""
    both = [int(n) for n in lq.numbers if n in gt.numbers]
    after = [n for n in both if n - 1 in both]
    found = [n for n in after if _same(gt, n) and _change(lq, n) > 2]
    if found:
        yield 'error', f'GT repeats a frame at {found[0]} where LQ moves ({len(found)} such frames)', FIX


def _same(clip: Look, number: int) -> bool:
    i = int(np.searchsorted(clip.numbers, number))
    return bool((clip.grey[i] == clip.grey[i - 1]).all() and (clip.coloured[i] == clip.coloured[i - 1]).all())


def _change(clip: Look, number: int) -> float:
    i = int(np.searchsorted(clip.numbers, number))
    return float(np.abs(clip.coloured[i].astype(float) - clip.coloured[i - 1]).mean())


def overflow(pairs: ClipPairs, clip: str, looked: Look) -> Iterator[Finding]:
    """Values that went beyond 255 or 0 and came out at the other end."""
    share = []
    for i in looked.numbers[np.unique(np.linspace(0, len(looked) - 1, LOOKED_AT).astype(int))].tolist():
        lq = pairs.lq.read(clip, i).astype(np.float32)
        share.append(overflowed(lq, shrunk(pairs.read_gt(clip, i), lq.shape[:2]).astype(np.float32)))
    if share and float(np.median(share)) > 5e-4:
        yield (
            'error',
            f'white is black or black white in {100 * float(np.median(share)):.2g} % of LQ: values overflowed',
            'clip to 0 and 255 before rounding to 8 bit; this cannot be repaired afterwards',
        )


def overflowed(lq: NDArray[np.float32], gt: NDArray[np.float32]) -> float:
    """Share of the pixels of two RGB pictures that are at opposite ends, where the rest is the same picture."""
    apart = np.abs(lq - gt)
    beyond = ((apart > 180) & ((gt > 225) | (gt < 30))).sum(2) >= 2  # of three channels: no exchange of colours
    return float(beyond.mean()) if np.median(apart) < 25 else 0.0


def _some(frames: list[int]) -> str:
    return ', '.join(map(str, frames[:5])) + (f' and {len(frames) - 5} more' if len(frames) > 5 else '')
