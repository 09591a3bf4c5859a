"""IconVSR: BasicVSR whose forward direction knows the backward one, refilled at key frames (Chan et al., CVPR 2021)."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor

from votes.archs.contract import Clip
from votes.archs.edvr_arch import TSAFusion
from votes.archs.fields import padded
from votes.archs.parts.blocks import conv3x3, count_of, upsample
from votes.archs.parts.enlarging import Enlarging, scale_of
from votes.archs.parts.propagation import AT_ONCE, ConvResidualBlocks, basicsr_names, flows_of, in_pieces, propagate
from votes.archs.parts.published import fitting
from votes.archs.parts.window_network import AlignedFeatures
from votes.archs.spynet_arch import SpyNet
from votes.errors import UserError


class EDVRFeatures(AlignedFeatures):
    """EDVR up to its fusion: windows (B, T, 3, h, w), h and w multiples of 4 -> (B, C, h, w)."""

    def __init__(self, num_frame: int, num_feat: int):
        super().__init__(3, num_feat, num_frame // 2, deformable_groups=8, num_extract_block=5)
        self.fusion = TSAFusion(num_feat, num_frame, self.centre)

    def forward(self, x: Tensor) -> Tensor:
        return self.fusion(self.align(self.features(x.flatten(0, 1)), len(x)))

    def published_weights(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Of the file of a whole EDVR what comes before the reconstruction."""
        known = self.state_dict()
        return {key: value for key, value in edvr_of_mmagic(weights).items() if key in known}


def edvr_of_mmagic(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """mmagic's keys of EDVR as BasicSR has them; BasicSR's stay."""

    def name(key: str) -> str:
        key = re.sub(r'feat_l(\d)_conv(\d)\.', r'conv_l\1_\2.', key.replace('pcd_alignment.', 'pcd_align.'))
        return re.sub(r'\.conv\.(weight|bias)$', r'.\1', key)

    return {name(key): value for key, value in weights.items()}


class IconVSR(Enlarging):
    """(B, T, 3, h, w) RGB in [0, 1] -> (B, T, 3, S*h, S*w), not clamped; keys of the state_dict as in BasicSR.

    Args:
        num_feat: channels C of the features, a multiple of 8.
        num_block: residual blocks of each direction; the published weights have 30.
        keyframe_stride: frames 0, s, 2s, ... and the last one are key frames.
        temporal_padding: p frames on either side of a key frame are looked at; beyond the clip's ends frames farther
            inside: 2p, ..., p + 1, then 0, 1, ...; clips have at least 2p + 1 frames. 2 (REDS) or 3 (Vimeo).
        scale: 4 as published; 2 or 3 enlarge in one step.

    Training starts from trained flow and key-frame networks, which rest at first and then learn slowly: the parts
    `flow` and `keyframes`; a whole EDVR-M fits the latter.
    """

    parts = {
        'flow': ('spynet.',),
        'keyframes': ('edvr.',),
        'deformable': ('edvr.pcd_align.dcn_pack.', 'edvr.pcd_align.cas_dcnpack.'),
        'propagation': ('backward_fusion.', 'backward_trunk.', 'forward_fusion.', 'forward_trunk.'),
        'reconstruction': ('upconv', 'conv_hr.', 'conv_last.'),
    }
    small = {'num_feat': 8, 'num_block': 1, 'keyframe_stride': 3, 'scale': 2}

    def __init__(
        self,
        num_feat: int = 64,
        num_block: int = 15,
        keyframe_stride: int = 5,
        temporal_padding: int = 2,
        scale: int = 4,
    ):
        super().__init__()
        if keyframe_stride < 1 or temporal_padding < 1:
            raise ValueError('keyframe_stride and temporal_padding are 1 or more')
        self.num_feat, self.scale = num_feat, scale
        self.stride, self.padding = keyframe_stride, temporal_padding
        self.sees = Clip(least=2 * temporal_padding + 1)
        self.edvr = EDVRFeatures(2 * temporal_padding + 1, num_feat)
        self.spynet = SpyNet()
        self.backward_fusion = conv3x3(2 * num_feat, num_feat)
        self.backward_trunk = ConvResidualBlocks(num_feat + 3, num_feat, num_block)
        self.forward_fusion = conv3x3(2 * num_feat, num_feat)
        self.forward_trunk = ConvResidualBlocks(2 * num_feat + 3, num_feat, num_block)
        self.add_enlarging(num_feat, 3, scale)

    def key_features(self, x: Tensor) -> dict[int, Tensor]:
        """Number of each key frame -> its features (B, C, h, w)."""
        count, p = x.shape[1], self.padding
        extended = [*range(2 * p, p, -1), *range(count), *range(count - 2 - p, count - 2 - 2 * p, -1)]
        keys = sorted({*range(0, count, self.stride), count - 1})
        windows = x[:, [i for key in keys for i in extended[key : key + 2 * p + 1]]]
        windows = windows.unflatten(1, (len(keys), -1)).flatten(0, 1)
        features = in_pieces(self.edvr, windows, at_once=AT_ONCE // windows.shape[1])
        return dict(zip(keys, features.unflatten(0, (len(x), -1)).unbind(1), strict=True))

    def forward(self, x: Tensor) -> Tensor:
        count, _, height, width = x.shape[1:]
        if count <= 2 * self.padding:
            raise UserError(f'IconVSR takes clips of at least {2 * self.padding + 1} frames', value=count)
        x = padded('lq', x, -height % 4, -width % 4)
        past, future = flows_of(self.spynet, x)
        refill = self.key_features(x)
        start = x.new_zeros(x.shape[0], self.num_feat, *x.shape[-2:])

        def backward(i: int, state: Tensor) -> Tensor:
            if i in refill:
                state = self.backward_fusion(torch.cat((state, refill[i]), 1))
            return self.backward_trunk(torch.cat((x[:, i], state), 1))

        behind = propagate(backward, start, future, reverse=True)

        def forward(i: int, state: Tensor) -> Tensor:
            if i in refill:
                state = self.forward_fusion(torch.cat((state, refill[i]), 1))
            return self.forward_trunk(torch.cat((x[:, i], behind[i], state), 1))

        features = torch.stack(propagate(forward, start, past), 1).flatten(0, 1)
        restored = in_pieces(self._restored, x.flatten(0, 1), features, at_once=AT_ONCE // self.scale**2)
        return restored.unflatten(0, x.shape[:2])[..., : self.scale * height, : self.scale * width]

    def _restored(self, frames: Tensor, features: Tensor) -> Tensor:
        return self.enlarge(features) + upsample(frames, self.scale)

    @classmethod
    def published_weights(cls, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        return edvr_of_mmagic(basicsr_names(weights))

    @classmethod
    def from_weights(cls, weights: dict[str, Tensor]) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict of this class, of BasicSR or of mmagic; the distance of its key
        frames is not in it.
        """
        weights = cls.published_weights(weights)
        if not {'edvr.fusion.feat_fusion.weight', 'backward_fusion.weight', 'upconv1.weight'} <= weights.keys():
            return None
        fusion = weights['edvr.fusion.feat_fusion.weight']
        told = {
            'num_feat': fusion.shape[0],
            'num_block': count_of(weights, 'backward_trunk.main.2.'),
            'temporal_padding': fusion.shape[1] // fusion.shape[0] // 2,
            'scale': scale_of(weights),
        }
        return fitting(cls, weights, **told)
