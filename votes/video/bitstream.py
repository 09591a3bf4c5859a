"""What the bitstream of a video says about how it was made: types, quantisers, references, filters, the encoder."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from av.error import FFmpegError

from votes.errors import UserError, explained
from votes.video.headers import h264, hevc, vp9
from votes.video.headers.bits import in_avc_record, in_hevc_record, units
from votes.video.metadata import TYPES, quantisers
from votes.video.read import VideoReader

NO_QP = {
    'hevc': 'HEVC: quantisers of slices; how far blocks go from them is not decoded',
    'vp9': 'VP9: indices of quantisers (0 to 255) of whole frames, in no unit of H.264',
    'other': 'quantisers, references and filters are read for H.264, HEVC and VP9 alone',
}


@dataclass
class CodedFrame:
    """A frame that is shown.

    Attributes:
        type: 'I', 'P', 'B' or '?'.
        bytes: compressed, frames that are never shown and come with it included.
        qp: mean of its blocks (H.264), of its slice (HEVC), index of the frame (VP9); None where not known.
        spread: standard deviation of its blocks' quantisers: above 0 with adaptive quantisation (H.264 alone).
        key: decoding can begin here.
        referenced: other frames may be predicted from it; None where not known.
    """

    type: str
    bytes: int
    qp: float | None = None
    spread: float | None = None
    key: bool = False
    referenced: bool | None = None


@dataclass
class Bitstream:
    """A video's stream. Frames are in the order in which they are shown.

    Attributes:
        size: H and W as shown.
        rate: frames a second.
        references: most pictures that one may be predicted from; None where not known.
        deblocking: 'on', 'off', or the two offsets; None where not known.
        encoder: the text that an encoder left; ''.
        settings: of that text, name -> value.
        hidden: coded frames that are never shown (VP9).
        unknown: what this codec's stream does not say here, a sentence each.
    """

    codec: str
    profile: str
    level: float | None
    size: tuple[int, int]
    rate: float
    pix_fmt: str
    frames: list[CodedFrame]
    references: int | None = None
    deblocking: str | None = None
    encoder: str = ''
    settings: dict[str, str] = field(default_factory=dict)
    features: dict[str, Any] = field(default_factory=dict)
    hidden: int = 0
    unknown: list[str] = field(default_factory=list)

    @property
    def types(self) -> str:
        return ''.join(frame.type for frame in self.frames)

    @property
    def keys(self) -> list[int]:
        """Which frames are key frames."""
        return [number for number, frame in enumerate(self.frames) if frame.key]

    @property
    def gop(self) -> int | None:
        """Frames from key frame to key frame at most; None where no second one was seen."""
        gaps = np.diff(self.keys)
        return int(gaps.max()) if len(gaps) else None

    @property
    def bframes(self) -> int:
        """Most B-frames in a row."""
        return max((len(run) for run in re.findall('B+', self.types)), default=0)

    @property
    def pyramid(self) -> bool | None:
        """B-frames are predicted from B-frames; None without B-frames or where not known."""
        said = [frame.referenced for frame in self.frames if frame.type == 'B']
        return None if not said or None in said else any(said)

    @property
    def qp(self) -> float | None:
        """Mean quantiser of all frames."""
        found = [frame.qp for frame in self.frames if frame.qp is not None]
        return float(np.mean(found)) if found else None

    def qp_of(self, kind: str) -> list[float]:
        """Quantisers of all frames of a type."""
        return [frame.qp for frame in self.frames if frame.type == kind and frame.qp is not None]

    @property
    def kbps(self) -> float:
        return 8 * sum(frame.bytes for frame in self.frames) * self.rate / len(self.frames) / 1000


def read_bitstream(path: str | Path, limit: int | None = None) -> Bitstream:
    """What a video file's stream says.

    Args:
        limit: of frames; None for all.

    Raises:
        UserError: see VideoReader; or the video breaks off.
    """
    with VideoReader(path, threads=1) as reader:
        context: Any = reader.stream.codec_context
        codec = str(context.name).removeprefix('lib').removesuffix('-vp9').replace('vpx', 'vp9')
        read = {'h264': _read_h264, 'hevc': _read_hevc, 'vp9': _read_vp9}.get(codec, _read_other)
        about = Bitstream(
            codec, str(context.profile or ''), None, reader.size, float(reader.rate), str(context.pix_fmt), []
        )
        with explained('the video breaks off', FFmpegError, OSError, where=path):
            read(reader, about, limit)
        about.features['matrix'] = reader.colour.matrix
        tag = reader.stream.metadata.get('encoder') or reader.container.metadata.get('encoder') or ''
    if not about.frames:
        raise UserError('no frame can be decoded', where=path)
    about.features['container_encoder'] = tag
    if about.encoder:
        about.settings = settings_of(about.encoder)
    return about


def settings_of(text: str) -> dict[str, str]:
    """Name -> value of the text that x264 or x265 leave: 'options: cabac=1 ref=3 ...'; flags are '1', no-flags '0'."""
    body = text.split('options:', 1)[-1]
    found = dict(re.findall(r'([\w-]+)=([^\s]+)', body))
    for word in body.split() if 'x265' in text else ():
        if '=' not in word:
            found[word.removeprefix('no-')] = '0' if word.startswith('no-') else '1'
    return found


def _packets(reader: VideoReader, about: Bitstream, limit: int | None) -> Iterator[Any]:
    """Packets with content, and the empty one after the last; measures the rate from their times."""
    times = []
    for packet in reader.container.demux(reader.stream):
        yield packet
        if packet.size:
            times.append(packet.pts)
        if limit is not None and len(times) >= limit + 16:  # frames are shown in another order than they come
            break
    known = [time for time in times if time is not None]
    if len(known) == len(times) > 1 and max(known) > min(known) and reader.stream.time_base:
        about.rate = (len(known) - 1) / float((max(known) - min(known)) * reader.stream.time_base)


def _sorted(rows: list[tuple[int | None, CodedFrame]], about: Bitstream, limit: int | None) -> None:
    """Frames by the time at which they are shown; as they came where they have none."""
    if all(time is not None for time, _ in rows):
        rows = sorted(rows, key=lambda row: row[0] or 0)
    about.frames = [frame for _, frame in rows][:limit]


def _slices(packet: Any, length_size: int, take: Callable[[bytes], Any], about: Bitstream) -> Any:
    first = None
    for unit in units(bytes(packet), length_size):
        if len(unit) < 2:
            continue
        try:
            found = take(unit)
        except (EOFError, KeyError, NotImplementedError, IndexError):
            about.features['unread_headers'] = about.features.get('unread_headers', 0) + 1
            continue
        first = first or found
    return first


def _read_h264(reader: VideoReader, about: Bitstream, limit: int | None) -> None:
    """Types and quantisers as decoded, the rest from headers."""
    context: Any = reader.stream.codec_context
    context.options = {'export_side_data': 'venc_params'}
    headers = h264.Headers()
    length_size, sets = in_avc_record(bytes(context.extradata or b''))
    for unit in sets:
        headers.take(unit)
    slices: dict[Any, tuple[int, Any]] = {}
    timeless: list[int] = []
    for packet in _packets(reader, about, limit):
        if packet.size:
            first = _slices(packet, length_size, headers.take, about)
            slices[('order', len(timeless)) if packet.pts is None else packet.pts] = (packet.size, first)
            timeless += [packet.size] if packet.pts is None else []
        for frame in packet.decode():
            qp = quantisers(frame)
            size, first = slices.get(frame.pts, (0, None))
            about.frames.append(
                CodedFrame(
                    TYPES.get(int(frame.pict_type), '?'),
                    size,
                    None if qp is None else float(qp.mean()),
                    None if qp is None else float(qp.std()),
                    bool(frame.key_frame),
                    None if first is None else first.referenced,
                )
            )
    for frame, size in zip(about.frames if timeless else (), timeless, strict=False):
        frame.bytes = size  # in the order in which they came: which is which, a stream without times does not say
    about.frames = about.frames[:limit]
    _from_sets(about, headers, [first for _, first in slices.values() if first is not None])
    if headers.pps:
        pps = next(iter(headers.pps.values()))
        about.features |= {'cabac': pps['cabac'], 'transform_8x8': pps['transform_8x8'], 'weighted': pps['weighted']}


def _read_hevc(reader: VideoReader, about: Bitstream, limit: int | None) -> None:
    headers = hevc.Headers()
    context: Any = reader.stream.codec_context
    length_size, sets = in_hevc_record(bytes(context.extradata or b''))
    for unit in sets:
        headers.take(unit)
    rows, slices = [], []
    for packet in _packets(reader, about, limit):
        if not packet.size:
            continue
        first = _slices(packet, length_size, headers.take, about)
        if first is None:
            rows.append((packet.pts, CodedFrame('?', packet.size, key=packet.is_keyframe)))
            continue
        slices.append(first)
        frame = CodedFrame(first.type, packet.size, first.qp, None, packet.is_keyframe, first.referenced)
        rows.append((packet.pts, frame))
    _sorted(rows, about, limit)
    _from_sets(about, headers, slices)
    if headers.pps:
        about.features['adaptive_qp'] = next(iter(headers.pps.values()))['adaptive_qp']
        about.features['block'] = next(iter(headers.sps.values()))['block']
    about.unknown.append(NO_QP['hevc'])


def _from_sets(about: Bitstream, headers: h264.Headers | hevc.Headers, slices: list[Any]) -> None:
    about.encoder = headers.encoder
    if headers.sps:
        sps = next(iter(headers.sps.values()))
        about.profile, about.level, about.references = sps['profile'], round(sps['level'], 1), sps['references']
    if slices:
        kinds = Counter(s.deblocking for s in slices)
        common = kinds.most_common(1)[0][0]
        about.deblocking = 'off' if common is None else 'on' if common == (0, 0) else f'{common[0]}:{common[1]}'
        about.features['active_references'] = max(s.references for s in slices)


def _read_vp9(reader: VideoReader, about: Bitstream, limit: int | None) -> None:
    rows, waiting = [], 0
    for packet in _packets(reader, about, limit):
        if not packet.size:
            continue
        coded = []
        for data in vp9.frames_of(bytes(packet)):
            try:
                coded.append(vp9.read_frame(data))
            except (EOFError, ValueError):
                about.features['unread_headers'] = about.features.get('unread_headers', 0) + 1
        about.hidden += sum(not frame.shown for frame in coded)
        shown = next((frame for frame in coded if frame.shown), None)
        if shown is None:
            waiting += packet.size
            continue
        kind = shown.type if shown.q is not None else 'P'
        qp = None if shown.q is None else float(shown.q)
        key = packet.is_keyframe and shown.type == 'I'
        rows.append((packet.pts, CodedFrame(kind, packet.size + waiting, qp, None, key, shown.refreshed > 0)))
        about.profile, waiting = f'Profile {shown.profile}', 0
        about.features['sharpness'] = shown.filter[1]
    _sorted(rows, about, limit)
    about.deblocking = 'on'
    about.unknown += [NO_QP['vp9'], 'VP9: three of eight slots are referred to; how many differ is not said']


def _read_other(reader: VideoReader, about: Bitstream, limit: int | None) -> None:
    """Types as the decoder gives them, and sizes."""
    sizes: dict[Any, int] = {}
    for packet in _packets(reader, about, limit):
        if packet.size:
            sizes[packet.pts] = sizes.get(packet.pts, 0) + packet.size
        for frame in packet.decode():
            kind = TYPES.get(int(frame.pict_type), '?')
            about.frames.append(CodedFrame(kind, sizes.get(frame.pts, 0), key=bool(frame.key_frame)))
    about.frames = about.frames[:limit]
    about.unknown.append(NO_QP['other'])
