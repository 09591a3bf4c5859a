"""What reading all packets of a file tells before a frame is decoded: how many there are, when, where clocks jump."""

from __future__ import annotations

import hashlib
import os
from array import array
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
from av.error import FFmpegError

# containers that are cut and joined as they are, so that a clock may start anew in the middle
JOINED = {'mpegts', 'mpeg'}
# containers whose stated length is a statement, not an estimate from what is there
STATED = ('matroska', 'mov', 'flv', 'avi')
BACK, FORWARD = 0.1, 10.0  # seconds that a clock may go back, or skip, before it counts as another one


@dataclass
class Counted:
    """One stream.

    Attributes:
        packets: those with content.
        first, end: seconds of the first time of display, and of the last end.
        last: duration of the packet that is shown last, in ticks; 0 where the file does not say.
        digest: of all content in order.
        moves: (packet, ticks): from this packet on, times are moved by so much.
    """

    packets: int = 0
    first: float | None = None
    end: float = 0.0
    last: int = 0
    digest: str = ''
    moves: list[tuple[int, int]] = field(default_factory=list)


@dataclass
class Survey:
    """All streams of a file.

    Attributes:
        streams: by index.
        times: of display of the video's frames, in ticks, sorted; made up from the rate where the file has none.
        jumps: seconds at which a clock started anew.
        broken: why the file ends early, or ''.
    """

    streams: dict[int, Counted]
    times: array[int]
    jumps: list[float]
    broken: str

    def clock(self) -> Clock:
        """For one pass over the packets."""
        return Clock({index: counted.moves for index, counted in self.streams.items()})


class Clock:
    """Moves the times of packets to one clock; every packet of a stream has to be shown to it, in order."""

    def __init__(self, moves: dict[int, list[tuple[int, int]]]):
        self.moves = {index: list(found) for index, found in moves.items() if found}
        self.seen = dict.fromkeys(self.moves, 0)
        self.now = dict.fromkeys(self.moves, 0)

    def mend(self, packet: Any) -> None:
        """Changes the times of a packet in place."""
        index = packet.stream_index
        if index not in self.moves or not has_content(packet):
            return
        left = self.moves[index]
        while left and self.seen[index] >= left[0][0]:
            self.now[index] = left.pop(0)[1]
        self.seen[index] += 1
        if packet.pts is not None:
            packet.pts += self.now[index]
        if packet.dts is not None:
            packet.dts += self.now[index]


def has_content(packet: Any) -> bool:
    """Not what a demuxer gives at the end, so that decoders empty themselves."""
    return bool(packet.size) or packet.dts is not None


class _Epochs:
    """Which clock each stream of a joined file is on, as its packets come."""

    def __init__(self) -> None:
        self.offsets: list[Fraction] = [Fraction(0)]  # of each clock
        self.at: dict[int, int] = {}  # stream -> clock
        self.expected: dict[int, Fraction] = {}  # stream -> end of its last packet, mended
        self.jumps: list[float] = []

    def offset(self, index: int, steady: bool, seconds: Fraction, length: Fraction) -> Fraction:
        """What a packet is moved by. Streams that are not `steady` (subtitles) are on the newest clock."""
        if not steady:
            return self.offsets[-1]
        at, expected = self.at.get(index, 0), self.expected.get(index)
        if expected is not None and not self._fits(seconds + self.offsets[at], expected):
            later = (i for i in range(at + 1, len(self.offsets)) if self._fits(seconds + self.offsets[i], expected))
            at = next(later, -1)
            if at < 0:
                self.offsets.append(expected - seconds)
                self.jumps.append(float(expected))
                at = len(self.offsets) - 1
            self.at[index] = at
        elif expected is None:
            self.at[index] = at
        self.expected[index] = max(seconds + self.offsets[at] + length, expected or Fraction(0))
        return self.offsets[at]

    def _fits(self, seconds: Fraction, expected: Fraction) -> bool:
        return -BACK <= seconds - expected <= FORWARD


