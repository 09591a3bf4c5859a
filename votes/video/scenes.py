"""Where a video shows something else from one frame to the next."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from votes.video.convert import ONE_THREAD

SMALL = 64, 36  # width and height at which frames are compared: motion of some pixels is none there
ALIKE = 0.6  # SSIM of two frames of one scene is above it
DROP = 0.75  # and above this part of that of the pair before, which in a scene of fast motion is low as well
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def small_luma(frame: Any) -> NDArray[np.uint8]:
    """A decoded frame as grey (36, 64)."""
    return np.asarray(frame.reformat(*SMALL, format='gray', interpolation='AREA', **ONE_THREAD).to_ndarray(), np.uint8)


class SceneCuts:
    """Finds the first frames of scenes, by SSIM of frames that are next to each other.

    The thresholds are those of the scripts of PEN (McEnhance, NTIRE 2021 challenge). What the second is compared with,
    and the size of the frames, is chosen.

    Attributes:
        found: first frames of scenes but the first.
    """

    def __init__(self) -> None:
        self.found: list[int] = []
        self.count, self.before, self.likeness = 0, np.zeros(0), 1.0

    def see(self, small: NDArray[np.uint8]) -> None:
        """The next frame, see small_luma."""
        frame = small.astype(np.float64)
        if self.count:
            likeness = ssim(self.before, frame)
            if likeness < ALIKE and likeness < DROP * self.likeness:
                self.found.append(self.count)
            else:
                self.likeness = likeness
        self.before, self.count = frame, self.count + 1


def ssim(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Mean SSIM of two grey pictures in [0, 255], over windows of 7x7."""

    def mean(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(cv2.blur(x, (7, 7)))

    mean1, mean2 = mean(first), mean(second)
    variance1, variance2 = mean(first**2) - mean1**2, mean(second**2) - mean2**2
    covariance = mean(first * second) - mean1 * mean2
    same = (2 * mean1 * mean2 + C1) * (2 * covariance + C2)
    return float((same / ((mean1**2 + mean2**2 + C1) * (variance1 + variance2 + C2))).mean())
