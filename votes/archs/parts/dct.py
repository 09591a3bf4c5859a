"""Discrete cosine transform of blocks, as convolutions."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def basis(size: int) -> Tensor:
    """Orthonormal DCT-II: (size * size, 1, size, size), the pattern of vertical frequency u and horizontal v at
    ``u * size + v``.
    """
    frequency, place = torch.arange(size, dtype=torch.float64), torch.arange(size, dtype=torch.float64) + 0.5
    waves = torch.cos(math.pi / size * frequency.unsqueeze(1) * place) * math.sqrt(2 / size)
    waves[0] /= math.sqrt(2)
    return torch.einsum('ui,vj->uvij', waves, waves).reshape(-1, 1, size, size).float()


class _Forward(nn.Module):
    def __init__(self, channels: int, size: int):
        super().__init__()
        self.dct_conv = nn.Conv2d(channels, channels * size**2, size, size, groups=channels, bias=False)
        self.dct_conv.weight = nn.Parameter(basis(size).repeat(channels, 1, 1, 1), requires_grad=False)


class _Inverse(nn.Module):
    def __init__(self, channels: int, size: int):
        super().__init__()
        conv = nn.ConvTranspose2d(channels * size**2, channels, size, size, groups=channels, bias=False)
        conv.weight = nn.Parameter(basis(size).repeat(channels, 1, 1, 1), requires_grad=False)
        self.reverse_dct_conv = conv


class BlockDCT(nn.Module):
    """Pictures (B, C, H, W), H and W multiples of `size` <-> coefficients (B, C * size**2, H / size, W / size): that of
    vertical frequency u and horizontal v is channel ``c * size**2 + u * size + v``.

    Always in float32: the mean of a block is a number up to 8, of which bfloat16 keeps a hundredth. The patterns are
    stored with weights, and never trained.
    """

    sees = None
    small = {'channels': 1}

    def __init__(self, channels: int = 1, size: int = 8):
        super().__init__()
        self.dct, self.rdct = _Forward(channels, size), _Inverse(channels, size)

    def coefficients_of(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return self.dct.dct_conv(x.to(self.dct.dct_conv.weight.dtype))

    def picture_of(self, coefficients: Tensor) -> Tensor:
        with torch.autocast(coefficients.device.type, enabled=False):
            conv = self.rdct.reverse_dct_conv
            return conv(coefficients.to(conv.weight.dtype))

    def forward(self, x: Tensor, coefficients: Tensor) -> tuple[Tensor, Tensor]:
        """Coefficients of `x`, and the picture of `coefficients`."""
        return self.coefficients_of(x), self.picture_of(coefficients)
