"""MFQE 2.0: multi-frame quality enhancement from neighbours of peak quality (Guan et al., TPAMI 2021).

Two networks of that name are public: the one here, PowerQE's, finds motion by SpyNet; the authors' has a motion network
of its own, see mfqev2_original_arch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from votes.archs.contract import Window
from votes.archs.parts.blocks import check_window
from votes.archs.parts.luma import set_channels
from votes.archs.parts.published import Weights, fitting, size_of
from votes.archs.spynet_arch import SpyNet, layer_name
from votes.ops.warp import flow_warp

KERNELS = (3, 5, 7)


def dense(layers: Iterable[nn.Module], x: Tensor) -> Tensor:
    """What the last of `layers` makes: each sees what all before it made, the first sees x."""
    first, *others = layers
    made = [first(x)]
    for layer in others:
        made.append(layer(torch.cat(made, 1)))
    return made[-1]


class MFQEv2(nn.Module):
    """(B, 3, C, h, w) in [0, 1], any size: the peak-quality frames before and after a frame around it -> the frame
    (B, C, h, w), not clamped. Keys as in PowerQE; it has no activation behind its first layer.

    Args:
        in_channels, out_channels: 3 for RGB, 1 for Y.
        nf: channels of the features.
        spynet_pretrained: weights of the flow to start from; `train.parts` in option files does the same.
    """

    sees = Window(3, pick='peaks')
    parts = {'flow': ('spynet.',), 'features': ('ks3_', 'ks5_', 'ks7_'), 'reconstruction': ('rec_conv.',)}
    small = {'nf': 4}

    def __init__(self, in_channels: int = 3, out_channels: int = 3, nf: int = 32, spynet_pretrained: str | None = None):
        super().__init__()
        if in_channels != out_channels:
            raise ValueError(f'the input is added to the output: {in_channels} and {out_channels} channels')
        set_channels(self, in_channels)
        self.spynet = SpyNet()
        for kernel in KERNELS:
            convs = [nn.Conv2d(in_channels, nf, kernel, padding=kernel // 2) for _ in range(3)]
            self.add_module(f'ks{kernel}_conv_list', nn.ModuleList(convs))
        layers = [
            nn.Sequential(nn.Conv2d(inputs * nf, nf, 3, padding=1), nn.PReLU(), nn.BatchNorm2d(nf))
            for inputs in (9, 1, 2, 3, 4)
        ]
        self.rec_conv = nn.ModuleList([*layers, nn.Conv2d(nf, out_channels, 3, padding=1)])
        if spynet_pretrained is not None:
            from votes.checkpoint import load_network

            load_network(self.spynet, spynet_pretrained)

    def forward(self, x: Tensor) -> Tensor:
        check_window(x, 3, 1)
        previous, current, following = self.aligned(x)
        features = [
            conv(frame)
            for kernel in KERNELS
            for conv, frame in zip(
                self.get_submodule(f'ks{kernel}_conv_list').children(), (previous, current, following), strict=True
            )
        ]
        *layers, last = self.rec_conv
        return current + last(dense(layers, torch.cat(features, 1)))

    def aligned(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The frames of a window, the neighbours warped to the centre."""
        centre, neighbours = x[:, 1], x[:, ::2].flatten(0, 1)
        pictures = x.expand(-1, -1, 3, -1, -1)  # SpyNet knows colours; Y stands for all three
        flow = self.spynet(pictures[:, 1].repeat_interleave(2, 0), pictures[:, ::2].flatten(0, 1))
        previous, following = flow_warp(neighbours, flow).unflatten(0, (-1, 2)).unbind(1)
        return previous, centre, following

    @classmethod
    def published_weights(cls, weights: Weights) -> Weights:
        """PowerQE's flow is mmagic's, which counts convolutions where BasicSR counts layers."""
        return {layer_name(key): value for key, value in weights.items()}

    @classmethod
    def from_weights(cls, weights: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict."""
        nf, channels = (size_of(dict(weights), 'ks3_conv_list.0.weight', dim) for dim in (0, 1))
        if not nf or channels not in (1, 3):
            return None
        return fitting(cls, dict(weights), in_channels=channels, out_channels=channels, nf=nf)
