"""A gate between what two models make of a frame, as SMGF has it in the NTIRE 2021 challenge."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from votes.archs.parts.blocks import conv3x3


def gate_of(num_feat: int) -> nn.Sequential:
    """Three convolutions from both restorations and the frame to one logit a pixel."""
    return nn.Sequential(
        conv3x3(9, num_feat),
        nn.ReLU(inplace=True),
        conv3x3(num_feat, num_feat),
        nn.ReLU(inplace=True),
        conv3x3(num_feat, 1),
    )


def between(gate: nn.Module, first: Tensor, second: Tensor, frame: Tensor) -> Tensor:
    """``M * first + (1 - M) * second`` with M = sigmoid(gate(first, second, frame)), all (B, 3, H, W)."""
    mask = gate(torch.cat((first, second, frame), 1)).sigmoid()
    return mask * first + (1 - mask) * second
