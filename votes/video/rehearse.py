"""A mux before the first frame: what a container takes of everything beside the picture, found out by writing it."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
from av.error import FFmpegError

from votes.errors import UserError
from votes.video.encoders import FORMATS
from votes.video.mux import PROBLEMS, Piece, Plan, Shape, Source, demuxed, on_grid, write
from votes.video.survey import Survey
from votes.video.tracks import Track, Writer, first_choice, is_timecode, writer_of

HEAD = 40  # packets of each track in a file that is read again


class Nowhere:
    """A file that forgets what is written."""

    name = ''

    def __init__(self) -> None:
        self.position = self.size = 0

    def write(self, content: bytes) -> int:
        self.position += len(content)
        self.size = max(self.size, self.position)
        return len(content)

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = 0) -> int:
        self.position = offset + (0, self.position, self.size)[whence]
        return self.position


def rehearse(suffix: str, sample: Piece, shape: Shape, source: Source) -> Plan:
    """Writes the whole file into nowhere: every packet of the source, and a sample of the picture at its times.

    A container tells what it refuses when its header is written, or at the packet that it refuses; each track is tried
    alone, as a copy, then converted, then all of them together.
    """
    plan = Plan()
    with av.open(str(source.path)) as origin:
        plan.chapters = len(origin.chapters())
        titles = {s.index for s in origin.streams if plan.chapters and _is_titles(s)}  # MP4 keeps chapters' as a stream
        others = [s for s in origin.streams if s.index != source.index and s.index not in titles]
        plan.tracks = [first_choice(s, suffix) for s in others]
    trying = [track for track in plan.tracks if track.how not in ('drop', 'tag')]
    while trying:
        trying = _alone(suffix, trying, source)
    _together(suffix, sample, shape, source, plan)
    return plan


def _is_titles(stream: Any) -> bool:
    return stream.type == 'data' and stream.metadata.get('handler_name') == 'SubtitleHandler'


def _alone(suffix: str, tracks: list[Track], source: Source) -> list[Track]:
    """Writes each track into a file of its own; gives those that failed and can be tried in another way."""
    with av.open(str(source.path)) as origin, contextlib.ExitStack() as stack:
        outputs: dict[int, tuple[Track, Any, Writer]] = {}
        failed: dict[int, str] = {}
        for track in tracks:
            try:
                output = av.open(Nowhere(), 'w', format=FORMATS[suffix])  # type: ignore[call-overload]
                stack.callback(_closed, output)
                writer = writer_of(track, origin.streams[track.index], output)
                if writer is not None:
                    output.start_encoding()
                    outputs[track.index] = track, output, writer
            except PROBLEMS as error:
                failed[track.index] = f'{suffix} does not take it ({_short(error)})'
        _write_alone(origin, outputs, failed, source)
    for track in tracks:
        if track.index in failed:
            track.fails(failed[track.index])
    return [track for track in tracks if track.index in failed and track.how != 'drop']


def _write_alone(
    origin: Any, outputs: dict[int, tuple[Track, Any, Writer]], failed: dict[int, str], source: Source
) -> None:
    numbers = dict.fromkeys(outputs, -1)
    clock = source.survey.clock()
    for packet in demuxed(origin, outputs):
        index = packet.stream.index
        if index in failed:
            continue
        track, output, writer = outputs[index]
        clock.mend(packet)
        numbers[index] += 1
        try:
            for made in writer.packets(packet):
                output.mux_one(made)
        except PROBLEMS as error:
            track.refused.add(numbers[index])
            few = len(track.refused) <= max(3, source.survey.streams[index].packets // 20)
            if track.how != 'copy' or not few or not numbers[index]:
                failed[index] = f'it cannot be written into {output.format.name} ({_short(error)})'


def _closed(output: Any) -> None:
    with contextlib.suppress(*PROBLEMS):
        output.close()


def _short(error: Exception) -> str:
    text = error.strerror if isinstance(error, FFmpegError) and error.strerror else str(error)
    return text.split(';')[0].strip().rstrip('.')


def _together(suffix: str, sample: Piece, shape: Shape, source: Source, plan: Plan) -> None:
    """All tracks in one file; what spoils it is dropped, one after the other from the end."""
    spoilt = _refusal(suffix, sample, shape, source, plan)
    if spoilt and _timecodes(source):  # a tag that makes containers write a track of their own
        plan.unsaid = {'timecode'}
        spoilt = _refusal(suffix, sample, shape, source, plan)
        for track in plan.tracks:
            if track.how == 'tag':
                track.fails('the container refuses it')
    while spoilt:
        there = [track for track in plan.tracks if track.how not in ('drop', 'tag')]
        if not there:
            raise UserError('the container refuses this video', value=spoilt, fix='another suffix, such as .mkv')
        for track in reversed(there):
            before = dataclasses.replace(track, later=[*track.later])
            while track.how != 'drop':
                track.fails(f'not together with the others ({spoilt})')
                if not _refusal(suffix, sample, shape, source, plan):
                    return
            if track is not there[0]:
                vars(track).update(vars(before))


def _timecodes(source: Source) -> bool:
    with av.open(str(source.path)) as origin:
        return 'timecode' in origin.streams[source.index].metadata or any(map(is_timecode, origin.streams))


def _refusal(suffix: str, sample: Piece, shape: Shape, source: Source, plan: Plan) -> str:
    """Why the whole file cannot be written, or ''."""
    try:
        write(Nowhere(), suffix, sample.path, _sampled(sample, shape, source.survey), shape, source, plan)
    except PROBLEMS as error:
        return _short(error)
    return ''


def head(path: Path, sample: Piece, shape: Shape, source: Source | None, plan: Plan) -> None:
    """Writes the beginning of the file that will be, to be read again."""
    times = source.survey if source else None
    videos = itertools.islice(_sampled(sample, shape, times), HEAD)
    write(str(path), path.suffix, sample.path, videos, shape, source, plan, HEAD)


def _sampled(sample: Piece, shape: Shape, survey: Survey | None) -> Iterator[tuple[int, int, Any]]:
    """The first packet of a piece, again and again, at the times of the source."""
    with av.open(str(sample.path)) as container:
        content = next(bytes(p) for p in container.demux(video=0) if p.size)
    step = max(1, round(1 / (shape.rate * shape.time_base)))
    times = dict.fromkeys(survey.times) if survey and survey.times else range(0, HEAD * step, step)
    for pts in on_grid(list(times), shape):
        packet = av.Packet(content)
        packet.is_keyframe = True
        yield pts, pts, packet
