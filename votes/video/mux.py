"""One video file from pieces that were encoded one after the other, and everything else from the source."""

from __future__ import annotations

import heapq
import io
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.error import FFmpegError

from votes.checkpoint import atomic_write
from votes.errors import UserError
from votes.video.encoders import FORMATS
from votes.video.read import is_cover

# said of the container, or of the old picture: not true of the new file
NOT_COPIED = {'encoder', 'major_brand', 'minor_version', 'compatible_brands', 'duration', 'rotate', 'creation_time'}


@dataclass
class Piece:
    """A video file with some of the frames.

    Attributes:
        first: time of its first frame, in ticks of the whole video; within the file times may begin anywhere.
    """

    path: Path
    first: int


@dataclass
class Copies:
    """Streams of the source beside its video.

    Attributes:
        streams: those that the container takes.
        kept, dropped: a line for each, as a user is told.
    """

    streams: list[Any]
    kept: list[str]
    dropped: list[str]


def describe_stream(stream: Any) -> str:
    """As 'audio (aac, deu)'."""
    context = stream.codec_context
    said = [context.name if context is not None else '', stream.metadata.get('language', '').replace('und', '')]
    if stream.type == 'attachment':
        said = [stream.metadata.get('filename', '')]
    kind = 'cover picture' if is_cover(stream) else stream.type
    details = ', '.join(s for s in said if s)
    return f'{kind} ({details})' if details else kind


def plan_copies(source: Any, suffix: str, video_index: int) -> Copies:
    """Which streams of an opened container can be copied into a file of this kind.

    A container tells what it refuses only when its header is written, so each stream is tried.
    """
    plan = Copies([], [], [])
    chapters = source.chapters()
    if chapters:
        plan.kept.append(f'{len(chapters)} chapters')
    for stream in source.streams:
        titles = stream.type == 'data' and chapters and stream.metadata.get('handler_name') == 'SubtitleHandler'
        if stream.index == video_index or titles:  # MP4 keeps the titles of chapters as a stream
            continue
        reason = _refusal(stream, suffix)
        if reason is None:
            plan.streams.append(stream)
            plan.kept.append(describe_stream(stream))
        else:
            plan.dropped.append(f'{describe_stream(stream)}: {reason}')
    return plan


def _refusal(stream: Any, suffix: str) -> str | None:
    if stream.type == 'video':
        return 'only the first video is restored' if not is_cover(stream) else 'not copied'
    if stream.type == 'data':
        return 'belongs to the recording device'
    if stream.type == 'attachment':
        return None if suffix == '.mkv' else f'{suffix} has no attachments'
    try:
        with av.open(io.BytesIO(), 'w', format=FORMATS[suffix]) as trial:
            trial.add_stream_from_template(stream)
            trial.start_encoding()
    except (FFmpegError, ValueError) as error:
        return f'{suffix} does not take it ({error})'
    return None


def assemble(
    pieces: Sequence[Piece],
    target: Path,
    time_base: Fraction,
    tags: dict[str, int],
    source: Path | None = None,
    video_index: int = 0,
) -> list[str]:
    """Joins `pieces` to a video at `target`, with sound, subtitles, attachments, chapters and metadata of `source`.

    Nothing is encoded again: packets are copied. The file appears when it is complete.

    Args:
        time_base: unit of the pieces' times.
        tags: of colour, as Colour.tags gives them: pieces do not keep all of them.
        video_index: the stream of `source` that the pieces replace.

    Returns:
        What was kept and what was dropped, a line each.

    Raises:
        UserError: the container refuses the video.
    """
    suffix = target.suffix.lower()
    exact = {'movie_timescale': str(time_base.denominator)} if suffix in ('.mp4', '.mov', '.m4v') else {}
    notes: list[str] = []
    origin: Any = av.open(str(source)) if source else None
    try:
        with (
            atomic_write(target) as temporary,
            av.open(str(temporary), 'w', format=FORMATS[suffix], options=exact) as output,
        ):
            with av.open(str(pieces[0].path)) as first:
                picture: Any = output.add_stream_from_template(first.streams.video[0], opaque=True)
                picture.time_base = time_base
                _tag(picture.codec_context, tags)
            others: Iterator[tuple[float, Any]] = iter(())
            if origin is not None:
                plan = plan_copies(origin, suffix, video_index)
                notes = [f'kept: {line}' for line in plan.kept] + [f'dropped: {line}' for line in plan.dropped]
                notes += _shift(plan, suffix)
                others = _copied(origin, output, plan, picture, video_index)
            videos = _video_packets(pieces, picture, time_base)
            for _, packet in heapq.merge(videos, others, key=lambda item: item[0]):
                output.mux(packet)
    except (FFmpegError, ValueError) as error:
        raise UserError('this video cannot be written', where=target, value=error) from error
    finally:
        if origin is not None:
            origin.close()
    return notes


