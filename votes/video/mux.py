"""One video file from pieces that were encoded one after the other, and everything else from the source."""

from __future__ import annotations

import contextlib
import heapq
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.error import FFmpegError

from votes.checkpoint import atomic_write
from votes.errors import UserError
from votes.video.encoders import FORMATS, RGB
from votes.video.survey import Survey
from votes.video.tracks import MP4, Track, Writer, said, writer_of

PROBLEMS = (FFmpegError, ValueError, OverflowError)


@dataclass
class Piece:
    """A video file with some of the frames.

    Attributes:
        first: time of its first frame, in ticks of the whole video; within the file times may begin anywhere.
    """

    path: Path
    first: int


@dataclass
class Shape:
    """What a container is told of the picture.

    Attributes:
        time_base: unit of the pieces' times.
        rate: frames a second, on average.
        tags: of colour, as Colour.tags gives them: pieces do not keep all of them.
        last: duration of the last frame, in ticks; 0 for that of the shortest.
        grid: seconds that all times are a whole number of, for containers with a fixed rate; None for any.
    """

    time_base: Fraction
    rate: Fraction
    tags: dict[str, int]
    last: int = 0
    grid: Fraction | None = None


@dataclass
class Source:
    """The file that was restored: everything but its picture goes into the new one.

    Attributes:
        index: its picture's stream.
        survey: of its packets.
    """

    path: Path
    index: int
    survey: Survey


@dataclass
class Plan:
    """What becomes of everything beside the picture; without a source nothing is there.

    Attributes:
        tracks: in the order of the source.
        chapters: how many there are.
        options: of the container, beside those it always gets.
        unsaid: tags of the picture's stream that the container refuses.
    """

    tracks: list[Track] = field(default_factory=list)
    chapters: int = 0
    options: dict[str, str] = field(default_factory=dict)
    unsaid: set[str] = field(default_factory=set)

    def lines(self) -> list[str]:
        """What a user is told."""
        chapters = [f'kept: {self.chapters} chapters'] if self.chapters else []
        unsaid = [f'dropped: {name} of the picture: the container refuses it' for name in sorted(self.unsaid)]
        return [*chapters, *(track.line for track in self.tracks), *unsaid]


def write(
    file: Any,
    suffix: str,
    template: Path,
    videos: Iterator[tuple[int, int, Any]],
    shape: Shape,
    source: Source | None,
    plan: Plan,
    limit: int | None = None,
) -> None:
    """Writes a container: the picture's packets with their times of display and decoding, and the tracks of the plan.

    Args:
        file: a path, or a file object.
        template: a video file with the picture's codec.
        limit: packets of each track at most.

    Raises:
        FFmpegError, ValueError: the container refuses something.
    """
    # MP4 keeps the start in ticks of the whole movie, a thousandth of a second unless told otherwise
    exact = {'movie_timescale': str(shape.time_base.denominator)} if suffix in MP4 else {}
    if suffix == '.avi':  # sound that begins a little before zero would move the picture by a whole frame
        exact = {'avoid_negative_ts': 'disabled'}
    with contextlib.ExitStack() as stack:
        output: Any = stack.enter_context(av.open(file, 'w', format=FORMATS[suffix], options=exact | plan.options))
        with av.open(str(template)) as first:
            picture: Any = output.add_stream_from_template(first.streams.video[0], opaque=True)
            picture.time_base, context = shape.grid or shape.time_base, picture.codec_context
            context.framerate = shape.rate  # else Matroska claims as many frames a second as it has ticks
            names = ['color_primaries', 'color_trc']
            for name in names if context.pix_fmt in RGB.values() else [*names, 'colorspace', 'color_range']:
                setattr(context, name, shape.tags[name])
        others: Iterator[tuple[float, Any]] = iter(())
        if source is not None:
            origin = stack.enter_context(av.open(str(source.path)))
            others = _copied(origin, output, source, plan, picture, limit)
        for _, packet in heapq.merge(_timed(videos, picture, shape), others, key=lambda item: item[0]):
            output.mux_one(packet)


def _copied(
    origin: Any, output: Any, source: Source, plan: Plan, picture: Any, limit: int | None
) -> Iterator[tuple[float, Any]]:
    """Adds the tracks of a plan and all that is said of them; gives their packets with their times in seconds."""
    output.metadata.update(said(origin))
    spoken = said(origin.streams[source.index])
    for index in (track.index for track in plan.tracks if track.how == 'tag'):
        spoken['timecode'] = origin.streams[index].metadata['timecode']
    for name in plan.unsaid:
        spoken.pop(name, None)
        output.metadata.pop(name, None)
    picture.metadata.update(spoken)
    picture.disposition = origin.streams[source.index].disposition
    if plan.chapters:
        output.set_chapters(origin.chapters())
    writers: dict[int, Writer] = {}
    for track in plan.tracks:
        writer = writer_of(track, origin.streams[track.index], output)
        if writer is not None:
            writers[track.index] = writer
            track.place = writer.out.index
    return _packets(origin, writers, source, limit)


