"""RGB and YUV: the one place where matrix and range are applied, always explicitly.

Decoders guess BT.601 for video without tags, encoders write RGB as untagged BT.601: a 709 video that passes through
both is shifted by up to 14 levels. Here nothing is guessed in silence.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

# luma weights of red and blue
MATRICES = {'bt601': (0.299, 0.114), 'bt709': (0.2126, 0.0722), 'bt2020': (0.2627, 0.0593)}
# codes of H.273, as FFmpeg numbers them
MATRIX_OF_CODE = {1: 'bt709', 4: 'bt601', 5: 'bt601', 6: 'bt601', 7: 'bt601', 9: 'bt2020'}
CODE_OF_MATRIX = {'bt709': 1, 'bt601': 6, 'bt2020': 9}
TRANSFER_OF_MATRIX = {'bt709': 1, 'bt601': 6, 'bt2020': 14}
RGB_CODE, UNSPECIFIED = 0, 2
FULL_RANGE = 2


@dataclass(frozen=True)
class Colour:
    """How a video's YUV is to be read.

    Attributes:
        matrix: 'bt601', 'bt709' or 'bt2020'.
        full: luma from 0 to 255 instead of 16 to 235 (of 8 bits).
        assumed: the video does not say its matrix; it was taken from the size.
        primaries, transfer: codes of H.273 that are handed on as they are; those of the matrix where not said.
    """

    matrix: str
    full: bool
    assumed: bool = False
    primaries: int = field(default=UNSPECIFIED, compare=False)
    transfer: int = field(default=UNSPECIFIED, compare=False)

    @classmethod
    def of(cls, code: int, range_code: int, height: int, width: int, *others: int) -> Colour:
        """From the tags of a stream; `others` are primaries and transfer. Without a matrix: BT.709 from 720 lines or
        1280 columns up, else BT.601."""
        guess = 'bt709' if height >= 720 or width >= 1280 else 'bt601'
        return cls(MATRIX_OF_CODE.get(code, guess), range_code == FULL_RANGE, code not in MATRIX_OF_CODE, *others)

    def tags(self) -> dict[str, int]:
        """What an encoder is told, by the names of a codec context's attributes."""
        code = CODE_OF_MATRIX[self.matrix]
        known = {UNSPECIFIED, 0}
        return {
            'colorspace': code,
            'color_primaries': code if self.primaries in known else self.primaries,
            'color_trc': TRANSFER_OF_MATRIX[self.matrix] if self.transfer in known else self.transfer,
            'color_range': FULL_RANGE if self.full else 1,
        }

    def to_yuv_matrix(self) -> NDArray[np.float32]:
        """RGB in [0, 1] to Y in [0, 1] and U, V in [-0.5, 0.5]."""
        red, blue = MATRICES[self.matrix]
        luma = np.array([red, 1 - red - blue, blue])
        u = (np.array([0, 0, 1]) - luma) / (2 * (1 - blue))
        v = (np.array([1, 0, 0]) - luma) / (2 * (1 - red))
        return np.stack((luma, u, v)).astype(np.float32)

    def _scale(self, bits: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Factors and offsets from [0, 1] and [-0.5, 0.5] to code values of `bits` bits."""
        unit, top = 2 ** (bits - 8), 2**bits - 1
        factors, offsets = ((top, top, top), (0, 128, 128)) if self.full else ((219, 224, 224), (16, 128, 128))
        scaled = np.array(factors, np.float32) * (1 if self.full else unit)
        return scaled, np.array(offsets, np.float32) * unit

    def to_rgb(self, yuv: NDArray[Any], bits: int = 8) -> NDArray[Any]:
        """(3, H, W) YUV 4:4:4 of `bits` bits -> RGB (H, W, 3), rounded: uint8 for 8 bits, else uint16 up to 65535."""
        factor, offset = self._scale(bits)
        white = 255 if bits == 8 else 65535
        inverse = np.linalg.inv(self.to_yuv_matrix()) / factor * white
        rgb = np.tensordot(yuv.astype(np.float32), inverse.T.astype(np.float32), (0, 0)) - inverse @ offset
        return np.clip(np.rint(rgb), 0, white).astype(np.uint8 if bits == 8 else np.uint16)

    def to_yuv(self, rgb: NDArray[Any], bits: int = 8) -> NDArray[Any]:
        """RGB (H, W, 3), uint8 or uint16 -> (3, H, W) YUV 4:4:4 of `bits` bits, rounded: uint8 or uint16."""
        factor, offset = self._scale(bits)
        white = np.iinfo(rgb.dtype).max
        yuv = rgb.astype(np.float32) @ (self.to_yuv_matrix() * (factor / white)[:, None]).T + offset
        kind = np.uint8 if bits == 8 else np.uint16
        return np.ascontiguousarray(np.clip(np.rint(yuv), 0, 2**bits - 1).astype(kind).transpose(2, 0, 1))
