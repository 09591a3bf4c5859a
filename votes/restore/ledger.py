"""What a restored file has not of its source: announced before the first frame, and checked when the file is there."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from votes.restore.inputs import Reader
from votes.video.colour import UNSPECIFIED
from votes.video.encoders import RGB, Encoding
from votes.video.mux import Piece, Plan, Shape, Source
from votes.video.read import VideoReader
from votes.video.rehearse import head, rehearse
from votes.video.tracks import MP4, Track, said
from votes.video.write import VideoWriter

# written anew by every container, or told in another way
TECHNICAL = {'handler_name', 'language', 'creation_time', 'timecode', 'encoder'}
ROUNDED = 0.0011  # seconds: Matroska keeps milliseconds
LATE = 0.025  # seconds: a packet of sound that only prepares the decoder is not heard, and not kept everywhere
# copied sound and pictures whose packets are packed in another way in another container
REPACKED = ('aac', 'h264', 'hevc', 'opus', 'srt', 'subrip', 'ass', 'mov_text', 'webvtt', 'flac', 'ac3', 'eac3')


@dataclass
class Announcement:
    """What was said before the first frame.

    Attributes:
        shape: what the container is told of the picture.
        losses: by kind, a line each: all in which the output may differ from its source.
    """

    plan: Plan
    shape: Shape
    losses: dict[str, str]

    def lines(self) -> list[str]:
        """What a user is told."""
        return [*self.plan.lines(), *self.losses.values()]


def announce(
    target: Path, size: tuple[int, int], reader: Reader, encoding: Encoding, source: Source | None
) -> Announcement:
    """Rehearses the output: encodes a black sample of its size and writes it with the real tracks of the source.

    Raises:
        UserError: the encoder, or the container, refuses it.
    """
    suffix = target.suffix.lower()
    shape = shape_of(suffix, reader)
    with tempfile.TemporaryDirectory(prefix='votes_rehearsal_') as folder:
        sample = Piece(Path(folder) / f'sample{".mov" if encoding.codec == "prores" else ".nut"}', 0)
        kind = np.uint16 if reader.bits > 8 else np.uint8
        with VideoWriter(
            sample.path, size, reader.rate, reader.time_base, reader.colour, encoding, reader.aspect
        ) as writer:
            for i in range(2):
                writer.write(np.zeros((*size, 3), kind), i * max(1, round(1 / (reader.rate * reader.time_base))))
        plan = rehearse(suffix, sample, shape, source) if source else Plan()
        found: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}
        for options in ({}, {'movflags': 'use_metadata_tags'}) if suffix in MP4 and source else ({},):
            plan.options = options
            path = Path(folder) / f'head{suffix}'
            head(path, sample, shape, source, plan)
            with VideoReader(path, deep=True, tolerant=True) as after:
                found[tuple(options.items())] = losses(reader, after, suffix, source, plan)
        best = min(found, key=lambda options: (len(found[options]), len(_names(found[options].get('tags', '')))))
        plan.options = dict(best)
    about = found[best] | dict(_certain(size, reader, encoding, suffix, shape, source))
    return Announcement(plan, shape, about)


def shape_of(suffix: str, reader: Reader) -> Shape:
    """What a container is told of the picture. AVI has a fixed rate: times go to whole steps of the shortest."""
    last, grid = 0, None
    rate, unit = reader.rate, reader.time_base
    if reader.survey is not None:
        last = reader.survey.streams[reader.index].last
        if suffix == '.avi':
            times = [*dict.fromkeys(reader.survey.times)]
            steps = [b - a for a, b in itertools.pairwise(times)]
            even = not steps or max(steps) - min(steps) <= max(1, round(Fraction(2, 1000) / unit))
            grid = 1 / rate if even else max(Fraction(1, 240), min(steps) * unit)
            grid = grid.limit_denominator(60060)
    elif suffix == '.avi':
        grid = 1 / rate
    return Shape(unit, rate if grid is None else 1 / grid, reader.colour.tags(), last, grid)


def _certain(
    size: tuple[int, int], reader: Reader, encoding: Encoding, suffix: str, shape: Shape, source: Source | None
) -> Iterator[tuple[str, str]]:
    """Losses that the head of a file does not show, or that have a better name."""
    for line in encoding.losses(size):
        yield 'bits' if 'bits' in line else 'chroma', line
    if reader.alpha:
        yield 'alpha', 'dropped: the opacity of pixels: networks restore colour'
    if reader.colour.full and encoding.codec == 'prores':
        yield 'range', 'full range becomes limited, values are converted: ProRes does not say its range'
    if reader.survey is None or source is None:
        return
    times = reader.survey.times
    last = float(reader.survey.streams[reader.index].last * reader.time_base)
    usual = float(1 / reader.rate)
    if suffix in ('.mkv', '.webm', '.avi') and last and abs(last - usual) > ROUNDED:
        yield 'last', f'the last frame, shown for {last:.3f} s, has no length of its own in {suffix}'
    if shape.grid is not None and len(times) > 1:
        moved = max(
            abs(float(round(t * reader.time_base / shape.grid) * shape.grid - t * reader.time_base)) for t in times
        )
        if encoding.codec == 'h264' and len({b - a for a, b in itertools.pairwise(times)}) > 1:
            moved += float(shape.grid)  # AVI has no times of display: readers guess them for codecs with B-frames
        if moved > ROUNDED:
            yield 'times', f'frames move by up to {moved * 1000:.0f} ms: .avi has a fixed rate'


def losses(before: Reader, after: VideoReader, suffix: str, source: Source | None, plan: Plan) -> dict[str, str]:
    """In what a file differs from its source, by kind: what headers and the first packets tell."""
    found = dict(_picture(before, after))
    if source is None or not isinstance(before, VideoReader):
        return found
    gone = _tags(before.container, after.container) + _tags(before.stream, after.stream, 'picture: ')
    for track in plan.tracks:
        if track.place is not None and track.how in ('copy', 'convert'):
            if track.place >= len(after.container.streams):
                found[f'track {track.index}'] = f'{track.about} is not there'
                continue
            old, new = before.container.streams[track.index], after.container.streams[track.place]
            gone += _tags(old, new, f'{track.about}: ')
            if _language(old) != _language(new):
                gone.append(f'{track.about}: language')
            if track.how == 'copy' and track.index not in found and old.type == 'audio':
                late = _begin(after, track.place) - _begin(before, track.index) - _shift(before, after)
                if abs(late) > LATE and not track.refused:
                    found[f'begin {track.index}'] = (
                        f'{track.about} begins {late * 1000:.0f} ms later against the picture'
                    )
    if gone:
        found['tags'] = f'dropped: {suffix} does not keep these tags: {", ".join(gone)}'
    here, there = (len(reader.container.chapters()) for reader in (before, after))
    if here != there:
        found['chapters'] = f'{here} chapters become {there}: {suffix} keeps no more'
    shift = _shift(before, after)
    if abs(shift) > ROUNDED:
        found['shift'] = f'all times are {shift * 1000:.0f} ms later, as {suffix} begins at zero'
    return found


def _picture(before: Reader, after: VideoReader) -> Iterator[tuple[str, str]]:
    colours, old, new = 'colours', before.colour, after.colour
    if after.bits < before.bits:
        yield 'bits', f'{before.bits} bits become {after.bits}'
    if int(after.chroma) < int(before.chroma):
        yield 'chroma', f'chroma of {":".join(before.chroma)} becomes {":".join(after.chroma)}'
    if before.alpha and not after.alpha:
        yield 'alpha', 'the opacity of pixels is gone'
    pixels: Any = after.stream.codec_context
    if pixels.pix_fmt not in RGB.values() and not (isinstance(before, VideoReader) and before.rgb):
        if new.full != old.full:
            yield 'range', f'{"full" if old.full else "limited"} range becomes {"full" if new.full else "limited"}'
        if new.matrix != old.matrix:
            yield 'matrix', f'the matrix {old.matrix} becomes {new.matrix}'
    for name in ('primaries', 'transfer'):
        a, b = getattr(old, name), getattr(new, name)
        if a not in (0, UNSPECIFIED) and a != b:
            yield name, f'{name} {a} of its {colours} become {b}'
    if (before.aspect or 1) != (after.aspect or 1):
        yield 'aspect', f'pixels of {before.aspect} become {after.aspect or 1}'
    if after.rotation:
        yield 'rotation', f'it is shown turned by {after.rotation} degrees'


def _tags(old: Any, new: Any, where: str = '') -> list[str]:
    there = {k.lower(): v for k, v in new.metadata.items()}
    lost = [
        where + name
        for name, value in said(old).items()
        if name.lower() not in TECHNICAL and there.get(name.lower(), '').strip() != value.strip()
    ]
    made = said(old).get('creation_time', '')
    if not where and made[:19] != there.get('creation_time', '')[:19]:
        lost.append('creation_time')
    return lost


def _language(stream: Any) -> str:
    return str(stream.metadata.get('language', 'und')).replace('und', '')


def _begin(reader: VideoReader, index: int) -> float:
    """When a stream's first packet is heard or seen, in seconds."""
    return (reader.survey.streams[index].first if reader.survey else None) or 0.0


