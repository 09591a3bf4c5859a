"""ShannonNet: MPRNet (Zamir et al., CVPR 2021) with two neighbours aligned in front of its last stage (Shannon lab in
the NTIRE 2021 challenge).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from votes.archs.contract import Window
from votes.archs.parts.blocks import check_window, count_of
from votes.archs.parts.channel_attention import ChannelAttention
from votes.archs.parts.published import Weights, fitting, size_of
from votes.archs.parts.shannon import DilatedBlock, Groups, OffsetUNet, SpatialAttention, frame_encoder, shannon_names

ENCODED = 24  # channels of a frame's features


class CAB(nn.Module):
    """x + attention(conv(PReLU(conv(x)))); all of a network share one PReLU."""

    def __init__(self, num_feat: int, reduction: int, act: nn.PReLU, bias: bool):
        super().__init__()
        convs = [nn.Conv2d(num_feat, num_feat, 3, padding=1, bias=bias) for _ in range(2)]
        self.attention = ChannelAttention(num_feat, num_feat // reduction, bias)
        self.body = nn.Sequential(convs[0], act, convs[1])

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(self.body(x)) + x


class _Kit:
    """What all stages are made of: their widths from the largest size to the smallest, and their blocks."""

    def __init__(self, n_feat: int, growth: int, reduction: int, bias: bool):
        self.widths = tuple(n_feat + i * growth for i in range(3))
        self.reduction, self.bias, self.act = reduction, bias, nn.PReLU()

    def cab(self, width: int) -> CAB:
        return CAB(width, self.reduction, self.act, self.bias)

    def conv(self, before: int, after: int, kernel: int = 3) -> nn.Conv2d:
        return nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=self.bias)

    def shallow(self, channels: int) -> nn.Sequential:
        return nn.Sequential(self.conv(channels, self.widths[0]), self.cab(self.widths[0]))


class _Resized(nn.Module):
    """Bilinear, then a 1x1 convolution."""

    def __init__(self, before: int, after: int, factor: float, name: str):
        super().__init__()
        resize = nn.Upsample(scale_factor=factor, mode='bilinear', align_corners=False)
        self.name = name
        self.add_module(name, nn.Sequential(resize, nn.Conv2d(before, after, 1, bias=False)))

    def forward(self, x: Tensor) -> Tensor:
        return self.get_submodule(self.name)(x)


def _up(before: int, after: int) -> _Resized:
    return _Resized(before, after, 2, 'up')


class _Encoder(nn.Module):
    """(B, n, h, w) -> features of three sizes; those of the stage before may be added to them."""

    def __init__(self, kit: _Kit, fuses: bool):
        super().__init__()
        self.fuses = fuses
        for i, width in enumerate(kit.widths, 1):
            self.add_module(f'encoder_level{i}', nn.Sequential(kit.cab(width), kit.cab(width)))
            for source in ('enc', 'dec') if fuses else ():
                self.add_module(f'csff_{source}{i}', kit.conv(width, width, 1))
        self.down12 = _Resized(kit.widths[0], kit.widths[1], 0.5, 'down')
        self.down23 = _Resized(kit.widths[1], kit.widths[2], 0.5, 'down')

    def forward(self, x: Tensor, before: tuple[list[Tensor], list[Tensor]] | None = None) -> list[Tensor]:
        """`before`: what the encoder and the decoder of the stage before gave."""
        found = []
        for i in range(3):
            x = self.get_submodule(f'encoder_level{i + 1}')(x)
            if before is not None:
                for source, features in zip(('enc', 'dec'), before, strict=True):
                    x = x + self.get_submodule(f'csff_{source}{i + 1}')(features[i])
            found.append(x)
            if i < 2:
                x = self.get_submodule(f'down{i + 1}{i + 2}')(x)
        return found


class _Decoder(nn.Module):
    """Features of three sizes -> of the same three."""

    def __init__(self, kit: _Kit):
        super().__init__()
        for i, width in enumerate(kit.widths, 1):
            self.add_module(f'decoder_level{i}', nn.Sequential(kit.cab(width), kit.cab(width)))
        self.skip_attn1, self.skip_attn2 = kit.cab(kit.widths[0]), kit.cab(kit.widths[1])
        self.up21 = _up(kit.widths[1], kit.widths[0])
        self.up32 = _up(kit.widths[2], kit.widths[1])

    def forward(self, encoded: list[Tensor]) -> list[Tensor]:
        levels = [self.get_submodule(f'decoder_level{i}') for i in (1, 2, 3)]
        third = levels[2](encoded[2])
        second = levels[1](self.up32(third) + self.skip_attn2(encoded[1]))
        first = levels[0](self.up21(second) + self.skip_attn1(encoded[0]))
        return [first, second, third]


class _Supervised(nn.Module):
    """SAM: a picture from features, and the features that the next stage gets under its attention."""

    def __init__(self, kit: _Kit):
        super().__init__()
        width = kit.widths[0]
        self.conv1, self.conv2, self.conv3 = kit.conv(width, width, 1), kit.conv(width, 3, 1), kit.conv(3, width, 1)

    def forward(self, x: Tensor, frame: Tensor) -> tuple[Tensor, Tensor]:
        picture = self.conv2(x) + frame
        return self.conv1(x) * self.conv3(picture).sigmoid() + x, picture


class _Dilated(nn.Module):
    """CAR: groups of dilated blocks with spatial attention, a 1x1 convolution, and x added."""

    def __init__(self, width: int, num_group: int):
        super().__init__()
        self.fusion1 = Groups(width, num_group, lambda skip: DilatedBlock(width, SpatialAttention(width), skip))
        self.tail = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.fusion1(x)) + x


class _WholeSize(nn.Module):
    """The last stage: at the frame's size throughout, features of the stage before joining."""

    def __init__(self, kit: _Kit, width: int, num_group: int):
        super().__init__()
        first, second, third = kit.widths
        for i in (1, 2, 3):
            self.add_module(f'orb{i}', _Dilated(width, num_group))
            self.add_module(f'conv_enc{i}', kit.conv(first, width, 1))
            self.add_module(f'conv_dec{i}', kit.conv(first, width, 1))
        for source in ('enc', 'dec'):
            self.add_module(f'up_{source}1', _up(second, first))
            self.add_module(f'up_{source}2', nn.Sequential(_up(third, second), _up(second, first)))

    def forward(self, x: Tensor, encoded: list[Tensor], decoded: list[Tensor]) -> Tensor:
        for i in range(3):
            x = self.get_submodule(f'orb{i + 1}')(x)
            for source, features in (('enc', encoded[i]), ('dec', decoded[i])):
                whole = self.get_submodule(f'up_{source}{i}')(features) if i else features
                x = x + self.get_submodule(f'conv_{source}{i + 1}')(whole)
        return x


