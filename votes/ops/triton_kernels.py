"""Triton kernels of the modulated deformable convolution: sampling and matrix product in one, nothing in between kept.

Features lie channels last, weights as (K, C, Co). A program owns BM output pixels; for one tap and GB deformable groups
it samples a tile (BM, GB * C/G), which is multiplied at once, so that even groups of 8 channels fill the matrix units.
Coordinates are float32 whatever the features are; sums are float32.

`om` holds dy, dx and mask of every tap and group in the channels of one tensor, at
``dy = k * OK + g * OG``, ``dx = dy + OX`` and ``mask = M0 + k * MK + g * MG``, ROW channels in all. These numbers are
compiled in: where the groups of a tap lie side by side (OG = MG = 1), they are loaded together.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _inside(value, least, most):
    """Clamped, NaN to `least`."""
    value = tl.where(value > least, value, least)
    return tl.where(value < most, value, most)


@triton.jit
def _points(
    om_ptr, row, tap, groups, live, oy, ox, height, width,
    OK: tl.constexpr, OG: tl.constexpr, OX: tl.constexpr, M0: tl.constexpr, MK: tl.constexpr, MG: tl.constexpr,
    KW: tl.constexpr, STRIDE: tl.constexpr, PAD: tl.constexpr, DILATION: tl.constexpr,
    MASKED: tl.constexpr, SIGMOID: tl.constexpr,
):  # fmt: skip
    """Of (BM, GB) points: y, x (clamped to where nothing more changes), mask, and the raw |dy| + |dx|."""
    at = om_ptr + row[:, None]
    place = at + (tap * OK + groups * OG)[None, :]
    dy = tl.load(place, live, 0.0).to(tl.float32)
    dx = tl.load(place + OX, live, 0.0).to(tl.float32)
    size = tl.abs(dy) + tl.abs(dx)
    y = dy + (oy * STRIDE - PAD + (tap // KW) * DILATION)[:, None].to(tl.float32)
    x = dx + (ox * STRIDE - PAD + (tap % KW) * DILATION)[:, None].to(tl.float32)
    y = _inside(y, -2.0, height + 1.0)
    x = _inside(x, -2.0, width + 1.0)
    if MASKED:
        mask = tl.load(at + (M0 + tap * MK + groups * MG)[None, :], live, 0.0).to(tl.float32)
        if SIGMOID:
            mask = 1.0 / (1.0 + tl.exp(-mask))
    else:
        mask = tl.full(dy.shape, 1.0, tl.float32)
    return y, x, mask, size


@triton.jit
def _corner(x_ptr, image, yi, xi, channel, live, height, width, C):
    """The value of one corner, (BM, GB, CG) float32, zero outside; and where it lies."""
    inside = (yi >= 0) & (yi < height) & (xi >= 0) & (xi < width)
    place = image[:, None] + (yi * width + xi).to(tl.int64) * C
    use = (inside[:, :, None]) & live
    value = tl.load(x_ptr + place[:, :, None] + channel[None, :, :], use, 0.0).to(tl.float32)
    return value, place, use


@triton.jit
def _sampled(x_ptr, image, y, x, mask, channel, use, height, width, C):
    """Bilinear values at (BM, GB) points times their masks, (BM, GB, CG) float32."""
    top, left = tl.floor(y), tl.floor(x)
    ly, lx = y - top, x - left
    yi, xi = top.to(tl.int32), left.to(tl.int32)
    a, _, _ = _corner(x_ptr, image, yi, xi, channel, use, height, width, C)
    b, _, _ = _corner(x_ptr, image, yi, xi + 1, channel, use, height, width, C)
    c, _, _ = _corner(x_ptr, image, yi + 1, xi, channel, use, height, width, C)
    d, _, _ = _corner(x_ptr, image, yi + 1, xi + 1, channel, use, height, width, C)
    value = a * ((1 - ly) * (1 - lx) * mask)[:, :, None] + b * ((1 - ly) * lx * mask)[:, :, None]
    return value + c * (ly * (1 - lx) * mask)[:, :, None] + d * (ly * lx * mask)[:, :, None]


@triton.jit
def _pixels(pid, P, out_h, out_w, height, width, C, BM: tl.constexpr):
    pixel = pid * BM + tl.arange(0, BM)
    valid = pixel < P
    area = out_h * out_w
    inner = pixel % area
    image = (pixel // area).to(tl.int64) * height * width * C
    return pixel, valid, inner // out_w, inner % out_w, image


@triton.jit
def _channels(step, K, G, CG: tl.constexpr, CGP: tl.constexpr, GB: tl.constexpr):
    """Of a step, one tap and GB groups: the tap, the groups, which of CGP channels a group has, all channels (GB, CGP)
    and in a row, and which of these there are.
    """
    groups = (step // K) * GB + tl.arange(0, GB)
    lane = tl.arange(0, CGP)
    channel = groups[:, None] * CG + lane[None, :]
    real = (groups < G)[:, None] & (lane < CG)[None, :]
    return step % K, groups, lane < CG, channel, tl.reshape(channel, (GB * CGP,)), tl.reshape(real, (GB * CGP,))


@triton.jit
def forward_kernel(
    x_ptr, om_ptr, w_ptr, bias_ptr, out_ptr, stat_ptr,
    P, C, CO, height, width, out_h, out_w,
    G: tl.constexpr, ROW: tl.constexpr, OK: tl.constexpr, OG: tl.constexpr, OX: tl.constexpr, M0: tl.constexpr,
    MK: tl.constexpr, MG: tl.constexpr,
    K: tl.constexpr, KW: tl.constexpr, STRIDE: tl.constexpr, PAD: tl.constexpr, DILATION: tl.constexpr,
    CG: tl.constexpr, CGP: tl.constexpr, GB: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
    MASKED: tl.constexpr, SIGMOID: tl.constexpr, BIAS: tl.constexpr, STAT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """out (P, CO) = bias + sum over taps and groups of sampled (BM, C) @ w[tap] (C, CO)."""
    pixel, valid, oy, ox, image = _pixels(tl.program_id(0), P, out_h, out_w, height, width, C, BM)
    row = pixel.to(tl.int64) * ROW
    co = tl.program_id(1) * BN + tl.arange(0, BN)
    acc = tl.zeros((BM, BN), tl.float32)
    moved = tl.zeros((BM,), tl.float32)
    for step in range(K * tl.cdiv(G, GB)):
        tap, groups, within, channel, flat, real = _channels(step, K, G, CG, CGP, GB)
        live = valid[:, None] & (groups < G)[None, :]
        y, x, mask, size = _points(
            om_ptr, row, tap, groups, live, oy, ox, height, width,
            OK, OG, OX, M0, MK, MG, KW, STRIDE, PAD, DILATION, MASKED, SIGMOID,
        )  # fmt: skip
        moved += tl.sum(size, 1)
        use = live[:, :, None] & within[None, None, :]
        value = _sampled(x_ptr, image, y, x, mask, channel, use, height, width, C)
        weight = tl.load(w_ptr + (tap * C + flat)[:, None] * CO + co[None, :], real[:, None] & (co < CO)[None, :], 0.0)
        tile = tl.reshape(value, (BM, GB * CGP)).to(w_ptr.dtype.element_ty)
        acc = tl.dot(tile, weight, acc, input_precision=PRECISION)
    if BIAS:
        acc += tl.load(bias_ptr + co, co < CO, 0.0).to(tl.float32)[None, :]
    place = pixel.to(tl.int64)[:, None] * CO + co[None, :]
    tl.store(out_ptr + place, acc.to(out_ptr.dtype.element_ty), valid[:, None] & (co < CO)[None, :])
    if STAT and tl.program_id(1) == 0:
        tl.store(stat_ptr + tl.program_id(0), tl.sum(moved, 0))


@triton.jit
def backward_data_kernel(
    x_ptr, om_ptr, w_ptr, go_ptr, gx_ptr, gom_ptr, scale_ptr,
    P, C, CO, height, width, out_h, out_w,
    G: tl.constexpr, ROW: tl.constexpr, OK: tl.constexpr, OG: tl.constexpr, OX: tl.constexpr, M0: tl.constexpr,
    MK: tl.constexpr, MG: tl.constexpr,
    K: tl.constexpr, KW: tl.constexpr, STRIDE: tl.constexpr, PAD: tl.constexpr, DILATION: tl.constexpr,
    CG: tl.constexpr, CGP: tl.constexpr, GB: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
    MASKED: tl.constexpr, SIGMOID: tl.constexpr, FIXED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Gradients of x (added, float32, or int64 fixed point when FIXED: sums of integers have no order) and of om."""
    pixel, valid, oy, ox, image = _pixels(tl.program_id(0), P, out_h, out_w, height, width, C, BM)
    row = pixel.to(tl.int64) * ROW
    tap, groups, within, channel, flat, real = _channels(tl.program_id(1), K, G, CG, CGP, GB)
    live = valid[:, None] & (groups < G)[None, :]
    columns = tl.zeros((BM, GB * CGP), tl.float32)
    for first in range(0, CO, BN):
        co = first + tl.arange(0, BN)
        part = tl.load(
            go_ptr + pixel.to(tl.int64)[:, None] * CO + co[None, :], valid[:, None] & (co < CO)[None, :], 0.0
        )
        weight = tl.load(w_ptr + (tap * C + flat)[None, :] * CO + co[:, None], real[None, :] & (co < CO)[:, None], 0.0)
        columns = tl.dot(part.to(w_ptr.dtype.element_ty), weight, columns, input_precision=PRECISION)
    grad = tl.reshape(columns, (BM, GB, CGP))
    y, x, mask, _ = _points(
        om_ptr, row, tap, groups, live, oy, ox, height, width,
        OK, OG, OX, M0, MK, MG, KW, STRIDE, PAD, DILATION, MASKED, SIGMOID,
    )  # fmt: skip
    top, left = tl.floor(y), tl.floor(x)
    ly, lx = y - top, x - left
    yi, xi = top.to(tl.int32), left.to(tl.int32)
    use = live[:, :, None] & within[None, None, :]
    a, pa, ua = _corner(x_ptr, image, yi, xi, channel, use, height, width, C)
    da = tl.sum(grad * a, 2)
    b, pb, ub = _corner(x_ptr, image, yi, xi + 1, channel, use, height, width, C)
    db = tl.sum(grad * b, 2)
    c, pc, uc = _corner(x_ptr, image, yi + 1, xi, channel, use, height, width, C)
    dc = tl.sum(grad * c, 2)
    d, pd, ud = _corner(x_ptr, image, yi + 1, xi + 1, channel, use, height, width, C)
    dd = tl.sum(grad * d, 2)
    gy = mask * ((dc - da) * (1 - lx) + (dd - db) * lx)
    gx = mask * ((db - da) * (1 - ly) + (dd - dc) * ly)
    place = gom_ptr + row[:, None] + (tap * OK + groups * OG)[None, :]
    tl.store(place, gy.to(gom_ptr.dtype.element_ty), live)
    tl.store(place + OX, gx.to(gom_ptr.dtype.element_ty), live)
    if MASKED:
        gm = da * (1 - ly) * (1 - lx) + db * (1 - ly) * lx + dc * ly * (1 - lx) + dd * ly * lx
        if SIGMOID:
            gm *= mask * (1 - mask)
        tl.store(gom_ptr + row[:, None] + (M0 + tap * MK + groups * MG)[None, :], gm.to(gom_ptr.dtype.element_ty), live)
    grad *= mask[:, :, None]
    if FIXED:
        grad *= tl.load(scale_ptr)
    _add(gx_ptr, pa, channel, ua, grad * ((1 - ly) * (1 - lx))[:, :, None], FIXED)
    _add(gx_ptr, pb, channel, ub, grad * ((1 - ly) * lx)[:, :, None], FIXED)
    _add(gx_ptr, pc, channel, uc, grad * (ly * (1 - lx))[:, :, None], FIXED)
    _add(gx_ptr, pd, channel, ud, grad * (ly * lx)[:, :, None], FIXED)


