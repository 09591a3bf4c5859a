"""DnCNN: beyond a Gaussian denoiser, residual learning of deep CNN for image denoising (Zhang et al., TIP 2017).

DnCNN is PowerQE's, DnCNNBaseline that of the baseline of the NTIRE 2021 challenge on compressed video enhancement.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from votes.archs.contract import Frame
from votes.archs.parts.blocks import conv3x3, count_of
from votes.archs.parts.luma import set_channels
from votes.archs.parts.published import Weights, fitting, from_tensorflow, size_of


class DnCNN(nn.Module):
    """(B, C, h, w) in [0, 1], any size -> the same size, not clamped: what the layers find is added to the frame.
    A convolution, blocks of ReLU, convolution and (if wanted) batch normalisation, ReLU and a convolution, all of 3x3.

    Args:
        in_channels, out_channels: 3 for RGB, 1 for Y.
        mid_channels: channels of the features.
        num_blocks: of them.
        if_bn: batch normalisation, after convolutions that then have no bias.
    """

    sees = Frame()
    small = {'mid_channels': 8, 'num_blocks': 3}

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        mid_channels: int = 64,
        num_blocks: int = 15,
        if_bn: bool = False,
    ):
        super().__init__()
        set_channels(self, in_channels)
        layers: list[nn.Module] = [conv3x3(in_channels, mid_channels)]
        for _ in range(num_blocks):
            layers += [nn.ReLU(inplace=True), nn.Conv2d(mid_channels, mid_channels, 3, padding=1, bias=not if_bn)]
            if if_bn:
                layers.append(nn.BatchNorm2d(mid_channels, eps=1e-4, momentum=0.9))
        self.layers = nn.Sequential(*layers, nn.ReLU(inplace=True), conv3x3(mid_channels, out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        return self.layers(x) + x

    @classmethod
    def from_weights(cls, weights: Weights) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict of PowerQE."""
        if_bn = 'layers.3.running_mean' in weights
        last = count_of(weights, 'layers.') - 1
        num_blocks, rest = divmod(last - 2, 3 if if_bn else 2)
        if rest or num_blocks < 1:
            return None
        return fitting(
            cls,
            weights,
            in_channels=size_of(weights, 'layers.0.weight', 1),
            out_channels=size_of(weights, f'layers.{last}.weight'),
            mid_channels=size_of(weights, 'layers.0.weight'),
            num_blocks=num_blocks,
            **({'if_bn': True} if if_bn else {}),
        )


class _Layer(nn.Module):
    """Convolution with bias, batch normalisation, ReLU; with the names of the TensorFlow graph."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv2d = conv3x3(channels, channels)
        # a momentum of 0.99 in TensorFlow's sense
        self.batch_normalization = nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)

    def forward(self, x: Tensor) -> Tensor:
        return self.batch_normalization(self.conv2d(x)).relu()


class DnCNNBaseline(nn.Module):
    """(B, C, h, w) in [0, 1], any size -> the same size, not clamped: what the layers find is taken from the frame.

    Args:
        in_channels, out_channels: 3 for RGB, 1 for Y.
        mid_channels: channels of the features.
        num_blocks: layers between the first and the last.
    """

    sees = Frame()
    small = {'mid_channels': 8, 'num_blocks': 3}

    def __init__(self, in_channels: int = 3, out_channels: int = 3, mid_channels: int = 64, num_blocks: int = 18):
        super().__init__()
        set_channels(self, in_channels)
        self.num_blocks = num_blocks
        self.head = conv3x3(in_channels, mid_channels)
        for number in range(1, num_blocks + 1):
            self.add_module(f'layer_{number}', _Layer(mid_channels))
        self.tail = conv3x3(mid_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        feature = self.head(x).relu()
        for number in range(1, self.num_blocks + 1):
            feature = self.get_submodule(f'layer_{number}')(feature)
        return x - self.tail(feature)

    published_weights = staticmethod(from_tensorflow)

    @classmethod
    def from_weights(cls, weights: Weights) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict of this class, or by the variables of the challenge's file."""
        own = from_tensorflow(weights)
        if not {'head.weight', 'layer_1.conv2d.weight', 'tail.weight'} <= own.keys():
            return None
        return fitting(
            cls,
            own,
            in_channels=size_of(own, 'head.weight', 1),
            out_channels=size_of(own, 'tail.weight'),
            mid_channels=size_of(own, 'head.weight'),
            num_blocks=count_of(own, 'layer_') - 1,
        )
