"""RCVN_B: what RCVN (HNU_CVers, NTIRE 2021 challenge on compressed video, track 1) makes of five frames."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from votes.archs.contract import Window
from votes.archs.edvr_arch import TSAFusion
from votes.archs.parts.blocks import check_window, conv3x3, count_of, lrelu, residual_blocks
from votes.archs.parts.channel_attention import AttentionTrunk, rcvn_trunk
from votes.archs.parts.published import Weights, fitting, renamed, size_of
from votes.archs.rcan_a_arch import RCAN_A

FRAMES, CENTRE = 5, 2


class RCVN_B(nn.Module):
    """(B, 5, 3, h, w) RGB in [0, 1], h and w multiples of 4 -> the centre frame (B, 3, h, w), not clamped. Keys of the
    trunks are RCAN's, the authors' are read, also those of RCVN_C, which is the same network.

    Each frame goes through RCAN_A; pairs of the centre frame and another one, and of the centre frame with itself, are
    fused as in EDVR; what RCAN's groups make of that is added to the centre frame that RCAN_A gave.

    Args:
        n_feats: channels of the features; the authors' code takes no other than 64.
        n_resgroups: residual groups, in RCAN_A and behind the fusion.
        n_resblocks: blocks in each group.
        img_range: what pixels are multiplied by inside; the authors' released weights are made for 255.
    """

    sees = Window(FRAMES)
    multiple = 4
    parts = {
        'frames': ('rcan_a.',),
        'alignment': ('align_1.', 'align_2.'),
        'fusion': ('TSAFusion.',),
        'reconstruction': ('recon_trunk3.', 'conv_last2.'),
    }
    small = {'n_feats': 8, 'n_resgroups': 2, 'n_resblocks': 1}

    def __init__(self, n_feats: int = 64, n_resgroups: int = 5, n_resblocks: int = 16, img_range: float = 1.0):
        super().__init__()
        self.img_range = img_range
        self.rcan_a = RCAN_A(n_feats, n_resgroups, n_resblocks, img_range)
        self.align_1 = conv3x3(6, n_feats)
        self.align_2 = residual_blocks(5, n_feats)
        self.TSAFusion = TSAFusion(n_feats, FRAMES, CENTRE)
        self.recon_trunk3 = AttentionTrunk(n_feats, n_resgroups, n_resblocks, n_feats // (n_feats // 4))
        self.conv_last2 = conv3x3(n_feats, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 5, 3, h, w) -> (B, 3, h, w)."""
        check_window(x, FRAMES, self.multiple)
        frames = self.rcan_a(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        centre = frames[:, CENTRE : CENTRE + 1]
        pairs = torch.cat((centre.expand_as(frames), frames), 2).flatten(0, 1) * self.img_range
        aligned = self.align_2(lrelu(self.align_1(pairs))).unflatten(0, x.shape[:2])
        change = self.conv_last2(self.recon_trunk3(self.TSAFusion(aligned)))
        return centre.squeeze(1) + change / self.img_range

    @classmethod
    def published_weights(cls, weights: Weights) -> Weights:
        """Weights of the authors' code."""
        return rcvn_trunk(renamed(weights, {r'rcvn_b\.': ''}), r'rcan_a\.recon_trunk\.|recon_trunk3\.')

    @classmethod
    def from_weights(cls, weights: Weights) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict, of this class or of the authors' code."""
        own = cls.published_weights(weights)
        if not {'rcan_a.conv_first.weight', 'align_1.weight', 'conv_last2.weight'} <= own.keys():
            return None
        return fitting(
            cls,
            weights,
            n_feats=size_of(own, 'align_1.weight'),
            n_resgroups=count_of(own, 'recon_trunk3.body.'),
            n_resblocks=count_of(own, 'recon_trunk3.body.0.residual_group.'),
            **({'img_range': 255.0} if any('recon_trunk3.recons.' in key for key in weights) else {}),
        )