def _tag(context: Any, tags: dict[str, int]) -> None:
    context.color_primaries, context.color_trc = tags['color_primaries'], tags['color_trc']
    if context.pix_fmt not in ('bgr0', 'gbrp10le'):
        context.colorspace, context.color_range = tags['colorspace'], tags['color_range']


def _shift(plan: Copies, suffix: str) -> list[str]:
    """Sound often begins a little before zero, which Matroska does not know: everything moves together."""
    starts = [s.start_time * s.time_base for s in plan.streams if s.start_time is not None and s.time_base]
    if suffix in ('.mkv', '.webm') and min(starts, default=0) < 0:
        return [f'all times are {float(-min(starts)) * 1000:.0f} ms later, as {suffix} knows none before zero']
    return []


def _copied(origin: Any, output: Any, plan: Copies, picture: Any, video_index: int) -> Iterator[tuple[float, Any]]:
    """Adds the streams of `plan` and all that is said of them; gives their packets with their times in seconds."""
    output.metadata.update(_said(origin))
    picture.metadata.update(_said(origin.streams[video_index]))
    picture.disposition = origin.streams[video_index].disposition
    output.set_chapters(origin.chapters())
    here: dict[int, Any] = {}
    for stream in plan.streams:
        if stream.type == 'attachment':
            output.add_attachment(stream.metadata.get('filename', 'attachment'), stream.mimetype, stream.data)
            continue
        copy = output.add_stream_from_template(stream)
        copy.metadata.update(_said(stream))
        copy.disposition = stream.disposition
        here[stream.index] = copy
    return _packets(origin, here)


def _packets(origin: Any, here: dict[int, Any]) -> Iterator[tuple[float, Any]]:
    if not here:
        return
    for packet in origin.demux([origin.streams[i] for i in here]):
        if packet.dts is None:
            continue
        seconds = float(packet.dts * packet.time_base)
        packet.stream = here[packet.stream.index]
        yield seconds, packet


def _said(thing: Any) -> dict[str, str]:
    wanted = {k: v for k, v in thing.metadata.items() if k.lower() not in NOT_COPIED}
    return {k: v for k, v in wanted.items() if not k.startswith('_STATISTICS') and not k.startswith('DURATION')}


def _video_packets(pieces: Sequence[Piece], stream: Any, time_base: Fraction) -> Iterator[tuple[float, Any]]:
    """The packets of the pieces with times of the whole video.

    Encoders only know their own piece: times of decoding are given anew, the times of display in rising order, late
    enough that no frame is shown before it is decoded.
    """
    shown = [_times(piece, time_base) for piece in pieces]
    order = sorted(pts for times in shown for pts in times)
    delay = max(i - rank for times in shown for i, rank in enumerate(_ranks(times)))
    step = min((b - a for a, b in itertools.pairwise(order)), default=1)
    lasting = {a: b - a for a, b in itertools.pairwise(order)}
    decoded = iter([*(order[0] - step * (delay - i) for i in range(delay)), *order])
    for piece, times in zip(pieces, shown, strict=True):
        with av.open(str(piece.path)) as container:
            packets = (p for p in container.demux(video=0) if p.pts is not None)
            for packet, pts in zip(packets, times, strict=True):
                packet.pts, packet.dts, packet.time_base = pts, next(decoded), time_base
                packet.duration = lasting.get(pts, step)
                packet.stream = stream
                yield float(packet.dts * time_base), packet


def _times(piece: Piece, time_base: Fraction) -> list[int]:
    """Times of display in the order of decoding."""
    with av.open(str(piece.path)) as container:
        unit = container.streams.video[0].time_base or time_base
        found = [packet.pts * unit for packet in container.demux(video=0) if packet.pts is not None]
    start = min(found)
    return [piece.first + round((t - start) / time_base) for t in found]


def _ranks(times: list[int]) -> list[int]:
    place = {pts: i for i, pts in enumerate(sorted(times))}
    return [place[pts] for pts in times]
