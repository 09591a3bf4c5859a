"""CDA-VSR: online super-resolution in the compressed domain (Wang et al., CVPR 2026)."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from votes.archs.contract import Causal, Sample, luma_of, run_causal
from votes.archs.parts.blocks import conv3x3, count_of, residual_blocks, upsample, zero_
from votes.ops import deform_conv2d
from votes.ops.warp import flow_warp

GROUPS = 4  # of channels that are sampled alike
REACH = 8  # pixels that a learned offset may lie beside the motion vector
State = dict[str, Tensor]


class GuidedAlignment(nn.Module):
    """Samples the features of the frame before at places beside the motion vectors of the stream."""

    def __init__(self, num_feat: int):
        super().__init__()
        thin = num_feat // 4

        def step() -> nn.LeakyReLU:
            return nn.LeakyReLU(0.1, inplace=True)

        self.conv_offset = nn.Sequential(
            conv3x3(3 * num_feat + 2, thin),
            step(),
            conv3x3(thin, thin),
            step(),
            conv3x3(thin, thin),
            step(),
            last := nn.Conv2d(thin, 3 * GROUPS, 1),
        )
        zero_(last.weight, last.bias)  # training starts at the motion vectors
        self.dcn = nn.Conv2d(2 * num_feat, 2 * num_feat, 1, bias=False)
        bound = 1 / math.sqrt(2 * num_feat)
        nn.init.uniform_(self.dcn.weight, -bound, bound)
        self.offset_mean: Tensor | None = None

    def forward(self, before: Tensor, feature: Tensor, motion: Tensor) -> Tensor:
        """Before (B, 2C, h, w), feature (B, C, h, w), motion (B, 2, h, w) in pixels -> (B, 2C, h, w)."""
        guess = flow_warp(before, motion, 'border', mode='nearest')
        raw = self.conv_offset(torch.cat((guess, feature, motion.to(feature.dtype)), 1)).float()
        learned = REACH * raw[:, : 2 * GROUPS].tanh()
        offset = learned + motion.flip(1).repeat(1, GROUPS, 1, 1)
        if self.training:
            self.offset_mean = learned.detach().abs().mean()
        return deform_conv2d(before, offset, raw[:, 2 * GROUPS :].sigmoid(), self.dcn.weight)


class CDAVSR(nn.Module):
    """(B, T, 3, h, w) RGB in [0, 1] -> (B, T, 3, S*h, S*w), each frame from itself and the one before; not clamped.

    Intra frames are restored by more blocks and by themselves, predicted ones from what the frame before left. B frames
    are treated as P frames: the paper has none. An intra block in a P frame counts as not moving.

    Args:
        num_in_ch: channels of a frame.
        num_feat: channels C, a multiple of 4.
        num_extract_block: residual blocks of the feature extraction.
        num_reconstruct_block_I: of the reconstruction of intra frames.
        num_reconstruct_block_P: of the reconstruction of predicted frames.
        scale: 1 to 4 (public: 4).
        num_out_ch, num_frame, center_frame_idx, hr_in: no effect, in the public code neither.
    """

    sees = Causal(least=2)
    no_graph = 'its course depends on the types of pictures'
    inputs = ('mv_past', 'past_valid', 'pict_type')
    parts = {
        'features': ('conv_first.', 'feature_extraction.'),
        'alignment': ('deform_align.',),
        'deformable': ('deform_align.dcn.',),
        'reconstruction': ('convs.', 'reconstruction_I.', 'reconstruction_P.', 'conv_h.', 'upconv1.'),
    }
    small = {
        'num_feat': 8,
        'num_extract_block': 1,
        'num_reconstruct_block_I': 1,
        'num_reconstruct_block_P': 1,
        'scale': 2,
    }

    def __init__(
        self,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        num_feat: int = 64,
        num_frame: int | None = None,
        num_extract_block: int = 3,
        num_reconstruct_block_I: int = 24,
        num_reconstruct_block_P: int = 12,
        center_frame_idx: int | None = None,
        hr_in: bool = False,
        scale: int = 4,
    ):
        super().__init__()
        if num_feat % GROUPS:
            raise ValueError(f'num_feat must be a multiple of {GROUPS}, not {num_feat}')
        if hr_in:
            raise ValueError('hr_in (frames at the size of the output) works in no version of this network')
        self.scale = scale
        self.conv_first = conv3x3(num_in_ch, num_feat)
        self.feature_extraction = residual_blocks(num_extract_block, num_feat)
        self.deform_align = GuidedAlignment(num_feat)
        self.conv_weight_l = nn.Sequential(
            nn.Conv2d(1, num_feat, 1),
            nn.LeakyReLU(0.1, inplace=True),
            nn.Conv2d(num_feat, num_feat, 1),
            nn.LeakyReLU(0.1, inplace=True),
            nn.Conv2d(num_feat, 1, 1),
        )
        self.convs = nn.Sequential(conv3x3(3 * num_feat, num_feat))
        self.reconstruction_I = residual_blocks(num_reconstruct_block_I, num_feat)
        self.reconstruction_P = residual_blocks(num_reconstruct_block_P, num_feat)
        self.conv_h = conv3x3(num_feat, num_feat)
        self.upconv1 = conv3x3(num_feat, num_in_ch * scale**2)

    def arguments(self, sample: Sample) -> dict[str, Tensor]:
        """Vectors as the sample has them: the public sign is the same. Decoders do not export the residual, see
        `step`.
        """
        motion = sample['mv_past']
        return {
            'mvs': motion * sample['past_valid'].to(motion.dtype),
            'types': torch.where(sample['pict_type'] == ord('I'), 0, 2),
        }

    def features(self, frames: Tensor) -> Tensor:
        """(N, 3, h, w) -> (N, C, h, w)."""
        return self.feature_extraction(self.conv_first(frames))

    def step(
        self, frames: Tensor, state: State | None, mvs: Tensor, types: Tensor, residuals: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """One frame, see Causal.

        Args:
            frames: (B, 1, 3, h, w).
            mvs: (B, 1, 2, h, w), x and y in pixels to where the frame was predicted from in the one before.
            types: (B, 1), 0 of intra frames, which forget what was before.
            residuals: (B, 1, 1, h, w), Y less its prediction, / 255; unless given what the frame before, moved by the
                vectors, does not explain.
        """
        given = None if residuals is None else residuals[:, 0]
        intra = (types[:, 0] == 0).tolist()
        hidden, state = self._hidden(self.features(frames[:, 0]), frames[:, 0], state, mvs[:, 0], intra, given)
        return self._enlarged(hidden, frames[:, 0]), state

    def forward(self, x: Tensor, mvs: Tensor, types: Tensor, residuals: Tensor | None = None) -> Tensor:
        """A whole clip, as steps with (B, T, ...)."""
        if not self.training:
            fields = {'mvs': mvs, 'types': types, **({} if residuals is None else {'residuals': residuals})}
            return run_causal(self, x, dict, **fields)
        batch, count = x.shape[:2]  # features and outputs of all frames are computed together
        features = self.features(x.flatten(0, 1)).unflatten(0, (batch, count))
        intra = (types == 0).T.tolist()
        state, found = None, []
        for t in range(count):
            given = None if residuals is None else residuals[:, t]
            hidden, state = self._hidden(features[:, t], x[:, t], state, mvs[:, t], intra[t], given)
            found.append(hidden)
        if all(map(all, intra[1:])):  # every weight must have a gradient, of 0 where nothing is predicted
            assert state is not None
            found[-1] = found[-1] + 0 * self._predicted(features[:, -1], x[:, -1], state, mvs[:, -1], None)
        return self._enlarged(torch.stack(found, 1).flatten(0, 1), x.flatten(0, 1)).unflatten(0, (batch, count))

    def _hidden(
        self,
        feature: Tensor,
        x: Tensor,
        state: State | None,
        motion: Tensor,
        intra: list[bool],
        residual: Tensor | None,
    ) -> tuple[Tensor, State]:
        """The reconstruction's features (B, C, h, w) of a frame, and the state after it."""
        if state is None or all(intra):
            hidden = self.reconstruction_I(feature)
        elif not any(intra):
            hidden = self._predicted(feature, x, state, motion, residual)
        else:  # clips of a batch whose intra frames do not coincide: each by its own way
            whole = torch.tensor(intra, device=x.device)
            rest = ~whole
            before = {name: value[rest] for name, value in state.items()}
            given = None if residual is None else residual[rest]
            predicted = self._predicted(feature[rest], x[rest], before, motion[rest], given)
            hidden = predicted.new_empty(feature.shape)
            hidden[whole], hidden[rest] = self.reconstruction_I(feature[whole]).to(hidden.dtype), predicted
        return hidden, {'feature': feature, 'hidden': self.conv_h(hidden), 'frame': x}

    def _predicted(self, feature: Tensor, x: Tensor, state: State, motion: Tensor, residual: Tensor | None) -> Tensor:
        if residual is None:
            residual = luma_of(x) - flow_warp(luma_of(state['frame']), motion, 'border')
        before = torch.cat((state['feature'], state['hidden']), 1)
        aligned = self.deform_align(before, feature, motion)
        aligned = aligned * (1 + self.conv_weight_l(residual))
        return self.reconstruction_P(self.convs(torch.cat((aligned.to(feature.dtype), feature), 1)))

    def _enlarged(self, hidden: Tensor, x: Tensor) -> Tensor:
        base = x if self.scale == 1 else upsample(x, self.scale)
        return F.pixel_shuffle(self.upconv1(hidden), self.scale) + base

    @classmethod
    def from_weights(cls, weights: dict[str, Tensor]) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict, of this project or of the authors."""
        if not {'conv_weight_l.4.weight', 'deform_align.dcn.weight', 'upconv1.weight'} <= weights.keys():
            return None
        num_feat, channels = weights['conv_first.weight'].shape[:2]
        return {
            'num_in_ch': channels,
            'num_feat': num_feat,
            'num_extract_block': count_of(weights, 'feature_extraction.'),
            'num_reconstruct_block_I': count_of(weights, 'reconstruction_I.'),
            'num_reconstruct_block_P': count_of(weights, 'reconstruction_P.'),
            'scale': math.isqrt(weights['upconv1.weight'].shape[0] // channels),
        }
