"""Whether LQ shows what GT shows: not another picture, mirrored, shifted or cropped, with other colours or values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from votes.data.pairs import ClipPairs
from votes.video.colour import Colour

Finding = tuple[str, str, str]  # level, what, what to do
Gray = NDArray[np.float32]
LOOKED_AT = 3  # frames that are compared pixel by pixel
ALIKE, OTHER = 0.9, 0.5  # correlation of grey pictures: above the first they are the same, below the second others
SMALLEST = 32  # pixels: less is not enough to compare
PLAIN = 4.0  # standard deviation in levels below which a picture shows nothing that could be compared
ZOOMS = (0.75, 0.8, 0.85, 0.9, 0.95, 0.97, 1.03, 1.05, 1.1, 1.15, 1.2, 1.25, 1.33)
MATCH = 'match LQ and GT again'


def same_pictures(pairs: ClipPairs, clip: str, count: int) -> Iterator[Finding]:
    """Geometry and values of a few frames of LQ against GT brought to its size; the first `count` frames are looked at.

    Frames that are shifted in time are told by check.timing: this is for pairs in which nothing was found there.
    """
    looked = []
    for index in sorted({*np.linspace(0, count - 1, LOOKED_AT).astype(int).tolist()}):
        lq = pairs.lq.read(clip, index)
        gt = cv2.resize(pairs.read_gt(clip, index), lq.shape[1::-1], interpolation=cv2.INTER_AREA)
        looked.append((lq.astype(np.float32), gt.astype(np.float32)))
    greys = [(_grey(lq), _grey(gt)) for lq, gt in looked]
    greys = [(a, b) for a, b in greys if min(a.std(), b.std()) > PLAIN]
    if not greys or min(greys[0][0].shape) < SMALLEST:
        return
    bars = [_bars(a, b) for a, b in greys]
    if bars[0] and all(found == bars[0] for found in bars):
        yield 'error', f'LQ has black bars where GT has a picture: {bars[0]}', 'crop them and bring both to one size'
        return
    places = list(_geometry(greys))
    values = [] if places and 'another picture' not in places[0][1] else list(_overflow(looked))
    yield from values or places


def _grey(rgb: NDArray[np.float32]) -> Gray:
    return np.asarray(cv2.GaussianBlur(rgb @ np.array([0.299, 0.587, 0.114], np.float32), (0, 0), 1), np.float32)


def correlation(first: Gray, second: Gray) -> float:
    a, b = first - first.mean(), second - second.mean()
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum() + 1e-9))


def _geometry(greys: list[tuple[Gray, Gray]]) -> Iterator[Finding]:
    plain = float(np.median([correlation(a, b) for a, b in greys]))
    turns: dict[str, Any] = {
        'mirrored left to right': np.s_[:, ::-1],
        'upside down': np.s_[::-1],
        'turned by 180 degrees': np.s_[::-1, ::-1],
    }
    for name, turn in turns.items():
        if np.median([correlation(a, b[turn]) for a, b in greys]) > max(ALIKE, plain + 0.1):
            yield 'error', f'LQ is GT {name}', f'turn one of them, or {MATCH}'
            return
    moves = [cv2.phaseCorrelate(b, a, cv2.createHanningWindow(a.shape[::-1], cv2.CV_32F)) for a, b in greys]
    shift = np.median([move[0] for move in moves], axis=0)
    apart = max(float(np.hypot(*(np.array(move[0]) - shift))) for move in moves)
    moved = float(np.median([correlation(a, _moved(b, 1, shift)) for a, b in greys]))
    zoom, zoomed = 1.0, 0.0
    for factor in ZOOMS if max(plain, moved) < 0.98 else ():
        value = float(np.median([_zoomed(a, b, factor) for a, b in greys]))
        zoom, zoomed = (factor, value) if value > zoomed else (zoom, zoomed)
    if zoomed > max(ALIKE, plain + 0.03, moved + 0.03):
        yield (
            'error',
            f'LQ shows {"a part of GT" if zoom > 1 else "more than GT"}: about {zoom:g} times as large',
            f'crop GT to what LQ shows, or {MATCH}',
        )
    elif np.hypot(*shift) > 0.75 and apart < 0.5 and moved > ALIKE and moved > plain + 0.1 * (1 - plain):
        down, right = shift[1], shift[0]
        yield 'error', f'LQ is shifted by {right:+.1f} pixels to the right and {down:+.1f} down', 'crop GT alike'
    elif plain < OTHER and max(moved, zoomed) < ALIKE:
        yield 'error', f'LQ shows another picture than GT (their correlation is {plain:.2f})', MATCH


def _moved(picture: Gray, factor: float, shift: NDArray[np.float64]) -> Gray:
    """Enlarged about its centre, then moved by x and y."""
    height, width = picture.shape
    x, y = (1 - factor) * width / 2 + shift[0], (1 - factor) * height / 2 + shift[1]
    matrix = np.array([[factor, 0, x], [0, factor, y]], np.float64)
    return np.asarray(cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE), np.float32)


def _zoomed(lq: Gray, gt: Gray, factor: float) -> float:
    """Correlation of LQ with GT enlarged so much, wherever in it LQ lies."""
    large = _moved(gt, factor, np.zeros(2))
    shift, _ = cv2.phaseCorrelate(large, lq, cv2.createHanningWindow(lq.shape[::-1], cv2.CV_32F))
    return correlation(lq, _moved(gt, factor, np.array(shift)))


def _bars(lq: Gray, gt: Gray) -> str:
    """Rows and columns at the edges that are black in LQ and not in GT, in words."""
    found = []
    for name, a, b in (('rows', lq, gt), ('columns', lq.T, gt.T)):
        dark = (a.max(1) < 24) & ((b.max(1) > 40) | (b.std(1) > PLAIN))
        first = int(np.argmin(dark)) if not dark.all() else 0
        last = int(np.argmin(dark[::-1])) if not dark.all() else 0
        if first + last >= 4:
            found.append(f'{first} and {last} {name}')
    return ', '.join(found)


def _overflow(looked: list[tuple[NDArray[np.float32], NDArray[np.float32]]]) -> Iterator[Finding]:
    """Values that went beyond 255 or 0 and came out at the other end."""
    share = []
    for lq, gt in looked:
        apart = np.abs(lq - gt)
        beyond = ((apart > 180) & ((gt > 225) | (gt < 30))).sum(2) >= 2  # of three channels: no exchange of colours
        share.append(float(beyond.mean()) if np.median(apart) < 25 else 0.0)  # the rest is the same picture
    if float(np.median(share)) > 5e-4:
        yield (
            'error',
            f'white is black or black white in {100 * float(np.median(share)):.2g} % of LQ: values overflowed',
            'clip to 0 and 255 before rounding to 8 bit',
        )


def still_and_blank(lq: NDArray[np.float32], gt: NDArray[np.float32]) -> Iterator[Finding]:
    """Frames that show nothing, and a GT that stands where LQ moves; small pictures (T, h, w, 3)."""
    for name, one, other in (('LQ', lq, gt), ('GT', gt, lq)):
        blank = [i for i in range(len(one)) if one[i].std() < 1.5 and other[i].std() > 3 * PLAIN]
        if blank:
            yield (
                'error',
                f'{name} shows nothing at frame {blank[0]} ({len(blank)} such frames)',
                f'{MATCH}, or drop it',
            )
    frozen = [i for i in range(1, len(gt)) if (gt[i] == gt[i - 1]).all() and np.abs(lq[i] - lq[i - 1]).mean() > 2]
    if frozen:
        yield 'error', f'GT repeats a frame at {frozen[0]} where LQ moves ({len(frozen)} such frames)', MATCH


def wrong_colours(lq: NDArray[np.float32], gt: NDArray[np.float32]) -> Iterator[Finding]:
    """Colours that were read with another matrix, range or order; small pictures (T, h, w, 3).

    Means over blocks are compared: what compression does to details, it hardly does to them.
    """
    coarse = [_coarse(x) for x in (lq, gt)]
    error = float(np.abs(coarse[0] - coarse[1]).mean())
    looks = {name: _coarse(other) for name, other in suspects(gt).items()}
    others = {name: float(np.abs(coarse[0] - look).mean()) for name, look in looks.items()}
    name = min(others, key=lambda n: others[n])
    if error <= 0.6 or others[name] >= 0.5 * error:
        name = next((n for n, look in looks.items() if 'BT.' in n and _explains(look, *coarse)), '')
    if name:
        yield 'error', f'colours differ as by {name}', 'extract LQ and GT with the same matrix, range and order'


def _explains(look: NDArray[np.float32], lq: NDArray[np.float32], gt: NDArray[np.float32]) -> bool:
    """Whether what is between LQ and GT is what is between `look` and GT.

    A confusion of BT.601 and BT.709 changes colours by a level or two, as compression does: it takes from their
    saturation and their contrast. How much of the difference is the confusion's, beside these, is fitted.
    """
    mistake = look - gt
    if float(np.abs(mistake).mean()) < 0.6:
        return False  # colours so pale hardly change
    luma = np.broadcast_to((gt @ np.array([0.299, 0.587, 0.114], np.float32))[..., None], gt.shape)
    beside = np.stack([(gt - luma).ravel(), luma.ravel(), np.ones(gt.size)], 1)
    found = (lq - gt).ravel()
    without = found - beside @ np.linalg.lstsq(beside, found, rcond=None)[0]
    columns = np.column_stack([mistake.ravel(), beside])
    weights = np.linalg.lstsq(columns, found, rcond=None)[0]
    left = found - columns @ weights
    return bool(weights[0] > 0.55 and (left @ left) < 0.9 * (without @ without))


def _coarse(x: NDArray[np.float32]) -> NDArray[np.float32]:
    height, width = x.shape[1:3]
    size = max(1, min(12, width)), max(1, round(height * min(12, width) / width))
    return np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in x])


def suspects(rgb: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """What a picture looks like after the usual mistakes."""
    flat = np.rint(rgb.reshape(1, -1, 3)).astype(np.uint8)

    def through(written: Colour, read: Colour) -> NDArray[np.float32]:
        return read.to_rgb(written.to_yuv(flat)).reshape(rgb.shape).astype(np.float32)

    bt601, bt709 = Colour('bt601', False), Colour('bt709', False)
    return {
        'a BT.709 video read as BT.601': through(bt709, bt601),
        'a BT.601 video read as BT.709': through(bt601, bt709),
        'limited range read as full range': through(bt601, Colour('bt601', True)),
        'full range read as limited range': through(Colour('bt601', True), bt601),
        'red and blue exchanged': rgb[..., ::-1],
    }
