"""RGB and YUV: the one place where matrix and range are applied, always explicitly.

Decoders guess BT.601 for video without tags, encoders write RGB as untagged BT.601: a 709 video that passes through
both is shifted by up to 14 levels. Here nothing is guessed in silence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# luma weights of red and blue
MATRICES = {'bt601': (0.299, 0.114), 'bt709': (0.2126, 0.0722)}
# codes of H.273, as FFmpeg numbers them
MATRIX_OF_CODE = {1: 'bt709', 4: 'bt601', 5: 'bt601', 6: 'bt601', 7: 'bt601'}
CODE_OF_MATRIX = {'bt709': 1, 'bt601': 6}
FULL_RANGE = 2


@dataclass(frozen=True)
class Colour:
    """How a video's YUV is to be read.

    Attributes:
        matrix: 'bt601' or 'bt709'.
        full: luma from 0 to 255 instead of 16 to 235.
        assumed: the video does not say its matrix; it was taken from the size.
    """

    matrix: str
    full: bool
    assumed: bool = False

    @classmethod
    def of(cls, code: int, range_code: int, height: int, width: int) -> Colour:
        """From the tags of a stream. Without a matrix: BT.709 from 720 lines or 1280 columns up, else BT.601."""
        guess = 'bt709' if height >= 720 or width >= 1280 else 'bt601'
        return cls(MATRIX_OF_CODE.get(code, guess), range_code == FULL_RANGE, code not in MATRIX_OF_CODE)

    def _matrix(self) -> NDArray[np.float32]:
        """RGB in [0, 255] to Y in [0, 255] and U, V in [-127.5, 127.5]."""
        red, blue = MATRICES[self.matrix]
        luma = np.array([red, 1 - red - blue, blue])
        u = (np.array([0, 0, 1]) - luma) / (2 * (1 - blue))
        v = (np.array([1, 0, 0]) - luma) / (2 * (1 - red))
        return np.stack((luma, u, v)).astype(np.float32)

    def _scale(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        factors, offsets = (
            ((1, 1, 1), (0, 128, 128)) if self.full else ((219 / 255, 224 / 255, 224 / 255), (16, 128, 128))
        )
        return np.array(factors, np.float32), np.array(offsets, np.float32)

    def to_rgb(self, yuv: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(3, H, W) YUV 4:4:4 -> RGB (H, W, 3), rounded."""
        factor, offset = self._scale()
        inverse = np.linalg.inv(self._matrix()) / factor
        rgb = np.tensordot(yuv.astype(np.float32), inverse.T.astype(np.float32), (0, 0)) - inverse @ offset
        return np.clip(np.rint(rgb), 0, 255).astype(np.uint8)

    def to_yuv(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """RGB (H, W, 3) -> (3, H, W) YUV 4:4:4, rounded."""
        factor, offset = self._scale()
        yuv = rgb.astype(np.float32) @ (self._matrix() * factor[:, None]).T + offset
        return np.ascontiguousarray(np.clip(np.rint(yuv), 0, 255).astype(np.uint8).transpose(2, 0, 1))
