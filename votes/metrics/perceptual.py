"""LPIPS (v0.1) and DISTS with weights that the user brings: networks trained on ImageNet are not distributed here."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from votes.checkpoint import read_weights
from votes.errors import UserError

Backbone = Literal['alex', 'vgg']
# stages of torchvision's models: whether pooling begins them; index, stride and padding of each convolution
PLANS: dict[str, list[tuple[bool, list[tuple[int, int, int]]]]] = {
    'alex': [(n[0] in (3, 6), [n]) for n in ((0, 4, 2), (3, 1, 2), (6, 1, 1), (8, 1, 1), (10, 1, 1))],
    'vgg': [(n[0] > 0, [(i, 1, 1) for i in n]) for n in ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))],
}


def _weights(path: str | Path, needed: list[str], what: str) -> dict[str, Tensor]:
    found = read_weights(path)
    missing = [key for key in needed if key not in found]
    if missing:
        raise UserError(f'not the weights of {what}', where=path, value=f'no {missing[0]}, it has {next(iter(found))}')
    return found


def _backbone(path: str | Path, name: Backbone) -> dict[str, Tensor]:
    needed = [f'features.{index}.weight' for _, convolutions in PLANS[name] for index, _, _ in convolutions]
    return _weights(path, needed, {'alex': 'AlexNet', 'vgg': 'VGG16'}[name])


def stages(x: Tensor, weights: dict[str, Tensor], backbone: Backbone, soft_pool: bool = False) -> list[Tensor]:
    """Features after each stage of AlexNet or VGG16.

    Args:
        x: normalised frames (B, 3, H, W).
        soft_pool: DISTS's pooling, the root of Hann-weighted squares, instead of the largest value.
    """
    found = []
    for pooled, convolutions in PLANS[backbone]:
        if pooled:
            x = _hann_pool(x) if soft_pool else F.max_pool2d(x, 3 if backbone == 'alex' else 2, 2)
        for index, stride, padding in convolutions:
            weight, bias = (weights[f'features.{index}.{part}'].to(x) for part in ('weight', 'bias'))
            x = F.relu(F.conv2d(x, weight, bias, stride, padding))
        found.append(x)
    return found


def _hann_pool(x: Tensor) -> Tensor:
    taps = torch.from_numpy(np.hanning(5)[1:-1]).to(x)
    kernel = torch.outer(taps, taps)
    kernel = (kernel / kernel.sum()).expand(x.shape[1], 1, 3, 3)
    return (F.conv2d(x**2, kernel, stride=2, padding=1, groups=x.shape[1]) + 1e-12).sqrt()


class LPIPS:
    """Learned perceptual distance (Zhang et al. 2018, v0.1) of RGB frames (B, 3, H, W) in [0, 1]: (B,).

    Args:
        features: torchvision's weights of AlexNet or VGG16, `alexnet-owt-*.pth` or `vgg16-*.pth`.
        linear: the weights of LPIPS for it, `alex.pth` or `vgg.pth` of its v0.1.
    """

    def __init__(self, features: str | Path, linear: str | Path, backbone: Backbone = 'alex'):
        self.features = _backbone(features, backbone)
        self.linear = _weights(linear, [f'lin{i}.model.1.weight' for i in range(5)], f'LPIPS {backbone}')
        self.backbone: Backbone = backbone

    @torch.no_grad()
    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        shift, scale = (first.new_tensor(v).view(3, 1, 1) for v in ((-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)))
        pair = [stages((2 * x - 1 - shift) / scale, self.features, self.backbone) for x in (first, second)]
        total = first.new_zeros(len(first))
        for number, (a, b) in enumerate(zip(*pair, strict=True)):
            a, b = (x / (x.norm(dim=1, keepdim=True) + 1e-10) for x in (a, b))
            weight = self.linear[f'lin{number}.model.1.weight'].to(a)
            total = total + F.conv2d((a - b) ** 2, weight).mean((1, 2, 3))
        return total


class DISTS:
    """Deep image structure and texture distance (Ding et al. 2020) of RGB frames (B, 3, H, W) in [0, 1]: (B,).

    Args:
        features: torchvision's weights of VGG16, `vgg16-*.pth`.
        weights: alpha and beta of DISTS, its `weights.pt`.
    """

    def __init__(self, features: str | Path, weights: str | Path):
        self.features = _backbone(features, 'vgg')
        self.weights = _weights(weights, ['alpha', 'beta'], 'DISTS')

    @torch.no_grad()
    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        mean, std = (first.new_tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
        pair = [[x, *stages((x - mean) / std, self.features, 'vgg', soft_pool=True)] for x in (first, second)]
        sizes = [a.shape[1] for a in pair[0]]
        total = self.weights['alpha'].sum() + self.weights['beta'].sum()
        alphas, betas = ((self.weights[n] / total).to(first).split(sizes, 1) for n in ('alpha', 'beta'))
        similarity = first.new_zeros(len(first))
        for a, b, alpha, beta in zip(*pair, alphas, betas, strict=True):
            mean_a, mean_b = a.mean((2, 3), keepdim=True), b.mean((2, 3), keepdim=True)
            texture = (2 * mean_a * mean_b + 1e-6) / (mean_a**2 + mean_b**2 + 1e-6)
            variance_a, variance_b = (((x - m) ** 2).mean((2, 3), keepdim=True) for x, m in ((a, mean_a), (b, mean_b)))
            covariance = (a * b).mean((2, 3), keepdim=True) - mean_a * mean_b
            structure = (2 * covariance + 1e-6) / (variance_a + variance_b + 1e-6)
            similarity = similarity + (alpha * texture + beta * structure).sum((1, 2, 3))
        return 1 - similarity