def _apart(x: Tensor, axis: int) -> Tensor:
    """Both halves of pictures along an axis, (B, ...) -> (2*B, ...)."""
    return torch.cat(x.chunk(2, axis))


def _together(features: list[Tensor], axis: int) -> list[Tensor]:
    """Undoes `_apart`."""
    return [torch.cat(x.chunk(2), axis) for x in features]


class ShannonNet(nn.Module):
    """(B, 3, 3, h, w) RGB in [0, 1], a frame between its neighbours of peak quality, h and w multiples of 8 from 24 on.

    The first stage sees quarters of the frame, the second halves, the third all of it with both neighbours, which one
    deformable convolution has aligned. An argument of the release that nothing reads is left out.

    Args:
        n_feat: channels of the stages.
        scale_unetfeats: more of them at each smaller size.
        scale_orsnetfeats: more of them in the third stage; together a multiple of 16.
        reduction: of channel attention.
        bias: of the convolutions of MPRNet.
        num_group: groups of dilated blocks at each of three places of the third stage; published weights have 4.
        offset_feat: channels of what finds the offsets, a multiple of 8.
    """

    sees = Window(3, pick='peaks')
    multiple = 8
    smallest = 24
    parts = {
        'alignment': ('enc.', 'ffnet.'),
        'deformable': ('ffnet.offset_mask.', 'ffnet.deform_conv.'),
        'first': ('shallow_feat1.', 'stage1_', 'sam12.'),
        'second': ('shallow_feat2.', 'concat12.', 'stage2_', 'sam23.'),
        'third': ('shallow_feat3.', 'concat23.', 'stage3_', 'tail.'),
    }
    supervised = {
        'l_pix': {'weight': 1.6},
        'l_stage2': {'output': 'out2', 'weight': 0.5},
        'l_stage1': {'output': 'out3', 'weight': 0.4},
    }
    small = {'n_feat': 16, 'scale_unetfeats': 8, 'scale_orsnetfeats': 16, 'num_group': 1, 'offset_feat': 8}

    def __init__(
        self,
        n_feat: int = 80,
        scale_unetfeats: int = 48,
        scale_orsnetfeats: int = 32,
        reduction: int = 4,
        bias: bool = False,
        num_group: int = 4,
        offset_feat: int = 64,
    ):
        super().__init__()
        whole = n_feat + scale_orsnetfeats
        if whole % 16:
            raise ValueError(f'n_feat + scale_orsnetfeats is a multiple of 16, not {whole}')
        kit = _Kit(n_feat, scale_unetfeats, reduction, bias)
        self.shallow_feat1, self.shallow_feat2 = kit.shallow(3), kit.shallow(3)
        self.shallow_feat3 = kit.shallow(3 * ENCODED)
        self.stage1_encoder, self.stage1_decoder = _Encoder(kit, fuses=False), _Decoder(kit)
        self.stage2_encoder, self.stage2_decoder = _Encoder(kit, fuses=True), _Decoder(kit)
        self.stage3_orsnet = _WholeSize(kit, whole, num_group)
        self.sam12, self.sam23 = _Supervised(kit), _Supervised(kit)
        self.concat12, self.concat23 = kit.conv(2 * n_feat, n_feat), kit.conv(2 * n_feat, whole)
        self.tail = kit.conv(whole, 3)
        self.enc = frame_encoder(ENCODED)
        self.ffnet = OffsetUNet(2 * ENCODED, ENCODED, ENCODED, nf=offset_feat)

    def aligned(self, x: Tensor) -> Tensor:
        """Features of a window, (B, 3, 3, h, w) -> (B, 72, h, w)."""
        encoded = self.enc(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        centre = encoded[:, 1]
        neighbours = encoded[:, ::2].transpose(0, 1).flatten(0, 1)  # left of all windows, then right
        found = self.ffnet(neighbours, torch.cat((neighbours, centre.repeat(2, 1, 1, 1)), 1))
        left, right = found.chunk(2)
        return torch.cat((left, centre, right), 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(B, 3, 3, h, w) -> 'out', and of the stages before it 'out2' and 'out3', each (B, 3, h, w), not clamped."""
        check_window(x, 3, self.multiple)
        frame = x[:, 1]
        halves = _apart(frame, 2)
        quarters = _apart(halves, 3)
        encoded = _together(self.stage1_encoder(self.shallow_feat1(quarters)), 3)
        decoded = self.stage1_decoder(encoded)
        attended, first = self.sam12(decoded[0], halves)
        joined = self.concat12(torch.cat((self.shallow_feat2(halves), attended), 1))
        encoded = _together(self.stage2_encoder(joined, (encoded, decoded)), 2)
        decoded = self.stage2_decoder(encoded)
        attended, second = self.sam23(decoded[0], frame)
        joined = self.concat23(torch.cat((self.shallow_feat3(self.aligned(x)), attended), 1))
        found = self.tail(self.stage3_orsnet(joined, encoded, decoded))
        return {'out': found + frame, 'out2': second, 'out3': _together([first], 2)[0]}

    @classmethod
    def published_weights(cls, weights: Weights) -> Weights:
        """The release's names, without a module that it never calls."""
        return shannon_names(weights, unused=(r'car\.',))

    @classmethod
    def from_weights(cls, weights: Weights) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict of this class or of the release."""
        own = cls.published_weights(weights)
        n_feat, wider = size_of(own, 'shallow_feat1.0.weight'), size_of(own, 'stage1_encoder.down12.down.1.weight')
        if not (n_feat and wider and 'ffnet.deform_conv.weight' in own):
            return None
        squeezed = size_of(own, 'shallow_feat1.1.attention.attention.1.weight')
        return fitting(
            cls,
            own,
            n_feat=n_feat,
            scale_unetfeats=wider - n_feat,
            scale_orsnetfeats=size_of(own, 'tail.weight', 1) - n_feat,
            reduction=n_feat // max(squeezed, 1),
            bias='tail.bias' in own,
            num_group=count_of(own, 'stage3_orsnet.orb1.fusion1.body.'),
            offset_feat=size_of(own, 'ffnet.inc.0.weight'),
        )
