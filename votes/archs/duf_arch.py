"""DUF: deep video super-resolution using dynamic upsampling filters without explicit motion compensation (Jo et al.,
CVPR 2018).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from votes.archs.contract import Window
from votes.archs.parts.blocks import check_window, count_of, zero_
from votes.archs.parts.published import Weights, fitting, size_of

SIZES = {16: (3, 32), 28: (9, 16), 52: (21, 16)}  # layers -> dense layers that keep all frames, channels that each adds
FRAMES, TAPS = 7, 5  # of a window; of a filter on a side
REDUCTIONS = 3  # dense layers that drop the outermost frames


class DenseLayer(nn.Sequential):
    """The new channels of a dense layer: normalisation, ReLU, 1x1x1, normalisation, ReLU, 3x3x3.

    Args:
        keep: all frames stay; else the first and the last go.
    """

    def __init__(self, in_channels: int, growth: int, keep: bool, norm: dict[str, Any]):
        super().__init__(
            nn.BatchNorm3d(in_channels, **norm),
            nn.ReLU(inplace=True),
            nn.Conv3d(in_channels, in_channels, 1),
            nn.BatchNorm3d(in_channels, **norm),
            nn.ReLU(inplace=True),
            nn.Conv3d(in_channels, growth, 3, padding=(1 if keep else 0, 1, 1)),
        )


class DUF(nn.Module):
    """(B, 7, 3, h, w) RGB in [0, 1], any size -> the centre frame (B, 3, S*h, S*w), not clamped; keys of the state_dict
    as in BasicSR, variables of the authors' TensorFlow network are read.

    Every pixel of the output is a weighted sum of 5x5 pixels of the centre frame, with weights that the network finds
    for it, and a residual.

    Args:
        scale: S, 2, 3 or 4.
        num_layer: 16, 28 or 52.
        adapt_official_weights: normalisation as in the authors' network, with 1e-3 added to the variance, which their
            weights need; else PyTorch's 1e-5.
        num_feat: channels of the features, 64 in the paper; layers behind the dense ones grow with it.
        num_grow_ch: channels that a dense layer adds, in place of the paper's 32 (16 layers) or 16.
    """

    sees = Window(FRAMES)
    small = {'num_layer': 16, 'num_feat': 4, 'num_grow_ch': 4, 'scale': 2, 'adapt_official_weights': True}

    def __init__(
        self,
        scale: int = 4,
        num_layer: int = 52,
        adapt_official_weights: bool = False,
        num_feat: int = 64,
        num_grow_ch: int | None = None,
    ):
        super().__init__()
        if num_layer not in SIZES:
            raise ValueError(f'num_layer must be 16, 28 or 52, not {num_layer}')
        if scale not in (2, 3, 4):
            raise ValueError(f'scale must be 2, 3 or 4, not {scale}')
        self.scale = scale
        count, growth = SIZES[num_layer]
        growth = growth if num_grow_ch is None else num_grow_ch
        norm: dict[str, Any] = (
            {'eps': 1e-3, 'momentum': 1e-3} if adapt_official_weights else {'eps': 1e-5, 'momentum': 0.1}
        )
        widths = [num_feat + i * growth for i in range(count + REDUCTIONS + 1)]
        plane: dict[str, Any] = {'kernel_size': (1, 3, 3), 'padding': (0, 1, 1)}
        self.conv3d1 = nn.Conv3d(3, num_feat, **plane)
        keeping = [DenseLayer(width, growth, True, norm) for width in widths[:count]]
        self.dense_block1 = nn.ModuleDict({'dense_blocks': nn.ModuleList(keeping)})
        dropping = [DenseLayer(width, growth, False, norm) for width in widths[count:-1]]
        self.dense_block2 = nn.ModuleDict({f'temporal_reduce{i}': layer for i, layer in enumerate(dropping, 1)})
        self.bn3d2 = nn.BatchNorm3d(widths[-1], **norm)
        self.conv3d2 = nn.Conv3d(widths[-1], 4 * num_feat, **plane)
        self.conv3d_r1 = nn.Conv3d(4 * num_feat, 4 * num_feat, 1)
        self.conv3d_r2 = nn.Conv3d(4 * num_feat, 3 * scale**2, 1)
        self.conv3d_f1 = nn.Conv3d(4 * num_feat, 8 * num_feat, 1)
        self.conv3d_f2 = nn.Conv3d(8 * num_feat, TAPS**2 * scale**2, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight)
                zero_(module.bias)

    def features(self, x: Tensor) -> Tensor:
        """(B, 3, 7, h, w) -> (B, 4F, 1, h, w)."""
        x = self.conv3d1(x)
        for layer in self.dense_block1['dense_blocks'].children():
            x = torch.cat((x, layer(x)), 1)
        for layer in self.dense_block2.values():
            x = torch.cat((x[:, :, 1:-1], layer(x)), 1)
        return F.relu(self.conv3d2(F.relu(self.bn3d2(x), inplace=True)), inplace=True)

    def filtered(self, frame: Tensor, logits: Tensor) -> Tensor:
        """A frame (B, 3, h, w), beyond whose edges are zeros, through filters of their own for each pixel and each of
        its S * S pixels in the output, (B, 25 * S * S, h, w) before the softmax -> (B, 3 * S * S, h, w).
        """
        filters = logits.unflatten(1, (TAPS**2, -1)).softmax(1)
        windows = F.unfold(frame, TAPS, padding=TAPS // 2).unflatten(2, frame.shape[2:]).unflatten(1, (3, -1))
        return torch.einsum('bckhw,bkshw->bcshw', windows, filters).flatten(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 7, 3, h, w) -> (B, 3, S*h, S*w)."""
        check_window(x, FRAMES, 1)
        deep = self.features(x.transpose(1, 2))
        residual = self.conv3d_r2(F.relu(self.conv3d_r1(deep), inplace=True)).squeeze(2)
        logits = self.conv3d_f2(F.relu(self.conv3d_f1(deep), inplace=True)).squeeze(2)
        return F.pixel_shuffle(self.filtered(x[:, FRAMES // 2], logits) + residual, self.scale)

    @classmethod
    def published_weights(cls, weights: Weights) -> Weights:
        """Variables of the authors' TensorFlow network as the weights of this class; others as they are."""
        return _from_authors(weights) if 'G/conv1/W' in weights else weights

    @classmethod
    def from_weights(cls, weights: Weights) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict. All published weights are the authors', or made of them."""
        own = cls.published_weights(weights)
        if not {'conv3d1.weight', 'conv3d_f2.weight', 'dense_block2.temporal_reduce1.0.weight'} <= own.keys():
            return None
        count = count_of(own, 'dense_block1.dense_blocks.')
        return fitting(
            cls,
            weights,
            scale=next((s for s in (2, 3, 4) if 3 * s**2 == size_of(own, 'conv3d_r2.weight')), 4),
            num_layer=next((layers for layers, size in SIZES.items() if size[0] == count), 52),
            adapt_official_weights=True,
            num_feat=size_of(own, 'conv3d1.weight'),
            num_grow_ch=size_of(own, 'dense_block2.temporal_reduce1.5.weight'),
        )


_VARIABLES = {
    'W': 'weight',
    'b': 'bias',
    'gamma': 'weight',
    'beta': 'bias',
    'moving_mean': 'running_mean',
    'moving_variance': 'running_var',
}


def _from_authors(weights: Weights) -> Weights:
    dense = sum(key.endswith('a/W') for key in weights)
    layers = {'conv1': 'conv3d1', 'fbn1': 'bn3d2', 'conv2': 'conv3d2'}
    layers |= {f'{kind}conv{i}': f'conv3d_{kind}{i}' for kind in 'rf' for i in (1, 2)}
    for number in range(1, dense + 1):
        kept = dense - REDUCTIONS
        layer = (
            f'dense_block1.dense_blocks.{number - 1}'
            if number <= kept
            else f'dense_block2.temporal_reduce{number - kept}'
        )
        for place, name in enumerate(('Rbn{}a', 'Rconv{}a', 'Rbn{}b', 'Rconv{}b')):
            layers[name.format(number)] = f'{layer}.{(0, 2, 3, 5)[place]}'
    found = {}
    for key, value in weights.items():
        _, _, rest = key.partition('G/')
        scope, _, variable = rest.rpartition('/')
        if scope not in layers or variable not in _VARIABLES:
            continue
        if value.ndim == 5:
            value = value.permute(4, 3, 0, 1, 2).contiguous()
        if scope == 'rconv2':  # TensorFlow shuffles pixels before colours, PyTorch colours before pixels
            value = value.unflatten(0, (-1, 3)).transpose(0, 1).flatten(0, 1)
        found[f'{layers[scope]}.{_VARIABLES[variable]}'] = value
        if variable == 'moving_mean':
            found[f'{layers[scope]}.num_batches_tracked'] = torch.zeros((), dtype=torch.long)
    return found
