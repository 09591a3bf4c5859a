"""FTVSR: attention over the frequencies of blocks, for compressed video (Qiu et al., ECCV 2022), upon the trajectories
of TTVSR (Liu et al., CVPR 2022).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from votes.archs.contract import Clip
from votes.archs.parts.blocks import count_of, lrelu, upsample
from votes.archs.parts.dct import BlockDCT
from votes.archs.parts.enlarging import Enlarging
from votes.archs.parts.propagation import AT_ONCE, ConvResidualBlocks, basicsr_names, flows_of, in_pieces, propagate
from votes.archs.parts.published import fitting, size_of
from votes.archs.spynet_arch import SpyNet
from votes.ops.warp import flow_warp

SCALE, BLOCK = 4, 8
BANDS = 64  # frequencies of a block
PATCH = 8  # of the grid of blocks


class FTTALayer(nn.Module):
    """Attention between all frequencies and all places: q, k, v (B, 64 * m, H, W), seen as 64 bands of m channels ->
    (B, 64 * m, H, W). Tokens are 8x8 patches of a band; rows and columns beyond the last patch come out as zeros.

    Args:
        channel: 64 * m.
        d_model, n_heads: width of the attention and its heads.
    """

    sees = None
    small = {'channel': 64, 'd_model': 16, 'n_heads': 2}

    def __init__(self, channel: int = 192, d_model: int = 512, n_heads: int = 8):
        super().__init__()
        if channel % BANDS:
            raise ValueError(f'channel must be a multiple of {BANDS}, not {channel}')
        size = channel // BANDS * PATCH**2
        self.layer_q, self.layer_k, self.layer_v = (nn.Linear(size, d_model) for _ in range(3))
        self.MultiheadAttention = nn.MultiheadAttention(d_model, n_heads, batch_first=True)
        self.norm1, self.norm2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.linear1, self.linear2 = nn.Linear(d_model, d_model), nn.Linear(d_model, size)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        query, key = self.layer_q(_tokens(q)), self.layer_k(_tokens(k))
        value = self.layer_v(_tokens(v))
        attended, _ = self.MultiheadAttention(query, key, value, need_weights=False)
        x = self.norm1(attended + value)
        x = self.linear2(self.norm2(x + F.leaky_relu(self.linear1(x), 0.1)))
        patches = x.unflatten(1, (BANDS, -1)).flatten(0, 1).transpose(1, 2)
        return F.fold(patches, q.shape[-2:], PATCH, stride=PATCH).reshape(q.shape)


def _tokens(x: Tensor) -> Tensor:
    """(B, 64 * m, H, W) -> (B, 64 * patches, m * 64), band by band."""
    bands = x.reshape(len(x) * BANDS, -1, *x.shape[-2:])
    return F.unfold(bands, PATCH, stride=PATCH).transpose(1, 2).unflatten(0, (len(x), BANDS)).flatten(1, 2)


class LTAM(nn.Module):
    """Location-based trajectory attention: of the key frames, each place takes the one whose features, where the motion
    came from, are most like its own.

    Args:
        channels: C of features and states.
        stride: side of a token.
    """

    def __init__(self, channels: int, stride: int):
        super().__init__()
        self.stride = stride
        self.fusion = nn.Conv2d(3 * channels, channels, 3, 1, 1)

    def tokens(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C * stride**2, n)."""
        return F.unfold(x, self.stride, stride=self.stride)

    def states(self, state: Tensor) -> Tensor:
        """A key frame's state as tokens of itself, and of windows of 1.5 and 2 times their size reduced to theirs:
        (B, 3, C * stride**2, n).
        """
        found = [self.tokens(state)]
        for twice in (3, 4):
            window, border = twice * self.stride // 2, (twice - 2) * self.stride // 4
            height, width = state.shape[-2:]
            spread = F.unfold(state, window, padding=border, stride=self.stride)
            spread = F.fold(spread, (twice * height // 2, twice * width // 2), window, stride=window)
            found.append(self.tokens(F.adaptive_avg_pool2d(spread, (height, width))))
        return torch.stack(found, 1)

    def forward(self, features: Tensor, state: Tensor, keys: Tensor, states: Tensor, places: Tensor) -> Tensor:
        """(B, C, h, w), the state with what it takes from key frames.

        Args:
            features, state: (B, C, h, w) of the frame.
            keys: (B, K, C * stride**2, n), tokens of the features of K key frames.
            states: (B, K, 3, C * stride**2, n), see `states`.
            places: (B, K, n), the number of the token in each key frame that each place comes from.
        """
        size = state.shape[-2:]
        own = F.normalize(self.tokens(features), dim=1)
        there = keys.gather(3, places.unsqueeze(2).expand_as(keys))
        likeness, chosen = (F.normalize(there, dim=2) * own.unsqueeze(1)).sum(2).max(1)  # (B, n)
        place = places.gather(1, chosen.unsqueeze(1))[:, 0] + chosen * places.shape[-1]
        every = states.permute(0, 2, 3, 1, 4).flatten(3)  # (B, 3, C * stride**2, K * n)
        taken = every.gather(3, place[:, None, None].expand(*every.shape[:3], -1))
        taken = F.fold(taken.flatten(1, 2), size, self.stride, stride=self.stride)
        weight = likeness.unsqueeze(1).expand(-1, self.stride**2, -1)
        return self.fusion(taken) * F.fold(weight, size, self.stride, stride=self.stride) + state


class FrequencyTransformer(BlockDCT):
    """The second stage: enlarged clip and restored clip (B, T, 3, H, W), H and W multiples of 8 -> (B, T, 3, H, W)."""

    def __init__(self, channels: int, d_model: int, n_heads: int):
        super().__init__(3, BLOCK)
        self.channels = channels
        self.conv_layer1 = nn.Conv2d(3 * BANDS, channels, 1)
        self.feat_extractor = ConvResidualBlocks(channels, channels, 3)
        self.resblocks = ConvResidualBlocks(2 * channels, channels, 3)
        self.fusion = nn.Sequential(
            nn.Conv2d(3 * channels, channels, 1), nn.LeakyReLU(0.1, inplace=True), nn.Conv2d(channels, channels, 1)
        )
        self.ftta = FTTALayer(channels, d_model, n_heads)
        self.conv_layer2 = nn.Conv2d(channels, 3 * BANDS, 1)

    def features(self, coefficients: Tensor) -> Tensor:
        """Coefficients (B, 192, h, w), each divided by its norm over the picture -> (B, C, h, w)."""
        normalised = F.normalize(coefficients.flatten(2), dim=2).view_as(coefficients)
        return self.feat_extractor(self.conv_layer1(normalised))

    def forward(  # type: ignore[override]
        self, enlarged: Tensor, restored: Tensor, past: Tensor, future: Tensor
    ) -> Tensor:
        """
        Args:
            past, future: flows of the grid of blocks (B, T - 1, 2, H / 8, W / 8), see flows_of.
        """
        count = enlarged.shape[1]
        raw, plain = (in_pieces(self.coefficients_of, x.flatten(0, 1)) for x in (restored, enlarged))
        sharp, blurred = (in_pieces(self.features, x) for x in (raw, plain))
        # whatever the direction, a frame's own attention is the same
        few = AT_ONCE // self.channels
        guide = in_pieces(self.ftta, blurred, sharp, sharp, at_once=few).unflatten(0, (-1, count))
        frames = sharp.unflatten(0, (-1, count))
        start = torch.zeros_like(frames[:, 0])

        def backward(i: int, state: Tensor) -> Tensor:
            return self._step(frames[:, i], guide[:, i], state, first=i == count - 1)

        def forward(i: int, state: Tensor) -> Tensor:
            return self._step(frames[:, i], guide[:, i], state, first=i == 0)

        behind = propagate(backward, start, future, reverse=True, padding='border')
        ahead = propagate(forward, start, past, padding='border')
        both = [torch.stack(x, 1).flatten(0, 1) for x in (behind, ahead)]
        out = in_pieces(self._restored, both[0], sharp, both[1], raw, restored.flatten(0, 1))
        return out.unflatten(0, (-1, count))

    def _step(self, frame: Tensor, guide: Tensor, state: Tensor, first: bool) -> Tensor:
        if not first:
            state = self.ftta(guide, state, state)
        return self.resblocks(torch.cat((frame, state), 1))

    def _restored(self, behind: Tensor, frame: Tensor, ahead: Tensor, raw: Tensor, picture: Tensor) -> Tensor:
        change = self.conv_layer2(self.fusion(torch.cat((behind, frame, ahead), 1)))
        # the first stage's picture comes twice, by its coefficients and as it is: published weights expect both
        return self.picture_of(change.float() + raw) + picture


class FTVSR(Enlarging):
    """(B, T, 3, h, w) RGB in [0, 1] -> (B, T, 3, 4h, 4w), not clamped. Sides that are multiples of 16 are covered by
    the attention as a whole.

    Args:
        mid_channels: channels of the first stage; 64 in the public code.
        num_blocks: residual blocks of its propagation, which both directions share.
        stride: side of a token of the trajectories.
        keyframe_stride: frames 0, s, 2s, ... are key frames forwards; T - 1, T - 1 - s, ... but not 0 backwards.
        d_model, n_heads: of the attention over frequencies; published weights have 4 heads.
        freq_channels: channels of the second stage, a multiple of 64; 512 in the public code.
        reuse_flow: the second stage follows the flow of the compressed frames. False, as published: that of the first
            stage's pictures, which are 16 times as large and take most of the time.
        public_padding: pictures whose sides are no multiples of 8 are grown as the public code does it: zeros, but for
            the corner. False: their edges continue.

    Keys are the public ones with BasicSR's names of shared parts. The parts `flow` (2 000 iterations) and `first_stage`
    (10 000) rest at first.
    """

    sees = Clip()
    scale = SCALE
    multiple = 16
    parts = {
        'flow': ('spynet.',),
        'first_stage': (
            'feat_extractor.',
            'LTAM.',
            'resblocks.',
            'fusion.',
            'upconv1.',
            'upconv2.',
            'conv_hr.',
            'conv_last.',
        ),
        'frequency': ('FTT.',),
        'frequency.attention': ('FTT.ftta.',),
        'frequency.features': (
            'FTT.dct.',
            'FTT.rdct.',
            'FTT.conv_layer',
            'FTT.feat_extractor.',
            'FTT.resblocks.',
            'FTT.fusion.',
        ),
    }
    small = {'mid_channels': 8, 'num_blocks': 1, 'd_model': 16, 'n_heads': 2, 'freq_channels': 64, 'reuse_flow': True}

    def __init__(
        self,
        mid_channels: int = 64,
        num_blocks: int = 60,
        stride: int = 4,
        keyframe_stride: int = 3,
        d_model: int = 512,
        n_heads: int = 8,
        freq_channels: int = 512,
        reuse_flow: bool = False,
        public_padding: bool = False,
    ):
        super().__init__()
        self.reuse_flow, self.public_padding = reuse_flow, public_padding
        if public_padding:
            self.multiple = 1  # what is grown before has nothing left to grow
        self.stride, self.keyframe_stride = stride, keyframe_stride
        self.spynet = SpyNet()
        self.feat_extractor = ConvResidualBlocks(3, mid_channels, 5)
        self.LTAM = LTAM(mid_channels, stride)
        self.resblocks = ConvResidualBlocks(2 * mid_channels, mid_channels, num_blocks)
        self.fusion = nn.Conv2d(3 * mid_channels, mid_channels, 1)
        self.add_enlarging(mid_channels, 3, SCALE)
        self.FTT = FrequencyTransformer(freq_channels, d_model, n_heads)

    def forward(self, x: Tensor) -> Tensor:
        count = x.shape[1]
        frames = x.flatten(0, 1)
        features = in_pieces(self.feat_extractor, frames).unflatten(0, (-1, count))
        past, future = flows_of(self.spynet, x)
        behind = self._along(features, future, range(count - 1, 0, -self.keyframe_stride), reverse=True)
        ahead = self._along(features, past, range(0, count, self.keyframe_stride))
        parts = [y.flatten(0, 1) for y in (torch.stack(behind, 1), features, torch.stack(ahead, 1))]
        enlarged = upsample(frames, SCALE)
        restored = in_pieces(self._restored, enlarged, *parts)
        height, width = restored.shape[-2:]
        both = [self._grown(picture).unflatten(0, (-1, count)) for picture in (enlarged, restored)]
        size = both[1].shape[-2] // BLOCK, both[1].shape[-1] // BLOCK
        if self.reuse_flow:
            flows = [_of_blocks(flow, SCALE / BLOCK, size) for flow in (past, future)]
        else:
            flows = [_of_blocks(flow, 1 / BLOCK, size) for flow in flows_of(self.spynet, both[1])]
        return self.FTT(*both, *flows)[..., :height, :width]

    def _along(self, features: Tensor, flows: Tensor, key_frames: range, reverse: bool = False) -> list[Tensor]:
        """The states (B, C, h, w) of each frame in one direction."""
        batch, count, _, height, width = features.shape
        size = height // self.stride, width // self.stride
        down, across = (torch.arange(n, dtype=flows.dtype, device=flows.device) for n in size)
        grid = torch.stack((across.expand(size), down.unsqueeze(1).expand(size))).expand(batch, 2, *size)
        locations = flows.new_zeros(batch, 0, *size)
        keys: list[Tensor] = []
        states: list[Tensor] = []
        state, found = torch.zeros_like(features[:, 0]), {}
        for number, i in enumerate(reversed(range(count)) if reverse else range(count)):
            own = features[:, i]
            if number:
                flow = flows[:, i if reverse else i - 1]
                state = flow_warp(state, flow, 'border')
                moved = F.adaptive_avg_pool2d(flow, size) / self.stride
                locations = flow_warp(locations, moved, 'border', mode='nearest')
                x, y = locations.detach().unflatten(1, (-1, 2)).round().long().flatten(3).unbind(2)
                state = self.LTAM(own, state, torch.stack(keys, 1), torch.stack(states, 1), y * size[1] + x)
            state = self.resblocks(torch.cat((own, state), 1))
            found[i] = state
            # the first frame visited is always among them
            if i in key_frames or not number:
                locations = torch.cat((locations, grid), 1)
                keys.append(self.LTAM.tokens(own))
                states.append(self.LTAM.states(state))
        return [found[i] for i in range(count)]

    def _grown(self, x: Tensor) -> Tensor:
        """Pictures whose sides are multiples of 8."""
        bottom, right = -x.shape[-2] % BLOCK, -x.shape[-1] % BLOCK
        if not self.public_padding:
            return F.pad(x, (0, right, 0, bottom), mode='replicate')
        grown = F.pad(x, (0, right, 0, bottom))
        grown[..., -bottom:, -right:] = x[..., -bottom:, -right:]  # -0 is the whole side
        return grown

    def _restored(self, base: Tensor, behind: Tensor, own: Tensor, ahead: Tensor) -> Tensor:
        return self.enlarge(lrelu(self.fusion(torch.cat((behind, own, ahead), 1)))) + base

    published_weights = staticmethod(basicsr_names)

    @classmethod
    def from_weights(cls, weights: dict[str, Tensor]) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict of this class or of the public code, which has 4 heads."""
        weights = cls.published_weights(weights)
        if not {'FTT.ftta.layer_q.weight', 'LTAM.fusion.weight'} <= weights.keys():
            return None
        return fitting(
            cls,
            weights,
            mid_channels=size_of(weights, 'LTAM.fusion.weight'),
            num_blocks=count_of(weights, 'resblocks.main.2.'),
            d_model=size_of(weights, 'FTT.ftta.layer_q.weight'),
            n_heads=4,
            freq_channels=size_of(weights, 'FTT.conv_layer1.weight'),
        )


def _of_blocks(flows: Tensor, factor: float, size: tuple[int, int]) -> Tensor:
    """Flows (B, T, 2, ...) of pictures, of their grid of blocks, which is `factor` times as large."""
    small = F.interpolate(flows.flatten(0, 1) * factor, size, mode='bilinear', align_corners=False)
    return small.unflatten(0, flows.shape[:2])