@triton.jit
def _add(gx_ptr, place, channel, use, value, FIXED: tl.constexpr):
    where = gx_ptr + place[:, :, None] + channel[None, :, :]
    if FIXED:
        tl.atomic_add(where, tl.floor(value + 0.5).to(tl.int64), use, sem='relaxed')
    else:
        tl.atomic_add(where, value, use, sem='relaxed')


@triton.jit
def backward_weight_kernel(
    x_ptr, om_ptr, go_ptr, part_ptr,
    P, C, CO, height, width, out_h, out_w, tiles,
    G: tl.constexpr, ROW: tl.constexpr, OK: tl.constexpr, OG: tl.constexpr, OX: tl.constexpr, M0: tl.constexpr,
    MK: tl.constexpr, MG: tl.constexpr,
    K: tl.constexpr, KW: tl.constexpr, STRIDE: tl.constexpr, PAD: tl.constexpr, DILATION: tl.constexpr,
    CG: tl.constexpr, CGP: tl.constexpr, GB: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
    MASKED: tl.constexpr, SIGMOID: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """part[split, tap] (C, CO): sampled^T @ grad_out over the pixels of a split; the splits are added afterwards."""
    step, split = tl.program_id(0), tl.program_id(1)
    tap, groups, within, channel, flat, real = _channels(step, K, G, CG, CGP, GB)
    co = tl.program_id(2) * BN + tl.arange(0, BN)
    acc = tl.zeros((GB * CGP, BN), tl.float32)
    for tile in range(split * tiles, (split + 1) * tiles):
        pixel, valid, oy, ox, image = _pixels(tile, P, out_h, out_w, height, width, C, BM)
        live = valid[:, None] & (groups < G)[None, :]
        y, x, mask, _ = _points(
            om_ptr, pixel.to(tl.int64) * ROW, tap, groups, live, oy, ox, height, width,
            OK, OG, OX, M0, MK, MG, KW, STRIDE, PAD, DILATION, MASKED, SIGMOID,
        )  # fmt: skip
        use = live[:, :, None] & within[None, None, :]
        value = _sampled(x_ptr, image, y, x, mask, channel, use, height, width, C)
        grad = tl.load(
            go_ptr + pixel.to(tl.int64)[:, None] * CO + co[None, :], valid[:, None] & (co < CO)[None, :], 0.0
        )
        sampled = tl.trans(tl.reshape(value, (BM, GB * CGP))).to(grad.dtype)
        acc = tl.dot(sampled, grad, acc, input_precision=PRECISION)
    place = part_ptr + ((split * K + tap) * C + flat).to(tl.int64)[:, None] * CO + co[None, :]
    tl.store(place, acc, real[:, None] & (co < CO)[None, :])
