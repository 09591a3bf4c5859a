"""What a network is shown to restore the frames of a video, whatever its length: by what it says it sees."""

from __future__ import annotations

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


Wanted = Callable[[int], bool]


class Views:
    """Makes views of a video's frames as they come: push frames, take views, `flush` at the end.

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

    def __init__(
        self,
        said: Promise,
        padding: Padding = 'reflection_circle',
        wanted: Wanted = lambda number: True,
        piece: int | None = None,
        peak: Callable[[int], int] | None = None,
        start: int = 0,
        until: int | None = None,
    ):
        self.said, self.sees, self.padding, self.wanted, self.piece = said, said.sees, padding, wanted, piece
        self.peak, self.marks, self.start, self.until = peak, list[int](), start, until
        if isinstance(self.sees, Window) and self.sees.picks and peak is None:
            raise broken(said, f'picks frames ({self.sees.pick}), and nothing says which they are', 'no codec metadata')
        self.held: dict[int, Any] = {}
        self.read = 0  # frames so far
        self.next = 0  # the first frame that has not been centre yet
        self.ended = False

    def push(self, frame: Any) -> list[View]:
        """One more frame; returns the views that are complete now."""
        if self.peak is not None:
            self.marks.append(self.peak(self.read))
        self.held[self.read] = frame
        self.read += 1
        return self._ready()

    def flush(self) -> list[View]:
        """No frame follows; returns the last views."""
        self.ended = True
        return self._ready()

    def of(self, frames: Iterable[Any]) -> Iterator[View]:
        """All views of a video."""
        for frame in frames:
            yield from self.push(frame)
            if self._done():
                return
        yield from self.flush()

    def _done(self) -> bool:
        return self.until is not None and self.next >= self.until

    def _ready(self) -> list[View]:
        found: list[View] = []
        sees = self.sees
        while self.next < self.read and not self._done():
            count = 1
            if isinstance(sees, Clip):
                count = self.read if self.piece is None else self.piece
                if not self.ended and (self.piece is None or self.read < self.next + count + sees.context):
                    break
                count = min(count, self.read - self.next)
            elif not self.ended and self.read < self._needed():
                break
            centres = list(range(self.next, self.next + count))
            asked = isinstance(sees, Causal) or any(map(self.wanted, centres))
            if asked and centres[-1] >= self.start:
                indices = self._indices(centres)
                found.append(View(centres, indices, {i: self.held[i] for i in indices}))
            self.next += count
            self._forget()
        return found

    def _needed(self) -> int:
        """How many frames must be there before the next one can be a centre."""
        sees = self.sees
        if isinstance(sees, Window) and sees.pick == 'next':
            return max(sees.frames, self.next + sees.frames - sees.centre)
        if isinstance(sees, Window):
            after = self.marks[self.next + 1 :]
            enough = sum(mark & PICKED for mark in after) >= sees.frames - 1 - sees.centre
            enough = enough or any(mark & CUT for mark in after) or self.read > self.next + PEAK_REACH
            return self.read if enough else self.read + 1
        return self.next + 1 + (sees.look_ahead if isinstance(sees, Causal) else 0)

    def _indices(self, centres: list[int]) -> list[int]:
        sees, frame = self.sees, centres[0]
        if isinstance(sees, Window) and sees.picks:
            first = min(self.held)
            near = [self.marks[i] * (self.held.get(i) is not None) for i in range(first, self.read)]
            return [first + i for i in peak_indices(frame - first, near, sees.frames, sees.centre, sees.adjacent)]
        if isinstance(sees, Window):
            # the end may not be known yet: as long as the window is inside, any larger length gives the same indices
            length = self.read if self.ended else max(self.read, frame + sees.frames)
            if length >= sees.frames:
                return window_indices(frame, length, sees.frames, self.padding, sees.centre)
            wide = range(frame - sees.centre, frame - sees.centre + sees.frames)
            return [min(max(i, 0), length - 1) for i in wide]
        if isinstance(sees, Causal):
            return [min(frame + i, self.read - 1) for i in range(sees.look_ahead + 1)]
        if isinstance(sees, Clip):
            around = sees.context if self.piece is not None else 0
            return mirrored(list(range(max(0, frame - around), min(centres[-1] + around + 1, self.read))), sees.least)
        return [frame]

    def _forget(self) -> None:
        """Frames that no later view holds."""
        sees, keep = self.sees, 0
        if isinstance(sees, Window):  # at a clip's end a window reaches back over its whole length
            keep = sees.frames - 1 if sees.pick == 'next' else PEAK_REACH
        elif isinstance(sees, Clip):
            keep = sees.context
        for number in [n for n in self.held if n < self.next - keep]:
            del self.held[number]


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
    group: list[View] = []
    for view in views:
        if group and (
            len(group) == size
            or view.centres[0] // segment != group[0].centres[0] // segment
            or len(view.indices) != len(group[0].indices)
        ):
            yield group
            group = []
        group.append(view)
    if group:
        yield group
