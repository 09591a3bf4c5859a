"""Features of VGG (Simonyan and Zisserman, ICLR 2015), by which perceptual losses compare pictures."""

from __future__ import annotations

import torch
from torch import Tensor, nn

BLOCKS = {'vgg11': (1, 1, 2, 2, 2), 'vgg13': (2, 2, 2, 2, 2), 'vgg16': (2, 2, 3, 3, 3), 'vgg19': (2, 2, 4, 4, 4)}
WIDTHS = (64, 128, 256, 512, 512)


def layer_names(vgg_type: str) -> list[str]:
    """Layers in order, as torchvision numbers them: conv1_1, relu1_1, ..., pool5; conv1_1, bn1_1, relu1_1, ... of those
    with batch normalisation.
    """
    plain = vgg_type.removesuffix('_bn')
    if plain not in BLOCKS:
        raise ValueError(f'vgg_type is one of {", ".join(BLOCKS)}, or one of these with _bn, not {vgg_type!r}')
    kinds = ('conv', 'relu') if plain == vgg_type else ('conv', 'bn', 'relu')
    names = []
    for block, count in enumerate(BLOCKS[plain], 1):
        names += [f'{kind}{block}_{number}' for number in range(1, count + 1) for kind in kinds]
        names.append(f'pool{block}')
    return names


class VGGFeatureExtractor(nn.Module):
    """RGB (B, 3, h, w) in [0, 1] -> the outputs of the layers asked for, by their names.

    Args:
        layer_name_list: conv1_1, relu1_1, ..., pool1, conv2_1, ...; convolutions are taken before their ReLU, and
            before their normalisation (bn1_1, ...) where there is one.
        vgg_type: vgg11, vgg13, vgg16 or vgg19; with batch normalisation vgg11_bn, ...
        use_input_norm: pictures are normalised as for ImageNet.
        range_norm: pictures are in [-1, 1] and brought to [0, 1] first.
        requires_grad: its weights are trained too.
        remove_pooling: no halving.
        pooling_stride: of the 2x2 maxima.

    Weights are those of torchvision's file (``features.N.weight``).
    """

    sees = None
    small = {'layer_name_list': ['conv1_2', 'relu2_1', 'pool2']}
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        layer_name_list: list[str],
        vgg_type: str = 'vgg19',
        use_input_norm: bool = True,
        range_norm: bool = False,
        requires_grad: bool = False,
        remove_pooling: bool = False,
        pooling_stride: int = 2,
    ):
        super().__init__()
        names = layer_names(vgg_type)
        unknown = [name for name in layer_name_list if name not in names]
        if unknown or not layer_name_list:
            raise ValueError(f'{vgg_type} has no layer {", ".join(unknown) or "without a name"}')
        self.layers, self.vgg_type = tuple(layer_name_list), vgg_type
        self.use_input_norm, self.range_norm = use_input_norm, range_norm
        last = max(names.index(name) for name in layer_name_list)
        self.vgg_net = nn.ModuleDict()
        channels = 3
        for before, name in zip(['', *names], names[: last + 1], strict=False):
            if name.startswith('conv'):
                width = WIDTHS[int(name[4]) - 1]
                self.vgg_net[name] = nn.Conv2d(channels, width, 3, padding=1)
                channels = width
            elif name.startswith('bn'):
                self.vgg_net[name] = nn.BatchNorm2d(channels)
            elif name.startswith('relu'):
                # in place, but not over what is asked for
                self.vgg_net[name] = nn.ReLU(inplace=before not in self.layers)
            elif not remove_pooling:
                self.vgg_net[name] = nn.MaxPool2d(2, pooling_stride)
        self.register_buffer('mean', torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(requires_grad)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        if self.range_norm:
            x = (x + 1) / 2
        if self.use_input_norm:
            x = (x - self.mean) / self.std
        found = {}
        for name, layer in self.vgg_net.items():
            x = layer(x)
            if name in self.layers:
                found[name] = x
        return found

    def published_weights(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """torchvision counts layers; its classifier and what comes after the last layer asked for are ignored."""
        names = layer_names(self.vgg_type)
        found = {}
        for key, value in weights.items():
            place, _, kind = key.removeprefix('features.').partition('.')
            if key.startswith('features.') and place.isdigit() and int(place) < len(names):
                found[f'vgg_net.{names[int(place)]}.{kind}'] = value
            elif key.startswith('vgg_net.'):
                found[key] = value
        return {key: value for key, value in found.items() if key.split('.')[1] in self.vgg_net}
