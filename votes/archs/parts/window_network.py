"""What EDVR and VOTES share: a window of frames in, its centre frame out.

`forward` is composed of named parts, so that restoring a video can compute each of them once a frame.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from votes.archs.contract import Window
from votes.archs.parts.blocks import check_window, conv3x3, lrelu, one_by_one, residual_blocks, upsample, zero_
from votes.archs.parts.dfm import map_of_difference
from votes.archs.parts.enlarging import Enlarging
from votes.archs.parts.pcd import DeformableConv, PCDAlignment
from votes.archs.parts.window_memory import NeighbourDifferences, PairEstimates, WindowMemory

Init = Literal['default', 'kaiming']


class AlignedFeatures(nn.Module):
    """Features of a window's frames, aligned to those of its frame `centre`.

    Args:
        num_in_ch: channels of a frame.
        num_feat: channels C of the features.
        deformable_groups: groups of the deformable convolutions; C divides by it.
        num_extract_block: residual blocks of the feature extraction.
    """

    def __init__(self, num_in_ch: int, num_feat: int, centre: int, deformable_groups: int, num_extract_block: int):
        super().__init__()
        if num_feat % deformable_groups:
            raise ValueError(f'num_feat {num_feat} does not divide by deformable_groups {deformable_groups}')
        self.centre = centre
        self.conv_first = conv3x3(num_in_ch, num_feat)
        self.feature_extraction = residual_blocks(num_extract_block, num_feat)
        self.conv_l2_1 = conv3x3(num_feat, num_feat, stride=2)
        self.conv_l2_2 = conv3x3(num_feat, num_feat)
        self.conv_l3_1 = conv3x3(num_feat, num_feat, stride=2)
        self.conv_l3_2 = conv3x3(num_feat, num_feat)
        self.pcd_align = PCDAlignment(num_feat, deformable_groups)

    def features(self, frames: Tensor) -> list[Tensor]:
        """(B, C_in, h, w) -> the three levels of the pyramid, (B, C, h, w), (B, C, h/2, w/2), (B, C, h/4, w/4)."""
        return one_by_one(self, self._pyramid, frames)

    def first_features(self, frames: Tensor) -> Tensor:
        """(B, C_in, h, w) -> what the residual blocks of the feature extraction take, (B, C, h, w)."""
        return lrelu(self.conv_first(frames))

    def _pyramid(self, frames: Tensor) -> list[Tensor]:
        level1 = self.feature_extraction(self.first_features(frames))
        level2 = lrelu(self.conv_l2_2(lrelu(self.conv_l2_1(level1))))
        level3 = lrelu(self.conv_l3_2(lrelu(self.conv_l3_1(level2))))
        return [level1, level2, level3]

    def align(self, pyramid: list[Tensor], batch: int, shares: list[Tensor] | None = None) -> Tensor:
        """The pyramid of (B*T) frames -> level-1 features aligned to each window's centre, (B, T, C, h, w).

        Args:
            shares: ``pcd_align.shares(pyramid)``, where they are known.
        """
        centre = [level.unflatten(0, (batch, -1))[:, self.centre] for level in pyramid]
        return self.pcd_align(pyramid, centre, shares).unflatten(0, (batch, -1))


class WindowNetwork(AlignedFeatures, Enlarging):
    """Feature extraction, PCD alignment and reconstruction around a fusion that subclasses add (as `fusion`).

    Args:
        num_in_ch: channels of a frame.
        num_out_ch: channels of the output.
        num_feat: channels C of the features.
        num_frame: frames T of the window, odd.
        deformable_groups: groups of the deformable convolutions; C divides by it.
        num_extract_block: residual blocks of the feature extraction.
        num_reconstruct_block: residual blocks N of the reconstruction.
        center_frame_idx: which frame of the window is restored (default: the middle one).
        scale: output size / input size, 1, 2, 3 or 4.

    The release's initialisation ('default') is PyTorch's for plain convolutions, under which a signal fades about
    twofold a layer. 'kaiming' keeps its size and starts from the enlarged input: short trainings get further.
    """

    multiple = 4  # two halvings in the pyramid
    parts = {
        'features': ('conv_first.', 'feature_extraction.', 'conv_l2_', 'conv_l3_'),
        'alignment': ('pcd_align.',),
        'deformable': ('pcd_align.dcn_pack.', 'pcd_align.cas_dcnpack.'),
        'fusion': ('fusion.',),
        'reconstruction': ('reconstruction.', 'upconv', 'conv_hr.', 'conv_last.'),
    }
    small = {'num_feat': 8, 'deformable_groups': 2, 'num_extract_block': 1, 'num_reconstruct_block': 1}
    senses = False
    map_field: str | None = None  # the field that a degradation map is made of, where it is not made of the frames
    fusion: nn.Module

    def __init__(
        self,
        num_in_ch: int,
        num_out_ch: int,
        num_feat: int,
        num_frame: int,
        deformable_groups: int,
        num_extract_block: int,
        num_reconstruct_block: int,
        center_frame_idx: int | None,
        scale: int,
    ):
        if num_frame % 2 == 0:
            raise ValueError(f'num_frame must be odd, not {num_frame}')
        centre = num_frame // 2 if center_frame_idx is None else center_frame_idx
        super().__init__(num_in_ch, num_feat, centre, deformable_groups, num_extract_block)
        self.num_frame, self.scale = num_frame, scale
        self.sees = Window(num_frame, self.centre)
        self.reconstruction = residual_blocks(num_reconstruct_block, num_feat)
        self.add_enlarging(num_feat, num_out_ch, scale)

    @torch.no_grad()
    def initialise(self, init: Init) -> None:
        """Called by subclasses when all layers are there."""
        if init == 'default':
            return
        if init != 'kaiming':
            raise ValueError(f"init is 'default' or 'kaiming', not {init!r}")
        others = ('feature_extraction.', 'reconstruction.', 'predeblur.resblock')  # start in ways of their own
        for name, module in self.named_modules():
            own = name.startswith(others) or name.endswith('conv_offset')
            if isinstance(module, DeformableConv):
                nn.init.kaiming_normal_(module.weight, a=0.1)
                module.weight.mul_(2)  # its masks start at a half
            elif isinstance(module, nn.Conv2d) and module.weight.requires_grad and not own:
                nn.init.kaiming_normal_(module.weight, a=0.1)
                zero_(module.bias)
        zero_(self.conv_last.weight)

    def degradation_map(self, x: Tensor, known: Tensor | None = None) -> Tensor:
        """Where windows (B, T, 3, h, w) are damaged, (B, 1, h, w) in [0, 1]; zeros of a network that does not look.

        Args:
            known: what the map is made of, where that need not be looked for, (B, 1, h, w) or of all frames.
        """
        return self.no_map(x[:, self.centre])

    def no_map(self, frames: Tensor) -> Tensor:
        """The degradation map of frames (B, 3, h, w) of which nothing is known: zeros (B, 1, h, w)."""
        return frames.new_zeros(frames.shape[0], 1, *frames.shape[2:])

    def map_of(self, difference: Tensor) -> Tensor:
        """The degradation map of what the DSM found (B, 1, h, w)."""
        return map_of_difference(difference)

    def pair_estimates(self) -> PairEstimates | NeighbourDifferences | None:
        """What finds the degradation of a video's windows, where the network senses any."""
        return None

    def memory(self) -> WindowMemory | None:
        """What computes a video's windows with each frame's features computed once; None where a subclass computes in
        other ways than by the parts above.
        """
        return WindowMemory(self) if type(self).forward is WindowNetwork.forward else None

    def fuse(self, aligned: Tensor, dfm: Tensor) -> Tensor:
        """Aligned features (B, T, C, h, w) and the degradation maps (B, 1, h, w) -> (B, C, h, w)."""
        return self.fusion(aligned, dfm)

    def reconstruct(self, fused: Tensor, frame: Tensor) -> Tensor:
        """Fused features (B, C, h, w) and the centre frame (B, 3, h, w) -> (B, 3, S*h, S*w)."""
        base = frame if self.scale == 1 else upsample(frame, self.scale)
        return self.enlarge(self.reconstruction(fused)) + base

    def forward(self, x: Tensor, difference: Tensor | None = None, qp: Tensor | None = None) -> Tensor:
        """(B, T, 3, h, w) -> (B, 3, S*h, S*w).

        Args:
            difference: what the DSM found in the centre frames, where it is known: dfm.luma_difference, (B, 1, h, w).
            qp: the quantisers of all frames (B, T, 1, h, w), or of the centre frames, for networks that read them.
        """
        check_window(x, self.num_frame, self.multiple)
        aligned = self.align(self.features(x.flatten(0, 1)), x.shape[0])
        known = qp if self.map_field == 'qp' else difference
        return self.reconstruct(self.fuse(aligned, self.degradation_map(x, known)), x[:, self.centre])
