"""EMGA: nine frames fused by a deformable convolution and a recurrent one, and a U-Net that gives pictures of five
sizes (Shannon lab in the NTIRE 2021 challenge).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from votes.archs.contract import Window
from votes.archs.parts.blocks import check_window, conv3x3, count_of, upsample
from votes.archs.parts.channel_attention import ChannelAttention
from votes.archs.parts.published import Weights, fitting, renamed, size_of
from votes.archs.parts.shannon import (
    DilatedBlock,
    DilatedBranches,
    Groups,
    OffsetUNet,
    SpatialAttention,
    dilated_with_channels,
    frame_encoder,
    shannon_names,
)

FRAMES = 9
ENCODED, FUSED, INFORMED = 16, 32, 16  # channels of a frame's features, of an aligned frame's, of side information
SLOPES = (0.0, 0.1)  # of its ReLUs below zero: inside dilated branches, and after them
CENTRE_PEAK, PEAK, OTHER = 1.1, 1.0, 0.9  # what the release weighs frames with


class InformedAttention(SpatialAttention):
    """Spatial attention that also looks at encoded side information."""

    def __init__(self, num_feat: int):
        super().__init__(num_feat, width=2)
        f = num_feat // 4
        self.conv_info = nn.Conv2d(INFORMED, f, 1)
        self.conv_cat = nn.Conv2d(2 * f, 2 * f, 1)
        self.conv4_ = nn.Conv2d(2 * f, num_feat, 1)

    def forward(self, x: Tensor, info: Tensor | None = None) -> Tensor:
        assert info is not None
        both = self.conv_cat(torch.cat((self.conv1(x).relu(), self.conv_info(info).relu()), 1))
        return x * self.conv4_(self.conv4(self.far(both)) + self.conv_f(both)).relu().sigmoid()


class BidirectionalLSTM(nn.Module):
    """A convolutional LSTM over a window, one cell for both directions, and what both found added to the window."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = conv3x3(2 * channels, 4 * channels)
        self.conv_concat = conv3x3(2 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C, h, w) -> (B, T, C, h, w)."""
        steps = torch.cat((x, x.flip(1)))  # both directions in one batch
        hidden = memory = torch.zeros_like(steps[:, 0])
        found = []
        for step in steps.unbind(1):
            gates = self.conv(torch.cat((step, hidden), 1))
            enter, keep, leave, content = gates.chunk(4, 1)
            memory = keep.sigmoid() * memory + enter.sigmoid() * content.tanh()
            hidden = leave.sigmoid() * memory.tanh()
            found.append(hidden)
        ahead, back = torch.stack(found, 1).chunk(2)
        both = torch.cat((ahead, back.flip(1)), 2)
        return self.conv_concat(both.flatten(0, 1)).view_as(x) + x


class _Reduction(nn.Module):
    """CAR: groups of dilated blocks under informed attention; all that they give, together."""

    def __init__(self, in_channels: int, nf: int, num_group: Sequence[int]):
        super().__init__()

        def groups(count: int) -> Groups:
            return Groups(nf, count, lambda skip: DilatedBlock(nf, InformedAttention(nf), skip, SLOPES))

        self.head = nn.Sequential(nn.Conv2d(in_channels, nf, 1), nn.ReLU(inplace=True), conv3x3(nf, nf))
        self.fusion1, self.fusion2, self.fusion3 = map(groups, num_group)
        self.rfa = nn.Sequential(conv3x3(4 * nf, 2 * nf), nn.LeakyReLU(0.01), conv3x3(2 * nf, nf))
        self.attention = ChannelAttention(nf, nf // 8)
        self.tail = nn.Conv2d(nf, nf, 1)

    def forward(self, x: Tensor, info: Tensor) -> Tensor:
        found = [self.head(x)]
        for groups in (self.fusion1, self.fusion2, self.fusion3):
            found.append(groups(found[-1], info))
        return self.tail(self.attention(self.rfa(torch.cat(found, 1))))


class _Dilated(nn.Module):
    """Dilated branches twice, each followed by a 1x1 convolution."""

    def __init__(self, before: int, after: int, stride: int = 1):
        super().__init__()
        self.first = DilatedBranches(before, before, SLOPES[0])
        self.second = DilatedBranches(before, after, SLOPES[0], stride)
        self.ConvLinear1, self.ConvLinear2 = nn.Conv2d(before, before, 1), nn.Conv2d(after, after, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(self.ConvLinear1(self.first(x)), SLOPES[1])
        return F.leaky_relu(self.ConvLinear2(self.second(x)), SLOPES[1])


class GuidedUNet(nn.Module):
    """A U-Net whose way up is guided by the picture that each size gives.

    (B, nf, h, w), h and w multiples of 16 -> five pictures, of the frame's size, a half, ... a sixteenth.
    """

    def __init__(self, nf: int):
        super().__init__()
        widths = [nf << i for i in range(5)]
        self.head = nn.Sequential(nn.Conv2d(nf, nf, 1), nn.ReLU(inplace=True))
        for i, (before, after) in enumerate(itertools.pairwise(widths), 1):
            blocks = (dilated_with_channels(after, SLOPES), dilated_with_channels(after, SLOPES))
            self.add_module(f'down{i}', nn.Sequential(_Dilated(before, after, 2), *blocks))
            joined = after if i == 4 else 2 * after + 3
            self.add_module(f'up{i}', _Dilated(joined, before))
            self.add_module(f'predict_image{i}', nn.Conv2d(joined, 3, 3, padding=1, bias=False))
        self.out = nn.Sequential(conv3x3(2 * nf + 3, nf), nn.ReLU(inplace=True), conv3x3(nf, 3))

    def forward(self, x: Tensor) -> list[Tensor]:
        features = [self.head(x)]
        for i in range(1, 5):
            features.append(self.get_submodule(f'down{i}')(features[-1]))
        joined, pictures = features[4], []
        for i in (4, 3, 2, 1):
            picture = self.get_submodule(f'predict_image{i}')(joined)
            larger = F.interpolate(joined, scale_factor=2, mode='bilinear', align_corners=True)
            feature = self.get_submodule(f'up{i}')(larger)
            joined = torch.cat((feature, features[i - 1], upsample(picture, 2)), 1)
            pictures.append(picture)
        return [self.out(joined), *reversed(pictures)]


class EMGA(nn.Module):
    """(B, 9, 3, h, w) RGB in [0, 1], h and w multiples of 16 from 32 on -> the centre frame in five sizes.

    Frames are weighed by their quality, once they are aligned and once they are fused.

    Args:
        nf: channels of what follows the fusion, a multiple of 16; published weights have 64.
        num_group: groups of dilated blocks at three places; published weights have 2, 4 and 4.
        offset_feat: channels of what finds the offsets, a multiple of 8.
    """

    sees = Window(FRAMES)
    multiple = 16
    smallest = 32
    inputs = ('pqf',)
    parts = {
        'alignment': ('enc.', 'ffnet.'),
        'deformable': ('ffnet.offset_mask.', 'ffnet.deform_conv.'),
        'recurrence': ('BRCLSTM.',),
        'side_information': ('tuEnc.', 'linear1.', 'linear2.'),
        'reconstruction': ('car.', 'rec.'),
    }
    # the release moves weight from the smallest picture to the largest while it trains; this is how it ends
    supervised = {
        'l_pix': {'weight': 0.5},
        'l_half': {'output': 'out2', 'target': 'gt_half', 'weight': 0.3},
        'l_quarter': {'output': 'out3', 'target': 'gt_quarter', 'weight': 0.125},
        'l_eighth': {'output': 'out4', 'target': 'gt_eighth', 'weight': 0.03},
        'l_sixteenth': {'output': 'out5', 'target': 'gt_sixteenth', 'weight': 0.03},
    }
    small = {'nf': 16, 'num_group': [1, 1, 1], 'offset_feat': 8}

    def __init__(self, nf: int = 64, num_group: tuple[int, int, int] = (2, 4, 4), offset_feat: int = 64):
        super().__init__()
        if nf < 16 or nf % 16:
            raise ValueError(f'nf is a multiple of 16, not {nf}')
        self.enc = frame_encoder(ENCODED)
        self.ffnet = OffsetUNet(
            FRAMES * ENCODED, FRAMES * ENCODED, FRAMES * FUSED, groups=FRAMES, slopes=SLOPES, nf=offset_feat
        )
        self.BRCLSTM = BidirectionalLSTM(FUSED)
        self.tuEnc = nn.Sequential(
            nn.Conv2d(1, INFORMED, 1),
            nn.ReLU(),
            conv3x3(INFORMED, INFORMED),
            nn.LeakyReLU(0.1),
            conv3x3(INFORMED, INFORMED),
            nn.LeakyReLU(0.1),
            nn.Conv2d(INFORMED, INFORMED, 1),
        )
        self.linear1, self.linear2 = nn.Linear(FRAMES, FRAMES), nn.Linear(FRAMES, FRAMES)
        self.car = _Reduction(FRAMES * FUSED, nf, num_group)
        self.rec = GuidedUNet(nf)

    def arguments(self, sample: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights of the frames, made of which are of peak quality."""
        peak = sample['pqf'].float()
        weights = OTHER + (PEAK - OTHER) * peak
        weights[:, FRAMES // 2] += (CENTRE_PEAK - PEAK) * peak[:, FRAMES // 2]
        return {'pqf': weights}

    def forward(self, x: Tensor, info: Tensor | None = None, pqf: Tensor | None = None) -> dict[str, Tensor]:
        """(B, 9, 3, h, w) -> 'out', and 'out2' to 'out5' of half to a sixteenth of the size, not clamped.

        Args:
            info: the sizes of transform units (B, 1, h, w) / 255; zeros where they are not known: no decoder that
                this project uses tells them.
            pqf: weights of the frames (B, 9): 1.1 of a centre of peak quality, 1 of others, 0.9 without it; the last
                where nothing is given.
        """
        check_window(x, FRAMES, self.multiple)
        frame = x[:, FRAMES // 2]
        info = self.tuEnc(torch.zeros_like(frame[:, :1]) if info is None else info)
        first = self.linear1(x.new_full(x.shape[:2], OTHER) if pqf is None else pqf)
        second = self.linear2(first)
        encoded = self.enc(x.flatten(0, 1)).unflatten(0, x.shape[:2]).flatten(1, 2)
        aligned = self.ffnet(encoded, encoded).unflatten(1, (FRAMES, -1))
        fused = self.BRCLSTM(aligned * first.sigmoid()[..., None, None, None])
        fused = fused * second.sigmoid()[..., None, None, None]
        pictures = self.rec(self.car(fused.flatten(1, 2), info))
        sized = (F.interpolate(frame, p.shape[-2:], mode='bilinear', align_corners=False) for p in pictures)
        names = ('out', 'out2', 'out3', 'out4', 'out5')
        return {name: p + smaller for name, p, smaller in zip(names, pictures, sized, strict=True)}

    @classmethod
    def published_weights(cls, weights: Weights) -> Weights:
        """The release's names, without a convolution that it never calls."""
        pair = r'(rec\.(?:down\d\.0|up\d))'
        for names in (
            {r'(rec\.down\d)\.down_conv\.': r'\1.', r'(rec\.(?:up\d|predict_image\d))\.conv\.': r'\1.'},
            {rf'{pair}\.branch(\d)_\.': r'\1.first.branch\2.', rf'{pair}\.branch(\d)\.': r'\1.second.branch\2.'},
            {r'BRCLSTM\.cell_list\.0\.': 'BRCLSTM.'},
        ):
            weights = renamed(shannon_names(weights, unused=(r'rec\.tail\.',)), names)
        return weights

    @classmethod
    def from_weights(cls, weights: Weights) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict of this class or of the release."""
        own = cls.published_weights(weights)
        if 'BRCLSTM.conv_concat.weight' not in own or 'rec.predict_image4.weight' not in own:
            return None
        counts = [count_of(own, f'car.fusion{i}.body.') for i in (1, 2, 3)]
        nf, offset_feat = size_of(own, 'car.tail.weight'), size_of(own, 'ffnet.inc.0.weight')
        return fitting(cls, own, nf=nf, num_group=counts, offset_feat=offset_feat)
