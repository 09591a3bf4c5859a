"""Modulated deformable convolution (DCNv2) behind one function."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from votes.errors import UserError, first_line
from votes.ops import chunked, exporting, optional, reference

Backend = Callable[[Tensor, Tensor, Tensor | None, Tensor, Tensor | None, int, int, int], Tensor]

ENVIRONMENT = 'VOTES_DEFORM_CONV'
BACKENDS: dict[str, Backend] = {
    'torch': chunked.deform_conv2d,
    'triton': optional.triton_deform_conv2d,
    'torchvision': optional.torchvision_deform_conv2d,
    'mmcv': optional.mmcv_deform_conv2d,
    'reference': reference.deform_conv2d,
}


@functools.cache
def backend_problem(name: str, device_type: str = 'cpu') -> str | None:
    """Why a backend cannot be used on this device, in one line; None if it can (tried once on a tiny input)."""
    make = functools.partial(torch.randn, device=device_type)
    try:
        out = BACKENDS[name](make(1, 2, 4, 4), make(1, 18, 4, 4), make(1, 9, 4, 4), make(2, 2, 3, 3), None, 1, 1, 1)
    except (ImportError, RuntimeError, OSError, AttributeError, ValueError) as error:
        return first_line(error)
    return None if bool(out.isfinite().all()) else 'gives NaN'


def choose_backend(name: str | None, device_type: str) -> str:
    """The backend for a device: `name`, else the environment variable VOTES_DEFORM_CONV, else the fastest that works.

    Raises:
        UserError: the named backend does not exist or does not work here.
    """
    wanted = name or os.environ.get(ENVIRONMENT) or 'auto'
    if wanted == 'auto':
        # torchvision's CPU operator runs in one thread, 5 to 10 times slower than ours: only its CUDA one is taken.
        # Our kernels should be the faster ones there; they come second until they have been run on a GPU.
        candidates = ('torchvision', 'triton') if device_type == 'cuda' else ()
        return next((name for name in candidates if not backend_problem(name, device_type)), 'torch')
    if wanted not in BACKENDS:
        raise UserError(f'unknown backend of deform_conv2d: {wanted!r}', fix=f'one of auto, {", ".join(BACKENDS)}')
    if problem := backend_problem(wanted, device_type):
        raise UserError(
            f'deform_conv2d backend {wanted!r} does not work here',
            value=problem,
            fix=f'unset {ENVIRONMENT}, or see `votes doctor`',
        )
    return wanted


# what torch.compiler.assume_constant_result does; it would import the compiler, seconds at every start
choose_backend._dynamo_marked_constant = True  # type: ignore[attr-defined]


_watched: list[Tensor] | None = None


@contextlib.contextmanager
def offsets_watched(wanted: bool = True) -> Iterator[list[Tensor]]:
    """Inside, the offsets of every `deform_conv2d` are added to the list, in order and with gradients, if `wanted`."""
    global _watched
    before, found = _watched, list[Tensor]()
    _watched = found if wanted else before
    try:
        yield found
    finally:
        _watched = before


def watching() -> bool:
    """Whether somebody looks at offsets, which a kernel that makes them itself would not show."""
    return _watched is not None


_by_shape = False


@contextlib.contextmanager
def counted_by_shape() -> Iterator[None]:
    """For counting on fake tensors: `deform_conv2d` has the arithmetic and the memory of the backend 'torch', and no
    values.
    """
    global _by_shape
    before, _by_shape = _by_shape, True
    try:
        yield
    finally:
        _by_shape = before


def deform_conv2d(
    x: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    backend: str | None = None,
) -> Tensor:
    """Modulated deformable convolution.

    ``out[co, p] = bias[co] + sum_{c, k} weight[co, c, k] * mask[g(c), k, p] * x[c](q)`` at the point
    ``q = p * stride - padding + k * dilation + offset[g(c), k, p]``, with bilinear interpolation of x; each of the
    four corners outside of the image counts zero.

    Args:
        x: (B, C, H, W).
        offset: (B, 2*G*K, Ho, Wo) in pixels, G deformable groups (C divides by G), K = kh * kw taps; channel
            ``2*K*g + 2*k`` is dy of tap k in group g, the next one dx. Coordinates are computed in float32 or better.
        mask: (B, G*K, Ho, Wo), channel ``K*g + k``, already through the sigmoid; None is all ones (DCNv1).
        weight: (Co, C, kh, kw).
        bias: (Co,) or None.
        backend: 'torch', 'triton', 'torchvision', 'mmcv', 'reference' or 'auto'; default: the environment variable
            VOTES_DEFORM_CONV, else 'auto'.

    Returns:
        (B, Co, Ho, Wo) in the dtype of x.

    Raises:
        UserError: the backend is unknown or unusable here. ValueError: shapes do not belong together.
    """
    batch, channels, *sides = x.shape
    taps = weight.shape[2] * weight.shape[3]
    groups = offset.shape[1] // (2 * taps)
    size = [
        (n + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        for n, kernel in zip(sides, weight.shape[2:], strict=True)
    ]
    if weight.shape[1] != channels:
        raise ValueError(f'weight {tuple(weight.shape)} does not fit {channels} input channels')
    if groups == 0 or channels % groups or tuple(offset.shape) != (batch, 2 * groups * taps, *size):
        raise ValueError(
            f'offset {tuple(offset.shape)} is not (B, 2 * groups * {taps}, {size[0]}, {size[1]}) '
            f'with groups dividing {channels} channels'
        )
    if mask is not None and tuple(mask.shape) != (batch, groups * taps, *size):
        raise ValueError(f'mask {tuple(mask.shape)} is not {(batch, groups * taps, *size)}')
    if _watched is not None:
        _watched.append(offset)
    if exporting.exported_form():
        return exporting.deform_conv2d(x, offset, mask, weight, bias, stride, padding, dilation)
    function = chunked.deform_conv2d_by_shape if _by_shape else BACKENDS[choose_backend(backend, x.device.type)]
    return function(x, offset, mask, weight, bias, stride, padding, dilation)


def fused_deform_conv2d(
    x: Tensor, guide: Tensor, offset_weight: Tensor, offset_bias: Tensor, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    """A 3x3 one of size-keeping padding with the convolution of `guide` that gives its offsets and masks.

    For the backend 'triton'; see fused.deform_conv2d_guided.
    """
    from votes.ops import fused

    return fused.deform_conv2d_guided(x, guide, offset_weight, offset_bias, weight, bias)
