"""Networks computed as their public code does it, from the same layers and weights, for benchmarks/zoo.py.

Each entry of `PLAIN` is a context in which a class computes so. What is the same here and there has no entry.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from published import as_published
from torch import Tensor, nn

from votes.archs import (
    basicvsr_arch,
    basicvsrpp_arch,
    cavsr_arch,
    ftvsr_arch,
    iconvsr_arch,
    realbasicvsr_arch,
    realviformer_arch,
)
from votes.archs.contract import run_causal
from votes.archs.iconvsr_arch import EDVRFeatures
from votes.archs.parts.pcd import PCDAlignment
from votes.archs.rsdn_arch import Cell
from votes.archs.tdan_arch import TDAN
from votes.archs.tga_arch import GROUPS, TGA, PlaneConv
from votes.archs.toflow_arch import CENTRE, FRAMES, TOFlow
from votes.ops.warp import flow_warp
from votes.registry import NETWORKS


def two_batches(flow_net: Callable[[Tensor, Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """Flows to the frames before, then flows to the frames after."""
    earlier, later = x[:, :-1].flatten(0, 1), x[:, 1:].flatten(0, 1)
    shape = (len(x), x.shape[1] - 1)
    return flow_net(later, earlier).unflatten(0, shape), flow_net(earlier, later).unflatten(0, shape)


def frame_after_frame(compute: Callable[..., Tensor], *inputs: Tensor, at_once: int = 0) -> Tensor:
    """Reconstruction in the loop over frames, and key frames one by one; what is batched in public is batched."""
    if getattr(compute, '__name__', '') != '_restored' and not isinstance(compute, EDVRFeatures):
        return compute(*inputs)
    return torch.cat([compute(*part) for part in zip(*(x.split(1) for x in inputs), strict=True)])


CLIPS = (basicvsr_arch, basicvsrpp_arch, cavsr_arch, ftvsr_arch, iconvsr_arch, realbasicvsr_arch, realviformer_arch)


@contextlib.contextmanager
def clips() -> Iterator[None]:
    """BasicVSR and what came of it, and others that go through clips."""
    with contextlib.ExitStack() as stack:
        for module in CLIPS:
            for name, plain in (('flows_of', two_batches), ('in_pieces', frame_after_frame)):
                if hasattr(module, name):
                    stack.enter_context(mock.patch.object(module, name, plain))
        yield


def neighbour_by_neighbour(net: TDAN, centre: Tensor, features: Tensor) -> Tensor:
    """TDAN's alignment: each neighbour beside the centre through a convolution of both."""
    aligned = []
    for supporting in features.unbind(1):
        feature = net.cr(torch.cat((centre, supporting), 1))
        feature = net.dconv_1(feature, net.off2d_1(feature))
        feature = net.deconv_2(feature, net.off2d_2(feature))
        feature = net.deconv_3(supporting, net.off2d_3(feature))
        aligned.append(net.recon_lr(net.dconv(feature, net.off2d(feature))))
    return torch.stack(aligned, 1)


def pair_by_pair(net: TOFlow, frames: Tensor) -> Tensor:
    """TOFlow's alignment. In training its batch normalisation counts each pair alone, so that gradients differ."""
    centre = frames[:, CENTRE]
    warped = [
        centre if i == CENTRE else flow_warp(frames[:, i], net.spynet(centre, frames[:, i])) for i in range(FRAMES)
    ]
    return torch.stack(warped, 1)


def copied_groups(net: TGA, frames: Tensor) -> Tensor:
    """Features of three groups of three frames, the centre in each: (7*B, 3, h, w) -> (3*B*3, C, h, w)."""
    firsts, centre, lasts = frames.split([n * (len(frames) // 7) for n in (GROUPS, 1, GROUPS)])
    groups = torch.stack((firsts, centre.repeat(GROUPS, 1, 1, 1), lasts), 1).flatten(0, 1)
    y = F.relu(net.bn3d_1(net.conv3d_1(groups)))
    y = F.relu(net.bn3d_2(net.conv3d_2(y)))
    return F.relu(net.bn3d_2_1(net.conv3d_2_1(y)))


def groups_in_three_dimensions(net: TGA, features: Tensor) -> Tensor:
    return net.conv3d_2_2(features.unflatten(0, (-1, 3)).transpose(1, 2)).squeeze(2)


def in_three_dimensions(conv: PlaneConv, x: Tensor) -> Tensor:
    return nn.Conv3d.forward(conv, x.unsqueeze(2)).squeeze(2)


@contextlib.contextmanager
def groups() -> Iterator[None]:
    """TGA. In training its batch normalisation counts the centre three times, so that gradients differ."""
    with (
        mock.patch.object(TGA, 'features', copied_groups),
        mock.patch.object(TGA, 'grouped', groups_in_three_dimensions),
        mock.patch.object(PlaneConv, 'forward', in_three_dimensions),
    ):
        yield


def unfolded(cell: Cell, frame: Tensor, hidden: Tensor) -> Tensor:
    """RSDN's hidden state adaptation from nine shifted copies of the state."""
    taps = F.leaky_relu(cell.forget(frame), 0.1).unsqueeze(1)
    around = F.unfold(hidden, 3, padding=1).view(*hidden.shape[:2], 9, *hidden.shape[2:])
    return hidden * torch.sigmoid((taps * around).sum(2))


align_at_once = PCDAlignment.forward


def frame_by_frame(
    net: PCDAlignment, frames: list[Tensor], centre: list[Tensor], shares: list[Tensor] | None = None
) -> Tensor:
    """Alignment in a loop over the window, each frame beside the centre through convolutions of both."""
    windows = [level.unflatten(0, (len(centre[0]), -1)) for level in frames]
    each = range(windows[0].shape[1])
    return torch.stack([align_at_once(net, [window[:, t] for window in windows], centre) for t in each], 1).flatten(
        0, 1
    )


@contextlib.contextmanager
def aligned_windows() -> Iterator[None]:
    """Networks with EDVR's alignment in front of something else."""
    with as_published(), method(PCDAlignment, 'forward', frame_by_frame):
        yield


def stepping(name: str) -> contextlib.AbstractContextManager[None]:
    """A network that goes from frame to frame, in training too: its public code has that loop alone."""

    def forward(net: Any, x: Tensor, **fields: Any) -> Any:
        return run_causal(net, x, **fields)

    return method(NETWORKS.get(name), 'forward', forward)


@contextlib.contextmanager
def method(cls: type, name: str, plain: Callable[..., Tensor]) -> Iterator[None]:
    """A class whose method is another."""
    with mock.patch.object(cls, name, plain):
        yield


PLAIN: dict[str, Callable[[], contextlib.AbstractContextManager[None]]] = {
    **dict.fromkeys(
        ('CAVSR', 'FTVSR', 'BasicVSR', 'IconVSR', 'BasicVSRPlusPlus', 'RealBasicVSR', 'RealViformer'), clips
    ),
    **dict.fromkeys(('EDVR', 'EDVRIntra', 'PEN', 'VOTES'), lambda: as_published(loop=True)),
    **dict.fromkeys(('CVQENet', 'EDVRResUNet'), aligned_windows),
    **{name: partial(stepping, name) for name in ('CDAVSR', 'COMISR', 'FRVSR', 'RFDA', 'TMP')},
    'RSDN': lambda: method(Cell, 'adapted', unfolded),
    'TDAN': lambda: method(TDAN, 'aligned', neighbour_by_neighbour),
    'TGA': groups,
    'TOFlow': lambda: method(TOFlow, 'aligned', pair_by_pair),
}
