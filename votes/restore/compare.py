"""Input and output of a restoration next to each other: as a video, or as a page with a slider."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from votes.archs.contract import promise
from votes.errors import UserError
from votes.reports.frames import TestSet
from votes.reports.page import write_page
from votes.reports.pictures import Pictures
from votes.reports.sheet import heat
from votes.restore.inputs import Reader, open_input
from votes.restore.settings import Settings
from votes.restore.video import restore_video
from votes.video.encoders import Encoding
from votes.video.read import Reading, VideoReader
from votes.video.write import VideoWriter, eight_bits

Image = NDArray[np.uint8]
Rows = Iterator[tuple[int, dict[str, Image]]]  # time and pictures of each restored frame, all of the output's size
KINDS = ('side', 'split', 'diff', 'dfm', 'slider')
GAIN = 4  # of differences
PICTURES = 24  # of a page


def shows_map(net: nn.Module) -> bool:
    """Whether a network makes a degradation map of nothing but frames."""
    return promise(net).senses and not promise(net).inputs


class HeatMap(nn.Module):
    """The degradation map of a network that senses, such as a DSM or a VOTES: a picture, dark where nothing was lost.

    (B, T, 3, h, w) -> (B, 3, h, w)

    Raises:
        UserError: the network does not sense.
    """

    scale, restores = 1, False

    def __init__(self, net: nn.Module):
        super().__init__()
        if not shows_map(net):
            what = f'{type(net).__name__} has no degradation map of frames alone'
            raise UserError(what, fix='weights of a DSM (stage 1) or a VOTES')
        self.net, said = net, promise(net)
        self.sees, self.multiple = said.sees, said.multiple
        colours = heat(np.arange(256).reshape(1, 256) / 255)[0]
        self.register_buffer('colours', torch.from_numpy(colours.astype(np.float32) / 255), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        dfm = cast(Any, self.net).degradation_map(x)[:, 0]
        return cast(Tensor, self.colours)[(dfm * 255).round().long()].movedim(-1, 1)


def compare(
    kind: str, source: Path, output: Path, settings: Settings, net: nn.Module, device: torch.device, overwrite: bool
) -> Path:
    """Writes ``OUTPUT_KIND.mp4`` (or .html) beside a finished output, and returns where.

    Args:
        kind: 'side' input and output; 'split' the left half of the input, the right half of the output; 'diff' input,
            output and four times their difference; 'dfm' input, degradation map, output; 'slider' a page.

    Raises:
        UserError: it exists, or the network has no degradation map.
    """
    target = output.with_name(f'{output.stem}_{kind}.' + ('html' if kind == 'slider' else 'mp4'))
    if target.exists() and not overwrite:
        raise UserError('the comparison exists', where=target, fix='--overwrite')
    as_output = Reading(rate=settings.reading.rate)
    with (
        open_input(source, settings.reading) as before,
        open_input(output, as_output) as after,
        contextlib.ExitStack() as stack,
    ):
        sensed: Reader | None = None
        if kind == 'dfm' or (kind == 'slider' and shows_map(net)):
            maps = output.with_name(f'.{output.stem}_map.mkv')
            stack.callback(maps.unlink, missing_ok=True)
            how = Settings(codec='ffv1', frames=settings.frames, reading=settings.reading)
            restore_video(HeatMap(net), source, maps, settings=how, device=device, overwrite=True, progress='none')
            sensed = stack.enter_context(VideoReader(maps, deep=True))
        rows = _rows(before, after, sensed, settings)
        if kind == 'slider':
            _page(target, rows, source, output, after.frames_hint)
        else:
            _video(target, rows, kind, before, after)
    return target


def _rows(before: Reader, after: Reader, sensed: Reader | None, settings: Settings) -> Rows:
    shown = (frame for i, frame in enumerate(before) if settings.asked_for(i))
    height, width = after.size
    maps = iter(sensed) if sensed else None
    for old, new in zip(shown, after, strict=False):
        pictures = {'input': eight_bits(old.rgb), 'output': eight_bits(new.rgb)}
        if maps is not None:
            pictures['DFM'] = eight_bits(next(maps).rgb)
        for name, image in pictures.items():
            if image.shape[:2] != (height, width):
                method = cv2.INTER_CUBIC if name == 'input' else cv2.INTER_NEAREST
                pictures[name] = np.asarray(cv2.resize(image, (width, height), interpolation=method), np.uint8)
        yield old.pts, pictures


def difference(before: Image, after: Image) -> Image:
    """Grey where they are equal, `GAIN` times as far from it as they differ."""
    return np.clip(128 + GAIN * (after.astype(np.int16) - before), 0, 255).astype(np.uint8)


def _split(pictures: dict[str, Image]) -> Image:
    left, right = pictures['input'], pictures['output'].copy()
    middle_column = right.shape[1] // 2
    right[:, :middle_column] = left[:, :middle_column]
    right[:, max(0, middle_column - 1) : middle_column + 1] = 255
    return right


LAYOUTS: dict[str, Callable[[dict[str, Image]], Image]] = {
    'side': lambda p: np.concatenate((p['input'], p['output']), 1),
    'split': _split,
    'diff': lambda p: np.concatenate((p['input'], p['output'], difference(p['input'], p['output'])), 1),
    'dfm': lambda p: np.concatenate((p['input'], p['DFM'], p['output']), 1),
}


def _video(target: Path, rows: Rows, kind: str, before: Reader, after: Reader) -> None:
    images = ((pts, LAYOUTS[kind](pictures)) for pts, pictures in rows)
    for pts, first in images:
        colour = dataclasses.replace(after.colour, full=False)
        about = target, first.shape[:2], before.rate, before.time_base, colour, Encoding(), before.aspect
        with VideoWriter(*about) as writer:
            writer.write(first, pts)
            for pts, image in images:
                writer.write(image, pts)


def _page(target: Path, rows: Rows, source: Path, output: Path, total: int) -> None:
    """The page of `votes report` with pictures spread over the video."""
    every = max(1, -(-total // PICTURES))
    pictures = Pictures(target)
    frames: list[dict[str, Any]] = []
    try:
        for i, (_, images) in enumerate(rows):
            if i % every == 0:
                images['difference'] = difference(images['input'], images['output'])
                numbers = {name: pictures.add(image) for name, image in images.items()}
                frames.append({'index': i, 'pictures': numbers, 'values': {}})
        text = f'{output.name}: one frame of {every} is shown; differences are {GAIN} times as large'
        shown = TestSet(source.name, {source.name: frames})
        write_page(target, [shown], {'title': f'{source.name} restored', 'tables': [text]}, pictures)
    finally:
        pictures.drop()
