"""VOTES: video restoration through adaptive degradation sensing (Luo, Zhou, Lam, Qiu, ACM MM 2022)."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from votes.archs.bin_arch import BIN
from votes.archs.parts.blocks import conv3x3, count_of, lrelu
from votes.archs.parts.dfm import MapNorm, map_of_difference, map_of_quantiser, neighbour_difference
from votes.archs.parts.enlarging import scale_of
from votes.archs.parts.published import trunk_of
from votes.archs.parts.window_memory import NeighbourDifferences, PairEstimates
from votes.archs.parts.window_network import Init, WindowNetwork

# where a degradation map comes from -> the field that it is made of, None where frames are enough
SOURCES = {'dsm': None, 'neighbours': None, 'qp': 'qp', 'stored': 'difference'}
MapSource = Literal['dsm', 'neighbours', 'qp', 'stored']


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
        dfm_norm: 'sample' divides a map by its own largest value, 'batch' by the batch's as the release does, 'fixed'
            by the largest possible one.
        map_source: what the degradation map is made of: 'dsm' (the paper), 'neighbours': how far the frame is from
            those beside it, 'qp': the codec's quantisers (`codec_metadata`, or the video itself), 'stored': the maps of
            `dataroot_dfm`, whatever they show (`votes sense`). All but 'dsm' leave the DSM alone, which stays in the
            weights.
        dsm_num_feat, dsm_num_block, dsm_num_layer, dsm_num_grow_ch: size of the DSM, see BIN.
        init: how weights start, see WindowNetwork.
        modulation_init: 'zero' starts the DMM's modulation from nothing: the network begins as it does without a map,
            and learns what to make of it; 'same' starts it as all other layers.
        Others: see WindowNetwork.
    """

    parts = {'dsm': ('bin.',), **WindowNetwork.parts}
    small = {**WindowNetwork.small, 'num_modulation_blocks': 1, **{f'dsm_{k}': v for k, v in BIN.small.items()}}

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
        dfm_norm: MapNorm = 'sample',
        map_source: MapSource = 'dsm',
        dsm_num_feat: int = 64,
        dsm_num_block: int = 6,
        dsm_num_layer: int = 4,
        dsm_num_grow_ch: int = 32,
        init: Init = 'default',
        modulation_init: Literal['same', 'zero'] = 'same',
    ):
        sizes = (num_feat, num_frame, deformable_groups, num_extract_block, num_reconstruct_block)
        super().__init__(num_in_ch, num_out_ch, *sizes, center_frame_idx, sr_factor)
        if self.sees != BIN.sees:
            raise ValueError(
                f'the DSM looks at windows of {BIN.sees.frames} frames around the middle one, '
                f'num_frame is {num_frame}, center_frame_idx {center_frame_idx}'
            )
        if dfm_norm not in ('sample', 'batch', 'fixed'):
            raise ValueError(f"dfm_norm is 'sample', 'batch' or 'fixed', not {dfm_norm!r}")
        if map_source not in SOURCES:
            raise ValueError(f'map_source is one of {", ".join(SOURCES)}, not {map_source!r}')
        self.dfm = self.senses = dfm
        self.map_source, self.dfm_norm = map_source, dfm_norm
        self.map_field = SOURCES[map_source] if dfm else None
        self.inputs = (self.map_field,) if self.map_field else ()
        sensing = dfm and map_source == 'dsm'
        self.optional = ('difference',) if sensing else ()
        self.trained_before = ('dsm',) if sensing else ()
        self.bin = BIN(dsm_num_feat, dsm_num_block, dsm_num_layer, dsm_num_grow_ch).requires_grad_(False)
        self.fusion = DegradationModulation(num_feat, num_frame, num_modulation_blocks)
        self.initialise(init)
        if modulation_init not in ('same', 'zero'):
            raise ValueError(f"modulation_init is 'same' or 'zero', not {modulation_init!r}")
        if modulation_init == 'zero':
            for parameter in self.fusion.mask_modulation_l.parameters():
                nn.init.zeros_(parameter)

    def map_of(self, difference: Tensor) -> Tensor:
        if self.map_source == 'qp':
            return map_of_quantiser(difference)
        return map_of_difference(difference, self.dfm_norm)

    @property
    def sensor(self) -> BIN:
        """The module whose estimates the degradation map is made of."""
        return self.bin

    def pair_estimates(self) -> PairEstimates | NeighbourDifferences | None:
        if not self.dfm or self.map_field:
            return None
        return self.bin.pair_estimates() if self.map_source == 'dsm' else NeighbourDifferences()

    @classmethod
    def from_weights(cls, weights: dict[str, Tensor]) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict, such as one of the release."""
        told, dsm = trunk_of(weights), BIN.from_weights(weights, 'bin.')
        if told is None or dsm is None or 'fusion.mask_modulation_first.weight' not in weights:
            return None
        return {
            **told,
            'num_frame': weights['fusion.feat_fusion.weight'].shape[1] // told['num_feat'],
            'num_modulation_blocks': count_of(weights, 'fusion.feat_cas_l.'),
            'sr_factor': scale_of(weights),
            **{f'dsm_{name}': value for name, value in dsm.items()},
        }

    @torch.no_grad()
    def degradation_map(self, x: Tensor, known: Tensor | None = None) -> Tensor:
        """The DFM of the centre frame of windows (B, 5, 3, h, w): (B, 1, h, w) in [0, 1], zeros with ``dfm: false``.

        Args:
            known: what it is made of, see `map_source`, (B, 1, h, w) or of all frames (B, 5, 1, h, w). A difference
                that `votes sense` has stored saves running the DSM.

        Raises:
            ValueError: the map is made of a field that is not given.
        """
        if not self.dfm:
            return super().degradation_map(x)
        if known is not None:
            return self.map_of(known[:, self.centre] if known.dim() == 5 else known)
        if self.map_field:
            raise ValueError(f'map_source: {self.map_source} needs the field {self.map_field}')
        if self.map_source == 'neighbours':
            beside = x[:, self.centre - 1 : self.centre + 2].float().unbind(1)
            return self.map_of(neighbour_difference(*beside))
        with torch.autocast(x.device.type, enabled=False):  # the map is computed in float32
            return self.bin.degradation_map(x.float(), self.dfm_norm)
