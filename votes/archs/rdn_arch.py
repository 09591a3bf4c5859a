"""RDN: residual dense network for image super-resolution (Zhang et al., CVPR 2018)."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn

from votes.archs.contract import Frame
from votes.archs.parts.blocks import conv3x3, count_of
from votes.archs.parts.dense import ResidualDenseTrunk
from votes.archs.parts.published import Weights, fitting, size_of

CONFIGURATIONS = {'A': (20, 6, 32), 'B': (16, 8, 64)}  # blocks D, layers C of each, growth G


class RDN(ResidualDenseTrunk):
    """(B, 3, h, w) RGB in [0, 1] -> (B, 3, S*h, S*w), not clamped; keys of the state_dict as in EDSR-PyTorch. Unlike in
    EDSR no mean is taken from pixels.

    Args:
        num_feat: channels G0 of the features.
        config: 'A' or 'B', the paper's sizes: 20 blocks of 6 layers with growth 32, or 16 of 8 with growth 64.
        upscale: S, 2, 3 or 4.
        img_range: what pixels are multiplied by inside; published weights are made for 255.
        num_block, num_layer, num_grow_ch: D, C and G in place of those of `config`.
    """

    sees = Frame()
    small = {'num_feat': 8, 'upscale': 2, 'num_block': 2, 'num_layer': 2, 'num_grow_ch': 4}

    def __init__(
        self,
        num_feat: int = 64,
        config: Literal['A', 'B'] = 'B',
        upscale: int = 4,
        img_range: float = 255.0,
        num_block: int | None = None,
        num_layer: int | None = None,
        num_grow_ch: int | None = None,
    ):
        if config not in CONFIGURATIONS:
            raise ValueError(f"config is 'A' or 'B', not {config!r}")
        if upscale not in (2, 3, 4):
            raise ValueError(f'upscale must be 2, 3 or 4, not {upscale}')
        given = (num_block, num_layer, num_grow_ch)
        blocks, layers, growth = (
            usual if n is None else n for n, usual in zip(given, CONFIGURATIONS[config], strict=True)
        )
        super().__init__(conv3x3(3, num_feat), blocks, layers, growth)
        self.scale, self.img_range = upscale, img_range
        steps: list[nn.Module] = []
        width = num_feat
        for step in [2, 2] if upscale == 4 else [upscale]:
            steps += [conv3x3(width, growth * step**2), nn.PixelShuffle(step)]
            width = growth
        self.UPNet = nn.Sequential(*steps, conv3x3(width, 3))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, h, w) -> (B, 3, S*h, S*w)."""
        return self.UPNet(self.features(x * self.img_range)) / self.img_range

    @classmethod
    def from_weights(cls, weights: Weights) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict."""
        if not {'SFENet1.weight', 'RDBs.0.LFF.weight', 'UPNet.0.weight'} <= weights.keys():
            return None
        growth = size_of(weights, 'RDBs.0.convs.0.conv.0.weight')
        enlarged = size_of(weights, 'UPNet.0.weight')
        return fitting(
            cls,
            weights,
            num_feat=size_of(weights, 'SFENet1.weight'),
            upscale=4 if 'UPNet.4.weight' in weights else 3 if enlarged == 9 * growth else 2,
            num_block=count_of(weights, 'RDBs.'),
            num_layer=count_of(weights, 'RDBs.0.convs.'),
            num_grow_ch=growth,
        )
