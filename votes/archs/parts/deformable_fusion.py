"""Spatio-temporal deformable fusion, which STDF (Deng et al., AAAI 2020) and its successors begin with."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from votes.archs.parts.blocks import conv3x3
from votes.archs.parts.deform import DeformConv, offsets_and_masks


def with_relus(*layers: nn.Module) -> nn.Sequential:
    """Each layer with a ReLU behind it."""
    return nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU(inplace=True))))


class DeformableFusion(nn.Module):
    """Fuses all maps of a window by one deformable convolution of the frames themselves, each map with offsets of its
    own; a U-shaped network looks at all frames at once to find them.

    Args:
        maps: frames times channels.
        nf: channels of the U.
        nb: its halvings.
        fused_nf: channels that come out.
        kernel: size of the deformable convolution.
    """

    def __init__(self, maps: int, nf: int, nb: int, fused_nf: int, kernel: int = 3):
        super().__init__()
        self.nb = nb
        self.in_conv = with_relus(conv3x3(maps, nf))
        for i in range(1, nb):
            self.add_module(f'dn_conv{i}', with_relus(conv3x3(nf, nf, 2), conv3x3(nf, nf)))
            self.add_module(f'up_conv{i}', with_relus(conv3x3(2 * nf, nf), nn.ConvTranspose2d(nf, nf, 4, 2, 1)))
        self.tr_conv = with_relus(conv3x3(nf, nf, 2), conv3x3(nf, nf), nn.ConvTranspose2d(nf, nf, 4, 2, 1))
        self.out_conv = with_relus(conv3x3(nf, nf))
        self.offset_mask = conv3x3(nf, 3 * kernel**2 * maps)
        self.deform_conv = DeformConv(maps, fused_nf, kernel=kernel)

    def forward(self, x: Tensor) -> Tensor:
        """(B, maps, H, W) -> (B, fused_nf, H, W)."""
        feature, skipped = self.in_conv(x), []
        for i in range(1, self.nb):
            feature = self.get_submodule(f'dn_conv{i}')(feature)
            skipped.append(feature)
        feature = self.tr_conv(feature)
        for i in range(self.nb - 1, 0, -1):
            feature = self.get_submodule(f'up_conv{i}')(torch.cat((feature, skipped[i - 1]), 1))
        return F.relu(self.deform_conv(x, *offsets_and_masks(self.offset_mask(self.out_conv(feature)))))
