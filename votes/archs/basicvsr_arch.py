"""BasicVSR: recurrent propagation in both directions along optical flow (Chan et al., CVPR 2021)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from votes.archs.contract import Clip
from votes.archs.parts.blocks import count_of, lrelu, upsample
from votes.archs.parts.enlarging import Enlarging, scale_of
from votes.archs.parts.propagation import AT_ONCE, ConvResidualBlocks, basicsr_names, flows_of, in_pieces, propagate
from votes.archs.parts.published import fitting
from votes.archs.spynet_arch import SpyNet


class BasicVSR(Enlarging):
    """(B, T, 3, h, w) RGB in [0, 1] -> (B, T, 3, S*h, S*w), not clamped; keys of the state_dict as in BasicSR.

    Args:
        num_feat: channels C of the features.
        num_block: residual blocks of each direction; the paper and published weights have 30.
        scale: 4 as published; 2 or 3 enlarge in one step; 1 restores frames at their size, as VUE's system in the NTIRE
            2021 challenge does.

    Training starts from a trained flow network, which rests at first and then learns slowly: ``train.parts.flow`` with
    `weights`, `freeze` and `lr_mul`.
    """

    sees = Clip()
    parts = {
        'flow': ('spynet.',),
        'propagation': ('backward_trunk.', 'forward_trunk.'),
        'reconstruction': ('fusion.', 'upconv', 'conv_hr.', 'conv_last.'),
    }
    methods = {'_restored': ('fusion.', 'upconv', 'conv_hr.', 'conv_last.')}
    small = {'num_feat': 8, 'num_block': 1, 'scale': 2}

    def __init__(self, num_feat: int = 64, num_block: int = 15, scale: int = 4):
        super().__init__()
        self.num_feat, self.scale = num_feat, scale
        self.spynet = SpyNet()
        self.backward_trunk = ConvResidualBlocks(num_feat + 3, num_feat, num_block)
        self.forward_trunk = ConvResidualBlocks(num_feat + 3, num_feat, num_block)
        self.fusion = nn.Conv2d(num_feat * 2, num_feat, 1)
        self.add_enlarging(num_feat, 3, scale)

    def forward(self, x: Tensor) -> Tensor:
        past, future = flows_of(self.spynet, x)
        start = x.new_zeros(x.shape[0], self.num_feat, *x.shape[-2:])

        def backward(i: int, state: Tensor) -> Tensor:
            return self.backward_trunk(torch.cat((x[:, i], state), 1))

        def forward(i: int, state: Tensor) -> Tensor:
            return self.forward_trunk(torch.cat((x[:, i], state), 1))

        both = propagate(backward, start, future, reverse=True), propagate(forward, start, past)
        features = (torch.stack(f, 1).flatten(0, 1) for f in both)
        restored = in_pieces(self._restored, x.flatten(0, 1), *features, at_once=AT_ONCE // self.scale**2)
        return restored.unflatten(0, x.shape[:2])

    def _restored(self, frames: Tensor, behind: Tensor, ahead: Tensor) -> Tensor:
        features = lrelu(self.fusion(torch.cat((behind, ahead), 1)))
        return self.enlarge(features) + upsample(frames, self.scale)

    published_weights = staticmethod(basicsr_names)

    @classmethod
    def from_weights(cls, weights: dict[str, Tensor]) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict of this class, of BasicSR or of mmagic."""
        weights = cls.published_weights(weights)
        if not {'backward_trunk.main.0.weight', 'fusion.weight', 'conv_hr.weight'} <= weights.keys():
            return None
        told = {
            'num_feat': weights['backward_trunk.main.0.weight'].shape[0],
            'num_block': count_of(weights, 'backward_trunk.main.2.'),
            'scale': scale_of(weights),
        }
        return fitting(cls, weights, **told)
