"""What operators become while a network is exported: its graph must hold for frames of any size.

Computing piece by piece, which saves memory here, is a loop whose length depends on the size: an exported graph has no
such loops. And the deformable convolution is either one operator, which the other side has to know (ONNX does), or grid
sampling and a product of matrices.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Form = Literal['operator', 'grid']
_form: Form | None = None


@contextlib.contextmanager
def exporting(form: Form) -> Iterator[None]:
    """Inside, networks are traced for an exported graph; `form` is that of deformable convolutions."""
    global _form
    before, _form = _form, form
    try:
        yield
    finally:
        _form = before


def exported_form() -> Form | None:
    """How deformable convolutions are exported; None outside of `exporting`."""
    return _form


def autocast(kind: str, to: torch.dtype | None = None) -> contextlib.AbstractContextManager[Any]:
    """Autocast of a kind of device to a type, or none inside. Where there is none already this is nothing: a graph that
    is exported has no part of its own for it, which could not be written where sizes go into it.
    """
    if to is None and not torch.is_autocast_enabled(kind):
        return contextlib.nullcontext()
    return torch.autocast(kind, dtype=to or torch.bfloat16, enabled=to is not None)


@functools.cache
def deform_conv_operator() -> Any:
    """The deformable convolution as one operator of PyTorch, ``votes::deform_conv2d``, see ops.deform_conv2d."""
    from votes.ops import chunked

    def compute(*arguments: Any) -> Tensor:
        return chunked.deform_conv2d(*arguments[:-1])  # it finds the number of groups itself

    schema = (
        '(Tensor x, Tensor offset, Tensor? mask, Tensor weight, Tensor? bias, int stride, int padding, int dilation, '
        'int groups) -> Tensor'
    )
    operator = torch.library.custom_op('votes::deform_conv2d', compute, mutates_args=(), schema=schema)

    @operator.register_fake
    def _(x: Tensor, offset: Tensor, mask: Tensor | None, weight: Tensor, *others: Any) -> Tensor:
        return x.new_empty(x.shape[0], weight.shape[0], *offset.shape[2:])

    return operator


def deform_conv2d(
    x: Tensor, offset: Tensor, mask: Tensor | None, weight: Tensor, bias: Tensor | None, *geometry: int
) -> Tensor:
    """The deformable convolution in the form that is exported."""
    if _form == 'operator':
        groups = int(offset.shape[1]) // (2 * weight.shape[2] * weight.shape[3])
        result: Tensor = deform_conv_operator()(x, offset, mask, weight, bias, *geometry, groups)
        return result
    return by_grid(x, offset, mask, weight, bias, *geometry)


def by_grid(
    x: Tensor, offset: Tensor, mask: Tensor | None, weight: Tensor, bias: Tensor | None, *geometry: int
) -> Tensor:
    """In one piece, of operators that every runtime has: the values of all taps and channels lie in memory at once."""
    (batch, channels, height, width), (stride, padding, dilation) = x.shape, geometry
    kernel_width = weight.shape[3]
    taps = weight.shape[2] * kernel_width
    groups = offset.shape[1] // (2 * taps)
    rows, columns = offset.shape[2:]
    shift = offset.reshape(batch * groups, taps, 2, rows, columns)
    tap = torch.arange(taps, device=x.device)
    down = (tap // kernel_width * dilation - padding).view(taps, 1, 1)
    right = (tap % kernel_width * dilation - padding).view(taps, 1, 1)
    y = shift[:, :, 0] + (down + torch.arange(rows, device=x.device).view(-1, 1) * stride)
    x_ = shift[:, :, 1] + (right + torch.arange(columns, device=x.device) * stride)
    grid = torch.stack(((2 * x_ + 1) / width - 1, (2 * y + 1) / height - 1), -1)
    maps = x.reshape(batch * groups, channels // groups, height, width)
    values = F.grid_sample(maps, grid.flatten(1, 2), mode='bilinear', padding_mode='zeros', align_corners=False)
    if mask is not None:
        values = values * mask.reshape(batch * groups, 1, taps * rows, columns)
    out = weight.flatten(1) @ values.reshape(batch, channels * taps, rows * columns)
    out = out.view(batch, weight.shape[0], rows, columns)
    return out if bias is None else out + bias.view(-1, 1, 1)
