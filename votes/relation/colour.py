"""What colours LQ has where GT has others: gain, order of channels, matrix, range."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from votes.relation.looks import WEIGHTS
from votes.video.colour import Colour

Samples = NDArray[Any]  # (N, 3) RGB of one place in both clips
SAME = 'same'
BT709_AS_601, BT601_AS_709 = 'a BT.709 video read as BT.601', 'a BT.601 video read as BT.709'
LIMITED_AS_FULL, FULL_AS_LIMITED = 'limited range read as full range', 'full range read as limited range'
ORDERS = ['RGB', *(''.join(p) for p in itertools.permutations('RGB') if ''.join(p) != 'RGB')]
PIECES = 8  # that the uncertainty of the matrix is told from
SURE = 0.5  # which share of a confusion of matrices must be there, and so many standard errors of it (CERTAIN)
CERTAIN = 2.0


@dataclass(frozen=True)
class Colours:
    """LQ = gain * GT + offset after what the other fields say.

    Attributes:
        order: which channels of GT LQ shows as R, G and B: 'RGB' or, exchanged, 'BGR'.
        matrix: SAME, BT709_AS_601 or BT601_AS_709.
        range: SAME, LIMITED_AS_FULL or FULL_AS_LIMITED.
        gain, offset: of luma, in levels, beside what the range explains.
        saturation: of LQ, where GT's is 1.
        share: how much of a BT.709 video read as BT.601 there is: near 0 none, near 1 all, near -1 the other way.
        uncertainty: standard error of `share`; infinite where the colours do not tell.
        unexplained: mean square that is left, in levels squared.
    """

    order: str = 'RGB'
    matrix: str = SAME
    range: str = SAME
    gain: float = 1.0
    offset: float = 0.0
    saturation: float = 1.0
    share: float = 0.0
    uncertainty: float = float('inf')
    unexplained: float = 0.0

    def mistakes(self) -> list[str]:
        order = [f'{self.order} instead of RGB' if self.order != 'BGR' else 'red and blue exchanged']
        return [*(order if self.order != 'RGB' else []), *(x for x in (self.matrix, self.range) if x != SAME)]

    def undone(self, lq: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """LQ frames (..., 3) with order, matrix and range as in GT; gain and saturation are the platform's and stay."""
        if self.order != 'RGB':
            lq = np.ascontiguousarray(lq[..., [self.order.index(c) for c in 'RGB']])
        for written, read in [MISTAKES[name] for name in (self.matrix, self.range) if name != SAME]:
            flat = lq.reshape(1, -1, 3)
            lq = written.to_rgb(read.to_yuv(flat)).reshape(lq.shape)
        return lq


_601, _709 = Colour('bt601', False), Colour('bt709', False)
_601_FULL = Colour('bt601', True)
MISTAKES = {  # how it was written, how it was read
    BT709_AS_601: (_709, _601),
    BT601_AS_709: (_601, _709),
    LIMITED_AS_FULL: (_601, _601_FULL),
    FULL_AS_LIMITED: (_601_FULL, _601),
}


def _confusion(written: Colour, read: Colour) -> NDArray[Any]:
    """(3, 3): RGB as it was meant to RGB as it is seen, of two matrices of one range."""
    return np.linalg.inv(read.to_yuv_matrix().astype(np.float64)) @ written.to_yuv_matrix().astype(np.float64)


CONFUSED = _confusion(_709, _601) - np.eye(3)


