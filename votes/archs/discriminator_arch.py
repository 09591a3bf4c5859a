"""Networks that tell pictures of cameras from pictures of networks, for adversarial training."""

from __future__ import annotations

import re
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from votes.archs.parts.blocks import conv3x3, upsample
from votes.archs.parts.published import fitting, size_of
from votes.errors import UserError


def _lrelu(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2, inplace=True)


class NormalisedConv(nn.Module):
    """Convolution without bias whose weight is divided by its largest singular value (Miyato et al., ICLR 2018).

    The value is estimated by one power iteration in each pass of training; in evaluation the stored vectors are used
    as they are. Keys are those of torch.nn.utils.spectral_norm.
    """

    weight_u: Tensor
    weight_v: Tensor

    def __init__(self, in_channels: int, out_channels: int, size: int, stride: int = 1):
        super().__init__()
        self.stride = stride
        self.weight_orig = nn.Parameter(nn.Conv2d(in_channels, out_channels, size, bias=False).weight.detach())
        self.register_buffer('weight_u', F.normalize(torch.randn(out_channels), dim=0))
        self.register_buffer('weight_v', F.normalize(torch.randn(in_channels * size**2), dim=0))

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            flat = self.weight_orig.flatten(1)
            if self.training:
                with torch.no_grad():
                    v = F.normalize(flat.t() @ self.weight_u, dim=0, eps=1e-12)
                    u = F.normalize(flat @ v, dim=0, eps=1e-12)
                    self.weight_u.copy_(u)
                    self.weight_v.copy_(v)
            else:
                u, v = self.weight_u, self.weight_v
            weight = self.weight_orig / torch.dot(u, flat @ v)
        return F.conv2d(x, weight, None, self.stride, 1)


class UNetDiscriminatorSN(nn.Module):
    """(B, C_in, h, w), h and w multiples of 8 -> logits (B, 1, h, w), one for each pixel (Real-ESRGAN, Wang et al.,
    ICCV Workshops 2021); keys of the state_dict as in BasicSR.

    Args:
        num_in_ch: channels of a picture.
        num_feat: channels at full size; twice as many at each halving.
        skip_connection: features of the way down are added on the way up.
    """

    sees = None
    small = {'num_in_ch': 3, 'num_feat': 4}

    def __init__(self, num_in_ch: int, num_feat: int = 64, skip_connection: bool = True):
        super().__init__()
        n, self.skip_connection = num_feat, skip_connection
        self.conv0 = conv3x3(num_in_ch, n)
        self.conv1 = NormalisedConv(n, 2 * n, 4, 2)
        self.conv2 = NormalisedConv(2 * n, 4 * n, 4, 2)
        self.conv3 = NormalisedConv(4 * n, 8 * n, 4, 2)
        self.conv4 = NormalisedConv(8 * n, 4 * n, 3)
        self.conv5 = NormalisedConv(4 * n, 2 * n, 3)
        self.conv6 = NormalisedConv(2 * n, n, 3)
        self.conv7 = NormalisedConv(n, n, 3)
        self.conv8 = NormalisedConv(n, n, 3)
        self.conv9 = conv3x3(n, 1)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-2] % 8 or x.shape[-1] % 8:
            raise UserError(
                'the discriminator takes sides that are multiples of 8',
                value=tuple(x.shape[-2:]),
                fix='datasets.train.gt_size: a multiple of 8',
            )
        down = [_lrelu(self.conv0(x))]
        for conv in (self.conv1, self.conv2, self.conv3):
            down.append(_lrelu(conv(down[-1])))
        y = down.pop()
        for conv in (self.conv4, self.conv5, self.conv6):
            y = _lrelu(conv(upsample(y, 2)))
            if self.skip_connection:
                y = y + down.pop()
        return self.conv9(_lrelu(self.conv8(_lrelu(self.conv7(y)))))

    @classmethod
    def published_weights(cls, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """The newer spectral_norm of PyTorch has other keys."""
        names = {'original': 'weight_orig', '0._u': 'weight_u', '0._v': 'weight_v'}
        return {
            re.sub(r'parametrizations\.weight\.(original|0\._u|0\._v)$', lambda found: names[found[1]], key): value
            for key, value in weights.items()
        }

    @classmethod
    def from_weights(cls, weights: dict[str, Tensor]) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict; whether features are added on the way up, none tells."""
        num_feat = size_of(weights, 'conv0.weight')
        return (
            fitting(cls, weights, num_in_ch=size_of(weights, 'conv0.weight', 1), num_feat=num_feat)
            if num_feat
            else None
        )


class VGGStyleDiscriminator(nn.Module):
    """(B, C_in, S, S), S = input_size -> logits (B, 1) (SRGAN, Ledig et al., CVPR 2017; ESRGAN); keys as in BasicSR.

    Args:
        num_in_ch: channels of a picture.
        num_feat: channels at full size; up to eight times as many at lower sizes.
        input_size: 128 or 256.
    """

    sees = None
    small = {'num_in_ch': 3, 'num_feat': 2}

    def __init__(self, num_in_ch: int, num_feat: int, input_size: int = 128):
        super().__init__()
        if input_size not in (128, 256):
            raise ValueError(f'input_size must be 128 or 256, not {input_size}')
        self.input_size = input_size
        widths = [num_feat * n for n in (1, 2, 4, 8, 8, 8)[: 5 if input_size == 128 else 6]]
        self.stages = len(widths)
        before = num_in_ch
        for k, width in enumerate(widths):
            self.add_module(f'conv{k}_0', nn.Conv2d(before, width, 3, 1, 1, bias=k == 0))
            if k:
                self.add_module(f'bn{k}_0', nn.BatchNorm2d(width))
            self.add_module(f'conv{k}_1', nn.Conv2d(width, width, 4, 2, 1, bias=False))
            self.add_module(f'bn{k}_1', nn.BatchNorm2d(width))
            before = width
        self.linear1 = nn.Linear(before * 16, 100)
        self.linear2 = nn.Linear(100, 1)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-2:] != (self.input_size, self.input_size):
            raise UserError(
                f'the discriminator takes pictures of {self.input_size} x {self.input_size}',
                value=tuple(x.shape[-2:]),
                fix=f'datasets.train.gt_size: {self.input_size}, or another input_size in network_d (128 or 256)',
            )
        for k in range(self.stages):
            for step in (0, 1):
                x = self.get_submodule(f'conv{k}_{step}')(x)
                if k or step:
                    x = self.get_submodule(f'bn{k}_{step}')(x)
                x = _lrelu(x)
        return self.linear2(_lrelu(self.linear1(x.flatten(1))))

    @classmethod
    def from_weights(cls, weights: dict[str, Tensor]) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict of this class or of BasicSR."""
        num_feat = size_of(weights, 'conv0_0.weight')
        if not num_feat:
            return None
        told = {'num_in_ch': size_of(weights, 'conv0_0.weight', 1), 'num_feat': num_feat}
        return fitting(cls, weights, **told, input_size=256 if 'conv5_0.weight' in weights else 128)
