"""RealViformer: real-world video super-resolution by attention over channels (Zhang and Yao, ECCV 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from votes.archs.contract import Causal, run_causal
from votes.archs.parts.blocks import conv3x3, count_of, upsample
from votes.archs.parts.enlarging import Enlarging, scale_of
from votes.archs.parts.propagation import AT_ONCE, in_pieces
from votes.archs.spynet_arch import SpyNet
from votes.ops.warp import flow_warp

Norm = Literal['BiasFree', 'WithBias']
State = dict[str, Tensor]


class LayerNorm(nn.Module):
    """Over the channels of each pixel; 'BiasFree' divides by the deviation and leaves the mean."""

    def __init__(self, num_feat: int, kind: Norm):
        super().__init__()
        self.body = nn.ParameterDict({'weight': nn.Parameter(torch.ones(num_feat))})
        if kind == 'WithBias':
            self.body['bias'] = nn.Parameter(torch.zeros(num_feat))

    def forward(self, x: Tensor) -> Tensor:
        deviation = (x.float().var(1, keepdim=True, unbiased=False) + 1e-5).sqrt()
        weight = self.body['weight'][:, None, None]
        if 'bias' not in self.body:
            return (x / deviation * weight).to(x.dtype)
        centred = x - x.float().mean(1, keepdim=True)
        return (centred / deviation * weight + self.body['bias'][:, None, None]).to(x.dtype)


def _conv1(before: int, after: int, bias: bool) -> nn.Conv2d:
    return nn.Conv2d(before, after, 1, bias=bias)


def _depthwise(num_feat: int, bias: bool) -> nn.Conv2d:
    return nn.Conv2d(num_feat, num_feat, 3, padding=1, groups=num_feat, bias=bias)


def _likeness(query: Tensor, key: Tensor, temperature: Tensor) -> Tensor:
    """How alike channels are over the picture, (B, heads, c, c), of features (B, heads*c, h, w)."""
    heads = temperature.shape[0]
    query, key = (F.normalize(x.flatten(2).unflatten(1, (heads, -1)), dim=-1) for x in (query, key))
    return query @ key.transpose(-2, -1) * temperature


def _attended(likeness: Tensor, value: Tensor) -> Tensor:
    """Features (B, heads*c, h, w) mixed by rows of weights that likeness tells, (B, heads, c, h*w)."""
    return likeness.softmax(-1) @ value.flatten(2).unflatten(1, (likeness.shape[1], -1))


class ChannelAttention(nn.Module):
    """Each channel is a mixture of all of its head; `masked`: channels that are like many others count less."""

    def __init__(self, num_feat: int, num_heads: int, bias: bool, masked: bool):
        super().__init__()
        self.temperature = nn.Parameter(torch.ones(num_heads, 1, 1))
        self.qkv = _conv1(num_feat, 3 * num_feat, bias)
        self.qkv_dwconv = _depthwise(3 * num_feat, bias)
        self.project_out = _conv1(num_feat, num_feat, bias)
        self.masked = masked
        if masked:
            self.linear1 = nn.Linear(2, 1, bias=bias)
            self.linear2 = nn.Linear(num_feat // num_heads, num_feat // num_heads, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.qkv_dwconv(self.qkv(x)).chunk(3, 1)
        likeness = _likeness(query, key, self.temperature)
        found = _attended(likeness, value)
        if self.masked:
            told = torch.stack((likeness.amax(-1), likeness.mean(-1)), -1)
            mask = self.linear2(F.gelu(self.linear1(told).squeeze(-1))).sigmoid()
            found = found * mask.unsqueeze(-1)
        return self.project_out(found.reshape(x.shape))


class GatedFeedForward(nn.Module):
    """One half of the hidden channels decides what of the other passes."""

    def __init__(self, num_feat: int, expansion: float, bias: bool):
        super().__init__()
        hidden = int(num_feat * expansion)
        self.project_in = _conv1(num_feat, 2 * hidden, bias)
        self.dwconv = _depthwise(2 * hidden, bias)
        self.project_out = _conv1(hidden, num_feat, bias)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.dwconv(self.project_in(x)).chunk(2, 1)
        return self.project_out(F.gelu(gate) * value)


class TransformerBlock(nn.Module):
    """Attention over channels, of fewer of them where `squeeze` is more than 1, and a gated feed-forward network."""

    compiled_alone = True

    def __init__(
        self, num_feat: int, num_heads: int, expansion: float, bias: bool, norm: Norm, masked: bool, squeeze: int
    ):
        super().__init__()
        thin = num_feat // squeeze
        self.norm1 = LayerNorm(thin, norm)
        self.attn = ChannelAttention(thin, num_heads, bias, masked)
        self.norm2 = LayerNorm(num_feat, norm)
        self.ffn = GatedFeedForward(num_feat, expansion, bias)
        self.squeezes = squeeze > 1
        if self.squeezes:
            self.compress = nn.Conv2d(num_feat, thin, 3, padding=1, bias=bias)
            self.expand = nn.Conv2d(thin, num_feat, 3, padding=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        if self.squeezes:
            x = x + self.expand(self.attn(self.norm1(self.compress(x))))
        else:
            x = x + self.attn(self.norm1(x))
        return x + self.ffn(self.norm2(x))


class CrossAttention(nn.Module):
    """Channels of the frame ask, channels of what comes from the frame before answer."""

    def __init__(self, num_feat: int, num_heads: int):
        super().__init__()
        self.temperature = nn.Parameter(torch.ones(num_heads, 1, 1))
        self.kv = _conv1(num_feat, 2 * num_feat, False)
        self.kv_dwconv = _depthwise(2 * num_feat, False)
        self.q = nn.Conv2d(num_feat, num_feat, 3, padding=1, bias=False)
        self.project_out = _conv1(num_feat, num_feat, False)

    def forward(self, x: Tensor, before: Tensor) -> Tensor:
        key, value = self.kv_dwconv(self.kv(before)).chunk(2, 1)
        return self.project_out(_attended(_likeness(self.q(x), key, self.temperature), value).reshape(x.shape))


class Merge(nn.Module):
    """A frame's features with the state, (B, C, h, w) both -> (B, C, h, w).

    Args:
        squeeze: attention sees 1 / squeeze of the channels; what is joined with its result is then the frame's
            features as they came, not their normalisation, as in the public code.
    """

    def __init__(self, num_feat: int, num_heads: int, squeeze: int = 1):
        super().__init__()
        thin, self.squeezes = num_feat // squeeze, squeeze > 1
        self.norm_q, self.norm_kv = LayerNorm(thin, 'BiasFree'), LayerNorm(thin, 'BiasFree')
        self.norm_out = LayerNorm(num_feat, 'BiasFree')
        self.attn = CrossAttention(thin, num_heads)
        self.ffn = nn.Sequential(
            _conv1(2 * num_feat, num_feat, False),
            _depthwise(num_feat, False),
            nn.GELU(),
            _conv1(num_feat, num_feat, False),
        )
        if self.squeezes:
            self.compress_q = nn.Conv2d(num_feat, thin, 3, padding=1, bias=False)
            self.compress_kv = nn.Conv2d(num_feat, thin, 3, padding=1, bias=False)
            self.expand = nn.Conv2d(thin, num_feat, 3, padding=1, bias=False)

    def forward(self, x: Tensor, before: Tensor) -> Tensor:
        if self.squeezes:
            query, known = self.norm_q(self.compress_q(x)), self.norm_kv(self.compress_kv(before))
            found = self.expand(self.attn(query, known))
        else:
            x = self.norm_q(x)
            found = self.attn(x, self.norm_kv(before))
        return self.ffn(torch.cat((x, self.norm_out(found)), 1))


class Resized(nn.Module):
    """Half or twice the size, twice or half the channels."""

    def __init__(self, num_feat: int, half: bool):
        super().__init__()
        after = num_feat // 2 if half else 2 * num_feat
        shuffle: nn.Module = nn.PixelUnshuffle(2) if half else nn.PixelShuffle(2)
        self.body = nn.Sequential(nn.Conv2d(num_feat, after, 3, padding=1, bias=False), shuffle)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class RealViformer(Enlarging):
    """(B, T, 3, h, w) RGB in [0, 1], h and w multiples of 4 -> (B, T, 3, S*h, S*w), each frame from itself and those
    before it; not clamped. Keys of the state_dict as in the public code, whose options are the defaults.

    Args:
        num_feat: channels C at the largest of three sizes.
        num_blocks: blocks at each of them, and of the refinement.
        heads: of the attention at each of them.
        ffn_expansion_factor: hidden channels of a feed-forward network / its channels.
        masked: see ChannelAttention.
        merge_head: heads of the attention to the state.
        merge_compress, merge_compress_factor: the attention to the state sees a part of the channels, 1 / the factor, a
            whole number; no published weights have it.
        bias: of layers in transformer blocks.
        LayerNorm_type: 'BiasFree' or 'WithBias' there.
        ch_compress, squeeze_factor: attention sees a part of the channels, 1 / the first factor.
        spynet_path: no effect: weights of the flow network come by ``train.parts.flow.weights``.
        scale: 2, 3 or 4 (public: 4).

    The public flow network leaves out its last level where frames are at most 32 pixels wide, this one never.
    """

    sees = Causal(least=2)
    multiple = 4
    parts = {
        'flow': ('spynet.',),
        'features': ('shallow_extraction.',),
        'merging': ('attn_merge.',),
        'propagation': ('encoder_', 'down', 'latent.', 'up3_2.', 'up2_1.', 'reduce_', 'decoder_', 'refinement.'),
        'reconstruction': ('upconv', 'conv_hr.', 'conv_last.'),
    }
    small = {'num_feat': 8, 'num_blocks': [1, 1, 1, 1], 'heads': [1, 1, 2], 'squeeze_factor': [2, 2, 2], 'scale': 2}

    def __init__(
        self,
        num_feat: int = 48,
        num_blocks: Sequence[int] = (2, 3, 4, 1),
        spynet_path: str | None = None,
        heads: Sequence[int] = (1, 2, 4),
        ffn_expansion_factor: float = 2.66,
        masked: bool = True,
        merge_head: int = 2,
        merge_compress: bool = False,
        merge_compress_factor: float = 1,
        bias: bool = False,
        LayerNorm_type: Norm = 'BiasFree',
        ch_compress: bool = True,
        squeeze_factor: Sequence[int] = (4, 4, 4),
        scale: int = 4,
    ):
        super().__init__()
        merge = int(merge_compress_factor) if merge_compress else 1
        if merge_compress and (merge != merge_compress_factor or merge < 1 or num_feat % (merge * merge_head)):
            raise ValueError(
                f'merge_compress_factor is a whole number, and {merge_head} heads divide {num_feat} / factor, '
                f'not {merge_compress_factor}'
            )
        self.num_feat, self.scale = num_feat, scale
        squeeze = squeeze_factor[0] if ch_compress else 1  # the public code reads no more of them

        def blocks(count: int, width: int, num_heads: int) -> nn.Sequential:
            told = (ffn_expansion_factor, bias, LayerNorm_type, masked, squeeze)
            return nn.Sequential(*(TransformerBlock(width, num_heads, *told) for _ in range(count)))

        self.shallow_extraction = nn.Sequential(
            conv3x3(3, num_feat),
            TransformerBlock(num_feat, heads[0], ffn_expansion_factor, bias, LayerNorm_type, False, 1),
        )
        self.spynet = SpyNet()
        self.attn_merge = Merge(num_feat, merge_head, merge)
        self.encoder_level1 = blocks(num_blocks[0], num_feat, heads[0])
        self.down1_2 = Resized(num_feat, half=True)
        self.encoder_level2 = blocks(num_blocks[1], 2 * num_feat, heads[1])
        self.down2_3 = Resized(2 * num_feat, half=True)
        self.latent = blocks(num_blocks[2], 4 * num_feat, heads[2])
        self.up3_2 = Resized(4 * num_feat, half=False)
        self.reduce_chan_level2 = _conv1(4 * num_feat, 2 * num_feat, bias)
        self.decoder_level2 = blocks(num_blocks[1], 2 * num_feat, heads[1])
        self.up2_1 = Resized(2 * num_feat, half=False)
        self.decoder_level1 = blocks(num_blocks[0], 2 * num_feat, heads[0])
        self.refinement = blocks(num_blocks[3], 2 * num_feat, heads[0])
        self.compress = _conv1(2 * num_feat, num_feat, True)
        self.add_enlarging(num_feat, 3, scale, in_channels=2 * num_feat)

    def step(self, frames: Tensor, state: State | None) -> tuple[Tensor, State]:
        """One frame, see contract.Causal; the state has its compressed features and itself, for the next flow."""
        frame = frames[:, 0]
        flow = None if state is None else self.spynet(frame, state['frame'])
        before = None if state is None else state['hidden']
        refined, hidden = self._refined(self.shallow_extraction(frame), before, flow)
        return self._restored(frame, refined), {'hidden': hidden, 'frame': frame}

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return run_causal(self, x)
        batch, count = x.shape[:2]  # of all frames at once, where what they share is computed together
        flat = x.flatten(0, 1)
        shallow = self.shallow_extraction(flat).unflatten(0, (batch, count))
        flows = self.spynet(x[:, 1:].flatten(0, 1), x[:, :-1].flatten(0, 1)).unflatten(0, (batch, count - 1))
        hidden, found = None, []
        for t in range(count):
            refined, hidden = self._refined(shallow[:, t], hidden, flows[:, t - 1] if t else None)
            found.append(refined)
        features = torch.stack(found, 1).flatten(0, 1)
        return in_pieces(self._restored, flat, features, at_once=AT_ONCE // self.scale**2).unflatten(0, (batch, count))

    def _refined(self, shallow: Tensor, hidden: Tensor | None, flow: Tensor | None) -> tuple[Tensor, Tensor]:
        """Features of a frame (B, 2C, h, w), and what of them goes on (B, C, h, w)."""
        before = torch.zeros_like(shallow) if hidden is None or flow is None else flow_warp(hidden, flow)
        first = self.encoder_level1(self.attn_merge(shallow, before))
        second = self.encoder_level2(self.down1_2(first))
        third = self.latent(self.down2_3(second))
        second = self.decoder_level2(self.reduce_chan_level2(torch.cat((self.up3_2(third), second), 1)))
        refined = self.refinement(self.decoder_level1(torch.cat((self.up2_1(second), first), 1)))
        return refined, self.compress(refined)

    def _restored(self, frame: Tensor, refined: Tensor) -> Tensor:
        return self.enlarge(refined) + upsample(frame, self.scale)

    @classmethod
    def from_weights(cls, weights: dict[str, Tensor]) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict, of this project or of the authors."""
        if not {'attn_merge.norm_kv.body.weight', 'latent.0.ffn.dwconv.weight', 'conv_last.weight'} <= weights.keys():
            return None
        num_feat = weights['shallow_extraction.0.weight'].shape[0]
        levels = ('encoder_level1', 'encoder_level2', 'latent', 'refinement')
        squeezed = weights.get('encoder_level1.0.compress.weight')
        squeeze = 1 if squeezed is None else num_feat // squeezed.shape[0]
        merged = num_feat // weights['attn_merge.norm_q.body.weight'].shape[0]
        return {
            'num_feat': num_feat,
            'num_blocks': [count_of(weights, f'{level}.') for level in levels],
            'heads': [weights[f'{level}.0.attn.temperature'].shape[0] for level in levels[:3]],
            # the least of the factors with as many channels at all three sizes, and a little more
            'ffn_expansion_factor': (weights['latent.0.ffn.project_out.weight'].shape[1] + 0.25) / (4 * num_feat),
            'masked': 'latent.0.attn.linear1.weight' in weights,
            'merge_head': weights['attn_merge.attn.temperature'].shape[0],
            **({'merge_compress': True, 'merge_compress_factor': merged} if merged > 1 else {}),
            'bias': 'latent.0.attn.qkv.bias' in weights,
            'LayerNorm_type': 'WithBias' if 'latent.0.norm1.body.bias' in weights else 'BiasFree',
            'ch_compress': squeeze > 1,
            'squeeze_factor': [squeeze] * 3,
            'scale': scale_of(weights),
        }