def compared(lq: Samples, gt: Samples, groups: NDArray[np.int64] | None = None) -> Colours:
    """What colours LQ has, by places that LQ and GT share, averaged over many pixels: compression hardly
    changes them, as it does details.

    Args:
        groups: (N,) numbers of pieces of the picture or the clip; what differs between them is uncertainty.
    """
    inside = (np.minimum(lq, gt).min(1) > 3) & (np.maximum(lq, gt).max(1) < 252)  # what is cut off says nothing
    if inside.sum() < 50:
        return Colours()
    lq, gt = lq[inside].astype(np.float64), gt[inside].astype(np.float64)
    groups = np.arange(len(lq)) * PIECES // len(lq) if groups is None else groups[inside]
    order = _order(lq, gt)
    gt = gt[:, ['RGB'.index(c) for c in order]]
    share, uncertainty = _matrix(lq, gt, groups)
    matrix = SAME
    if max(SURE, CERTAIN * uncertainty) < abs(share) < 1.8:
        matrix = BT709_AS_601 if share > 0 else BT601_AS_709
        gt = gt + gt @ (CONFUSED if share > 0 else _confusion(_601, _709) - np.eye(3)).T
    (offset, gain, saturated), left = _fitted(lq, gt, [])
    ranged = SAME
    if abs(gain - 219 / 255) < 0.06 and abs(offset - 16) < 6:
        ranged, gain, offset = LIMITED_AS_FULL, gain * 255 / 219, offset - 16 * gain * 255 / 219
    elif abs(gain - 255 / 219) < 0.07 and abs(offset + 16 * 255 / 219) < 8:
        ranged, gain, offset = FULL_AS_LIMITED, gain * 219 / 255, offset + 16 * gain
    saturation = (
        saturated / gain if ranged == SAME else saturated / gain * (224 / 255 if ranged == FULL_AS_LIMITED else 1)
    )
    unexplained = float((left**2).mean())
    return Colours(
        order, matrix, ranged, float(gain), float(offset), float(saturation), share, uncertainty, unexplained
    )


def _order(lq: NDArray[Any], gt: NDArray[Any]) -> str:
    """Which permutation of channels leaves least; another than RGB only where it leaves clearly less."""
    a, b = lq - lq.mean(1, keepdims=True), gt - gt.mean(1, keepdims=True)
    left = {}
    for order in ORDERS:
        ordered = b[:, ['RGB'.index(c) for c in order]]
        gain = max(0.0, float((a * ordered).sum() / max(1e-9, (ordered**2).sum())))
        left[order] = float(((a - gain * ordered) ** 2).mean())
    best = min(left, key=lambda order: left[order])
    return best if left[best] < 0.5 * left['RGB'] and (b**2).mean() > 4 else 'RGB'


def _columns(gt: NDArray[Any]) -> list[NDArray[Any]]:
    """What compression and filters do: an offset, a gain of luma, another saturation."""
    grey = np.broadcast_to((gt @ WEIGHTS.astype(np.float64))[:, None], gt.shape)
    return [np.ones_like(gt), grey, gt - grey]


def _fitted(lq: NDArray[Any], gt: NDArray[Any], more: list[NDArray[Any]]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Weights of the columns, few outliers counting, and what is left."""
    a = np.stack([*_columns(gt), *more], -1).reshape(-1, 3 + len(more))
    b = lq.reshape(-1)
    weights = np.ones(len(b))
    for _ in range(4):
        weighted = a * weights[:, None]
        found = np.linalg.lstsq(weighted.T @ a, weighted.T @ b, rcond=None)[0]
        left = b - a @ found
        weights = 1 / (1 + (left / (2 * 1.4826 * np.median(np.abs(left)) + 0.2)) ** 2)
    return found, left


def _matrix(lq: NDArray[Any], gt: NDArray[Any], groups: NDArray[np.int64]) -> tuple[float, float]:
    """How much of a confusion of BT.709 and BT.601 there is, and its standard error over the groups.

    A confusion changes colours by few levels, as compression does, which takes from saturation and contrast. It is not
    asked whether undoing it leaves less: its share is fitted beside theirs, and must be near 1 all over the picture.
    """
    mistake = gt @ CONFUSED.T
    found, _ = _fitted(lq, gt, [mistake])
    share = float(found[3] / max(0.2, found[2]))
    parts, weights = [], []
    beside = np.stack(_columns(gt), -1)
    for group in np.unique(groups):
        mine = groups == group
        a, b = beside[mine].reshape(-1, 3), mistake[mine].reshape(-1)
        own = b - a @ np.linalg.lstsq(a, b, rcond=None)[0]  # what of the mistake nothing else explains
        energy = float(own @ own)
        if mine.sum() < 12 or energy / len(own) < 0.01:
            continue
        rest = lq[mine].reshape(-1)
        rest = rest - a @ np.linalg.lstsq(a, rest, rcond=None)[0]
        parts.append(float(own @ rest) / energy)
        weights.append(energy)
    if len(parts) < 3:
        return share, float('inf')
    weight = np.array(weights) / sum(weights)
    mean = float(weight @ np.array(parts))
    effective = 1 / float((weight**2).sum())
    spread = float(weight @ (np.array(parts) - mean) ** 2)
    return share, float(np.sqrt(spread / max(1.0, effective - 1)))
