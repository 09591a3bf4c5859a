"""RealBasicVSR: frames are cleaned before they are propagated (Chan et al., CVPR 2022)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from votes.archs.basicvsr_arch import BasicVSR
from votes.archs.contract import Clip
from votes.archs.parts.blocks import conv3x3, count_of
from votes.archs.parts.enlarging import scale_of
from votes.archs.parts.propagation import AT_ONCE, ConvResidualBlocks, basicsr_names, in_pieces
from votes.archs.parts.published import fitting

PASSES = 3  # of cleaning, at most


class RealBasicVSR(nn.Module):
    """(B, T, 3, h, w) RGB in [0, 1] -> 'out' (B, T, 3, S*h, S*w), not clamped, and 'cleaned' (B, T, 3, h, w).

    Args:
        mid_channels: channels of the features.
        num_propagation_blocks, num_cleaning_blocks: residual blocks of each direction, and of the cleaning.
        dynamic_refine_thres: cleaning goes on, three times at most, until it changes pixels by less than so many steps
            of 8 bits on average. 255: once, as in training; the authors recommend 5 for weights of adversarial training
            and 1.5 for others.
        is_fix_cleaning: the cleaning is not trained.
        is_sequential_cleaning: frames are cleaned one by one outside of training: less memory, the same numbers.
        by_clip: the average is that of each clip. False: of all clips of a batch together, as in the public code: what
            comes out for one then depends on the others. In either case pieces of a video may stop at other times than
            the whole.
        scale: 4 as published, 2 or 3.

    Keys of the state_dict are `image_cleaning.` and, under `basicvsr.`, those of BasicVSR. The flow network does not
    learn; its weights come from a file (``train.parts.flow.weights``).
    """

    sees = Clip()
    parts = {
        'cleaning': ('image_cleaning.',),
        'basicvsr': ('basicvsr.',),
        **{name: tuple(f'basicvsr.{prefix}' for prefix in prefixes) for name, prefixes in BasicVSR.parts.items()},
    }
    supervised = {'l_pix': {}, 'l_clean': {'output': 'cleaned', 'target': 'gt_small_area'}}
    small = {'mid_channels': 8, 'num_propagation_blocks': 1, 'num_cleaning_blocks': 1, 'scale': 2}

    def __init__(
        self,
        mid_channels: int = 64,
        num_propagation_blocks: int = 20,
        num_cleaning_blocks: int = 20,
        dynamic_refine_thres: float = 255,
        is_fix_cleaning: bool = False,
        is_sequential_cleaning: bool = False,
        by_clip: bool = False,
        scale: int = 4,
    ):
        super().__init__()
        self.scale, self.by_clip = scale, by_clip
        self.threshold = dynamic_refine_thres / 255
        self.at_once = 1 if is_sequential_cleaning else AT_ONCE
        self.image_cleaning = nn.Sequential(
            ConvResidualBlocks(3, mid_channels, num_cleaning_blocks), conv3x3(mid_channels, 3)
        )
        self.basicvsr = BasicVSR(mid_channels, num_propagation_blocks, scale)
        self.basicvsr.spynet.requires_grad_(False)
        self.image_cleaning.requires_grad_(not is_fix_cleaning)

    def cleaned(self, x: Tensor) -> Tensor:
        """A clip with what the cleaning adds to each frame."""
        going_on = torch.ones(len(x), 1, 1, 1, 1, dtype=torch.bool, device=x.device)
        for _ in range(PASSES):
            residue = in_pieces(self.image_cleaning, x.flatten(0, 1), at_once=self.at_once).view_as(x)
            x = x + residue * going_on
            if self.threshold >= 1:  # no mean is as large; to look at it would make the device wait
                break
            size = residue.detach().abs().mean((1, 2, 3, 4), keepdim=True)
            going_on = going_on & ((size if self.by_clip else size.mean()) >= self.threshold)
            if not going_on.any():
                break
        return x

    def forward(self, lqs: Tensor) -> dict[str, Tensor]:
        cleaned = self.cleaned(lqs)
        return {'out': self.basicvsr(cleaned), 'cleaned': cleaned}

    published_weights = staticmethod(basicsr_names)

    @classmethod
    def from_weights(cls, weights: dict[str, Tensor]) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict of this class or of mmagic; how often it cleans is not in it."""
        weights = cls.published_weights(weights)
        if not {'image_cleaning.1.weight', 'basicvsr.upconv1.weight'} <= weights.keys():
            return None
        told = {
            'mid_channels': weights['image_cleaning.1.weight'].shape[1],
            'num_propagation_blocks': count_of(weights, 'basicvsr.backward_trunk.main.2.'),
            'num_cleaning_blocks': count_of(weights, 'image_cleaning.0.main.2.'),
            'scale': scale_of({key.removeprefix('basicvsr.'): value for key, value in weights.items()}),
        }
        return fitting(cls, weights, **told)
