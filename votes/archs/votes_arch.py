"""VOTES: video restoration through adaptive degradation sensing (Luo, Zhou, Lam, Qiu, ACM MM 2022)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from votes.archs.bin_arch import BIN
from votes.archs.parts.blocks import conv3x3, lrelu
from votes.archs.parts.dfm import degradation_feature_map, map_of_difference
from votes.archs.parts.window_network import Init, WindowNetwork


class DegradationModulation(nn.Module):
    """DMM: fuses the aligned frames and adds the features of the DFM, block by block (paper, equation 6)."""

    compiled_alone = True

    def __init__(self, num_feat: int, num_frame: int, num_blocks: int):
        super().__init__()
        self.feat_fusion = nn.Conv2d(num_frame * num_feat, num_feat, 1)
        self.mask_modulation_first = conv3x3(1, num_feat)
        self.feat_cas_l = nn.ModuleList([conv3x3(num_feat, num_feat) for _ in range(num_blocks)])
        self.mask_modulation_l = nn.ModuleList([conv3x3(num_feat, num_feat) for _ in range(num_blocks)])
        self.fusion = conv3x3(num_feat, num_feat)

    def forward(self, aligned: Tensor, dfm: Tensor) -> Tensor:
        """aligned (B, T, C, h, w), dfm (B, 1, h, w) in [0, 1] -> (B, C, h, w)."""
        feature = lrelu(self.feat_fusion(aligned.flatten(1, 2)))
        modulation = self.mask_modulation_first(dfm)
        for feature_conv, modulation_conv in zip(self.feat_cas_l, self.mask_modulation_l, strict=True):
            modulation = lrelu(modulation_conv(modulation))
            feature = lrelu(feature_conv(feature)) + modulation
        return self.fusion(feature)


class VOTES(WindowNetwork):
    """(B, 5, 3, h, w) RGB in [0, 1], h and w multiples of 4 -> (B, 3, S*h, S*w), the restored centre frame.

    The DSM (`bin`) is trained on its own (stage 1) and frozen here: its parameters take no gradient.
    The defaults are the paper's network; the release's "L" has num_feat 128.

    Args:
        num_modulation_blocks: n of the DMM.
        sr_factor: the scale S, 2, 3 or 4.
        dfm: False replaces the degradation map by zeros (the paper's ablation); the DSM is then not run.
        dfm_norm: 'sample' divides a map by its own largest value, 'batch' by the batch's as the release does.
        dsm_num_feat, dsm_num_block, dsm_num_layer, dsm_num_grow_ch: size of the DSM, see BIN.
        init: how weights start, see WindowNetwork.
        Others: see WindowNetwork.
    """

    def __init__(
        self,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        num_feat: int = 64,
        num_frame: int = 5,
        deformable_groups: int = 8,
        num_extract_block: int = 5,
        num_reconstruct_block: int = 40,
        center_frame_idx: int | None = None,
        num_modulation_blocks: int = 10,
        sr_factor: int = 2,
        dfm: bool = True,
        dfm_norm: Literal['sample', 'batch'] = 'sample',
        dsm_num_feat: int = 64,
        dsm_num_block: int = 6,
        dsm_num_layer: int = 4,
        dsm_num_grow_ch: int = 32,
        init: Init = 'default',
    ):
        super().__init__(
            num_in_ch,
            num_out_ch,
            num_feat,
            num_frame,
            deformable_groups,
            num_extract_block,
            num_reconstruct_block,
            center_frame_idx,
            sr_factor,
        )
        if num_frame != BIN.num_frame:
            raise ValueError(f'the DSM looks at windows of {BIN.num_frame} frames, num_frame is {num_frame}')
        if dfm_norm not in ('sample', 'batch'):
            raise ValueError(f"dfm_norm is 'sample' or 'batch', not {dfm_norm!r}")
        self.dfm, self.dfm_norm = dfm, dfm_norm
        self.bin = BIN(dsm_num_feat, dsm_num_block, dsm_num_layer, dsm_num_grow_ch).requires_grad_(False)
        self.fusion = DegradationModulation(num_feat, num_frame, num_modulation_blocks)
        self.initialise(init)

    @torch.no_grad()
    def degradation_map(self, x: Tensor, difference: Tensor | None = None) -> Tensor:
        """The DFM of the centre frame of windows (B, 5, 3, h, w): (B, 1, h, w) in [0, 1], zeros with ``dfm: false``.

        With a `difference` that `votes sense` has stored, the DSM is not run.
        """
        if not self.dfm:
            return super().degradation_map(x)
        if difference is not None:
            return map_of_difference(difference, self.dfm_norm)
        with torch.autocast(x.device.type, enabled=False):  # the map is computed in float32
            return degradation_feature_map(self.bin(x.float())[2], x[:, self.centre].float(), self.dfm_norm)
