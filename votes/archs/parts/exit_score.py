"""How good a picture is, judged without its original: where RBQE stops (Xing, Xu, Li and Guan, ECCV 2020).

A picture is cut into blocks as the codec has them. Blurring of textured blocks and blockiness of smooth ones are read
off their Tchebichef moments.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Codec = Literal['hevc', 'jpeg']
BLOCK = {'hevc': 4, 'jpeg': 8}
GOOD = {'hevc': 0.9, 'jpeg': 0.855}
TEXTURED = 0.004  # least energy of the moments but the first
NOTICED = 0.05  # largest blockiness that counts
SMOOTH_SHARE = 0.9
TINY = 1e-5


def _polynomials(count: int, like: Tensor) -> Tensor:
    """Orthonormal discrete Tchebichef polynomials, (count, count): rows of rising degree."""
    powers = torch.linspace(-1, 1, count, dtype=torch.float64).unsqueeze(1) ** torch.arange(count)
    rows = torch.linalg.qr(powers)[0].T
    return (rows * rows[:, -1:].sign()).to(like)


def _moments(blocks: Tensor, polynomials: Tensor) -> Tensor:
    """Of blocks (N, n, n) with mean energy 1 and mean 0."""
    scaled = blocks / (blocks.shape[-1] * blocks.square().mean((1, 2), keepdim=True).sqrt())
    return polynomials @ (scaled - scaled.mean((1, 2), keepdim=True)) @ polynomials.T


def _mean(values: Tensor) -> Tensor:
    return values.mean() if values.numel() else values.new_ones(())


@torch.no_grad()
@torch.autocast('cuda', enabled=False)
@torch.autocast('cpu', enabled=False)
def quality(picture: Tensor, codec: Codec) -> float:
    """The score of a picture (C, h, w), of which the first channel counts; GOOD[codec] and more is good enough."""
    side = BLOCK[codec]
    plane = picture[0].float()[side // 2 - 1 :, side // 2 - 1 :]  # blocks lie across the edges of the codec's
    blocks = plane.unfold(0, side, side).unfold(1, side, side).reshape(-1, side, side)
    polynomials = _polynomials(side, plane)
    uniform = blocks.flatten(1).std(1) == 0
    moments = _moments(blocks[~uniform], polynomials)
    first = moments[:, 0, 0]
    textured = moments.square().sum((1, 2)) - first.square() > TEXTURED
    place = torch.tensor([-1.0, 0, 1], device=plane.device)
    bell = torch.exp(-(place / 5).square() / 2)
    kernel = torch.outer(bell, bell).div(bell.sum().square()).view(1, 1, 3, 3)
    blurred = F.conv2d(blocks[~uniform][textured].unsqueeze(1), kernel, padding=1).squeeze(1)
    sharp, soft = moments[textured], _moments(blurred, polynomials)
    likeness = (2 * sharp * soft + TINY) / (sharp.square() + soft.square() + TINY)
    smooth = moments[~textured]
    total = smooth.abs().sum((1, 2))
    edges = (smooth[:, -1].abs().sum(1) / total, smooth[:, :, -1].abs().sum(1) / total)
    strength = sum((edge - first[~textured].abs() + TINY).clamp(max=NOTICED) for edge in edges) / 2
    blocky = torch.log(1 - torch.as_tensor(strength)) / torch.log(plane.new_tensor(1 - NOTICED))
    # black blocks count as perfect in the public code, other uniform ones make its score NaN: here all are perfect
    blocky = torch.cat((blocky, blocky.new_ones(int(uniform.sum()))))
    return float(_mean(blocky) ** SMOOTH_SHARE * _mean(1 - likeness.mean((1, 2))) ** (1 - SMOOTH_SHARE))
