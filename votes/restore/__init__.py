"""A trained network over a whole video.

``votes.restore(source, target, weights=...)`` is this package called as a function, `stream` its form as an iterator.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from numpy.typing import NDArray
from torch import nn

from votes.processes.devices import pick_device
from votes.restore.settings import Settings, Summary, check_paths
from votes.restore.suited import suited
from votes.restore.video import Restoration, restore_video
from votes.weights import Card, found

__all__ = ['Settings', 'Summary', 'check_paths', 'restore', 'restore_video', 'stream', 'suited']


def _network(weights: str | Path | nn.Module | None, device: str) -> tuple[nn.Module, Card | None]:
    from votes.export.hub import network_of

    if isinstance(weights, nn.Module):
        return weights, None
    path, card = found(weights)
    return network_of(path, device), card


def restore(
    source: str | Path,
    target: str | Path,
    weights: str | Path | nn.Module | None = None,
    device: str = 'auto',
    overwrite: bool = False,
    progress: str = 'none',
    **settings: Any,
) -> Summary:
    """Restores a video file: sound, subtitles, chapters and times are kept; an interrupted call goes on.

    Args:
        source: a video, or a folder of pictures.
        target: the video to write; without a suffix a folder of PNGs.
        weights: a checkpoint, a folder or hub:owner/name (see from_pretrained), OUT.onnx, the name of weights that ship
            (x2, which is the default), or a network.
        progress: 'none', 'lines', 'bar', 'json' or 'auto'.
        settings: attributes of Settings, such as crf=18, ensemble='x8', tile=512, frames=(100, 160).

    Raises:
        UserError: bad input, with what to do about it.
    """
    place = pick_device(device)
    check_paths(source, target, overwrite)
    net, card = _network(weights, str(place))
    chosen, said = suited(Settings(**settings), card, source)
    summary = restore_video(net, source, target, device=place, settings=chosen, overwrite=overwrite, progress=progress)
    summary.notes += said
    return summary


def stream(
    source: str | Path, weights: str | Path | nn.Module | None = None, device: str = 'auto', **settings: Any
) -> Iterator[tuple[float, NDArray[Any]]]:
    """The restored frames of a video one after the other, decoded and computed ahead.

    Returns:
        Seconds and RGB (S*h, S*w, 3): uint8, or uint16 up to 65535 of a video with more than 8 bits.

    Raises:
        UserError: bad input.
    """
    place = pick_device(device)
    net, card = _network(weights, str(place))
    work = Restoration(net, source, suited(Settings(**settings), card, source)[0], place)
    work.choose_tile()
    with work.open() as reader:
        for _, pts, rgb in work.results(reader, work.settings.asked_for):
            yield float(pts * reader.time_base), rgb


class _Callable(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Summary:
        return restore(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable
