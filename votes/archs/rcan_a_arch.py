"""RCAN_A: what RCVN (HNU_CVers, NTIRE 2021 challenge on compressed video, track 1) makes of single frames."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from votes.archs.contract import Frame
from votes.archs.parts.blocks import conv3x3, count_of
from votes.archs.parts.channel_attention import AttentionTrunk, rcvn_trunk
from votes.archs.parts.published import Weights, fitting, size_of


class RCAN_A(nn.Module):
    """(B, 3, h, w) RGB in [0, 1] -> (B, 3, h, w), not clamped: RCAN without a mean and without enlargement, which adds
    to its input. Keys of the trunk are RCAN's, the authors' are read.

    Args:
        n_feats: channels of the features.
        n_resgroups: residual groups.
        n_resblocks: blocks in each group.
        img_range: what pixels are multiplied by inside; the authors' released weights are made for 255.
    """

    sees = Frame()
    small = {'n_feats': 8, 'n_resgroups': 2, 'n_resblocks': 1}

    def __init__(self, n_feats: int = 64, n_resgroups: int = 5, n_resblocks: int = 16, img_range: float = 1.0):
        super().__init__()
        self.img_range = img_range
        self.conv_first = conv3x3(3, n_feats)
        self.recon_trunk = AttentionTrunk(n_feats, n_resgroups, n_resblocks, n_feats // (n_feats // 4))
        self.conv_last = conv3x3(n_feats, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, h, w) -> (B, 3, h, w)."""
        return x + self.conv_last(self.recon_trunk(self.conv_first(x * self.img_range))) / self.img_range

    @classmethod
    def published_weights(cls, weights: Weights) -> Weights:
        """Weights of the authors' code."""
        return rcvn_trunk(weights, r'recon_trunk\.')

    @classmethod
    def from_weights(cls, weights: Weights) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict, of this class or of the authors' code."""
        own = cls.published_weights(weights)
        if (
            not {'conv_first.weight', 'recon_trunk.body.0.residual_group.0.rcab.0.weight', 'conv_last.weight'}
            <= own.keys()
        ):
            return None
        return fitting(
            cls,
            weights,
            n_feats=size_of(own, 'conv_first.weight'),
            n_resgroups=count_of(own, 'recon_trunk.body.'),
            n_resblocks=count_of(own, 'recon_trunk.body.0.residual_group.'),
            **({'img_range': 255.0} if 'recon_trunk.recons.weight' in weights else {}),
        )
