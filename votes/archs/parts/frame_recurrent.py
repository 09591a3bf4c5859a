"""What FRVSR and COMISR share: the last restored frame is warped to the next one and fed back at low resolution."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from votes.archs.contract import Causal, run_causal
from votes.archs.parts.blocks import conv3x3

LARGEST_FLOW = 24  # pixels


class FrameRecurrent(nn.Module, ABC):
    """A causal network whose flows from frame to frame need nothing but the frames."""

    sees = Causal()
    smallest = 8  # three halvings on the way to the flow

    @abstractmethod
    def flow(self, frame: Tensor, before: Tensor) -> Tensor:
        """From frames (B, 3, h, w) to those before them, as `step` takes it, (B, 2, ...)."""

    @abstractmethod
    def step(self, frames: Tensor, state: Any, flow: Tensor | None = None) -> tuple[dict[str, Tensor], Any]:
        """One frame, see contract.Causal.

        Args:
            flow: to the frame before, where it is known.
        """

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        if not self.training or x.shape[1] == 1:  # bit for bit what a stream gives
            whole: dict[str, Tensor] = run_causal(self, x)
            return whole
        flows = self.flow(x[:, 1:].flatten(0, 1), x[:, :-1].flatten(0, 1)).unflatten(0, (x.shape[0], -1))
        state, results = None, []
        for i in range(x.shape[1]):
            result, state = self.step(x[:, i : i + 1], state, flows[:, i - 1] if i else None)
            results.append(result)
        return {name: torch.stack([result[name] for result in results], 1) for name in results[0]}


def _stage(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        conv3x3(in_channels, out_channels),
        nn.LeakyReLU(0.2, inplace=True),
        conv3x3(out_channels, out_channels),
        nn.LeakyReLU(0.2, inplace=True),
    )


class FNet(nn.Module):
    """Two frames next to each other (B, 6, h, w), sides of at least 8 -> a flow (B, 2, h // 8 * 8, w // 8 * 8), at most
    24 pixels in each direction.

    Always in float32: half a pixel of 24 is at the edge of what bfloat16 tells apart.
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoder1, self.encoder2, self.encoder3 = _stage(6, 32), _stage(32, 64), _stage(64, 128)
        self.decoder1, self.decoder2, self.decoder3 = _stage(128, 256), _stage(256, 128), _stage(128, 64)
        self.flow = nn.Sequential(conv3x3(64, 32), nn.LeakyReLU(0.2, inplace=True), conv3x3(32, 2))

    def forward(self, pair: Tensor) -> Tensor:
        with torch.autocast(pair.device.type, enabled=False):
            x = pair.float()
            for encoder in (self.encoder1, self.encoder2, self.encoder3):
                x = F.max_pool2d(encoder(x), 2)
            for decoder in (self.decoder1, self.decoder2, self.decoder3):
                x = F.interpolate(decoder(x), scale_factor=2, mode='bilinear', align_corners=False)
            return LARGEST_FLOW * torch.tanh(self.flow(x))


class RecurrentBlock(nn.Module):
    """x + conv(ReLU(conv(x))), under the names of TecoGAN's public code."""

    compiled_alone = True

    def __init__(self, num_feat: int):
        super().__init__()
        self.conv = nn.Sequential(conv3x3(num_feat, num_feat), nn.ReLU(inplace=True), conv3x3(num_feat, num_feat))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x)


class Transposed(nn.ConvTranspose2d):
    """A transposed 3x3 convolution that enlarges `step` times, 2 or 3.

    Args:
        cut: where a stride of 2 makes too much, the 'start' is cut off (PyTorch's padding) or the 'end' (TensorFlow's).
    """

    def __init__(self, in_channels: int, out_channels: int, step: int = 2, cut: Literal['start', 'end'] = 'start'):
        padding = 1 if step == 2 and cut == 'start' else 0
        super().__init__(in_channels, out_channels, 3, step, padding, output_padding=padding)
        self.surplus = step == 2 and cut == 'end'

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        y = super().forward(x, output_size)
        return y[..., :-1, :-1] if self.surplus else y


class SRNet(nn.Module):
    """A frame and what was restored before it, (B, 3 + 3*S**2, h, w) -> what is added to the enlarged frame,
    (B, 3, S*h, S*w).

    Args:
        steps: how the size grows: (2, 2) is x4.
        cut: see Transposed.
    """

    def __init__(self, num_feat: int, num_block: int, steps: tuple[int, ...], cut: Literal['start', 'end'] = 'start'):
        super().__init__()
        scale = 1
        layers: list[nn.Module] = []
        for step in steps:
            scale *= step
            layers += [Transposed(num_feat, num_feat, step, cut), nn.ReLU(inplace=True)]
        self.conv_in = nn.Sequential(conv3x3(3 + 3 * scale**2, num_feat), nn.ReLU(inplace=True))
        self.resblocks = nn.Sequential(*(RecurrentBlock(num_feat) for _ in range(num_block)))
        self.conv_up = nn.Sequential(*layers)
        self.conv_out = conv3x3(num_feat, 3)

    def forward(self, frame: Tensor, before: Tensor) -> Tensor:
        return self.conv_out(self.conv_up(self.resblocks(self.conv_in(torch.cat((frame, before), 1)))))


def space_to_depth(x: Tensor, scale: int) -> Tensor:
    """(B, C, S*h, S*w) -> (B, S*S*C, h, w), channels in the order row, column, channel (TensorFlow's; pixel_unshuffle
    has the channel first).
    """
    channels = x.shape[1]
    return F.pixel_unshuffle(x, scale).unflatten(1, (channels, scale**2)).transpose(1, 2).flatten(1, 2)


def cubic_kernels(scale: int, a: float = -0.75) -> Tensor:
    """What pixels i-1 to i+2 weigh at i + k/S, for k from 0 to S-1: (S, 4), cubic convolution with a free `a`."""
    t = torch.arange(scale, dtype=torch.float64).div(scale).unsqueeze(1)
    distance = (t - torch.tensor([-1.0, 0.0, 1.0, 2.0], dtype=torch.float64)).abs()
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return torch.where(distance <= 1, near, far).float()


def linear_kernels(scale: int) -> Tensor:
    """The same of linear interpolation."""
    t = torch.arange(scale, dtype=torch.float32).div(scale).unsqueeze(1)
    return torch.cat((torch.zeros_like(t), 1 - t, t, torch.zeros_like(t)), 1)


class FirstPixelUpsample(nn.Module):
    """(B, C, h, w) -> (B, C, S*h, S*w) on the grid of the first pixel: S*i shows pixel i. Edges are repeated.

    Args:
        kernels: (S, 4), see cubic_kernels.
        stored: they are part of the state_dict.
    """

    kernels: Tensor

    def __init__(self, kernels: Tensor, stored: bool = False):
        super().__init__()
        self.register_buffer('kernels', kernels, persistent=stored)

    def forward(self, x: Tensor) -> Tensor:
        scale = self.kernels.shape[0]
        with torch.autocast(x.device.type, enabled=False):
            planes = F.pad(x.float(), (1, 2, 1, 2), mode='replicate').flatten(0, 1).unsqueeze(1)
            weight = torch.einsum('ai,bj->abij', self.kernels, self.kernels).flatten(0, 1).unsqueeze(1)
            large = F.pixel_shuffle(F.conv2d(planes, weight.to(planes.dtype)), scale)
        return large.squeeze(1).unflatten(0, x.shape[:2])
