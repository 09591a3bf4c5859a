"""What a network is shown to restore some frames of a video."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from votes.data.windows import Padding, window_indices
from votes.video.read import TimedFrame


@dataclass
class Window:
    """Frames by their number in the video.

    Attributes:
        centres: which of them are restored: one, or several next to each other by a recurrent network.
        indices: what the network sees, in this order; the ends of a video are padded as in evaluation.
    """

    centres: list[int]
    indices: list[int]
    frames: dict[int, TimedFrame]


class _Held:
    """Frames of a video from its start on, of which those asked for and later ones are held."""

    def __init__(self, frames: Iterable[TimedFrame]):
        self.source, self.frames = iter(frames), dict[int, TimedFrame]()
        self.read, self.ended = 0, False

    def until(self, number: int) -> None:
        """Reads up to and without frame `number`, as far as there are frames."""
        while not self.ended and self.read < number:
            frame = next(self.source, None)
            if frame is None:
                self.ended = True
            else:
                self.frames[self.read] = frame
                self.read += 1

    def forget(self, before: int) -> None:
        for number in [n for n in self.frames if n < before]:
            del self.frames[number]


def sliding_windows(
    frames: Iterable[TimedFrame],
    num_frame: int,
    padding: Padding = 'reflection_circle',
    wanted: Callable[[int], bool] = lambda number: True,
) -> Iterator[Window]:
    """A window around each wanted frame, holding only as many frames as a window needs.

    A video shorter than the window repeats its first and last frames instead of padding as in evaluation.
    """
    held = _Held(frames)
    centre, half = 0, num_frame // 2
    while True:
        held.until(max(num_frame, centre + half + 1))
        if centre == held.read:
            return
        if wanted(centre):
            # the end is not known yet: as long as the window is inside, any larger length gives the same indices
            length = held.read if held.ended else max(held.read, centre + num_frame)
            if length >= num_frame:
                indices = window_indices(centre, length, num_frame, padding)
            else:
                indices = [min(max(i, 0), length - 1) for i in range(centre - half, centre + half + 1)]
            yield Window([centre], indices, {i: held.frames[i] for i in indices})
        centre += 1
        held.forget(centre - num_frame + 1)


def overlapping_segments(
    frames: Iterable[TimedFrame], length: int, overlap: int, wanted: Callable[[int], bool] = lambda number: True
) -> Iterator[Window]:
    """Pieces of `length` frames for a recurrent network, with `overlap` frames of what comes before and after them."""
    held = _Held(frames)
    start = 0
    while True:
        held.until(start + length + overlap)
        stop = min(start + length, held.read)
        if start >= stop:
            return
        if any(map(wanted, range(start, stop))):
            indices = list(range(max(0, start - overlap), min(stop + overlap, held.read)))
            yield Window(list(range(start, stop)), indices, {i: held.frames[i] for i in indices})
        start += length
        held.forget(start - overlap)


def groups(windows: Iterable[Window], size: int, segment: int) -> Iterator[list[Window]]:
    """At most `size` windows of the same segment of the video, so that resuming finds the same groups."""
    group: list[Window] = []
    for window in windows:
        if group and (len(group) == size or window.centres[0] // segment != group[0].centres[0] // segment):
            yield group
            group = []
        group.append(window)
    if group:
        yield group
