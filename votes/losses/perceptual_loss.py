"""Losses on features of VGG (Johnson et al., ECCV 2016; style: Gatys et al., CVPR 2016)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from votes.archs.vgg_arch import VGGFeatureExtractor
from votes.checkpoint import load_network
from votes.errors import UserError

# where BasicSR looks for them, under torchvision's names
FOLDER = './experiments/pretrained_models'
WEIGHTS = {
    'vgg11': f'{FOLDER}/vgg11-8a719046.pth',
    'vgg11_bn': f'{FOLDER}/vgg11_bn-6002323d.pth',
    'vgg13': f'{FOLDER}/vgg13-19584684.pth',
    'vgg13_bn': f'{FOLDER}/vgg13_bn-abd245e5.pth',
    'vgg16': f'{FOLDER}/vgg16-397923af.pth',
    'vgg16_bn': f'{FOLDER}/vgg16_bn-6c64b313.pth',
    'vgg19': f'{FOLDER}/vgg19-dcbb9e9d.pth',
    'vgg19_bn': f'{FOLDER}/vgg19_bn-c79401a0.pth',
}


class PerceptualLoss(nn.Module):
    """``perceptual_weight * sum_k w_k D(F_k(x), F_k(gt))``, and the same of Gram matrices times `style_weight`.

    Args:
        layer_weights: layer of VGG (see VGGFeatureExtractor) -> w.
        vgg_type: which VGG, see there; with batch normalisation it is the one of evaluation.
        use_input_norm: pictures are normalised as for ImageNet.
        range_norm: pictures are in [-1, 1].
        perceptual_weight, style_weight: 0 for no such term.
        criterion: D: 'l1' or 'l2' (means), or 'fro', the Frobenius norm of the whole batch.
        vgg_weights: torchvision's file with the weights; unless told where BasicSR has it,
            experiments/pretrained_models/vgg19-dcbb9e9d.pth. Nothing is downloaded.

    Raises:
        UserError: there is no such file, or it holds other weights.
    """

    def __init__(
        self,
        layer_weights: dict[str, float],
        vgg_type: str = 'vgg19',
        use_input_norm: bool = True,
        range_norm: bool = False,
        perceptual_weight: float = 1.0,
        style_weight: float = 0.0,
        criterion: Literal['l1', 'l2', 'fro'] = 'l1',
        vgg_weights: str | None = None,
    ):
        super().__init__()
        if criterion not in ('l1', 'l2', 'fro'):
            raise ValueError(f"criterion is 'l1', 'l2' or 'fro', not {criterion!r}")
        self.layer_weights, self.criterion = layer_weights, criterion
        self.perceptual_weight, self.style_weight = perceptual_weight, style_weight
        self.vgg = VGGFeatureExtractor(list(layer_weights), vgg_type, use_input_norm, range_norm)
        path = vgg_weights or WEIGHTS.get(vgg_type)
        if path is None or not Path(path).is_file():
            raise UserError(
                f'a perceptual loss compares features of {vgg_type}, whose weights are not there',
                where='vgg_weights',
                value=path,
                fix="torchvision's file of this network, at that place or named by vgg_weights in the loss's options",
            )
        load_network(self.vgg, path)
        self.vgg.eval()

    def forward(self, x: Tensor, gt: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Pictures (B, 3, H, W) -> the perceptual and the style term; None for one whose weight is 0."""
        with torch.autocast(x.device.type, enabled=False):
            ours = self.vgg(x.float())
            with torch.no_grad():
                theirs = self.vgg(gt.float())
            perceptual = style = None
            if self.perceptual_weight:
                perceptual = self.perceptual_weight * self._sum(ours, theirs)
            if self.style_weight:
                grams = ({name: gram(value) for name, value in features.items()} for features in (ours, theirs))
                style = self.style_weight * self._sum(*grams)
            return perceptual, style

    def _sum(self, ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> Tensor:
        return torch.stack(
            [w * self._distance(ours[name] - theirs[name]) for name, w in self.layer_weights.items()]
        ).sum()

    def _distance(self, difference: Tensor) -> Tensor:
        if self.criterion == 'fro':
            return torch.linalg.vector_norm(difference)
        return difference.abs().mean() if self.criterion == 'l1' else difference.square().mean()


def gram(features: Tensor) -> Tensor:
    """``F F^T / (c h w)``: (B, c, h, w) -> (B, c, c)."""
    flat = features.flatten(2)
    return flat @ flat.transpose(1, 2) / flat[0].numel()
