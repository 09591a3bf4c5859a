"""Pieces that several networks share."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from votes.errors import UserError
from votes.ops.exporting import exported_form


def lrelu(x: Tensor) -> Tensor:
    """LeakyReLU with slope 0.1, in place."""
    return F.leaky_relu(x, 0.1, inplace=True)


def conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, stride, 1)


@torch.no_grad()
def zero_(*parameters: Tensor | None) -> None:
    for parameter in parameters:
        if parameter is not None:
            parameter.zero_()


@torch.no_grad()
def kaiming_small_(*convs: nn.Conv2d) -> None:
    """Kaiming-normal weights times 0.1, biases 0: how residual branches start."""
    for conv in convs:
        nn.init.kaiming_normal_(conv.weight)
        conv.weight.mul_(0.1)
        zero_(conv.bias)


class ResidualBlock(nn.Module):
    """x + res_scale * conv(ReLU(conv(x))) without batch normalisation.

    Args:
        num_feat: channels C.
        res_scale: factor on what is added.
        pytorch_init: weights start as PyTorch has it, else Kaiming-normal times 0.1 with biases of 0.
        slope: of the ReLU below zero.
    """

    compiled_alone = True  # see compile_blocks

    def __init__(self, num_feat: int, res_scale: float = 1.0, pytorch_init: bool = False, slope: float = 0.0):
        super().__init__()
        self.res_scale, self.slope = res_scale, slope
        self.conv1 = conv3x3(num_feat, num_feat)
        self.conv2 = conv3x3(num_feat, num_feat)
        if not pytorch_init:
            kaiming_small_(self.conv1, self.conv2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        inner = self.conv1(x)
        inner = F.leaky_relu(inner, self.slope, inplace=True) if self.slope else F.relu(inner, inplace=True)
        change = self.conv2(inner)
        return x + (change if self.res_scale == 1 else change * self.res_scale)


def residual_blocks(
    count: int, num_feat: int, res_scale: float = 1.0, pytorch_init: bool = False, slope: float = 0.0
) -> nn.Sequential:
    return nn.Sequential(*[ResidualBlock(num_feat, res_scale, pytorch_init, slope) for _ in range(count)])


def compile_blocks(net: nn.Module) -> list[nn.Module]:
    """Compiles the blocks of a network where they are (torch.compile), or a network without such blocks as a whole.

    Blocks of a kind share what is compiled once, in seconds; the whole of a deep network takes many minutes. A module
    is a block if it says `compiled_alone`.

    Returns:
        What was compiled; compiling happens when it first runs.
    """
    blocks = [module for module in net.modules() if getattr(module, 'compiled_alone', False)] or [net]
    for block in blocks:
        if block._compiled_call_impl is None:  # else it is compiled already
            block.compile(dynamic=False)  # the steps of a training and the frames of a video are of one size
    return blocks


def in_layout(net: nn.Module, layout: torch.memory_format) -> nn.Module:
    """`net` with its tensors of four dimensions in a memory layout, in place. torch refuses those of five, the weights
    of 3-D convolutions.
    """
    for tensor in (*net.parameters(), *net.buffers()):
        if tensor.dim() == 4:
            tensor.data = tensor.data.contiguous(memory_format=layout)
    return net


def one_by_one(module: nn.Module, compute: Callable[[Tensor], list[Tensor]], x: Tensor) -> list[Tensor]:
    """``compute(x)``; outside training for one item of the batch after the other.

    Libraries choose other algorithms, and so other roundings, for other batch sizes. What a frame gives must not depend
    on its batch mates where it is computed once and used in several windows.
    """
    if module.training or x.shape[0] == 1 or exported_form():
        return compute(x)
    return [torch.cat(parts) for parts in zip(*(compute(item) for item in x.split(1)), strict=True)]


def first_share(conv: nn.Conv2d, first: Tensor) -> Tensor:
    """The share of `first` (B*T, C1, H, W) in ``conv(cat([first, second], channels))``, with the bias."""
    return F.conv2d(first, conv.weight[:, : first.shape[1]], conv.bias, padding=conv.padding)


def with_second(conv: nn.Conv2d, share: Tensor, second: Tensor) -> Tensor:
    """Adds the share of `second` (B, C2, H, W), one for each window of T frames, to first_share (B*T, C, H, W)."""
    split = conv.weight.shape[1] - second.shape[1]
    other = F.conv2d(second, conv.weight[:, split:], None, padding=conv.padding)
    return (share.unflatten(0, (other.shape[0], -1)) + other.unsqueeze(1)).flatten(0, 1)


def conv_of_pair(conv: nn.Conv2d, first: Tensor, second: Tensor) -> Tensor:
    """``conv(cat([first, second], channels))`` where `second` serves several of `first`: its share is computed once.

    Args:
        first: (B*T, C1, H, W), the T frames of a window next to each other.
        second: (B, C2, H, W), one for each window.
    """
    return with_second(conv, first_share(conv, first), second)


def upsample(x: Tensor, scale: int) -> Tensor:
    """Bilinear, align_corners False."""
    return F.interpolate(x, scale_factor=scale, mode='bilinear', align_corners=False)


def enlarged(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """Frames (B, 3, h, w) in [0, 1] brought to `size` by bicubic interpolation."""
    # antialias selects the kernel of MATLAB and Pillow (a = -0.5); it changes nothing else when enlarging
    return F.interpolate(frames, size, mode='bicubic', align_corners=False, antialias=True).clamp(0, 1)


def mirrored_at_edges(x: Tensor, top: int, bottom: int, left: int, right: int) -> Tensor:
    """x (..., h, w) grown by a mirror image that begins with the pixel at the edge itself (TensorFlow's and MATLAB's
    'symmetric').
    """
    for dim, before, after in ((-2, top, bottom), (-1, left, right)):
        if before or after:
            length = x.shape[dim]
            index = torch.arange(-before, length + after, device=x.device)
            index = torch.where(index < 0, -1 - index, torch.where(index >= length, 2 * length - 1 - index, index))
            x = x.index_select(dim, index.clamp(0, length - 1))
    return x


def count_of(weights: Mapping[str, Tensor], prefix: str) -> int:
    """How many blocks a state_dict has whose keys begin with `prefix` and a number: one more than the largest."""
    numbers = {key[len(prefix) :].split('.')[0] for key in weights if key.startswith(prefix)}
    return max((int(n) for n in numbers if n.isdigit()), default=-1) + 1


def check_window(x: Tensor, num_frame: int, multiple: int) -> None:
    """Raises UserError unless x is (B, num_frame, C, h, w) with h and w multiples of `multiple`."""
    if x.dim() != 5 or x.shape[1] != num_frame or x.shape[3] % multiple or x.shape[4] % multiple:
        what = f'the network takes a window (B, {num_frame}, C, h, w), height and width multiples of {multiple}'
        fix = f'T must be {num_frame}; pad by reflection and crop the output, as `votes restore` does'
        raise UserError(what, value=tuple(x.shape), fix=fix)
