"""How hard an encoder compresses, and by which rule: found by encoding the originals until the streams are alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from votes.platforms.pairs import Frames
from votes.platforms.streams import constant, ripple
from votes.platforms.synthesis import made_by
from votes.platforms.values import Measured, spread, votes_of
from votes.video.bitstream import Bitstream
from votes.video.recipe import Recipe
from votes.video.recipe_check import X26_PRESETS

ROUNDS = 3  # encodings of a search
CLOSE = 0.2  # of a quantiser (of one in VP9's units: 4 times that)
LIMITS = {'libx264': (0.0, 51.0), 'libx265': (0.0, 51.0), 'libvpx-vp9': (0.0, 63.0)}
STEP = {'libvpx-vp9': 4.1}  # of the measured quantiser for one of crf
KBPS_ROUNDS, CLOSE_KBPS = 4, 0.3  # encodings of a search for a bitrate, in units of crf how near it comes
UNLIKE_BITS = 0.5  # spread of log kbit/s above which clips of unlike content have no common bitrate
PRESET_FRAMES = 24
ALIKE, UNLIKE = 0.2, 8.0  # differences of streams: below the one there is none, of the other size nothing is sure
PRESETS = X26_PRESETS[:7]  # no platform has the time for slower ones than slow


@dataclass
class Sample:
    """A clip at the disposal of searches: its first frames of GT, and the stream of what the platform made of it."""

    name: str
    gt: Frames
    stream: Bitstream


def with_encoding(recipe: Recipe, changes: dict[str, Any]) -> Recipe:
    """A recipe whose last generation has other settings; a new measure replaces the old one."""
    data = recipe.model_dump(mode='json', exclude_none=True)
    data.pop('drawn_from', None)
    last = dict(data['generations'][-1])
    if changes.keys() & {'qp', 'crf', 'kbps', 'qp_cycle'}:
        for measure in ('qp', 'crf', 'kbps', 'qp_cycle', 'two_pass'):
            last.pop(measure, None)
    data['generations'][-1] = {key: value for key, value in (last | changes).items() if value is not None}
    return Recipe(**data)


def fitted_crf(recipe: Recipe, sample: Sample, near: float | None = None) -> tuple[float, Bitstream]:
    """The crf with which the mean quantiser of the clip's first frames is that of the download, and its stream.

    Args:
        near: where to begin, if it is known about.
    """
    codec = recipe.generations[-1].codec
    low, high = LIMITS.get(codec, (0.0, 51.0))
    step, whole = STEP.get(codec, 1.0), codec not in ('libx264', 'libx265')
    wanted = _mean_qp(sample.stream, len(sample.gt))
    crf = np.clip(wanted / step if near is None else near, low, high)
    seen: list[tuple[float, float, Bitstream]] = []
    for _ in range(ROUNDS):
        crf = round(float(crf)) if whole else round(float(crf), 1)
        if any(crf == other for other, _, _ in seen):
            break
        stream = _made(with_encoding(recipe, {'crf': crf}), sample)
        miss = wanted - (stream.qp or 0)
        seen.append((crf, miss, stream))
        if abs(miss) < CLOSE * step:
            break
        slope = step
        if len(seen) > 1 and seen[-1][0] != seen[-2][0]:
            slope = max(0.3 * step, -(seen[-1][1] - seen[-2][1]) / (seen[-1][0] - seen[-2][0]))
        crf = np.clip(crf + miss / slope, low, high)
    best = min(seen, key=lambda row: abs(row[1]))
    rest = 0.0 if whole else np.clip(best[1] / step, -0.5, 0.5)
    return best[0] + float(rest), best[2]


def _made(recipe: Recipe, sample: Sample) -> Bitstream:
    stream = made_by(recipe, sample.gt).stream
    assert stream is not None, 'a recipe that encodes has one'
    return stream


def _mean_qp(stream: Bitstream, count: int) -> float:
    found = [frame.qp for frame in stream.frames[:count] if frame.qp is not None]
    return float(np.mean(found)) if found else 30.0


def preset_by_trial(recipe: Recipe, samples: Sequence[Sample], rated: Rule | None = None) -> Measured:
    """The preset whose streams are most alike: references, tools, picture types, bits at the same quantiser.

    Neighbouring presets often differ in nothing that a short clip shows. The confidence is high only where all clips
    say the same, by a clear margin, and the streams are alike indeed.

    Args:
        rated: how the rate is controlled, where that is known; else a crf is fitted to each clip.
    """
    rows = []
    for sample in samples:
        short = Sample(sample.name, sample.gt[:PRESET_FRAMES], sample.stream)
        tried = [(recipe, False)]  # and whether the bitrate that gives the download's bits is searched
        if rated is not None:
            own = {'kbps': rated.value.value} if rated.field == 'kbps' else rated.clips[sample.name]
            tried = [(with_encoding(recipe, own), False)]
        elif recipe.generations[-1].crf is not None:
            crf, _ = fitted_crf(with_encoding(recipe, {'preset': 'veryfast'}), short)
            tried = [(with_encoding(recipe, {'crf': round(crf, 1)}), False), (recipe, True)]
        rows.append([min(_unlike(with_encoding(r, {'preset': p}), short, fit) for r, fit in tried) for p in PRESETS])
    table = np.array(rows)
    best, second = np.argsort(table.mean(0))[:2]
    least, other = table.mean(0)[[best, second]]
    agreed = float((table.argmin(1) == best).mean()) if len(samples) > 1 else 0.5
    margin = 1 - (least + ALIKE) / (other + ALIKE)
    sure = 0.1 + 0.8 * agreed * min(1.0, margin / 0.3) * float(np.exp(-least / UNLIKE))
    why = f'streams are most alike with {PRESETS[best]} (off by {least:.2f}), then {PRESETS[second]} ({other:.2f})'
    return Measured(PRESETS[best], sure, f'{why}; best in {round(agreed * len(samples))} of {len(samples)} clips')


def _unlike(recipe: Recipe, sample: Sample, fit: bool) -> float:
    """How far what the recipe makes of a clip is from the download; `fit`: with the bitrate that gives its bits, in
    place of the recipe's rate.
    """
    if fit:
        recipe = with_encoding(recipe, {'kbps': _fitted_kbps(recipe, [sample], sample.stream.kbps)[0]})
    return unlike(_made(recipe, sample), sample.stream)


def unlike(made: Bitstream, real: Bitstream) -> float:
    """How far a stream's tools, types and bits are from another's; 0 for the same."""
    count = min(len(made.frames), len(real.frames))
    total = 0.0
    for feature in ('cabac', 'transform_8x8', 'weighted', 'block'):
        total += made.features.get(feature) != real.features.get(feature)
    total += (made.deblocking != real.deblocking) + 0.3 * abs((made.references or 0) - (real.references or 0))
    total += float(np.mean([a != b for a, b in zip(made.types[:count], real.types[:count], strict=True)]))
    total += _patterns_apart(made, real, count)
    bits = [sum(frame.bytes for frame in stream.frames[:count]) for stream in (made, real)]
    quantisers = [_mean_qp(stream, count) for stream in (made, real)]
    if min(bits) > 0:
        total += abs(float(np.log2(bits[0] / bits[1])) + (quantisers[0] - quantisers[1]) / 6)
    return total


def _patterns_apart(made: Bitstream, real: Bitstream, count: int) -> float:
    """How far quantisers go their own ways from frame to frame, and within frames; half a step counts as much as
    another tool. (Presets differ in how they look ahead: with a tree of macroblocks frames that others need are finer.)
    """
    total = 0.0
    for name in ('qp', 'spread'):
        sides = [[getattr(frame, name) for frame in stream.frames[:count]] for stream in (made, real)]
        pairs = np.array([(a, b) for a, b in zip(*sides, strict=True) if a is not None and b is not None])
        if len(pairs):
            difference = pairs[:, 0] - pairs[:, 1]
            total += 2 * float(np.abs(difference - (difference.mean() if name == 'qp' else 0)).mean())
    return total


@dataclass
class Rule:
    """What is held over a clip and from clip to clip.

    Attributes:
        field: of an encoding: 'qp', 'qp_cycle', 'crf' or 'kbps'.
        value: for the recipe.
        clips: clip -> what its own frames are encoded with (a crf where the rule is a bitrate: it holds for a part).
    """

    field: str
    value: Measured
    clips: dict[str, dict[str, Any]]


def rule(recipe: Recipe, samples: Sequence[Sample], before: Rule | None = None) -> Rule:
    """How the rate is controlled, of one codec's clips.

    A quantiser that is one for all frames of a type is said as qp, a ripple as qp_cycle. Else the crf is searched that
    gives each clip's quantisers, and the bitrate that gives their bits; what explains both better in all clips, is it.

    Args:
        before: what was found for a recipe that differed in other things; searches begin there.
    """
    streams = [sample.stream for sample in samples]
    names = [sample.name for sample in samples]
    codec = recipe.generations[-1].codec
    cycles = [ripple(stream) for stream in streams]
    if codec == 'libx264' and all(cycle is not None for cycle in cycles):
        cycle, share = votes_of([tuple(c or ()) for c in cycles])
        value = Measured(list(cycle), 0.95 * share, f'quantisers repeat after {len(cycle)} frames')
        return Rule('qp_cycle', value, {name: {'qp_cycle': list(cycle)} for name in names})
    fixed = [constant(stream) for stream in streams]
    if codec in ('libx264', 'libx265') and all(qp is not None for qp in fixed):
        value = spread([float(qp or 0) for qp in fixed], 0.5, 'one quantiser for a type of frames', (0, 51), True)
        return Rule('qp', value, {name: {'qp': qp} for name, qp in zip(names, fixed, strict=True)})
    known = {} if before is None else {name: own.get('crf') for name, own in before.clips.items()}
    fits = {sample.name: fitted_crf(recipe, sample, known.get(sample.name)) for sample in samples}
    by_crf = _by_crf(codec, samples, fits)
    kbps = [sample.stream.kbps for sample in samples]
    if len(samples) < 2 or float(np.log(np.maximum(kbps, 1e-3)).std()) > UNLIKE_BITS:
        return by_crf
    rate, missed = _fitted_kbps(recipe, samples, float(np.median(kbps)))
    common = float(np.median([crf for crf, _ in fits.values()]))
    crf = round(common) if codec not in ('libx264', 'libx265') else round(common, 1)
    by = {
        'crf': _apart(with_encoding(recipe, {'crf': crf}), samples),
        'kbps': _apart(with_encoding(recipe, {'kbps': rate}), samples),
    }
    if by['crf'] <= by['kbps']:
        return by_crf
    sure = (0.9 - 0.5 * min(1, missed)) * by['crf'] / (by['crf'] + by['kbps'])
    why = f'with one bitrate quantisers and bits of clips are {by["kbps"]:.1f} steps off, with one crf {by["crf"]:.1f}'
    why += f'; clips have {min(kbps):.0f} to {max(kbps):.0f} kbit/s'
    return Rule('kbps', Measured(rate, sure, why), by_crf.clips)


def _fitted_kbps(recipe: Recipe, samples: Sequence[Sample], rate: float) -> tuple[int, float]:
    """The bitrate to ask for, so that clips get the bits and quantisers that they have.

    Encoders miss what is asked for, on short clips by much, and libvpx hardly gives more bits for a higher bitrate.

    Returns:
        it, and by how much (a logarithm) the bits of single clips then still differ.
    """
    step = STEP.get(recipe.generations[-1].codec, 1.0)
    target, slope = float(np.log2(max(1, rate))), -12.0
    seen: list[tuple[float, float, float]] = []  # logarithm of a bitrate, how much too low it is, spread of bits
    for _ in range(KBPS_ROUNDS):
        made = [_made(with_encoding(recipe, {'kbps': max(1, round(2**target))}), sample) for sample in samples]
        bits = [_bits_apart(stream, sample) for stream, sample in zip(made, samples, strict=True)]
        finer = [(m.qp or 0) - _mean_qp(s.stream, len(s.gt)) for m, s in zip(made, samples, strict=True)]
        miss = float(np.median(6 * np.array(bits) + np.array(finer) / step))
        seen.append((target, miss, float(np.std(bits))))
        if abs(miss) < CLOSE_KBPS:
            break
        if len(seen) > 1 and abs(seen[-1][0] - seen[-2][0]) > 1e-3:
            slope = float(np.clip((seen[-1][1] - seen[-2][1]) / (seen[-1][0] - seen[-2][0]), -40, -3))
        target += float(np.clip(-miss / slope, -1, 1))
    best = min(seen, key=lambda row: abs(row[1]))
    return max(1, round(2 ** best[0])), best[2]


def _apart(recipe: Recipe, samples: Sequence[Sample]) -> float:
    """Mean difference of a clip's mean quantiser and of its bits, in units of crf (six of them are twice the bits)."""
    step = STEP.get(recipe.generations[-1].codec, 1.0)
    found = []
    for sample in samples:
        made = _made(recipe, sample)
        quantiser = abs((made.qp or 0) - _mean_qp(sample.stream, len(sample.gt))) / step
        found.append(quantiser + 6 * abs(_bits_apart(made, sample)))
    return float(np.mean(found))


