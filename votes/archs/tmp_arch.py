"""TMP: temporal motion propagation for online super-resolution (Zhang et al., TIP 2024)."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from votes.archs.contract import Causal, run_causal
from votes.archs.parts.blocks import conv3x3, count_of, lrelu, residual_blocks, upsample
from votes.archs.parts.motion_search import MotionSearch, sampled

State = dict[str, Tensor]


class ScaledGradient(nn.Module):
    """The same values; their gradients times a factor."""

    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        x = x.view_as(x)
        if x.requires_grad:
            x.register_hook(lambda gradient: gradient * self.factor)
        return x


class PropagatedFusion(nn.Module):
    """Matches frames by keys, and fuses what the frame before left, as far as it is alike."""

    def __init__(self, num_feat: int, num_block: int):
        super().__init__()
        half, quarter = num_feat // 2, num_feat // 4
        self.convs = nn.Sequential(
            conv3x3(3 * num_feat, 3 * num_feat), nn.LeakyReLU(0.1, inplace=True), conv3x3(3 * num_feat, num_feat)
        )
        # the few layers that tell what is alike learn ten times as fast, what feeds them does not
        self.key = nn.Sequential(
            ScaledGradient(0.1),
            residual_blocks(1, num_feat),
            conv3x3(num_feat, half),
            residual_blocks(1, half),
            conv3x3(half, quarter),
            ScaledGradient(10),
        )
        self.value = nn.Sequential(conv3x3(num_feat, num_feat))
        self.reconstruction = residual_blocks(num_block, num_feat)

    def forward(self, key: Tensor, value: Tensor, state: State | None, motion: Tensor | None) -> tuple[Tensor, State]:
        """
        Args:
            key, value: of a frame, (B, C/4, h, w) and (B, C, h, w).
            motion: (B, h, w, 2) integers to the frame before, x and y; searched for unless given.

        Returns:
            The frame's features (B, C, h, w), and the state.
        """
        if state is None:
            nothing = torch.zeros_like(value)
            motion = torch.zeros(len(key), *key.shape[-2:], 2, dtype=torch.long, device=key.device)
            number, seen = torch.zeros((), dtype=torch.long), (nothing, nothing)
        else:
            number = state['number'] + 1
            if motion is None:
                search = MotionSearch(key.detach(), state['key'].detach(), int(number))
                motion = search.find(state['motion'])
            difference = key.float() - sampled(state['key'], motion).float()
            alike = torch.exp(-difference.square().sum(1, keepdim=True)).to(value.dtype)
            seen = tuple(alike * sampled(state[name], motion).to(value.dtype) for name in ('value', 'hidden'))  # type: ignore[assignment]
        hidden = self.reconstruction(self.convs(torch.cat((*seen, value), 1)))
        return hidden, {'number': number, 'motion': motion, 'key': key, 'value': value, 'hidden': hidden}


class TMP(nn.Module):
    """(B, T, 3, h, w) RGB in [0, 1] -> (B, T, 3, S*h, S*w), each frame from itself and what the one before left; not
    clamped.

    Args:
        num_in_ch: channels of a frame.
        num_feat: channels C, a multiple of 4.
        num_extract_block: residual blocks of the feature extraction; the published weights have 3.
        num_block: residual blocks of the reconstruction, 30 in the public code whatever its options say.
        scale: 1 to 4 (public: 4).
        num_out_ch, num_frame, center_frame_idx, num_reconstruct_block, hr_in: no effect, in the public code neither.
    """

    sees = Causal(least=2)
    no_graph = 'its course depends on the number of a frame'
    parts = {
        'features': ('conv_first.', 'feature_extraction.'),
        'alignment': ('align.key.', 'align.value.', 'align.convs.'),
        'reconstruction': ('align.reconstruction.', 'upconv1.'),
    }
    small = {'num_feat': 8, 'num_extract_block': 1, 'num_block': 1, 'scale': 2}

    def __init__(
        self,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        num_feat: int = 64,
        num_frame: int | None = None,
        num_extract_block: int = 5,
        num_reconstruct_block: int | None = None,
        center_frame_idx: int | None = None,
        hr_in: bool = False,
        num_block: int = 30,
        scale: int = 4,
    ):
        super().__init__()
        if num_feat % 4 or scale not in (1, 2, 3, 4):
            raise ValueError(f'num_feat {num_feat} must be a multiple of 4, scale {scale} from 1 to 4')
        if hr_in:
            raise ValueError('hr_in (frames at the size of the output) is not supported')
        self.scale = scale
        self.conv_first = conv3x3(num_in_ch, num_feat)
        self.feature_extraction = residual_blocks(num_extract_block, num_feat)
        self.align = PropagatedFusion(num_feat, num_block)
        self.upconv1 = conv3x3(num_feat, num_in_ch * scale**2)

    def step(self, frames: Tensor, state: State | None) -> tuple[Tensor, State]:
        """One frame, see contract.Causal."""
        key, value = self._keys(frames[:, 0])
        hidden, state = self.align(key, value, state, None)
        return self._enlarged(hidden, frames[:, 0]), state

    def forward(self, x: Tensor, offsets: Tensor | None = None) -> Tensor:
        """
        Args:
            x: (B, T, 3, h, w).
            offsets: (B, T, h, w, 2) integers, x and y in pixels from each frame to the one before, where they are
                known; else they are searched for.
        """
        if not self.training and offsets is None:
            return run_causal(self, x)
        batch, count = x.shape[:2]
        key, value = (found.unflatten(0, (batch, count)) for found in self._keys(x.flatten(0, 1)))
        state, found = None, []
        for t in range(count):
            motion = None if offsets is None else offsets[:, t].long()
            hidden, state = self.align(key[:, t], value[:, t], state, motion)
            found.append(hidden)
        return self._enlarged(torch.stack(found, 1).flatten(0, 1), x.flatten(0, 1)).unflatten(0, (batch, count))

    def _keys(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        features = self.feature_extraction(lrelu(self.conv_first(frames)))
        return self.align.key(features), self.align.value(features)

    def _enlarged(self, hidden: Tensor, x: Tensor) -> Tensor:
        base = x if self.scale == 1 else upsample(x, self.scale)
        return F.pixel_shuffle(self.upconv1(hidden), self.scale) + base

    @classmethod
    def from_weights(cls, weights: dict[str, Tensor]) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict, of this project or of the authors."""
        if not {'align.key.4.weight', 'align.value.0.weight', 'upconv1.weight'} <= weights.keys():
            return None
        num_feat, channels = weights['conv_first.weight'].shape[:2]
        return {
            'num_in_ch': channels,
            'num_feat': num_feat,
            'num_extract_block': count_of(weights, 'feature_extraction.'),
            'num_block': count_of(weights, 'align.reconstruction.'),
            'scale': math.isqrt(weights['upconv1.weight'].shape[0] // channels),
        }
