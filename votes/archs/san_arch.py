"""SAN: second-order attention network for single image super-resolution (Dai et al., CVPR 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from votes.archs.contract import Frame
from votes.archs.parts.blocks import conv3x3, count_of, zero_
from votes.archs.parts.pictures import DIV2K_MEAN, MeanShift, Residual, enlarging, range_and_mean, scale_of_enlarging
from votes.archs.parts.published import Weights, fitting, renamed, size_of

LARGEST = 1000  # side of the part of a map, its centre, that the covariance is taken of


def covariance(x: Tensor) -> Tensor:
    """Of the channels over all places: (B, C, n) -> (B, C, C)."""
    centred = x - x.mean(2, keepdim=True)
    return centred @ centred.mT / x.shape[2]


def square_root(matrix: Tensor) -> Tensor:
    """Of positive semidefinite matrices (B, C, C), by five Newton-Schulz iterations of the matrix over its trace."""
    trace = matrix.diagonal(dim1=1, dim2=2).sum(1).view(-1, 1, 1).clamp_min(1e-12)  # of a flat map it is 0
    three = 3 * torch.eye(matrix.shape[1], dtype=matrix.dtype, device=matrix.device)
    y = matrix / trace
    z = (three - y) / 2
    y = y @ z
    for _ in range(3):
        factor = (three - z @ y) / 2
        y, z = y @ factor, factor @ z
    return y @ (three - z @ y) / 2 * trace.sqrt()


class SecondOrderAttention(nn.Module):
    """x times a factor in (0, 1) for each channel, which follows from the covariance of the channels."""

    def __init__(self, num_feat: int, hidden: int):
        super().__init__()
        self.conv_du = nn.Sequential(
            nn.Conv2d(num_feat, hidden, 1), nn.ReLU(inplace=True), nn.Conv2d(hidden, num_feat, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        # each side for itself; the authors' code takes a corner of maps of exactly 1000 pixels and less
        top, left = (max(0, (side - LARGEST) // 2) for side in x.shape[2:])
        part = x[:, :, top : top + LARGEST, left : left + LARGEST]
        with torch.autocast(x.device.type, enabled=False):  # the iteration needs more than half precision
            statistics = square_root(covariance(part.flatten(2).float())).mean(1)
        return x * self.conv_du(statistics.to(x.dtype)[..., None, None])


class NonLocal(nn.Module):
    """x plus what each place gathers from all places of its quarter of the picture.

    The authors ask for no subsampling of keys and values, but get it: both are maxima of 2 x 2 places, and so here.
    """

    def __init__(self, num_feat: int, hidden: int):
        super().__init__()
        self.theta = nn.Conv2d(num_feat, hidden, 1)
        self.phi = nn.Sequential(nn.Conv2d(num_feat, hidden, 1), nn.MaxPool2d(2))
        self.g = nn.Sequential(nn.Conv2d(num_feat, hidden, 1), nn.MaxPool2d(2))
        self.W = nn.Conv2d(hidden, num_feat, 1)
        zero_(self.W.weight, self.W.bias)

    def _gather(self, x: Tensor) -> Tensor:
        # a single head: the fused kernels want four dimensions
        query, key, value = (layer(x).flatten(2).mT.unsqueeze(1) for layer in (self.theta, self.phi, self.g))
        found = F.scaled_dot_product_attention(query, key, value, scale=1.0)
        return self.W(found.squeeze(1).mT.unflatten(2, x.shape[2:])) + x

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W), sides of 4 or more -> (B, C, H, W)."""
        rows = x.split([x.shape[2] // 2, x.shape[2] - x.shape[2] // 2], 2)
        across = [x.shape[3] // 2, x.shape[3] - x.shape[3] // 2]
        return torch.cat([torch.cat([self._gather(part) for part in row.split(across, 3)], 3) for row in rows], 2)


class LSRAG(nn.Module):
    """Local-source residual attention group: residual blocks, second-order attention, a convolution, and the input."""

    def __init__(self, num_feat: int, hidden: int, num_block: int):
        super().__init__()
        self.rcab = nn.ModuleList(
            [
                Residual(conv3x3(num_feat, num_feat), nn.ReLU(inplace=True), conv3x3(num_feat, num_feat))
                for _ in range(num_block)
            ]
        )
        self.soca = SecondOrderAttention(num_feat, hidden)
        self.conv_last = conv3x3(num_feat, num_feat)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        deep = x
        for block in self.rcab:
            deep = block(deep)
        return self.conv_last(self.soca(deep)) + x


class SAN(nn.Module):
    """(B, 3, h, w) RGB in [0, 1], sides of 4 or more -> (B, 3, S*h, S*w), not clamped; keys of the state_dict as of the
    authors, without the layers that no forward pass of theirs uses.

    Args:
        num_feat: channels F of the features.
        num_group: residual attention groups.
        num_block: residual blocks in each.
        squeeze_factor: the attention has F / squeeze_factor channels between.
        upscale: S, 2, 3, 4 or 8; 1 keeps the size.
        img_range: what pixels are multiplied by inside; published weights are made for 255.
        rgb_mean: what is taken from pixels in [0, 1] at the entrance and given back at the exit.
        train_mean: sub_mean and add_mean are trained, as by the authors' code, which means to keep them fixed.
    """

    sees = Frame()
    smallest = 4
    small = {'num_feat': 8, 'num_group': 2, 'num_block': 1, 'squeeze_factor': 2, 'upscale': 2}

    def __init__(
        self,
        num_feat: int = 64,
        num_group: int = 20,
        num_block: int = 10,
        squeeze_factor: int = 16,
        upscale: int = 4,
        img_range: float = 255.0,
        rgb_mean: Sequence[float] = DIV2K_MEAN,
        train_mean: bool = False,
    ):
        super().__init__()
        self.scale, self.img_range = upscale, img_range
        self.sub_mean = MeanShift(img_range, rgb_mean, -1, train_mean)
        self.head = nn.Sequential(conv3x3(3, num_feat))
        self.gamma = nn.Parameter(torch.zeros(1))
        self.RG = nn.ModuleList([LSRAG(num_feat, num_feat // squeeze_factor, num_block) for _ in range(num_group)])
        self.non_local = nn.ModuleDict({'non_local': NonLocal(num_feat, num_feat // 8)})
        self.tail = nn.Sequential(enlarging(upscale, num_feat), conv3x3(num_feat, 3))
        self.add_mean = MeanShift(img_range, rgb_mean, 1, train_mean)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, h, w) -> (B, 3, S*h, S*w)."""
        gather = self.non_local['non_local']
        shallow = self.head(self.sub_mean(x * self.img_range))
        deep = source = gather(shallow)
        for group in self.RG:
            deep = group(deep) + self.gamma * source
        return self.add_mean(self.tail(gather(deep) + shallow)) / self.img_range

    @classmethod
    def published_weights(cls, weights: Weights) -> Weights:
        """Weights of the authors' code, which holds layers that it never uses."""
        return renamed(
            weights,
            {
                r'RG\.\d+\.gamma$': None,
                r'conv_last\.': None,
                r'non_local\.soca\.': None,
                r'RG\.(\d+)\.rcab\.(\d+)\.conv_first\.': r'RG.\1.rcab.\2.body.',
            },
        )

    @classmethod
    def from_weights(cls, weights: Weights) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict, of this class or of the authors' code."""
        if not {'head.0.weight', 'RG.0.soca.conv_du.0.weight', 'non_local.non_local.W.weight'} <= weights.keys():
            return None
        num_feat = size_of(weights, 'head.0.weight')
        return fitting(
            cls,
            weights,
            num_feat=num_feat,
            num_group=count_of(weights, 'RG.'),
            num_block=count_of(weights, 'RG.0.rcab.'),
            squeeze_factor=num_feat // max(1, size_of(weights, 'RG.0.soca.conv_du.0.weight')),
            upscale=scale_of_enlarging(weights, 'tail.0.'),
            **range_and_mean(weights),
        )