def survey(path: Path, video: int, options: dict[str, str] | None = None, kind: str | None = None) -> Survey:
    """Reads all packets of `path`; its video is stream `video`. The last few are remembered.

    Args:
        options, kind: as for ``av.open``.
    """
    about = os.stat(path)
    return _survey(str(path), video, tuple(sorted((options or {}).items())), kind, about.st_size, about.st_mtime_ns)


@lru_cache(4)
def _survey(
    path: str, video: int, options: tuple[tuple[str, str], ...], kind: str | None, size: int, changed: int
) -> Survey:
    del size, changed  # they only tell one state of a file from another
    with av.open(path, format=kind, options=dict(options)) as container:
        streams = {s.index: Counted() for s in container.streams}
        digests = {index: hashlib.sha256() for index in streams}
        shown: list[tuple[int, int]] = []
        epochs = _Epochs() if container.format.name.split(',')[0] in JOINED else None
        unit = container.streams[video].time_base or Fraction(1, 90000)
        rate = container.streams[video].average_rate or Fraction(25)  # type: ignore[union-attr]
        broken = ''
        try:
            for packet in filter(has_content, container.demux()):
                counted, stream = streams[packet.stream_index], packet.stream
                if epochs:
                    _follow(epochs, counted, packet, stream)
                moved = counted.moves[-1][1] if counted.moves else 0
                time = packet.pts if packet.pts is not None else packet.dts
                if stream.index == video and not packet.is_discard:
                    step = max(1, round(1 / (rate * unit)))
                    shown.append(((time + moved) if time is not None else counted.packets * step, packet.duration or 0))
                if time is not None and packet.time_base:
                    begin = float((time + moved) * packet.time_base)
                    counted.first = begin if counted.first is None else min(counted.first, begin)
                    counted.end = max(counted.end, begin + float((packet.duration or 0) * packet.time_base))
                counted.packets += 1
                digests[packet.stream_index].update(bytes(packet))
        except FFmpegError as error:
            broken = str(error)
        for index, counted in streams.items():
            counted.digest = digests[index].hexdigest()[:16]
        shown.sort()
        if shown:
            streams[video].last = _last(container, video, shown[-1])
        times = array('q', (pts for pts, _ in shown))
        return Survey(streams, times, epochs.jumps if epochs else [], broken or _ends_early(container, streams))


def _last(container: Any, video: int, shown: tuple[int, int]) -> int:
    """How long the last frame is shown. MP4 counts from one time of decoding to the next, which is not that."""
    stream = container.streams[video]
    if 'mov' in container.format.name and stream.duration:
        return max(0, (stream.start_time or 0) + int(stream.duration) - shown[0])
    return shown[1]


def _follow(epochs: _Epochs, counted: Counted, packet: Any, stream: Any) -> None:
    dts = packet.dts if packet.dts is not None else packet.pts
    if dts is None or not packet.time_base:
        return
    steady = stream.type in ('video', 'audio')
    length = (packet.duration or 0) * packet.time_base
    moved = round(epochs.offset(packet.stream_index, steady, dts * packet.time_base, length) / packet.time_base)
    if moved != (counted.moves[-1][1] if counted.moves else 0):
        counted.moves.append((counted.packets, moved))


def _ends_early(container: Any, streams: dict[int, Counted]) -> str:
    """By the length that the header states, where that is more than 5 % and a tenth of a second longer."""
    name = container.format.name
    if not container.duration or not any(known in name for known in STATED):
        return ''
    stated = container.duration / av.time_base
    ends = [counted.end for counted in streams.values() if counted.packets]
    starts = [counted.first or 0.0 for counted in streams.values() if counted.packets]
    there = max(ends, default=0.0) - min(0.0, min(starts, default=0.0))
    if there < 0.95 * stated and there < stated - 0.1:
        return f'{there:.2f} s of {stated:.2f} s are there'
    return ''
