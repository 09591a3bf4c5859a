"""DUVE: two U-Nets one after the other, over triplets of frames and over what they give (VIP&DJI in track 3 of the
NTIRE 2021 challenge).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from votes.archs.contract import Window
from votes.archs.parts.blocks import check_window, conv3x3, count_of, kaiming_small_, lrelu
from votes.archs.parts.channel_attention import RCAB
from votes.archs.parts.published import Weights, fitting, renamed, size_of

PHASES = 3  # halvings


def _attended(width: int, count: int) -> list[RCAB]:
    return [RCAB(width, width // 16, slope=0.1) for _ in range(count)]


class _Down(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        halving = nn.Conv2d(width, width, 3, 2, 1, bias=False)
        wider = nn.Conv2d(width, 2 * width, 3, padding=1, bias=False)
        self.dual_module = nn.Sequential(nn.Sequential(halving, nn.LeakyReLU(0.1, inplace=True)), wider)

    def forward(self, x: Tensor) -> Tensor:
        return self.dual_module(x)


class _UNet(nn.Module):
    """(B, C, h, w) -> (B, 2*C, h, w); blocks with channel attention on the way up."""

    def __init__(self, num_feat: int, num_block: int):
        super().__init__()
        self.down = nn.ModuleList([_Down(num_feat << phase) for phase in range(PHASES)])
        self.up_blocks = nn.ModuleList()
        for phase in reversed(range(PHASES)):
            width = num_feat << min(phase + 2, PHASES)  # of what is enlarged: from the second on, two of a kind
            # a slip in the release leaves the enlarging convolutions without bias
            enlarging = nn.Sequential(nn.Conv2d(width, 4 * width, 3, padding=1, bias=False), nn.PixelShuffle(2))
            joining = nn.Conv2d(width, num_feat << phase, 1, bias=False)
            self.up_blocks.append(nn.Sequential(*_attended(width, num_block), enlarging, joining))

    def joined(self, x: Tensor) -> Tensor:
        copies = []
        for down in self.down:
            copies.append(x)
            x = down(x)
        for up in self.up_blocks:
            x = torch.cat((up(x), copies.pop()), 1)
        return x


class _First(_UNet):
    def __init__(self, num_feat: int, num_block: int):
        super().__init__(num_feat, num_block)
        self.conv_head = nn.Sequential(conv3x3(9, num_feat), nn.ReLU(inplace=True))
        self.conv_tail = conv3x3(2 * num_feat, num_feat)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_tail(self.joined(self.conv_head(x)))


class _Second(_UNet):
    def __init__(self, num_feat: int, num_block: int):
        super().__init__(num_feat, num_block)
        self.qe_begin = conv3x3(2 * num_feat, num_feat)
        self.qe_block = nn.Sequential(*_attended(num_feat, num_block))

    def forward(self, x: Tensor) -> Tensor:
        x = self.qe_begin(self.joined(x))
        return self.qe_block(x) + x


class DUVE(nn.Module):
    """(B, 5, 3, h, w) RGB in [0, 1], h and w multiples of 8 -> the centre frame (B, 3, h, w), not clamped: the frame
    itself, nothing is added.

    Args:
        n_feature: channels, from 16 on.
        n_block1, n_block2: blocks at each place of the first and of the second U-Net.
    """

    sees = Window(5)
    multiple = 8
    parts = {'first': ('unet1.',), 'second': ('fuse.', 'unet2.', 'conv_tail.')}
    small = {'n_feature': 16, 'n_block1': 1, 'n_block2': 1}

    def __init__(self, n_feature: int = 64, n_block1: int = 6, n_block2: int = 10):
        super().__init__()
        if n_feature < 16:
            raise ValueError(f'n_feature is 16 or more, not {n_feature}')
        self.unet1 = _First(n_feature, n_block1)
        self.fuse = conv3x3(3 * n_feature, n_feature)
        self.unet2 = _Second(n_feature, n_block2)
        self.conv_tail = conv3x3(n_feature, 3)
        attention = {conv for name, conv in self.named_modules() if '.attention.' in name}
        halving = {conv for name, conv in self.named_modules() if '.dual_module.' in name}
        convs = (module for module in self.modules() if isinstance(module, nn.Conv2d))
        kaiming_small_(*(conv for conv in convs if conv not in attention | halving))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 5, 3, h, w) -> (B, 3, h, w)."""
        check_window(x, 5, self.multiple)
        # all triplets in one batch; planes of red, then of green, then of blue
        triplets = x.unfold(1, 3, 1).permute(0, 1, 2, 5, 3, 4).flatten(2, 3)
        found = self.unet1(triplets.flatten(0, 1)).unflatten(0, triplets.shape[:2])
        # as released, the middle one goes on without an activation
        both = torch.cat((lrelu(found[:, 0].clone()), found[:, 1], lrelu(found[:, 2].clone())), 1)
        return self.conv_tail(self.unet2(self.fuse(both)))

    @classmethod
    def published_weights(cls, weights: Weights) -> Weights:
        """The authors' names of blocks with channel attention."""
        block = r'(unet\d\.(?:up_blocks\.\d+|qe_block)\.\d+)\.body\.'
        return renamed(
            weights,
            {
                rf'{block}3\.conv_du\.0\.': r'\1.rcab.3.attention.1.',
                rf'{block}3\.conv_du\.2\.': r'\1.rcab.3.attention.3.',
                block: r'\1.rcab.',
            },
        )

    @classmethod
    def from_weights(cls, weights: Weights) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict of this class or of the authors."""
        own = cls.published_weights(weights)
        if 'unet1.conv_head.0.weight' not in own or 'unet2.qe_begin.weight' not in own:
            return None
        return fitting(
            cls,
            own,
            n_feature=size_of(own, 'conv_tail.weight', 1),
            n_block1=count_of(own, 'unet1.up_blocks.0.') - 2,
            n_block2=count_of(own, 'unet2.qe_block.'),
        )
