"""The fused deformable convolution as operators of torch: shapes for compilers, gradients, autocast.

Needs Triton and a GPU; with TRITON_INTERPRET=1 in the environment before Triton is imported it runs on the CPU, slowly,
for tests.
"""

from __future__ import annotations

import math
import os
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from votes.ops import triton_kernels as kernels
from votes.ops.chunked import power_of_two

INTERPRETED = os.environ.get('TRITON_INTERPRET') == '1'
SPLITS = 32  # of the pixels, for the gradient of the weight
HEADROOM = 2.0**62  # of int64, for sums in fixed point
# what both operators take besides tensors, see deform_conv
HOW = 'int groups, int stride, int padding, int dilation, bool sigmoid, bool side_by_side'
FORWARD = f'(Tensor x, Tensor om, Tensor weight, Tensor? bias, {HOW}) -> (Tensor, Tensor)'
BACKWARD = f'(Tensor grad_out, Tensor x, Tensor om, Tensor weight, {HOW}) -> (Tensor, Tensor, Tensor)'


def check_device(x: Tensor) -> None:
    """Raises RuntimeError where the kernels cannot run."""
    if x.device.type != 'cuda' and not INTERPRETED:
        raise RuntimeError('Triton needs a GPU (TRITON_INTERPRET=1 runs it on the CPU, slowly, for tests)')


def stored_order(groups: int, taps: int) -> dict[str, int]:
    """Where dy, dx and masks are among channels, as the kernels call it: as state_dicts have them.

    Per group dy and dx of each tap, then per group the mask of each tap.
    """
    return {'OK': 2, 'OG': 2 * taps, 'OX': 1, 'M0': 2 * taps * groups, 'MK': 1, 'MG': taps}


def interleaved_order(groups: int) -> dict[str, int]:
    """Per tap dy of all groups, then dx, then masks: the groups of a tap are loaded side by side."""
    return {'OK': 3 * groups, 'OG': 1, 'OX': groups, 'M0': 2 * groups, 'MK': 3 * groups, 'MG': 1}


def interleaved(parameter: Tensor, groups: int, taps: int) -> Tensor:
    """(3*G*K, ...) in stored order -> in interleaved order."""
    offsets, masks = parameter.split((2 * groups * taps, groups * taps))
    parts = (offsets.unflatten(0, (groups, taps, 2)), masks.unflatten(0, (groups, taps, 1)))
    return torch.cat([part.movedim(0, 2) for part in parts], 1).flatten(0, 2)