def _shift(before: VideoReader, after: VideoReader) -> float:
    if not (before.survey and after.survey and before.survey.times and after.survey.times):
        return 0.0
    return float(after.survey.times[0] * after.time_base - before.survey.times[0] * before.time_base)


def check(
    announcement: Announcement, reader: Reader, target: Path, source: Source | None, frames: int
) -> dict[str, str]:
    """Reads the finished file and its source again: the differences that were not announced, by kind."""
    with contextlib.ExitStack() as stack:
        after = stack.enter_context(VideoReader(target, deep=True, tolerant=True))
        found = losses(reader, after, target.suffix.lower(), source, announcement.plan)
        assert after.survey is not None
        if len(after.survey.times) != frames:
            found['frames'] = f'{frames} frames were written, {len(after.survey.times)} are there'
        elif source is not None and isinstance(reader, VideoReader) and reader.survey and not reader.corrupt:
            found |= dict(_timing(reader, after, announcement.shape))
        for track in announcement.plan.tracks if source else ():
            found |= dict(_packets(track, source, after))
        if reader.corrupt or (reader.survey and len(reader.survey.times) != frames):
            found.pop('shift', None)  # of packets that gave no frame
    said_before = announcement.losses
    return {
        kind: line
        for kind, line in found.items()
        if kind not in said_before or (kind == 'tags' and not set(_names(line)) <= set(_names(said_before[kind])))
    }


