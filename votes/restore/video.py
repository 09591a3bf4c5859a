"""Restoring a video file: decode, windows, network, encode. Memory does not depend on the video's length."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import nn

from votes.archs.padding import forward_padded
from votes.data.windows import Padding, window_indices
from votes.errors import UserError
from votes.video.read import TimedFrame, VideoReader
from votes.video.write import VideoWriter


@dataclass
class Summary:
    """What was done."""

    frames: int
    seconds: float
    size: tuple[int, int]
    new_size: tuple[int, int]
    notes: list[str]
    output: Path

    def __str__(self) -> str:
        first = (
            f'{self.output}: {self.frames} frames, {self.size[1]}x{self.size[0]} to '
            f'{self.new_size[1]}x{self.new_size[0]}, {self.frames / max(self.seconds, 1e-9):.2f} frames/s'
        )
        return '\n'.join([first, *(f'  {note}' for note in self.notes)])


def check_paths(source: str | Path, target: str | Path, overwrite: bool = False) -> None:
    """Raises UserError where `target` must not or cannot be written; called before anything expensive starts."""
    source, target = Path(source), Path(target)
    if target.exists() and source.exists() and os.path.samefile(source, target):
        raise UserError('output and input are the same file', where=target)
    if not target.parent.is_dir():
        raise UserError('the folder of the output does not exist', where=target.parent.absolute())
    if target.is_dir():
        raise UserError('the output is a folder', where=target, fix='name a video file, such as OUT.mp4')
    if target.exists() and not overwrite:
        raise UserError('the output exists', where=target, fix='choose another name, or --overwrite')
    if not os.access(target.parent, os.W_OK):
        raise UserError('the folder of the output cannot be written to', where=target.parent.absolute())


def windows(
    frames: Iterable[TimedFrame], num_frame: int, padding: Padding = 'reflection_circle'
) -> Iterator[tuple[TimedFrame, list[TimedFrame]]]:
    """Each frame with the window around it, holding only as many frames as a window needs.

    Ends are padded as in evaluation. A video shorter than the window repeats its first and last frames instead.
    """
    kept: dict[int, TimedFrame] = {}
    read = centre = 0
    source = iter(frames)
    ended = False
    while True:
        while not ended and read < max(num_frame, centre + num_frame // 2 + 1):
            frame = next(source, None)
            if frame is None:
                ended = True
            else:
                kept[read] = frame
                read += 1
        if centre == read:
            return
        # the end is not known yet: as long as the window is inside, any larger length gives the same indices
        length = read if ended else max(read, centre + num_frame)
        if length >= num_frame:
            indices = window_indices(centre, length, num_frame, padding)
        else:
            indices = [min(max(i, 0), length - 1) for i in range(centre - num_frame // 2, centre + num_frame // 2 + 1)]
        yield kept[centre], [kept[i] for i in indices]
        centre += 1
        kept.pop(centre - num_frame, None)


def to_tensor(frames: list[TimedFrame], device: torch.device) -> torch.Tensor:
    """Frames -> (1, T, 3, h, w) float32 in [0, 1]."""
    stacked = np.stack([f.rgb for f in frames]).transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(stacked)).to(device).float().div_(255).unsqueeze(0)


@torch.inference_mode()
def restore_window(net: nn.Module, frames: list[TimedFrame], device: torch.device) -> NDArray[np.uint8]:
    """The restored centre frame, RGB uint8 (S*h, S*w, 3)."""
    output = forward_padded(net, to_tensor(frames, device))[0]
    return output.clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).cpu().numpy()


def _shown(
    items: Iterator[tuple[TimedFrame, list[TimedFrame]]], expected: int, progress: bool
) -> Iterator[tuple[TimedFrame, list[TimedFrame]]]:
    """Passes items on and shows how far it is: a bar on a terminal, else a line every ten seconds."""
    if not progress:
        yield from items
    elif sys.stdout.isatty():
        yield from track(items, 'restoring', total=expected or None)
    else:
        started = shown = time.monotonic()
        for count, item in enumerate(items):
            if time.monotonic() - shown > 10:
                shown = time.monotonic()
                print(f'frame {count}/{expected or "?"} {count / (shown - started):.2f} frames/s', flush=True)
            yield item


def restore_video(
    net: nn.Module,
    source: str | Path,
    target: str | Path,
    *,
    device: str | torch.device = 'cpu',
    crf: int = 16,
    overwrite: bool = False,
    progress: bool = True,
) -> Summary:
    """Restores a video file: every frame at its own time, audio copied.

    Args:
        net: takes windows (1, T, 3, h, w); has `num_frame`, `scale` and `multiple`.
        target: appears when it is complete.
        crf: H.264 quality of the output.

    Raises:
        UserError: the source cannot be read, or the target must not be written.
    """
    check_paths(source, target, overwrite)
    device = torch.device(device)
    net = net.to(device).eval()
    started = time.monotonic()
    scale = int(net.scale)  # type: ignore[arg-type]
    with VideoReader(source) as reader:
        size = reader.size[0] * scale, reader.size[1] * scale
        written = 0
        with VideoWriter(
            target, size, reader.rate, reader.time_base, reader.colour, crf=crf, aspect=reader.aspect, audio_from=source
        ) as writer:
            for frame, window in _shown(windows(reader, int(net.num_frame)), reader.frames_hint, progress):  # type: ignore[arg-type]
                writer.write(restore_window(net, window, device), frame.pts)
                written += 1
        notes = reader.notes + writer.notes
        if reader.corrupt:
            notes.append(f'{reader.corrupt} frames were damaged in the source')
    return Summary(written, time.monotonic() - started, reader.size, size, notes, Path(target))