def _by_crf(codec: str, samples: Sequence[Sample], fits: dict[str, tuple[float, Bitstream]]) -> Rule:
    whole = codec not in ('libx264', 'libx265')
    limits = LIMITS.get(codec, (0.0, 51.0))
    own: dict[str, dict[str, Any]] = {}
    for name, (crf, _) in fits.items():
        within = float(np.clip(crf, *limits))
        own[name] = {'crf': round(within) if whole else round(within, 1)}
    values = [crf for crf, _ in fits.values()]
    found = spread(values, 1.0 if whole else 0.8, 'crf that gives the quantisers', limits, whole)
    ratio = [_bits_apart(made, sample) for sample, (_, made) in zip(samples, fits.values(), strict=True)]
    worst = float(np.median(np.abs(ratio)))
    found.confidence = round(found.confidence * (1 - min(0.5, worst / 2)), 2)
    found.why += f'; bits then differ by {100 * (2**worst - 1):.0f} %'
    return Rule('crf', found, own)


def for_the_first(recipe: Recipe, samples: Sequence[Sample], found: Rule, frames: int) -> dict[str, dict[str, Any]]:
    """What gives the first frames of each clip their quantisers: a bitrate is reached only in the course of a clip."""
    if found.field not in ('crf', 'kbps'):
        return found.clips
    short = [Sample(sample.name, sample.gt[:frames], sample.stream) for sample in samples]
    near = {sample.name: found.clips[sample.name]['crf'] for sample in samples}
    fits = {sample.name: fitted_crf(recipe, sample, near[sample.name]) for sample in short}
    return _by_crf(recipe.generations[-1].codec, short, fits).clips


def _bits_apart(made: Bitstream, sample: Sample) -> float:
    """Binary logarithm of how many times as many bits the download has for the same frames."""
    count = len(sample.gt)
    bits = [sum(frame.bytes for frame in stream.frames[:count]) for stream in (sample.stream, made)]
    return float(np.log2(max(1, bits[0]) / max(1, bits[1])))
