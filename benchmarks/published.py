"""VOTES computed as EDVR and the release do it, for comparison: the same network without what this project saves."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest import mock

import torch

from votes.archs.parts import pcd
from votes.archs.parts.window_network import WindowNetwork


def concatenated(conv: torch.nn.Conv2d, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """A convolution of a frame's features and its centre's."""
    repeated = second.repeat_interleave(first.shape[0] // second.shape[0], 0)
    return conv(torch.cat((first, repeated), 1))


def frame_by_frame(
    net: WindowNetwork, pyramid: list[torch.Tensor], batch: int, shares: list[torch.Tensor] | None = None
) -> torch.Tensor:
    """Alignment in a loop over the window, with a look at the offsets of each."""
    windows = [level.unflatten(0, (batch, -1)) for level in pyramid]
    centre = [window[:, net.centre].clone() for window in windows]
    aligned = []
    for t in range(net.num_frame):
        aligned.append(net.pcd_align([window[:, t].clone() for window in windows], centre))
        for module in net.modules():
            offsets = getattr(module, 'offset_mean', None)
            if isinstance(offsets, torch.Tensor):
                offsets.item()
    return torch.stack(aligned, 1)


@contextlib.contextmanager
def as_published(loop: bool = False) -> Iterator[None]:
    """Convolutions of a frame and its centre are not split; with `loop`, frames are aligned one after the other."""
    with (
        mock.patch.object(pcd, 'with_second', concatenated),
        mock.patch.object(pcd, 'conv_of_pair', concatenated),
        mock.patch.object(pcd.PCDAlignment, 'shares', lambda _, frames: frames),
        mock.patch.object(WindowNetwork, 'align', frame_by_frame if loop else WindowNetwork.align),
    ):
        yield
