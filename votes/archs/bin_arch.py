"""BIN, the backbone of the degradation sensing module (DSM).

Shen et al., "Blurry Video Frame Interpolation", CVPR 2020, used at the input's size as in VOTES (ACM MM 2022, 3.2).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from votes.archs.contract import Window
from votes.archs.parts.blocks import check_window, conv3x3, count_of, one_by_one
from votes.archs.parts.dense import ResidualDenseTrunk
from votes.archs.parts.dfm import MapNorm, degradation_feature_map
from votes.archs.parts.window_memory import PairEstimates


class ResidualDenseNetwork(ResidualDenseTrunk):
    """F_B: an estimate of what lies between two frames, worked out at half size.

    (B, 6, h, w), two frames -> (B, 3, h, w); h and w even.
    """

    def __init__(self, num_feat: int, num_block: int, num_layer: int, growth: int):
        super().__init__(nn.Conv2d(24, num_feat, 5, 1, 2), num_block, num_layer, growth)
        self.UPNet = nn.Sequential(conv3x3(num_feat, num_feat * 4), nn.PixelShuffle(2), conv3x3(num_feat, 3))

    def forward(self, pair: Tensor) -> Tensor:
        return self.UPNet(self.features(F.pixel_unshuffle(pair, 2))) + (pair[:, :3] + pair[:, 3:]) / 2


class BIN(nn.Module):
    """Degradation sensing module: estimates of the undamaged frames from their neighbours (paper, equations 2 to 4).

    ``z_{t-1} = F_B1(x_{t-2}, x_t)``, ``z_{t+1} = F_B1(x_t, x_{t+2})``, ``z_t = F_B2(z_{t-1}, z_{t+1})``

    Args:
        num_feat: channels (G0 of residual dense networks).
        num_block: residual dense blocks in each of F_B1 and F_B2 (D).
        num_layer: dense layers in a block (C).
        num_grow_ch: channels that a layer adds (G).
    """

    sees = Window(5)
    multiple = 2
    senses, restores = True, False
    # stage 1: the sum of the losses of z_{t-1}, z_t and z_{t+1}
    supervised = {
        'l_previous': {'output': 'previous', 'target': 'gt_small', 'frame': -1},
        'l_centre': {'output': 'out', 'target': 'gt_small'},
        'l_next': {'output': 'following', 'target': 'gt_small', 'frame': 1},
    }
    small = {'num_feat': 4, 'num_block': 1, 'num_layer': 1, 'num_grow_ch': 2}

    def __init__(self, num_feat: int = 64, num_block: int = 6, num_layer: int = 4, num_grow_ch: int = 32):
        super().__init__()
        sizes, names = (num_feat, num_block, num_layer, num_grow_ch), ('model1_1', 'model2_1')  # those of the release
        self.model = nn.ModuleDict({name: ResidualDenseNetwork(*sizes) for name in names})

    def sense_pair(self, first: Tensor, second: Tensor) -> Tensor:
        """F_B1: the frame between two frames that are two apart, (B, 3, h, w)."""
        return one_by_one(self, lambda pair: [self.model['model1_1'](pair)], torch.cat((first, second), 1))[0]

    def sense_centre(self, previous: Tensor, following: Tensor) -> Tensor:
        """F_B2: the centre frame from the estimates on both sides of it, (B, 3, h, w)."""
        return self.model['model2_1'](torch.cat((previous, following), 1))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(B, 5, 3, h, w) in [0, 1] -> 'previous' z_{t-1}, 'following' z_{t+1} and 'out' z_t, each (B, 3, h, w), not
        clamped.
        """
        check_window(x, 5, self.multiple)
        previous, following = (
            self.sense_pair(x[:, (0, 2)].flatten(0, 1), x[:, (2, 4)].flatten(0, 1)).unflatten(0, (-1, 2)).unbind(1)
        )
        return {'out': self.sense_centre(previous, following), 'previous': previous, 'following': following}

    @torch.no_grad()
    def degradation_map(self, x: Tensor, norm: MapNorm = 'sample') -> Tensor:
        """The DFM of the centre frame of windows (B, 5, 3, h, w): (B, 1, h, w) in [0, 1]."""
        return degradation_feature_map(self(x)['out'], x[:, 2], norm)

    @property
    def sensor(self) -> BIN:
        """The module whose estimates a degradation map is made of."""
        return self

    def pair_estimates(self) -> PairEstimates:
        """What estimates the frames of a video, see PairEstimates."""
        return PairEstimates(self.sense_pair, self.sense_centre)

    @classmethod
    def from_weights(cls, weights: dict[str, Tensor], prefix: str = '') -> dict[str, int] | None:
        """Constructor arguments told by a state_dict whose keys of a BIN begin with `prefix`."""
        rdn = f'{prefix}model.model1_1.'
        if f'{rdn}SFENet1.weight' not in weights:
            return None
        return {
            'num_feat': weights[f'{rdn}SFENet1.weight'].shape[0],
            'num_block': count_of(weights, f'{rdn}RDBs.'),
            'num_layer': count_of(weights, f'{rdn}RDBs.0.convs.'),
            'num_grow_ch': weights[f'{rdn}RDBs.0.convs.0.conv.0.weight'].shape[0],
        }
