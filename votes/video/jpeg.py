"""JPEG's loss on tensors: blocks of 8x8, quantised."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor

# Annex K of the standard, by rows
LUMA_TABLE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMA_CORNER = ((17, 18, 24, 47), (18, 21, 26, 66), (24, 26, 56, 99), (47, 66, 99, 99))
TO_YCBCR = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))


@lru_cache
def _tables() -> tuple[Tensor, Tensor, Tensor]:
    """Luma and chroma quantisers, and the transform (8, 8) of a column."""
    chroma = torch.full((8, 8), 99.0)
    chroma[:4, :4] = torch.tensor(CHROMA_CORNER)
    n = torch.arange(8, dtype=torch.float64)
    transform = torch.cos((2 * n + 1) * n[:, None] * math.pi / 16) / 2
    transform[0] /= math.sqrt(2)
    # the luma table is transposed against the standard, as in the public code whose pictures networks were trained on
    return torch.tensor(LUMA_TABLE).float().T.contiguous(), chroma, transform.float()


def jpeg(x: Tensor, quality: ArrayLike) -> Tensor:
    """(B, 3, H, W) RGB in [0, 1] -> the same after JPEG of 4:2:0, not rounded to 8 bits.

    Tables are neither rounded nor cut: values differ a little from libjpeg's. Sides that are no multiples of 16 are
    filled with black.

    Args:
        quality: 1 to 100, a number or one for each picture.
    """
    height, width = x.shape[-2:]
    q = torch.as_tensor(quality, dtype=x.dtype, device=x.device).reshape(-1, 1, 1, 1, 1)
    factor = torch.where(q < 50, 50 / q, 2 - q / 50)
    x = F.pad(x * 255, (0, -width % 16, 0, -height % 16))
    y, cb, cr = torch.einsum('dc,bchw->bdhw', torch.tensor(TO_YCBCR).to(x), x).split(1, 1)
    luma, chroma, transform = (t.to(x) for t in _tables())
    y = _coded(y, luma, factor, transform)
    colours = []
    for plane in (cb, cr):
        small = _coded(F.avg_pool2d(plane + 128, 2), chroma, factor, transform)
        colours.append(small.repeat_interleave(2, -1).repeat_interleave(2, -2) - 128)
    rgb = torch.einsum('dc,bchw->bdhw', torch.tensor(TO_RGB).to(x), torch.cat([y, *colours], 1))
    return rgb.clamp(0, 255)[..., :height, :width] / 255


def _coded(plane: Tensor, table: Tensor, factor: Tensor, transform: Tensor) -> Tensor:
    """A plane (B, 1, H, W) after its blocks were transformed, quantised, and transformed back."""
    batch, _, height, width = plane.shape
    blocks = plane.view(batch, height // 8, 8, width // 8, 8).transpose(2, 3) - 128
    rounded = ((transform @ blocks @ transform.T) / (table * factor)).round()
    back = transform.T @ (rounded * (table * factor)) @ transform + 128
    return back.transpose(2, 3).reshape(batch, 1, height, width)
