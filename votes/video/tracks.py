"""What a file holds beside its picture, and what becomes of it in another container: copied, converted or dropped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, cast

import av
from av.error import FFmpegError

from votes.video.read import is_cover
from votes.video.survey import has_content

MP4 = ('.mp4', '.m4v', '.mov')
SOUND = {**dict.fromkeys(MP4, 'aac'), '.webm': 'libopus', '.avi': 'libmp3lame', '.mkv': 'aac'}
LOSSLESS = ('pcm_', 'flac', 'alac', 'tta', 'wavpack', 'truehd', 'mlp', 'ape')
TEXT = {**dict.fromkeys(MP4, 'mov_text'), '.webm': 'webvtt', '.mkv': 'subrip'}
TEXTS = {'mov_text', 'subrip', 'srt', 'ass', 'ssa', 'webvtt', 'text', 'subviewer', 'microdvd'}
LAYOUTS = {1: 'mono', 2: 'stereo', 6: '5.1', 8: '7.1'}  # of sound that only says how many channels it has
RATES = {'libopus': (48000,), 'libmp3lame': (32000, 44100, 48000)}
MILLISECOND = Fraction(1, 1000)  # unit of the times of text
COVERS = {'mjpeg': ('jpg', 'image/jpeg'), 'png': ('png', 'image/png'), 'bmp': ('bmp', 'image/bmp')}
# said of the container, or of the old picture: not true of the new file
NOT_COPIED = {'encoder', 'major_brand', 'minor_version', 'compatible_brands', 'duration', 'rotate', 'vendor_id'}


def said(thing: Any) -> dict[str, str]:
    """The tags of a container or a stream that are true of a new file as well."""
    wanted = {k: v for k, v in thing.metadata.items() if k.lower() not in NOT_COPIED}
    return {k: v for k, v in wanted.items() if not k.startswith(('_STATISTICS', 'DURATION', 'BPS', 'NUMBER_OF_'))}


def describe_stream(stream: Any) -> str:
    """As 'audio (aac, deu)'."""
    context = stream.codec_context
    name = context.name if context is not None else getattr(stream, 'name', None) or ''
    details = [name, stream.metadata.get('language', '').replace('und', '')]
    if stream.type == 'attachment':
        details = [stream.metadata.get('filename', '')]
    kind = 'cover picture' if is_cover(stream) else 'timecode' if is_timecode(stream) else stream.type
    told = ', '.join(s for s in details if s)
    return f'{kind} ({told})' if told else kind


def is_timecode(stream: Any) -> bool:
    """A track that says the time of day, or of a tape, at which the picture begins."""
    return stream.type == 'data' and 'timecode' in stream.metadata


@dataclass
class Track:
    """One stream of the source, and what becomes of it.

    Attributes:
        index: in the source.
        about: as a user is told.
        how: 'copy'; 'convert' to `codec`; 'attach' (a cover in Matroska); 'tag' (a timecode); 'drop'.
        reason: why not 'copy'.
        refused: packets, counted from 0, that the container does not take.
        later: other things to try, in this order.
        place: index in the output, once it was written.
    """

    index: int
    about: str
    how: str = 'copy'
    codec: str = ''
    reason: str = ''
    refused: set[int] = field(default_factory=set)
    later: list[tuple[str, str]] = field(default_factory=list)
    place: int | None = None

    def fails(self, reason: str) -> None:
        """Goes on to the next thing that may be done with it."""
        self.reason = self.reason or reason
        self.refused = set()
        self.how, self.codec = self.later.pop(0) if self.later else ('drop', '')

    @property
    def line(self) -> str:
        """What a user is told."""
        if self.how == 'drop':
            return f'dropped: {self.about}: {self.reason}'
        if self.how == 'convert':
            return f'converted: {self.about} to {self.codec.removeprefix("lib")}: {self.reason}'
        less = f', without {len(self.refused)} damaged packets' if self.refused else ''
        as_what = {'attach': ', as an attachment', 'tag': ', as a tag'}.get(self.how, '')
        return f'kept: {self.about}{as_what}{less}'


def first_choice(stream: Any, suffix: str) -> Track:
    """What is tried first with a stream beside the picture, and what after that."""
    track = Track(stream.index, describe_stream(stream))
    name = stream.codec_context.name if stream.codec_context is not None else ''
    if is_cover(stream):
        if suffix == '.mkv' and name in COVERS:
            track.how = 'attach'
        elif suffix not in MP4:
            track.fails(f'{suffix} has no covers')
    elif stream.type == 'video':
        track.fails('only the first video is restored')
    elif is_timecode(stream):
        track.how = 'tag'
    elif stream.type == 'attachment' and suffix != '.mkv':
        track.fails(f'{suffix} has no attachments')
    elif stream.type == 'audio' and suffix in SOUND:
        exact = {**dict.fromkeys(MP4, 'alac'), '.mkv': 'flac'}.get(suffix) if name.startswith(LOSSLESS) else None
        track.later = [('convert', exact or SOUND[suffix])]
    elif stream.type == 'subtitle' and suffix in TEXT and name in TEXTS:
        track.later = [('convert', TEXT[suffix])]
    return track


class Copying:
    """Packets as they are; their times rise, as containers demand."""

    def __init__(self, track: Track, stream: Any, output: Any):
        self.track, self.number, self.last = track, -1, None
        self.out = output.add_stream_from_template(stream)
        _name(self.out, stream)

    def packets(self, packet: Any) -> Iterator[Any]:
        if not has_content(packet):
            return
        self.number += 1
        if self.number in self.track.refused:
            return
        if packet.dts is None:
            packet.dts = packet.pts if packet.pts is not None else (self.last if self.last is not None else -1) + 1
        if self.last is not None and packet.dts <= self.last and self.out.type != 'subtitle':
            packet.dts = self.last + 1
        if packet.pts is None or packet.pts < packet.dts:
            packet.pts = packet.dts
        self.last = packet.dts
        packet.stream = self.out
        yield packet


class Sounding:
    """Sound decoded and encoded anew; what cannot be decoded is silence."""

    def __init__(self, track: Track, stream: Any, output: Any):
        context = stream.codec_context
        allowed = RATES.get(track.codec, (context.sample_rate,))
        rate = context.sample_rate if context.sample_rate in allowed else allowed[-1]
        self.out = output.add_stream(track.codec, rate=rate)
        channels = context.layout.nb_channels
        layout = LAYOUTS.get(channels, '') if context.layout.name.endswith('channels') else context.layout.name
        layout = 'stereo' if track.codec == 'libmp3lame' and channels > 2 else layout
        self.out.codec_context.layout = layout
        if track.codec in ('aac', 'libopus', 'libmp3lame'):
            self.out.codec_context.bit_rate = 96000 * max(1, min(channels, 2 if 'mp3' in track.codec else 8))
        _name(self.out, stream)
        self.next: Fraction | None = None  # where the next frame begins, in seconds

    def packets(self, packet: Any) -> Iterator[Any]:
        try:
            frames = packet.decode()
        except FFmpegError:
            frames = []
        for frame in frames:
            given = frame.pts * frame.time_base if frame.pts is not None and frame.time_base else None
            if given is None and packet.pts is not None and self.next is None:
                given = packet.pts * packet.time_base
            if given is None or (self.next is not None and given < self.next):  # an encoder wants rising times
                given = self.next or Fraction(0)
            unit = Fraction(1, frame.sample_rate)
            frame.pts, frame.time_base = round(given / unit), unit
            self.next = (frame.pts + frame.samples) * unit
            yield from self._stamped(self.out.encode(frame))
        if not has_content(packet):
            yield from self._stamped(self.out.encode(None))

    def _stamped(self, packets: list[Any]) -> Iterator[Any]:
        for packet in packets:
            if packet.size:
                packet.stream = self.out
                yield packet


class Titling:
    """Text decoded and written in another way; styles that the other way does not have are lost."""

    def __init__(self, track: Track, stream: Any, output: Any):
        self.stream = stream
        self.encoder = cast(Any, av.CodecContext.create(track.codec, 'w'))  # stubs lack subtitle_header
        self.encoder.subtitle_header = header = stream.codec_context.subtitle_header or ASS_HEADER
        self.encoder.time_base = MILLISECOND
        self.encoder.open()
        self.out = output.add_stream(track.codec)
        self.out.codec_context.subtitle_header = header
        self.out.codec_context.time_base = self.out.time_base = MILLISECOND
        _name(self.out, stream)

    def packets(self, packet: Any) -> Iterator[Any]:
        if not packet.size or packet.pts is None:
            return
        try:
            found = self.stream.codec_context.decode2(packet)
        except FFmpegError:
            return
        if found is None or not found.rects:
            return
        made = av.Packet(bytes(self.encoder.encode_subtitle(found)))
        made.pts = made.dts = round(packet.pts * packet.time_base / MILLISECOND)
        made.duration = round((packet.duration or 0) * packet.time_base / MILLISECOND)
        made.time_base, made.stream = MILLISECOND, self.out
        yield made


ASS_HEADER = (
    b'[Script Info]\r\nScriptType: v4.00+\r\nPlayResX: 384\r\nPlayResY: 288\r\n\r\n[V4+ Styles]\r\n'
    b'Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, '
    b'Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, '
    b'MarginR, MarginV, Encoding\r\nStyle: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,'
    b'10,10,10,1\r\n\r\n[Events]\r\nFormat: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\r\n'
)


def _attach(stream: Any, output: Any) -> None:
    """A cover, or an attachment: written with the header, no packets of its own."""
    if stream.type == 'attachment':
        output.add_attachment(stream.metadata.get('filename', 'attachment'), stream.mimetype, stream.data)
        return
    suffix, kind = COVERS[stream.codec_context.name]
    with av.open(stream.container.name) as again:
        content = next(bytes(p) for p in again.demux(again.streams[stream.index]) if p.size)
    output.add_attachment(f'cover.{suffix}', kind, content)


Writer = Copying | Sounding | Titling


def writer_of(track: Track, stream: Any, output: Any) -> Writer | None:
    """Adds a track to a file that is being written; None where it has no packets: dropped, attached, or a tag.

    Raises:
        FFmpegError, ValueError: the container refuses it.
    """
    if track.how in ('drop', 'tag'):
        return None
    if track.how == 'attach' or stream.type == 'attachment':
        _attach(stream, output)
        return None
    if track.how == 'copy':
        return Copying(track, stream, output)
    return (Sounding if stream.type == 'audio' else Titling)(track, stream, output)


def _name(out: Any, stream: Any) -> None:
    out.metadata.update(said(stream))
    out.disposition = stream.disposition
