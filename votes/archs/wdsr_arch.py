"""WDSR: wide activation for efficient and accurate image super-resolution (Yu et al., 2018)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from votes.archs.contract import Frame
from votes.archs.parts.blocks import count_of
from votes.archs.parts.pictures import DIV2K_MEAN, Residual, channel_mean
from votes.archs.parts.published import Weights, fitting, renamed, size_of


class NormedConv(nn.Module):
    """A convolution whose weight is ``g v / |v|`` for each output channel; g keeps its sign.

    Not torch.nn.utils.weight_norm, whose older form cannot be copied after a forward pass and whose newer one names its
    parameters in another way.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int):
        super().__init__()
        plain = nn.Conv2d(in_channels, out_channels, kernel_size)
        assert plain.bias is not None
        self.padding = kernel_size // 2
        self.bias = nn.Parameter(plain.bias.detach())
        self.weight_g = nn.Parameter(self._length(plain.weight.detach()))
        self.weight_v = nn.Parameter(plain.weight.detach())

    @staticmethod
    def _length(weight: Tensor) -> Tensor:
        return torch.linalg.vector_norm(weight, dim=(1, 2, 3), keepdim=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C_out, H, W)."""
        weight = self.weight_v * (self.weight_g / self._length(self.weight_v))
        return F.conv2d(x, weight, self.bias, padding=self.padding)


def conv_of(weight_norm: bool, in_channels: int, out_channels: int, kernel_size: int) -> nn.Module:
    if weight_norm:
        return NormedConv(in_channels, out_channels, kernel_size)
    return nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)


class WDSR(nn.Module):
    """What both networks share: head, residual blocks and tail, and a single 5x5 convolution beside them. No skip of
    features, no convolution behind the blocks.

    Args:
        layers: makes the layers of a block.
        Others: see WDSR_A.
    """

    def __init__(
        self,
        layers: Callable[[], Iterable[nn.Module]],
        num_feat: int,
        num_block: int,
        upscale: int,
        res_scale: float,
        weight_norm: bool,
        rgb_mean: Sequence[float],
    ):
        super().__init__()
        self.scale = upscale
        self.mean: Tensor
        self.register_buffer('mean', channel_mean(rgb_mean), persistent=False)
        self.head = nn.Sequential(conv_of(weight_norm, 3, num_feat, 3))
        self.body = nn.Sequential(*[Residual(*layers(), res_scale=res_scale) for _ in range(num_block)])
        self.tail = nn.Sequential(conv_of(weight_norm, num_feat, 3 * upscale**2, 3), nn.PixelShuffle(upscale))
        self.skip = nn.Sequential(conv_of(weight_norm, 3, 3 * upscale**2, 5), nn.PixelShuffle(upscale))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, h, w) -> (B, 3, S*h, S*w)."""
        x = 2 * (x - self.mean)  # the authors' (255 x - 255 mean) / 127.5
        return (self.tail(self.body(self.head(x))) + self.skip(x)) / 2 + self.mean

    @classmethod
    def published_weights(cls, weights: Weights) -> Weights:
        """Weights as PyTorch's newer weight normalisation names them."""
        return renamed(
            weights,
            {
                r'(.*)parametrizations\.weight\.original0$': r'\1weight_g',
                r'(.*)parametrizations\.weight\.original1$': r'\1weight_v',
            },
        )


def _told(weights: Weights) -> tuple[dict[str, Any], Callable[[str, int], int]] | None:
    """Arguments of both networks told by a state_dict with the names of WDSR, and what tells the sizes of its weights;
    None of other state_dicts.
    """
    kind = 'weight_v' if 'head.0.weight_v' in weights else 'weight'
    if not {f'{name}.0.{kind}' for name in ('head', 'tail', 'skip', 'body.0.body')} <= weights.keys():
        return None
    shared = {
        'num_feat': size_of(weights, f'head.0.{kind}'),
        'num_block': count_of(weights, 'body.'),
        'upscale': math.isqrt(size_of(weights, f'tail.0.{kind}') // 3),
        'weight_norm': kind == 'weight_v',
    }
    return shared, lambda layer, dim: size_of(weights, f'{layer}.{kind}', dim)


class WDSR_A(WDSR):
    """(B, 3, h, w) RGB in [0, 1] -> (B, 3, S*h, S*w), not clamped; keys of the state_dict as of the authors.

    Blocks are x + res_scale * conv(ReLU(conv(x))), wide between.

    Args:
        num_feat: channels F of the features.
        num_wide: channels between, W.
        num_block: residual blocks.
        upscale: S, any; 1 keeps the size.
        res_scale: factor on what a block adds.
        weight_norm: convolutions with weight normalisation, as in the paper, or without.
        rgb_mean: what is taken from pixels in [0, 1] at the entrance and given back at the exit.
    """

    sees = Frame()
    small = {'num_feat': 8, 'num_wide': 16, 'num_block': 2, 'upscale': 2}

    def __init__(
        self,
        num_feat: int = 32,
        num_wide: int = 128,
        num_block: int = 16,
        upscale: int = 4,
        res_scale: float = 1.0,
        weight_norm: bool = True,
        rgb_mean: Sequence[float] = DIV2K_MEAN,
    ):
        def layers() -> list[nn.Module]:
            return [
                conv_of(weight_norm, num_feat, num_wide, 3),
                nn.ReLU(inplace=True),
                conv_of(weight_norm, num_wide, num_feat, 3),
            ]

        super().__init__(layers, num_feat, num_block, upscale, res_scale, weight_norm, rgb_mean)

    @classmethod
    def from_weights(cls, weights: Weights) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict; res_scale, none tells."""
        found = _told(cls.published_weights(weights))
        if found is None:
            return None
        told, size = found
        return fitting(cls, weights, num_wide=size('body.0.body.0', 0), **told)


class WDSR_B(WDSR):
    """As WDSR_A, with blocks that are six times as wide between, but of 1x1 convolutions there:
    x + res_scale * conv3(conv1(ReLU(conv1(x)))).

    Args:
        See WDSR_A.
    """

    sees = Frame()
    small = {'num_feat': 10, 'num_block': 2, 'upscale': 2}

    def __init__(
        self,
        num_feat: int = 32,
        num_block: int = 16,
        upscale: int = 4,
        res_scale: float = 1.0,
        weight_norm: bool = True,
        rgb_mean: Sequence[float] = DIV2K_MEAN,
    ):
        wide, low = 6 * num_feat, 8 * num_feat // 10

        def layers() -> list[nn.Module]:
            return [
                conv_of(weight_norm, num_feat, wide, 1),
                nn.ReLU(inplace=True),
                conv_of(weight_norm, wide, low, 1),
                conv_of(weight_norm, low, num_feat, 3),
            ]

        super().__init__(layers, num_feat, num_block, upscale, res_scale, weight_norm, rgb_mean)

    @classmethod
    def from_weights(cls, weights: Weights) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict; res_scale, none tells."""
        found = _told(cls.published_weights(weights))
        return None if found is None else fitting(cls, weights, **found[0])
