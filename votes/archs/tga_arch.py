"""TGA: video super-resolution with temporal group attention (Isobe et al., CVPR 2020)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from votes.archs.contract import Window
from votes.archs.parts.blocks import check_window, mirrored_at_edges, zero_
from votes.archs.parts.published import fitting, size_of

# frames of a window so that each group's first, the centre, and each group's last lie next to each other: groups are
# frames (0, 3, 6), (2, 3, 4) and (1, 3, 5)
ORDER = (0, 2, 1, 3, 6, 4, 5)
GROUPS = 3
EPS = 1e-3


class PlaneConv(nn.Conv3d):
    """A 3-D convolution that sees one time step, computed as the 2-D one that it is: (N, C, h, w)."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int):
        super().__init__(in_channels, out_channels, (1, kernel, kernel), padding=(0, kernel // 2, kernel // 2))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight.squeeze(2), self.bias, padding=self.padding[1:])  # type: ignore[arg-type]


class TimeConv(nn.Conv3d):
    """A 3x3x3 convolution of the three groups: (3*B, C, h, w), group after group -> the same, or, without padding in
    time, one step (B, C, h, w).
    """

    def __init__(self, in_channels: int, out_channels: int, padded: bool):
        super().__init__(in_channels, out_channels, 3, padding=(int(padded), 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x.unflatten(0, (GROUPS, -1)).permute(1, 2, 0, 3, 4))
        return y.permute(2, 0, 1, 3, 4).flatten(0, 1)


def _norm(channels: int, momentum: float = 1e-3) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, EPS, momentum)


class DenseBlock(nn.Module):
    """Three units that each add `growth` channels behind their input (N, C, h, w).

    Args:
        attention: the last unit's channels are weighted by a softmax over the groups.
    """

    compiled_alone = True

    def __init__(self, channels: int, growth: int, attention: bool = False):
        super().__init__()
        self.attention = attention
        for unit in range(3):
            width = channels + unit * growth
            self.add_module(f'bn3d_{2 * unit + 1}', _norm(width))
            self.add_module(f'conv3d_{2 * unit + 1}', PlaneConv(width, width, 1))
            # the public code leaves the fourth at PyTorch's momentum
            self.add_module(f'bn3d_{2 * unit + 2}', _norm(width, 0.1 if unit == 1 else 1e-3))
            self.add_module(f'conv3d_{2 * unit + 2}', PlaneConv(width, growth + (attention and unit == 2), 3))

    def forward(self, x: Tensor) -> Tensor:
        for first in (1, 3, 5):
            y = x
            for layer in (first, first + 1):
                y = self.get_submodule(f'conv3d_{layer}')(F.relu(self.get_submodule(f'bn3d_{layer}')(y)))
            if self.attention and first == 5:
                weight = y[:, -1:].unflatten(0, (GROUPS, -1)).softmax(0).flatten(0, 1)
                y = y[:, :-1] * weight
            x = torch.cat((x, y), 1)
        return x


class FusionHead(nn.Module):
    """Two units that look across groups: (3*B, C, h, w) -> (3*B, C + 2*growth, h, w)."""

    def __init__(self, channels: int, growth: int):
        super().__init__()
        self.conv3d_1 = PlaneConv(channels, channels, 1)
        self.bn3d_2 = _norm(channels)
        self.conv3d_2 = TimeConv(channels, growth, padded=True)
        wider = channels + growth
        self.bn3d_3 = _norm(wider)
        self.conv3d_3 = PlaneConv(wider, wider, 1)
        self.bn3d_4 = _norm(wider)
        self.conv3d_4 = TimeConv(wider, growth, padded=True)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat((x, self.conv3d_2(F.relu(self.bn3d_2(self.conv3d_1(F.relu(x)))))), 1)
        return torch.cat((x, self.conv3d_4(F.relu(self.bn3d_4(self.conv3d_3(F.relu(self.bn3d_3(x))))))), 1)


class FusionLast(nn.Module):
    """The three groups become one: (3*B, C, h, w) -> (B, C + 2*growth, h, w)."""

    def __init__(self, channels: int, growth: int):
        super().__init__()
        self.bn3d_1 = _norm(channels)
        self.conv3d_1 = PlaneConv(channels, channels, 1)
        self.bn3d_2 = _norm(channels)
        self.conv3d_2 = TimeConv(channels, growth, padded=False)
        wider = channels + growth
        self.bn3d_3 = _norm(wider)
        self.conv3d_3 = PlaneConv(wider, wider, 1)
        self.bn3d_4 = _norm(wider)
        self.conv3d_4 = PlaneConv(wider, growth, 3)

    def forward(self, x: Tensor) -> Tensor:
        together = self.conv3d_2(F.relu(self.bn3d_2(self.conv3d_1(F.relu(self.bn3d_1(x))))))
        x = torch.cat((x.unflatten(0, (GROUPS, -1))[1], together), 1)
        return torch.cat((x, self.conv3d_4(F.relu(self.bn3d_4(self.conv3d_3(F.relu(self.bn3d_3(x))))))), 1)


class TGA(nn.Module):
    """(B, 7, 3, h, w) RGB in [0, 1], any size -> the centre frame (B, 3, S*h, S*w), not clamped.

    The groups share their centre frame: it passes the first layers once, not three times. Keys of the state_dict as in
    the public code. The centre frame, enlarged bicubically on the grid of pixel centres, is added at the end.

    Args:
        scale: S, 4 in the paper. Of 2 the second of its two enlargements is left out, 3 is one by 3, 1 none.
        num_feat: channels of the first layers.
        growth: channels that a unit of a dense block adds.
    """

    sees = Window(7)
    parts = {
        'features': ('conv3d_1.', 'bn3d_1.', 'conv3d_2', 'bn3d_2.', 'bn3d_2_1.'),
        'groups': ('head.', 'middle_1.', 'middle_2.', 'middle_3.', 'middle_4.', 'last.'),
        'fusion': ('fusion_head.', 'Fusion_last.', 'bn3d_2_2.', 'compress.'),
        'reconstruction': (*(f'middle_{i}.' for i in range(6, 13)), 'bn3d_3.', 'conv3d_3.', 'conv3d_r'),
    }
    small = {'scale': 2, 'num_feat': 4, 'growth': 2}

    def __init__(self, scale: int = 4, num_feat: int = 64, growth: int = 16):
        super().__init__()
        if scale not in (1, 2, 3, 4):
            raise ValueError(f'scale must be 1, 2, 3 or 4, not {scale}')
        self.scale = scale
        self.first_step, self.second_step = {1: (1, 1), 2: (2, 1), 3: (3, 1), 4: (2, 2)}[scale]
        self.conv3d_1, self.bn3d_1 = PlaneConv(3, num_feat, 3), _norm(num_feat)
        self.conv3d_2, self.bn3d_2 = PlaneConv(num_feat, num_feat, 3), _norm(num_feat)
        self.conv3d_2_1, self.bn3d_2_1 = PlaneConv(num_feat, num_feat, 3), _norm(num_feat)
        self.conv3d_2_2 = nn.Conv3d(num_feat, num_feat, 3, (3, 1, 1), (0, 1, 1))
        width = num_feat
        for name in ('head', *(f'middle_{i}' for i in range(1, 5)), 'last'):
            self.add_module(name, DenseBlock(width, growth, attention=name == 'last'))
            width += 3 * growth
        self.fusion_head = FusionHead(width, growth)
        self.Fusion_last = FusionLast(width + 2 * growth, growth)
        width += 4 * growth
        self.bn3d_2_2, self.compress = _norm(width), PlaneConv(width, num_feat, 3)
        width = num_feat
        for i in range(6, 13):
            self.add_module(f'middle_{i}', DenseBlock(width, growth))
            width += 3 * growth
        last = 2 * num_feat
        self.bn3d_3, self.conv3d_3 = _norm(width), PlaneConv(width, 4 * num_feat, 3)
        self.conv3d_r1 = PlaneConv(4 * num_feat, 4 * num_feat, 1)
        self.conv3d_r2 = PlaneConv(4 * num_feat, last * self.first_step**2, 3)
        self.conv3d_r4 = PlaneConv(last, last, 1)
        self.conv3d_r3 = PlaneConv(last, 3 * self.second_step**2, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight)
                with torch.no_grad():
                    module.weight.mul_(0.1)
                zero_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        check_window(x, 7, 1)
        # batch normalisation counts the centre frame once in training, three times in the public code
        y = self.grouped(self.features(x[:, ORDER].transpose(0, 1).flatten(0, 1)))
        for name in ('head', 'middle_1', 'middle_2', 'middle_3', 'middle_4', 'last', 'fusion_head', 'Fusion_last'):
            y = self.get_submodule(name)(y)
        y = self.compress(F.relu(self.bn3d_2_2(y)))
        for i in range(6, 13):
            y = self.get_submodule(f'middle_{i}')(y)
        y = F.relu(self.conv3d_3(F.relu(self.bn3d_3(y))))
        y = F.pixel_shuffle(self.conv3d_r2(F.relu(self.conv3d_r1(y))), self.first_step)
        y = F.pixel_shuffle(self.conv3d_r3(F.relu(self.conv3d_r4(F.relu(y)))), self.second_step)
        return y + bicubic(x[:, 3], self.scale)

    def features(self, frames: Tensor) -> Tensor:
        """(N, 3, h, w) -> (N, C, h, w), each frame for itself."""
        y = F.relu(self.bn3d_1(self.conv3d_1(frames)))
        y = F.relu(self.bn3d_2(self.conv3d_2(y)))
        return F.relu(self.bn3d_2_1(self.conv3d_2_1(y)))

    def grouped(self, features: Tensor) -> Tensor:
        """Features of seven frames in `ORDER`, (7*B, C, h, w) -> of the groups (3*B, C, h, w)."""
        weight, bias = self.conv3d_2_2.weight, self.conv3d_2_2.bias
        batch = features.shape[0] // 7
        firsts, centre, lasts = features.split((GROUPS * batch, batch, GROUPS * batch))
        sides = F.conv2d(firsts, weight[:, :, 0], padding=1) + F.conv2d(lasts, weight[:, :, 2], padding=1)
        middle = F.conv2d(centre, weight[:, :, 1], bias, padding=1)
        return (sides.unflatten(0, (GROUPS, batch)) + middle).flatten(0, 1)

    @classmethod
    def from_weights(cls, weights: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict."""
        found = dict(weights)
        num_feat, growth = size_of(found, 'conv3d_1.weight'), size_of(found, 'head.conv3d_2.weight')
        first, second = size_of(found, 'conv3d_r2.weight'), size_of(found, 'conv3d_r3.weight')
        if not (num_feat and growth and first and second):
            return None
        scale = math.isqrt(first // (2 * num_feat)) * math.isqrt(second // 3)
        return fitting(cls, found, scale=scale, num_feat=num_feat, growth=growth)


def bicubic(frames: Tensor, scale: int) -> Tensor:
    """Frames (B, 3, h, w) enlarged as MATLAB does: a = -0.5, mirrored beyond their edges; not clamped."""
    if scale == 1:
        return frames
    wide = mirrored_at_edges(frames, 2, 2, 2, 2)
    size = [side * scale for side in wide.shape[-2:]]
    # antialias selects the kernel with a = -0.5; it changes nothing else when enlarging
    large = F.interpolate(wide, size, mode='bicubic', align_corners=False, antialias=True)
    border = 2 * scale
    return large[..., border:-border, border:-border]