def tile(channels: int, out_channels: int, groups: int, element_size: int) -> dict[str, int]:
    """Sizes of the tiles, and warps: what compiles for sm_80 and sm_90 without spilling registers.

    A tile is 16 to 64 channels of whole groups (float32: 32), 64 pixels (fewer of float32 or of many channels) and at
    most 128 output channels.
    """
    per_group = channels // groups
    padded = power_of_two(per_group)
    block = max(1, min(power_of_two(groups), (64 if element_size <= 2 else 32) // padded))
    while padded * block < 16:
        block *= 2
    many = max(channels, out_channels) > 64 or element_size > 2
    pixels = 16 if INTERPRETED or max(channels, out_channels) > 128 else 32 if many else 64
    sizes = {'CG': per_group, 'CGP': padded, 'GB': block, 'BM': pixels}
    sizes['BN'] = max(16, min(128, power_of_two(out_channels)))
    return sizes if INTERPRETED else sizes | {'num_warps': 8 if many else 4}


def _common(x: Tensor, om: Tensor, weight: Tensor, *how: Any) -> tuple[list[int], dict[str, Any], Tensor]:
    """Arguments that all kernels take: numbers, what they are compiled for, and weights (K, C, Co) as x is."""
    groups, stride, padding, dilation, sigmoid, side_by_side = how
    height, width, channels = x.shape[1:]
    out_height, out_width = om.shape[1:3]
    out_channels, taps = weight.shape[0], weight.shape[2] * weight.shape[3]
    order = interleaved_order(groups) if side_by_side else stored_order(groups, taps)
    pixels = om.shape[0] * out_height * out_width
    numbers = [pixels, channels, out_channels, height, width, out_height, out_width]
    fixed: dict[str, Any] = {'K': taps, 'KW': weight.shape[3], 'STRIDE': stride, 'PAD': padding, 'DILATION': dilation}
    fixed |= {'G': groups, 'ROW': om.shape[3], **order}
    fixed |= tile(channels, out_channels, groups, x.element_size())
    fixed |= {'MASKED': om.shape[3] == 3 * taps * groups, 'SIGMOID': sigmoid}
    tf32 = torch.backends.cuda.matmul.allow_tf32 and not INTERPRETED
    fixed['PRECISION'] = 'tf32' if tf32 else 'ieee'
    return numbers, fixed, weight.flatten(2).permute(2, 1, 0).contiguous().to(x.dtype)


@torch.library.custom_op('votes::deform_conv', mutates_args=(), schema=FORWARD)
def deform_conv(x: Tensor, om: Tensor, weight: Tensor, bias: Tensor | None, *how: Any) -> tuple[Tensor, Tensor]:
    """Channels last all through: x (B, H, W, C), om (B, Ho, Wo, 2*G*K or 3*G*K) -> out (B, Ho, Wo, Co).

    Args:
        om: offsets and masks, in float32 or half precision.
        sigmoid: masks are still to go through it.
        side_by_side: channels of `om` are in interleaved_order, with masks; otherwise in stored_order.

    Returns:
        The output, and the sum of |offset| over everything, float32 of shape (parts,).
    """
    x, om = x.contiguous(), om.contiguous()
    numbers, fixed, by_tap = _common(x, om, weight, *how)
    out = x.new_empty(*om.shape[:3], weight.shape[0])
    parts = -(-numbers[0] // fixed['BM'])
    stat = torch.empty(parts, dtype=torch.float32, device=x.device)
    grid = (parts, -(-weight.shape[0] // fixed['BN']))
    kernels.forward_kernel[grid](x, om, by_tap, bias, out, stat, *numbers, **fixed, BIAS=bias is not None, STAT=True)
    return out, stat


@deform_conv.register_fake
def _(x: Tensor, om: Tensor, weight: Tensor, bias: Tensor | None, groups: int, *_: Any) -> tuple[Tensor, Tensor]:
    pixels = om.shape[0] * om.shape[1] * om.shape[2]
    block = tile(x.shape[3], weight.shape[0], groups, x.element_size())['BM']
    stat = torch.empty((pixels + block - 1) // block, dtype=torch.float32, device=x.device)
    return x.new_empty(*om.shape[:3], weight.shape[0]), stat


@torch.library.custom_op('votes::deform_conv_backward', mutates_args=(), schema=BACKWARD)
def deform_conv_backward(
    grad_out: Tensor, x: Tensor, om: Tensor, weight: Tensor, *how: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, om and weight. Nothing was kept of the forward pass: points are sampled again.

    The gradient of x is added up in no fixed order, unless torch.use_deterministic_algorithms asks for one: then in
    fixed point, where the order does not matter.
    """
    x, om, grad_out = x.contiguous(), om.contiguous(), grad_out.contiguous()
    numbers, fixed, by_tap = _common(x, om, weight, *how)
    exact = torch.are_deterministic_algorithms_enabled()
    steps = fixed['K'] * -(-fixed['G'] // fixed['GB'])
    grad_x = torch.zeros(x.shape, dtype=torch.int64 if exact else torch.float32, device=x.device)
    grad_om = torch.empty_like(om)
    scale = torch.ones((), dtype=torch.float32, device=x.device)
    if exact:
        # no value of the gradient is larger than this, nor are all of them in one place
        bound = grad_out.float().abs().sum(-1).max() * by_tap.float().abs().max()
        scale = (HEADROOM / (bound.double().clamp_min(1e-30) * numbers[0] * fixed['K'] * 4)).clamp_max(2.0**100).float()
    tiles = -(-numbers[0] // fixed['BM'])
    data = (x, om, by_tap, grad_out, grad_x, grad_om, scale)
    kernels.backward_data_kernel[(tiles, steps)](*data, *numbers, **fixed, FIXED=exact)
    if exact:
        grad_x = (grad_x.double() / scale.double()).float()
    splits = min(SPLITS, tiles)
    part = torch.zeros(splits, *by_tap.shape, dtype=torch.float32, device=x.device)
    per_split = -(-tiles // splits)
    grid = (steps, splits, -(-weight.shape[0] // fixed['BN']))
    kernels.backward_weight_kernel[grid](x, om, grad_out, part, *numbers, per_split, **fixed)
    grad_weight = part.sum(0).permute(2, 1, 0).reshape(weight.shape)
    return grad_x.to(x.dtype), grad_om, grad_weight.to(weight.dtype)


@deform_conv_backward.register_fake
def _(grad_out: Tensor, x: Tensor, om: Tensor, weight: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty(x.shape), om.new_empty(om.shape), weight.new_empty(weight.shape)


@register_flop_formula(torch.ops.votes.deform_conv)
def _flops(x: tuple[int, ...], om: tuple[int, ...], weight: tuple[int, ...], *_: Any, **__: Any) -> int:
    """Of the matrix product, given shapes: a multiplication and an addition for each weight and output pixel."""
    return 2 * om[0] * om[1] * om[2] * math.prod(weight)


@register_flop_formula(torch.ops.votes.deform_conv_backward)
def _backward_flops(grad_out: tuple[int, ...], *others: Any, **_: Any) -> int:
    return 2 * _flops(*others)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    x, om, weight, bias, *how = inputs
    ctx.save_for_backward(x, om, weight)
    ctx.how, ctx.bias_dtype = how, None if bias is None else bias.dtype
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, grad_out: Tensor | None, _: Tensor | None) -> tuple[Any, ...]:
    if grad_out is None:
        return (None,) * 10
    x, om, weight = ctx.saved_tensors
    grads = deform_conv_backward(grad_out, x, om, weight, *ctx.how)
    grad_bias = None if ctx.bias_dtype is None else grad_out.float().sum((0, 1, 2)).to(ctx.bias_dtype)
    return (*grads, grad_bias, *(None for _ in ctx.how))


deform_conv.register_autograd(_backward, setup_context=_setup)


def deform_conv2d(x: Tensor, offset: Tensor, mask: Tensor | None, weight: Tensor, *others: Any) -> Tensor:
    """The backend 'triton' of votes.ops.deform_conv2d. Offsets and mask are packed together first."""
    bias, *geometry = others
    groups = offset.shape[1] // (2 * weight.shape[2] * weight.shape[3])
    om = offset if mask is None else torch.cat((offset, mask.to(offset.dtype)), 1)
    return _channels_first(x, om, weight, bias, groups, *geometry, False, False)[0]


def _channels_first(x: Tensor, om: Tensor, *how: Any) -> tuple[Tensor, Tensor]:
    out, moved = deform_conv(x.permute(0, 2, 3, 1), om.permute(0, 2, 3, 1), *how)
    return out.permute(0, 3, 1, 2), moved


def deform_conv2d_guided(
    x: Tensor, guide: Tensor, offset_weight: Tensor, offset_bias: Tensor, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    """The same, 3x3 and size-keeping, with the convolution of `guide` that gives offsets and masks.

    That convolution's weights are reordered, so that its output is interleaved; masks go through the sigmoid in the
    kernel.

    Args:
        x, guide: (B, C, H, W), channels last where copies are to be spared.
        offset_weight, offset_bias: (3*G*9, C, 3, 3) and (3*G*9,), G deformable groups, in stored order.

    Returns:
        (B, Co, H, W), and mean |offset| in pixels, without gradient.
    """
    groups = len(offset_bias) // 27
    om = F.conv2d(guide, interleaved(offset_weight, groups, 9), interleaved(offset_bias, groups, 9), padding=1)
    if torch.is_autocast_enabled(x.device.type):  # features as autocast wants them, coordinates as they are
        x = x.to(torch.get_autocast_dtype(x.device.type))
    out, moved = _channels_first(x, om, weight, bias, groups, 1, 1, 1, True, True)
    return out, moved.detach().sum() / (om.numel() / 3 * 2)
