"""Frames of a test set through a network: the stream that evaluation, sheets and pages share."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from votes.archs.contract import Clip, padding_of, promise
from votes.archs.fields import padded
from votes.archs.windows import window_indices
from votes.data import VideoUVSSMTestDataset
from votes.data.ahead import ahead
from votes.data.sources import Crop
from votes.inference.stream import Shown, Stream, trial_bytes
from votes.inference.tiles import SHARE, Tile, free_bytes
from votes.inference.views import View, Views


def to_float(frames: Tensor, device: torch.device) -> Tensor:
    """uint8 -> float32 in [0, 1] on the device; floats as they are."""
    moved = frames.to(device, non_blocking=True)
    return moved.float().div_(255) if frames.dtype == torch.uint8 else moved.float()


def to_image(frame: Tensor, deep: bool = False) -> NDArray[Any]:
    """(3, H, W) in [0, 1] -> RGB (H, W, 3), rounded: uint8, or uint16 up to 65535 if `deep`."""
    values = frame.detach().clamp(0, 1).mul(65535 if deep else 255).round().permute(1, 2, 0)
    return values.cpu().numpy().astype(np.uint16) if deep else values.byte().cpu().numpy()


def restored_frames(
    stream: Stream,
    dataset: VideoUVSSMTestDataset,
    clip: str,
    wanted: Collection[int],
    piece: int | None = None,
    crop: Crop | None = None,
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Frames of a clip as a stream restores them.

    Args:
        wanted: their numbers; of a Causal network all frames before them are computed too.
        piece: frames at a time of a network that sees clips; None for the whole clip.
        crop: only this part of the frames is shown to the network, in LQ pixels.

    Returns:
        Number, restored frame (3, S*h, S*w), not clamped, LQ frame (3, h, w) in [0, 1], in order.
    """
    counted: set[int] = set()
    peak = dataset.peak(clip, getattr(stream.said.sees, 'pick', 'next'))
    for order, first in dataset.passes(clip):
        asked = {place for place in range(first, len(order)) if order[place] in wanted}
        places = {place for place in asked if order[place] not in counted and order[place] not in order[first:place]}
        counted |= {order[place] for place in places}
        if not places:
            continue
        stream.reset()
        picked = None if peak is None else (lambda place, order=order: peak(order[place]))
        views = Views(stream.said, dataset.padding, places.__contains__, piece, picked, until=max(places) + 1)
        frames: dict[int, Shown] = {}
        reading = ahead(_read(views, dataset, clip, order), 2)
        with closing(reading):  # type: ignore[type-var]
            for view, known in reading:
                frames = {i: frames[i] if i in frames else _float(known[i], stream.device, crop) for i in view.indices}
                for place, picture in zip(view.centres, stream.restore([view], frames), strict=True):
                    if place in places:
                        yield order[place], picture, frames[place]['lq'][0]


def _read(
    views: Views, dataset: VideoUVSSMTestDataset, clip: str, order: Sequence[int]
) -> Iterator[tuple[View, dict[int, Shown]]]:
    """The views of a clip in an order of its frames, with these."""
    known: dict[int, Shown] = {}
    for view in views.of(range(len(order))):
        known = {i: known[i] if i in known else dataset.shown(clip, order[i]) for i in view.indices}
        yield view, known


def _float(shown: Shown, device: torch.device, crop: Crop | None) -> Shown:
    moved = {name: to_float(x, device) if name == 'lq' else x.to(device) for name, x in shown.items()}
    if crop is None:
        return moved
    return {name: Tile(*crop).of(x) if x.dim() > 2 else x for name, x in moved.items()}


def piece_that_fits(
    net: nn.Module, device: torch.device, size: tuple[int, int], length: int
) -> tuple[int | None, str | None]:
    """How many frames at a time of a clip a network that sees clips can be shown: None for all of them.

    Returns:
        The number, and where the clip does not fit into the memory that is free, a sentence that says so.
    """
    said = promise(net)
    pixels = size[0] * size[1]
    if not isinstance(said.sees, Clip) or length * pixels <= 16 * 128**2:
        return None, None
    few, more = said.frames(4), said.frames(4) + 4
    low, high = (trial_bytes(net, device, 'none', count) for count in (few, more))
    each = max((high - low) / (more - few), 1e-9)
    room = free_bytes(device) * SHARE / pixels
    if low + (length - few) * each <= room:
        return None, None
    fitting = int((room - low) / each) + few - 2 * said.sees.context
    piece = max(1, said.sees.least - 2 * said.sees.context, fitting)
    return piece, (
        f'a clip of {length} frames of {size[1]}x{size[0]} does not fit into memory: in pieces of {piece} frames, '
        f'with {said.sees.context} before and after them'
    )


@torch.no_grad()
def degradation_map(net: nn.Module, window: Tensor, known: Tensor | None = None) -> Tensor | None:
    """The degradation map of the centre frame of a window (1, T, 3, h, w) of any size, (1, 1, h, w) in [0, 1]; None of
    a network that does not sense.

    Args:
        known: the field (1, 1, h, w) of a network whose map is made of one.
    """
    if not promise(net).senses:
        return None
    height, width = window.shape[-2:]
    more = padding_of(promise(net), height, width)
    fields = () if known is None else (padded(str(net.map_field), known, *more),)
    whole = padded('lq', window, *more)
    return cast(Tensor, net.degradation_map(whole, *fields))[..., :height, :width]  # type: ignore[operator]


def map_of_frame(
    net: nn.Module, dataset: VideoUVSSMTestDataset, clip: str, index: int, device: torch.device
) -> Tensor | None:
    """The degradation map of a frame of a test set, see `degradation_map`."""
    if not promise(net).senses:
        return None
    count = promise(net).frames()
    indices = window_indices(index, dataset.pairs.lengths[clip], count, dataset.padding)
    window = torch.cat([dataset.shown(clip, i)['lq'] for i in indices]).unsqueeze(0)
    field = getattr(net, 'map_field', None)
    known = dataset.shown(clip, index)[field].to(device) if field else None
    return degradation_map(net, to_float(window, device), known)
