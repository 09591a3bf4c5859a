"""From bitstreams alone: codec, groups of pictures, filters, and what the encoder wrote of itself."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import av
import numpy as np

from votes.platforms.values import SURE, Measured, common, spread, votes_of
from votes.video.bitstream import Bitstream, settings_of
from votes.video.encoding import Encoding
from votes.video.headers.bits import in_avc_record, in_hevc_record, units
from votes.video.headers.h264 import Headers as AvcHeaders
from votes.video.headers.hevc import Headers as HevcHeaders
from votes.video.recipe_check import X26_PRESETS

ENCODERS = {'h264': 'libx264', 'hevc': 'libx265', 'vp9': 'libvpx-vp9', 'av1': 'libsvtav1', 'mpeg4': 'mpeg4'}
# what presets decide, as the encoders write it: name in the text -> name of the parameter
X264_KEYS = (
    'ref',
    'me',
    'subme',
    'trellis',
    'weightp',
    'b_adapt',
    'rc_lookahead',
    'mbtree',
    'scenecut',
    '8x8dct',
    'cabac',
)
X265_KEYS = ('ref', 'rd', 'subme', 'b-adapt', 'rc-lookahead', 'aq-mode', 'sao', 'rect', 'amp', 'max-merge', 'cutree')
LONGEST_CYCLE = 8


def codec_of(streams: Sequence[Bitstream]) -> Measured:
    """The encoder of recipes that stands for the codec of most clips."""
    codec, share = votes_of([stream.codec for stream in streams])
    encoder = ENCODERS.get(codec)
    return Measured(encoder, share if encoder else 0, f'the streams are {codec}')


def structure(streams: Sequence[Bitstream]) -> dict[str, Measured]:
    """gop, bframes, rate, pix_fmt of streams of one codec."""
    found: dict[str, Measured] = {}
    gaps = [stream.gop for stream in streams if stream.gop is not None]
    longest = max(len(stream.frames) for stream in streams)
    if gaps:
        agree = sum(gap == max(gaps) for gap in gaps) / len(gaps)
        repeated = sum(len(stream.keys) > 2 for stream in streams)
        sure = 0.5 + 0.3 * agree + 0.2 * min(1, repeated / 2)
        found['gop'] = Measured(max(gaps), sure, f'key frames at most {max(gaps)} frames apart')
    else:
        found['gop'] = Measured(None, 0.5, f'no second key frame in {longest} frames: the encoder keeps its own')
    if streams[0].codec in ('h264', 'hevc', 'mpeg4'):
        runs = [stream.bframes for stream in streams]
        said = [int(stream.settings['bframes']) for stream in streams if stream.settings.get('bframes', '').isdigit()]
        agree = sum(run == max(runs) for run in runs) / len(runs)
        found['bframes'] = (
            Measured(max(said), 1.0, 'the encoder says so')
            if said
            else Measured(max(runs), 0.6 + 0.35 * agree, f'at most {max(runs)} B-frames in a row')
        )
    rates = [round(stream.rate) for stream in streams]
    found['rate'] = common([max(1, rate) for rate in rates], 'frames a second', SURE)
    formats = [{'yuvj420p': 'yuv420p'}.get(stream.pix_fmt, stream.pix_fmt) for stream in streams]
    found['pix_fmt'] = common([f if f in ('yuv422p', 'yuv444p') else 'yuv420p' for f in formats], 'pixels', 1.0)
    return found


def ripple(stream: Bitstream) -> list[int] | None:
    """Quantisers that repeat over a stream without B-frames, each frame having one; None where they do not."""
    if stream.bframes or any(frame.spread is None or frame.spread > 0 for frame in stream.frames):
        return None
    qp = [round(frame.qp or 0) for frame in stream.frames]
    for period in range(2, min(LONGEST_CYCLE, len(qp) // 3) + 1):
        if len(set(qp[:period])) > 1 and all(a == b for a, b in zip(qp, qp[period:], strict=False)):
            return qp[:period]
    return None


def constant(stream: Bitstream) -> int | None:
    """The quantiser of P-frames (of I-frames where there are no others) if every type has one alone; else None."""
    if any(frame.spread for frame in stream.frames) or stream.features.get('adaptive_qp'):
        return None
    if stream.codec not in ('h264', 'hevc'):
        return None
    kinds = {kind: stream.qp_of(kind) for kind in 'IP'}
    if any(values and max(values) - min(values) > 0 for values in kinds.values()):
        return None
    chosen = kinds['P'] or kinds['I']
    return round(chosen[0]) if chosen else None


def own_words(streams: Sequence[Bitstream], encoder: str) -> dict[str, Measured]:
    """preset, params and the measure (crf, qp or kbps) where encoders left their text in most streams."""
    told = [stream for stream in streams if stream.settings]
    if len(told) <= len(streams) / 2 or encoder not in ('libx264', 'libx265'):
        return {}
    found: dict[str, Measured] = {}
    keys = X264_KEYS if encoder == 'libx264' else X265_KEYS
    presets = []
    for stream in told:
        here = {key: stream.settings.get(key) for key in keys}
        differ = {preset: _differences(here, encoder, preset) for preset in X26_PRESETS}
        best = min(X26_PRESETS, key=lambda p: (len(differ[p]), abs(X26_PRESETS.index(p) - 5)))
        presets.append((best, ':'.join(f'{k.replace("_", "-")}={v}' for k, v in sorted(differ[best].items()))))
    (preset, params), share = votes_of(presets)
    found['preset'] = Measured(preset, share, f"the encoder's text fits {preset}")
    if params:
        found['params'] = Measured(params, share, "where the encoder's text differs from the preset")
    return found | _measure_said(told)


def _measure_said(told: Sequence[Bitstream]) -> dict[str, Measured]:
    kinds = [stream.settings.get('rc', '') for stream in told]
    kind, share = votes_of(kinds)
    name = {'crf': 'crf', 'cqp': 'qp', 'abr': 'bitrate', '2pass': 'bitrate', 'cbr': 'bitrate'}.get(kind)
    if name is None:
        return {}
    values = [float(s.settings[name]) for s in told if name in s.settings]
    if not values:
        return {}
    same = max(values) - min(values) < 1e-6
    limits = (1.0, 2e6) if name == 'bitrate' else (0.0, 51.0)
    value: Any = round(values[0], 2) if same else spread(values, 0.05, '', limits, name != 'crf').value
    if same and value == int(value):
        value = int(value)
    field = {'bitrate': 'kbps'}.get(name, name)
    found = {field: Measured(value, share, f'the encoder says {name} ({kind})')}
    return found | ({'two_pass': Measured(True, share, 'the encoder says so')} if kind == '2pass' else {})


def _differences(here: dict[str, str | None], encoder: str, preset: str) -> dict[str, str]:
    there = preset_settings(encoder, preset)
    return {key: value for key, value in here.items() if value is not None and there.get(key, value) != value}


@lru_cache(maxsize=32)
def preset_settings(encoder: str, preset: str) -> dict[str, str]:
    """What this build's encoder writes of itself with a preset."""
    encoding = Encoding(codec=encoder, crf=28, preset=preset)  # type: ignore[arg-type]
    file = io.BytesIO()
    with av.open(file, 'w', format='matroska') as container:
        stream: Any = container.add_stream(encoder, rate=25)
        stream.height, stream.width, stream.pix_fmt, stream.options = 128, 128, 'yuv420p', encoding.options()
        frame = av.VideoFrame.from_ndarray(np.full((128, 128, 3), 128, np.uint8), 'rgb24')
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    file.seek(0)
    headers, record = (AvcHeaders(), in_avc_record) if encoder == 'libx264' else (HevcHeaders(), in_hevc_record)
    with av.open(file, 'r') as written:
        shown: Any = written.streams.video[0]
        length, sets = record(bytes(shown.codec_context.extradata or b''))
        packet = next(p for p in written.demux(shown) if p.size)
        for unit in [*sets, *units(bytes(packet), length)]:
            headers.take(unit)
    return settings_of(headers.encoder)
