"""What a network is shown to restore the frames of a video, whatever its length: by what it says it sees."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from votes.archs.contract import Causal, Clip, Promise, Window, broken
from votes.archs.windows import CUT, PICKED, Padding, peak_indices, window_indices

PEAK_REACH = 64  # frames: a peak farther away shows something else


@dataclass
class View:
    """Frames by their number in the video.

    Attributes:
        centres: which of them are restored: one, or several next to each other.
        indices: what the network sees, in this order.
        frames: number -> frame, whatever a frame is to who asks.
    """

    centres: list[int]
    indices: list[int]
    frames: dict[int, Any]


@dataclass
class Views:
    """Makes views of a video's frames, each as soon as the frames that it needs are there.

    Args:
        said: what the network sees.
        padding: what stands in for frames beyond a clip's end, of windows.
        wanted: which frames are to be restored. A Causal network sees the others too.
        piece: frames at a time of a Clip network, with its `context` before and after them; None for the whole clip.
        peak: the marks of a frame by its number (archs.windows): one of those that networks pick, the first of a scene.
        start: frames before this one are not restored, not even by a Causal network, whose state is known here.
        until: nor are those from this one on, and reading ends with what is needed before it; None: to the end.

    A video shorter than a window repeats its first and last frames; one shorter than a Clip's `least` is mirrored.
    """

    said: Promise
    padding: Padding = 'reflection_circle'
    wanted: Callable[[int], bool] = lambda number: True
    piece: int | None = None
    peak: Callable[[int], int] | None = None
    start: int = 0
    until: int | None = None

    def __post_init__(self) -> None:
        self.sees, self.marks = self.said.sees, list[int]()
        self.count = self.piece if isinstance(self.sees, Clip) else 1  # centres of a view; None for all there are
        self.before = self.after = 0  # how far a view reaches beyond its centres
        if isinstance(self.sees, Window):  # at a clip's end a window reaches back over its whole length
            if self.sees.picks and self.peak is None:
                what = f'picks frames ({self.sees.pick}), and nothing says which they are'
                raise broken(self.said, what, 'no codec metadata')
            self.before = PEAK_REACH if self.sees.picks else self.sees.frames - 1
            self.after = self.sees.frames - 1 - self.sees.centre
        elif isinstance(self.sees, Clip):
            self.before = self.after = self.sees.context
        elif isinstance(self.sees, Causal):
            self.after = self.sees.look_ahead
        self.held: dict[int, Any] = {}
        self.read = self.next = 0  # frames so far; the first one that has not been centre yet
        self.ended = False

    def of(self, frames: Iterable[Any]) -> Iterator[View]:
        """All views of a video."""
        source = iter(frames)
        while self.until is None or self.next < self.until:
            while not self.ended and self.read < self._needed():
                self._read(source)
            if self.next >= self.read:
                return
            centres = list(range(self.next, min(self.next + (self.count or self.read), self.read)))
            asked = isinstance(self.sees, Causal) or any(map(self.wanted, centres))
            if asked and centres[-1] >= self.start:
                indices = self._indices(centres)
                yield View(centres, indices, {i: self.held[i] for i in indices})
            self.next += len(centres)
            for number in [n for n in self.held if n < self.next - self.before]:
                del self.held[number]

    def _read(self, source: Iterator[Any]) -> None:
        frame = next(source, None)
        if frame is None:
            self.ended = True
            return
        self.held[self.read] = frame
        if self.peak is not None:
            self.marks.append(self.peak(self.read))
        self.read += 1

    def _needed(self) -> int:
        """How many frames must be there before the next one can be a centre."""
        if self.count is None:
            return self.read + 1
        if isinstance(self.sees, Window) and self.sees.picks:
            after = self.marks[self.next + 1 :]
            enough = sum(mark & PICKED for mark in after) >= self.after or any(mark & CUT for mark in after)
            enough = enough or self.read > self.next + PEAK_REACH
            return self.next + 1 if enough else self.read + 1
        least = self.sees.frames if isinstance(self.sees, Window) else 0
        return max(least, self.next + self.count + self.after)

    def _indices(self, centres: list[int]) -> list[int]:
        sees, frame = self.sees, centres[0]
        if isinstance(sees, Window) and sees.picks:
            first = min(self.held)
            near = [self.marks[i] * (i in self.held) for i in range(first, self.read)]
            return [first + i for i in peak_indices(frame - first, near, sees.frames, sees.centre, sees.adjacent)]
        if isinstance(sees, Window):
            # the end may not be known yet: as long as the window is inside, any larger length gives the same indices
            length = self.read if self.ended else max(self.read, frame + sees.frames)
            if length >= sees.frames:
                return window_indices(frame, length, sees.frames, self.padding, sees.centre)
            wide = range(frame - sees.centre, frame - sees.centre + sees.frames)
            return [min(max(i, 0), length - 1) for i in wide]
        if isinstance(sees, Clip):
            around = range(max(0, frame - self.before), min(centres[-1] + self.after + 1, self.read))
            return mirrored(list(around), sees.least)
        return [min(frame + i, self.read - 1) for i in range(self.after + 1)]


def mirrored(indices: list[int], least: int) -> list[int]:
    """At least so many of them, by going back and forth: [0, 1, 2], 5 -> [0, 1, 2, 1, 0]."""
    there = list(indices)
    while len(indices) < least:
        there = there[::-1]
        indices = indices + (there[1:] or there)
    return indices[: max(least, len(there))]


def groups(views: Iterable[View], size: int, segment: int) -> Iterator[list[View]]:
    """At most `size` views of as many frames each and of the same segment of the video, so that resuming finds the
    same groups.
    """
    for _, alike in itertools.groupby(views, lambda view: (view.centres[0] // segment, len(view.indices))):
        while group := list(itertools.islice(alike, size)):
            yield group
