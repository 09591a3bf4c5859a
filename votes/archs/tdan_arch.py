"""TDAN: temporally deformable alignment for video super-resolution (Tian et al., CVPR 2020)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from votes.archs.contract import Window
from votes.archs.parts.blocks import check_window, conv3x3, count_of, residual_blocks
from votes.archs.parts.deform import DeformConv
from votes.archs.parts.pictures import enlarging, scale_of_enlarging
from votes.archs.parts.published import fitting, size_of


class TDAN(nn.Module):
    """(B, 5, 3, h, w) RGB in [0, 1], any size -> 'out', the centre frame (B, 3, S*h, S*w), not clamped, and 'lrs'
    (B, 5, 3, h, w), the frames of the window aligned to it.

    Nothing is added to the output: there is no interpolated base. Keys of the state_dict as in the authors' code, whose
    files are pickled modules: their state_dict is to be saved once by that code.

    Args:
        scale: S, 4 in the paper.
        num_feat: channels of the features.
        deformable_groups: groups of the deformable convolutions.
        num_extract_block, num_reconstruct_block: residual blocks of each frame, and of the window.
        shift: what is taken from pixels, and given back; the published weights know pixels around 0.
    """

    sees = Window(5)
    parts = {
        'features': ('conv_first.', 'residual_layer.'),
        'alignment': ('cr.', 'off2d', 'dconv', 'deconv_', 'recon_lr.'),
        'deformable': ('off2d', 'dconv', 'deconv_'),
        'reconstruction': ('fea_ex.', 'recon_layer.', 'up.'),
    }
    supervised = {'l_pix': {}, 'l_aligned': {'output': 'lrs', 'target': 'lq', 'weight': 0.25}}
    small = {'scale': 2, 'num_feat': 8, 'deformable_groups': 2, 'num_extract_block': 1, 'num_reconstruct_block': 1}

    def __init__(
        self,
        scale: int = 4,
        num_feat: int = 64,
        deformable_groups: int = 8,
        num_extract_block: int = 5,
        num_reconstruct_block: int = 10,
        shift: float = 0.5,
    ):
        super().__init__()
        self.scale, self.shift = scale, shift
        self.conv_first = conv3x3(3, num_feat)
        self.residual_layer = residual_blocks(num_extract_block, num_feat)
        self.cr = conv3x3(2 * num_feat, num_feat)
        # the names deconv_2 and deconv_3 are the authors': they are deformable convolutions like the others
        offsets = 18 * deformable_groups
        self.off2d_1, self.dconv_1 = conv3x3(num_feat, offsets), DeformConv(num_feat, num_feat, bias=False)
        self.off2d_2, self.deconv_2 = conv3x3(num_feat, offsets), DeformConv(num_feat, num_feat, bias=False)
        self.off2d_3, self.deconv_3 = conv3x3(num_feat, offsets), DeformConv(num_feat, num_feat, bias=False)
        self.off2d, self.dconv = conv3x3(num_feat, offsets), DeformConv(num_feat, num_feat, bias=False)
        self.recon_lr = conv3x3(num_feat, 3)
        self.fea_ex = nn.Sequential(conv3x3(5 * 3, num_feat), nn.ReLU(inplace=True))
        self.recon_layer = residual_blocks(num_reconstruct_block, num_feat)
        self.up = nn.Sequential(enlarging(scale, num_feat), nn.Conv2d(num_feat, 3, 3, padding=1, bias=False))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                module.reset_parameters()  # the blocks' own initialisation is another
                nn.init.normal_(module.weight, 0, math.sqrt(2 / (9 * module.out_channels)))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        check_window(x, 5, 1)
        frames = x - self.shift
        features = F.relu(self.conv_first(frames.flatten(0, 1)), inplace=True)
        features = self.residual_layer(features).unflatten(0, (-1, 5))
        aligned = self.aligned(features[:, 2], features[:, (0, 1, 3, 4)])
        # the centre frame is itself
        lrs = torch.cat((aligned[:, :2], frames[:, 2:3].to(aligned.dtype), aligned[:, 2:]), 1)
        out = self.up(self.recon_layer(self.fea_ex(lrs.flatten(1, 2))))
        return {'out': out + self.shift, 'lrs': lrs + self.shift}

    def aligned(self, centre: Tensor, features: Tensor) -> Tensor:
        """Pictures (B, 4, 3, h, w) of the neighbours' features (B, 4, C, h, w) as they look where those of the centre
        (B, C, h, w) are.
        """
        batch, width = centre.shape[:2]
        supporting = features.flatten(0, 1)
        # the convolution of both next to each other; what it takes from the centre is computed once
        ours = F.conv2d(centre, self.cr.weight[:, :width], self.cr.bias, padding=1)
        theirs = F.conv2d(supporting, self.cr.weight[:, width:], padding=1)
        feature = (theirs.unflatten(0, (batch, -1)) + ours.unsqueeze(1)).flatten(0, 1)
        feature = self.dconv_1(feature, self.off2d_1(feature))
        feature = self.deconv_2(feature, self.off2d_2(feature))
        feature = self.deconv_3(supporting, self.off2d_3(feature))  # back to the neighbour itself
        feature = self.dconv(feature, self.off2d(feature))
        return self.recon_lr(feature).unflatten(0, (batch, -1))

    @classmethod
    def from_weights(cls, weights: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict; of published weights and of ours, which know pixels around 0."""
        found = dict(weights)
        num_feat = size_of(found, 'recon_lr.weight', 1)
        if not num_feat or 'deconv_3.weight' not in found:
            return None
        return fitting(
            cls,
            found,
            scale=scale_of_enlarging(found, 'up.0.'),
            num_feat=num_feat,
            deformable_groups=size_of(found, 'off2d.weight') // 18,
            num_extract_block=count_of(found, 'residual_layer.'),
            num_reconstruct_block=count_of(found, 'recon_layer.'),
        )
