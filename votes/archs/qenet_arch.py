"""QENet: windows of seven frames, aligned twice by the same deformable convolution (NJU-Vision in the NTIRE 2021
challenge).
"""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, nn

from votes.archs.contract import Window
from votes.archs.edvr_arch import TSAFusion
from votes.archs.parts.blocks import check_window, conv3x3, conv_of_pair, count_of, lrelu, residual_blocks, upsample
from votes.archs.parts.pcd import DeformableConv
from votes.archs.parts.published import Weights, fitting, size_of

_blocks = partial(residual_blocks, pytorch_init=True, slope=0.1)


class Alignment(nn.Module):
    """Aligns features to those of the centre: offsets from three sizes, which are joined but not doubled."""

    def __init__(self, num_feat: int, num_block: int, deformable_groups: int):
        super().__init__()
        self.offset_conv1_1 = conv3x3(2 * num_feat, num_feat)
        self.offset_conv2_1 = conv3x3(num_feat, num_feat, stride=2)
        self.offset_conv3_1 = conv3x3(num_feat, num_feat, stride=2)
        for name in ('1_1', '2_1', '3_1', '2_2', '1_2'):
            self.add_module(f'resblock{name}', _blocks(num_block, num_feat))
        self.dcn = DeformableConv(num_feat, deformable_groups)

    def _blocks(self, name: str, x: Tensor) -> Tensor:
        return self.get_submodule(f'resblock{name}')(x)

    def forward(self, frames: Tensor, centre: Tensor) -> Tensor:
        """(B*T, C, H, W), and the centre of each window (B, C, H, W) -> (B*T, C, H, W)."""
        whole = self._blocks('1_1', lrelu(conv_of_pair(self.offset_conv1_1, frames, centre)))
        half = self._blocks('2_1', lrelu(self.offset_conv2_1(whole)))
        quarter = self._blocks('3_1', lrelu(self.offset_conv3_1(half)))
        half = self._blocks('2_2', half + upsample(quarter, 2))
        whole = self._blocks('1_2', whole + upsample(half, 2))
        return lrelu(self.dcn(frames, whole))


class QENet(nn.Module):
    """(B, T, 3, h, w) RGB in [0, 1], h and w multiples of 4 -> the frame at `center_frame_idx` (B, 3, h, w), not
    clamped. Keys as published.

    Args:
        num_in_ch, num_out_ch: channels of a frame.
        num_feat: channels C of the features.
        num_frame: frames T of the window.
        num_extract_block: residual blocks before alignment; half as many at each place of the alignment.
        num_deformable_group: C divides by it.
        num_reconstruct_block: residual blocks after the frames are one.
        center_frame_idx: which frame is restored; the middle one where it is None.
    """

    multiple = 4
    parts = {
        'features': ('first_conv.', 'fea_ext.'),
        'alignment': ('alignment.',),
        'deformable': ('alignment.dcn.',),
        'fusion': ('aggregation.',),
        'reconstruction': ('fea_recon.', 'conv_out.'),
    }
    small = {
        'num_feat': 8,
        'num_frame': 5,
        'num_extract_block': 2,
        'num_deformable_group': 2,
        'num_reconstruct_block': 1,
        'center_frame_idx': None,
    }

    def __init__(
        self,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        num_feat: int = 128,
        num_frame: int = 7,
        num_extract_block: int = 8,
        num_deformable_group: int = 8,
        num_reconstruct_block: int = 16,
        center_frame_idx: int | None = None,
    ):
        super().__init__()
        self.sees = Window(num_frame, num_frame // 2 if center_frame_idx is None else center_frame_idx)
        self.first_conv = conv3x3(num_in_ch, num_feat)
        self.fea_ext = _blocks(num_extract_block, num_feat)
        self.alignment = Alignment(num_feat, num_extract_block // 2, num_deformable_group)
        self.aggregation = TSAFusion(num_feat, num_frame, self.sees.centre)
        self.fea_recon = _blocks(num_reconstruct_block, num_feat)
        self.conv_out = conv3x3(num_feat, num_out_ch)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, 3, h, w) -> (B, 3, h, w)."""
        check_window(x, self.sees.frames, self.multiple)
        batch, centre = x.shape[0], self.sees.centre
        features = self.fea_ext(lrelu(self.first_conv(x.flatten(0, 1))))
        reference = features.unflatten(0, (batch, -1))[:, centre]
        aligned = features
        for _ in range(2):
            aligned = self.alignment(aligned, reference)
        fused = self.aggregation(aligned.unflatten(0, (batch, -1)))
        return self.conv_out(self.fea_recon(fused) + fused) + x[:, centre]

    @classmethod
    def from_weights(cls, weights: Weights) -> dict[str, Any] | None:
        """Constructor arguments told by a published state_dict; the centre is taken to be the middle."""
        if 'alignment.dcn.conv_offset.weight' not in weights or 'aggregation.feat_fusion.weight' not in weights:
            return None
        num_feat = size_of(weights, 'first_conv.weight')
        return fitting(
            cls,
            weights,
            num_in_ch=size_of(weights, 'first_conv.weight', 1),
            num_out_ch=size_of(weights, 'conv_out.weight'),
            num_feat=num_feat,
            num_frame=size_of(weights, 'aggregation.feat_fusion.weight', 1) // num_feat,
            num_extract_block=count_of(weights, 'fea_ext.'),
            num_deformable_group=size_of(weights, 'alignment.dcn.conv_offset.weight') // 27,
            num_reconstruct_block=count_of(weights, 'fea_recon.'),
        )