def _names(line: str) -> list[str]:
    return line.split('these tags: ', 1)[-1].split(', ') if line else []


def _timing(before: VideoReader, after: VideoReader, shape: Shape) -> Iterator[tuple[str, str]]:
    assert before.survey is not None
    assert after.survey is not None
    old = np.array(before.survey.times) * float(before.time_base)
    new = np.array(after.survey.times) * float(after.time_base)
    if len(old) != len(new) or len(np.unique(old)) != len(old):
        return  # some of them could not be decoded, as was said, or have no times of their own
    moved = float(np.abs((new - new[0]) - (old - old[0])).max())
    if moved > ROUNDED:
        yield 'times', f'frames move by up to {moved * 1000:.1f} ms'
    slower = abs(float(after.rate / before.rate) - 1) > 0.01 and abs(1 / after.rate - 1 / before.rate) > 0.0005
    if slower and shape.grid is None:
        yield 'rate', f'{float(before.rate):.3f} frames a second become {float(after.rate):.3f}'
    was, now = (
        float(reader.survey.streams[reader.index].last * reader.time_base) if reader.survey else 0.0
        for reader in (before, after)
    )
    if was and abs(was - now) > 2 * ROUNDED:
        yield 'last', f'the last frame is shown for {now:.3f} s, not {was:.3f}'


def _packets(track: Track, source: Source | None, after: VideoReader) -> Iterator[tuple[str, str]]:
    """Of a track that was copied: as many packets, with the same content."""
    if source is None or track.how != 'copy' or track.place is None or after.survey is None:
        return
    if track.place not in after.survey.streams:
        yield f'track {track.index}', f'{track.about} is not there'
        return
    old, new = source.survey.streams[track.index], after.survey.streams[track.place]
    name = after.container.streams[track.place].name or ''
    if new.packets != old.packets - len(track.refused) and 'subtitle' not in track.about:
        yield f'track {track.index}', f'{track.about}: {old.packets} packets become {new.packets}'
    elif old.digest != new.digest and not track.refused and not name.startswith(REPACKED) and old.packets:
        yield f'track {track.index}', f'{track.about}: the content of its packets is another'
