"""AR-CNN: compression artifacts reduction by a deep convolutional network (Dong et al., ICCV 2015)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from votes.archs.contract import Frame
from votes.archs.parts.luma import set_channels
from votes.archs.parts.published import Weights, fitting, from_tensorflow, size_of


class ARCNN(nn.Module):
    """(B, C, h, w) in [0, 1], any size -> the same size, not clamped. Feature extraction, feature enhancement, mapping
    and reconstruction: convolutions of 9x9, 7x7, 1x1 and 5x5 with ReLU between. Keys as in PowerQE.

    Args:
        in_channels, out_channels: 3 for RGB, 1 for Y.
        mid_channels: channels after the first three convolutions.
        input_skip: the network finds what is added to the frame, as in PowerQE. The paper, and the baseline of the
            NTIRE 2021 challenge, regress the frame itself.
    """

    sees = Frame()
    small = {'mid_channels': [8, 6, 4]}

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        mid_channels: Sequence[int] = (64, 32, 16),
        input_skip: bool = True,
    ):
        super().__init__()
        set_channels(self, in_channels)
        widths = (in_channels, *mid_channels, out_channels)
        layers: list[nn.Module] = []
        for i, kernel in enumerate((9, 7, 1, 5)):
            layers += [nn.Conv2d(widths[i], widths[i + 1], kernel, padding=kernel // 2), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers[:-1])
        self.input_skip = input_skip

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        return self.layers(x) + x if self.input_skip else self.layers(x)

    @classmethod
    def published_weights(cls, weights: Weights) -> Weights:
        """Of the challenge's TensorFlow checkpoint: conv2d, conv2d_1, conv2d_2, conv2d_3."""
        places = {'conv2d': 0, 'conv2d_1': 2, 'conv2d_2': 4, 'conv2d_3': 6}
        named = ((key.rpartition('.'), value) for key, value in from_tensorflow(weights).items())
        return {
            f'layers.{places[name]}.{last}' if name in places else f'{name}.{last}': value
            for (name, _, last), value in named
        }

    @classmethod
    def from_weights(cls, weights: Weights) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict of PowerQE, or by the variables of the challenge's baseline."""
        own = cls.published_weights(weights)
        widths = [size_of(own, f'layers.{i}.weight') for i in (0, 2, 4, 6)]
        if not all(widths):
            return None
        return fitting(
            cls,
            own,
            in_channels=size_of(own, 'layers.0.weight', 1),
            out_channels=widths[3],
            mid_channels=widths[:3],
            input_skip='layers.0.weight' in weights,
        )