def demuxed(origin: Any, indices: Any) -> Iterator[Any]:
    """Packets until the end, or until the file is damaged beyond reading."""
    if not indices:
        return
    with contextlib.suppress(FFmpegError):
        yield from origin.demux([origin.streams[i] for i in indices])


def _packets(origin: Any, writers: dict[int, Writer], source: Source, limit: int | None) -> Iterator[tuple[float, Any]]:
    clock = source.survey.clock()
    left = dict.fromkeys(writers, limit if limit is not None else 1 << 62)
    for packet in demuxed(origin, writers):
        index = packet.stream.index
        clock.mend(packet)
        left[index] -= 1
        if max(left.values()) < 0:
            return
        for made in writers[index].packets(packet) if left[index] >= 0 else ():
            yield float(made.dts * made.time_base), made


def assemble(pieces: Sequence[Piece], target: Path, shape: Shape, source: Source | None, plan: Plan) -> None:
    """Joins `pieces` to a video at `target`, with what the plan keeps of `source`.

    Nothing of the picture is encoded again: packets are copied. The file appears when it is complete.

    Raises:
        UserError: the container refuses the video.
        OSError: it cannot be written; the disk is full.
    """
    try:
        with atomic_write(target) as temporary:
            videos = _video_packets(pieces, shape)
            write(str(temporary), target.suffix.lower(), pieces[0].path, videos, shape, source, plan)
    except PROBLEMS as error:
        if isinstance(error, OSError) and error.errno in (28, 122, 30, 5):  # no space, quota, read-only, input/output
            raise
        raise UserError('this video cannot be written', where=target, value=error) from error


def _timed(videos: Iterator[tuple[int, int, Any]], stream: Any, shape: Shape) -> Iterator[tuple[float, Any]]:
    """Packets with their times, and a duration until the next one is shown."""
    unit = shape.grid or shape.time_base
    for pts, dts, packet in videos:
        packet.pts, packet.dts, packet.time_base, packet.stream = pts, dts, unit, stream
        yield float(dts * unit), packet


def on_grid(times: list[int], shape: Shape) -> list[int]:
    """Times in ticks -> in whole steps of the grid, none twice, for containers with a fixed rate."""
    if shape.grid is None:
        return times
    found: list[int] = []
    for pts in times:
        step = round(pts * shape.time_base / shape.grid)
        found.append(max(step, found[-1] + 1) if found else step)
    return found


def _video_packets(pieces: Sequence[Piece], shape: Shape) -> Iterator[tuple[int, int, Any]]:
    """The packets of the pieces with times of display and decoding of the whole video.

    Encoders only know their own piece: times of decoding are given anew, the times of display in rising order, late
    enough that no frame is shown before it is decoded.
    """
    shown = [_times(piece, shape.time_base) for piece in pieces]
    before = sorted(pts for times in shown for pts in times)
    order = on_grid(before, shape)
    moved = dict(zip(before, order, strict=True))
    orders = (sorted(range(len(times)), key=times.__getitem__) for times in shown)
    delay = max(i - rank for places in orders for rank, i in enumerate(places))
    step = min((b - a for a, b in itertools.pairwise(order)), default=1)
    lasting = {a: b - a for a, b in itertools.pairwise(order)}
    end = order[-1] + ((shape.last if shape.grid is None else 1) or step)
    decoded = iter([*(order[0] - step * (delay - i) for i in range(delay)), *order])
    left = len(order)
    for piece, times in zip(pieces, shown, strict=True):
        with av.open(str(piece.path)) as container:
            packets = (p for p in container.demux(video=0) if p.pts is not None)
            for packet, pts in zip(packets, times, strict=True):
                dts, left = next(decoded), left - 1
                # MP4 adds up from one time of decoding to the next: its sum has to be the end of the last frame
                packet.duration = max(
                    1, lasting.get(moved[pts], end - moved[pts]) if left else end - step * delay - dts
                )
                yield moved[pts], dts, packet


def _times(piece: Piece, time_base: Fraction) -> list[int]:
    """Times of display in the order of decoding."""
    with av.open(str(piece.path)) as container:
        unit = container.streams.video[0].time_base or time_base
        found = [packet.pts * unit for packet in container.demux(video=0) if packet.pts is not None]
    start = min(found)
    return [piece.first + round((t - start) / time_base) for t in found]
