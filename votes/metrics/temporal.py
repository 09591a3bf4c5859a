"""How steady a restored video is, measured with a classical optical flow: OpenCV's DIS, preset medium."""

from __future__ import annotations

from functools import cache, partial
from statistics import pstdev
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Flow = NDArray[np.float32]
FLOW = 'OpenCV DISOpticalFlow, PRESET_MEDIUM, on grey frames'


_dis: Any = cache(partial(cv2.DISOpticalFlow.create, cv2.DISOPTICAL_FLOW_PRESET_MEDIUM))


def flow(first: Picture, second: Picture) -> Flow:
    """Where each pixel of `first` (RGB uint8, 16x16 or more) is in `second`: float32 (H, W, 2), x and y in pixels."""
    grey = [cv2.cvtColor(np.ascontiguousarray(p), cv2.COLOR_RGB2GRAY) for p in (first, second)]
    return np.asarray(_dis().calc(*grey, None), np.float32)


def sample(picture: NDArray[Any], where: Flow) -> NDArray[np.float32]:
    """`picture` (H, W[, C]) at each pixel's place plus `where`, bilinear; NaN outside.

    Places on the very last row or column count as outside: OpenCV takes the next one too, with no weight.
    """
    height, width = where.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    places = x + where[..., 0], y + where[..., 1]
    outside: dict[str, Any] = {'borderMode': cv2.BORDER_CONSTANT, 'borderValue': (np.nan,) * 4}
    return np.asarray(cv2.remap(picture.astype(np.float32), *places, cv2.INTER_LINEAR, **outside))


def visible(forward: Flow, backward: Flow) -> NDArray[np.bool_]:
    """Pixels that are seen in both frames: there and back ends near the start (Sundaram, Brox, Keutzer 2010).

    ``|f + b|^2 < 0.01 (|f|^2 + |b|^2) + 0.5``
    """
    back = sample(backward, forward)
    apart = ((forward + back) ** 2).sum(2)
    limit = 0.01 * ((forward**2).sum(2) + (back**2).sum(2)) + 0.5
    return np.asarray(apart < limit)  # NaN, outside, is not


def warping_error(previous: Picture, frame: Picture, guide: tuple[Picture, Picture]) -> float:
    """Mean squared difference of `frame` and `previous` moved onto it, over pixels seen in both; values in [0, 1].

    Args:
        guide: the same two frames of the video whose motion counts: GT where there is one.
    """
    to_previous, back = flow(guide[1], guide[0]), flow(guide[0], guide[1])
    moved = sample(previous, to_previous)
    seen = visible(to_previous, back) & np.isfinite(moved).all(2)
    difference = (frame.astype(np.float32) - moved)[seen] / 255
    return float((difference.astype(np.float64) ** 2).mean()) if seen.any() else 0.0


def tof(first: tuple[Picture, Picture], second: tuple[Picture, Picture]) -> float:
    """tOF (TecoGAN): mean length of the difference of two videos' flows between the same two frames, in pixels."""
    apart = flow(*first).astype(np.float64) - flow(*second)
    return float(np.linalg.norm(apart, axis=2).mean())


def fluctuation(values: list[float]) -> float:
    """Standard deviation of a clip's PSNR over its frames, in dB (MFQE); infinite values are left out."""
    finite = [value for value in values if np.isfinite(value)]
    return pstdev(finite) if finite else 0.0
