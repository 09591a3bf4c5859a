"""A platform's recipe from pairs: what its streams say, what the pairs say, and how sure each value is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from votes.errors import UserError
from votes.platforms import streams as told
from votes.platforms.generations import block_grid, earlier_generation, other_origin, twice
from votes.platforms.kernels import Crop, changed, kernel_of, phase_of, sharpening_of
from votes.platforms.pairs import Pair
from votes.platforms.rates import Rule, Sample, for_the_first, preset_by_trial, rule, with_encoding
from votes.platforms.traces import chroma_siting, noise_of
from votes.platforms.values import Measured, votes_of
from votes.video.bitstream import Bitstream
from votes.video.recipe import Recipe

FRAMES = 48  # of a clip that are encoded for the rate
LOOKED_AT = 10  # of them for the kernel
SIDE = 384  # pixels of LQ
MOST = 5  # clips that are encoded
PRESET_CLIPS = 3  # of them for the preset
Say = Callable[[str], None]


@dataclass
class Calibration:
    """A recipe and where each of its values comes from.

    Attributes:
        data: the recipe as its file has it.
        measured: place in the recipe -> value, confidence, reason.
        facts: what was measured and no recipe says: name -> value, confidence, reason.
        kernels: each kernel's difference relative to the best one's.
    """

    data: dict[str, Any]
    measured: dict[str, Measured]
    facts: dict[str, Measured] = field(default_factory=dict)
    kernels: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def recipe(self) -> Recipe:
        return Recipe(**self.data)


def calibrate(name: str, pairs: Sequence[Pair], say: Say = print, frames: int = FRAMES) -> Calibration:
    """What a platform did to the clips of `pairs`.

    Args:
        frames: of each clip that are encoded in searches.

    Raises:
        UserError: no download is there, or its codec has no encoder here.
    """
    used, notes = _of_one_codec(pairs)
    streams = [pair.stream for pair in used if pair.stream]
    codec = told.codec_of([p.stream for p in pairs if p.stream])
    encoding: dict[str, Any] = {'codec': codec.value}
    found: dict[str, Measured] = {'codec': codec}
    found |= told.structure(streams) | told.own_words(streams, codec.value)
    say(f'{len(used)} clips, {codec.why}; {found["gop"].why}')
    samples = [Sample(p.name, p.framed(frames), p.shown()) for p in used[:MOST]]
    encoding |= {key: value.value for key, value in found.items() if value.value not in (None, '')}
    if not encoding.keys() & {'qp', 'crf', 'kbps'}:
        encoding['crf'] = 28
    start: dict[str, Any] = {'name': name, 'scale': used[0].scale, 'kernel': 'area', 'generations': [_middle(encoding)]}
    recipe = Recipe(**start)
    unsaid = 'preset' not in found and codec.value in ('libx264', 'libx265')
    if unsaid:
        qp = told.constant(samples[0].stream)
        found['preset'] = preset_by_trial(with_encoding(recipe, {'qp': qp}) if qp else recipe, samples[:1])
        recipe = with_encoding(recipe, {'preset': found['preset'].value})
        say(f'preset {found["preset"].value}: {found["preset"].why}')
    rated = rule(recipe, samples)
    own = for_the_first(recipe, samples, rated, LOOKED_AT)
    crops = [_crop(pair, own) for pair in used[:MOST]]
    found['kernel'], table = kernel_of(recipe, crops)
    recipe = changed(recipe, kernel=found['kernel'].value)
    say(f'kernel {found["kernel"].value}: {found["kernel"].why}')
    recipe, rated = _finer(recipe, samples, crops, rated, found, say)
    if len(recipe.generations) > 1:  # an earlier encoding smooths as blurrier kernels do: it is known of only now
        found['kernel'], table = kernel_of(recipe, crops)
        recipe = changed(recipe, kernel=found['kernel'].value)
        say(f'kernel {found["kernel"].value}, after an earlier encoding: {found["kernel"].why}')
    if unsaid:  # now that the rest is known
        recipe, rated = _preset(recipe, samples, rated, found, say)
    if found['pix_fmt'].value != 'yuv444p':
        found['chroma_siting'] = chroma_siting(recipe, crops)
    data = _written(name, recipe, rated, found, used)
    return Calibration(data, _placed(found, len(recipe.generations)), _facts(recipe, crops, used), table, notes)


def _finer(
    recipe: Recipe, samples: Sequence[Sample], crops: list[Crop], rated: Rule, found: dict[str, Measured], say: Say
) -> tuple[Recipe, Rule]:
    """Phase, sharpening, noise and earlier generations; then the rate again, for what is encoded now."""
    for field_name, measure in (('phase', phase_of), ('sharpen', sharpening_of), ('noise', noise_of)):
        found[field_name] = measure(recipe, crops)
        recipe = changed(recipe, **{field_name: found[field_name].value})
    found['generations'], earlier = earlier_generation(recipe, crops)
    say(f'{found["generations"].value} generations: {found["generations"].why}')
    if earlier is not None:
        found['earlier_crf'] = earlier
        recipe = twice(recipe, earlier.value)
    said = found.keys() & {'qp', 'crf', 'kbps'}
    if not said:
        rated = rule(recipe, samples, rated)
        found[rated.field] = rated.value
    else:
        rated = Rule(next(iter(said)), found[next(iter(said))], rated.clips)
    say(f'{rated.field} {rated.value.value}: {rated.value.why}')
    return recipe, rated


def _preset(
    recipe: Recipe, samples: Sequence[Sample], rated: Rule, found: dict[str, Measured], say: Say
) -> tuple[Recipe, Rule]:
    """The preset again, by more clips; and the rate, which presets reach by other measures."""
    before = found['preset'].value
    found['preset'] = preset_by_trial(recipe, samples[:PRESET_CLIPS], rated)
    say(f'preset {found["preset"].value}, {found["preset"].confidence:.0%} sure: {found["preset"].why}')
    if found['preset'].value != before:
        recipe = with_encoding(recipe, {'preset': found['preset'].value})
        if rated.field in ('crf', 'kbps'):
            found.pop(rated.field)
            rated = rule(recipe, samples, rated)
            found[rated.field] = rated.value
            say(f'{rated.field} {rated.value.value}: {rated.value.why}')
    return recipe, rated


def _of_one_codec(pairs: Sequence[Pair]) -> tuple[list[Pair], list[str]]:
    with_stream = [pair for pair in pairs if pair.stream]
    if not with_stream:
        raise UserError(
            'the downloaded videos themselves are needed: their streams say how they were compressed',
            fix='--downloads FOLDER, with files under the names of the clips',
        )
    codec, _ = votes_of([pair.stream.codec for pair in with_stream if pair.stream])
    if codec not in told.ENCODERS or told.ENCODERS[codec] in ('libsvtav1', 'mpeg4'):
        raise UserError('no recipe can be measured for this codec', value=codec, fix='H.264, HEVC and VP9 can be')
    used = [pair for pair in with_stream if pair.stream and pair.stream.codec == codec]
    others = [pair.name for pair in pairs if pair not in used]
    return used, [f'left out, of another codec or without a file: {", ".join(others)}'] if others else []


def _middle(encoding: dict[str, Any]) -> dict[str, Any]:
    """The settings of a first trial: one value each."""
    whole: dict[str, Any] = {'name': 'x', 'generations': [encoding]}
    generation = Recipe(**whole).generations[0]
    return generation.model_dump(mode='json', exclude_none=True, exclude_defaults=True) | {'codec': generation.codec}


def _crop(pair: Pair, own: dict[str, dict[str, Any]]) -> Crop:
    gt, lq = pair.frames(LOOKED_AT, SIDE)
    return Crop(pair.name, gt, lq, own.get(pair.name, {}), pair.matrix)


def _written(
    name: str, recipe: Recipe, rated: Rule, found: dict[str, Measured], used: Sequence[Pair]
) -> dict[str, Any]:
    """The recipe as its file has it, with distributions where clips differ."""
    whole = recipe.model_dump(mode='json', exclude_none=True, exclude_defaults=True)
    last = {
        key: value for key, value in whole['generations'][-1].items() if key not in ('qp', 'crf', 'kbps', 'qp_cycle')
    }
    plain = ('yuv420p', 'centre')
    last |= {
        key: found[key].value
        for key in ('rate', 'pix_fmt', 'chroma_siting')
        if key in found and found[key].value not in plain
    }
    last |= {rated.field: rated.value.value, 'codec': recipe.generations[-1].codec}
    generations = [*whole['generations'][:-1], last]
    for generation in generations:
        generation.setdefault('rate', last['rate'])
    data: dict[str, Any] = {
        'name': name,
        'about': f'measured on {len(used)} clips by votes calibrate',
        'scale': recipe.scale,
    }
    data |= {key: whole[key] for key in ('kernel', 'phase', 'sharpen', 'noise') if whole.get(key)}
    data.setdefault('kernel', recipe.kernel)
    if (rates := frame_rate_rule(used)) is not None:
        data['frame_rate'] = rates.value
        found['frame_rate'] = rates
    if (bars := bars_of(used)) is not None:
        data['bars'] = bars.value
        found['bars'] = bars
    data['generations'] = generations
    data['confidence'] = {place: value.confidence for place, value in _placed(found, len(generations)).items()}
    Recipe(**data)
    return data


def frame_rate_rule(used: Sequence[Pair]) -> Measured | None:
    """[from, to] where most downloads have fewer frames a second than their originals (as pairs.json says them)."""
    said = []
    for pair in used:
        lq, gt = pair.about.get('lq_frames', []), pair.about.get('gt_frames', [])
        if pair.stream and len(lq) > 1 and lq[-1] > lq[0]:
            times = (gt[-1] - gt[0]) / (lq[-1] - lq[0])  # frames of the original for one of the download
            said.append((max(1, round(pair.stream.rate * times)), max(1, round(pair.stream.rate))))
    if not said:
        return None
    rule_, share = votes_of(said)
    return Measured(list(rule_), 0.9 * share, 'frames a second before and after') if rule_[0] != rule_[1] else None


def bars_of(used: Sequence[Pair]) -> Measured | None:
    """[above, left, below, right] where most downloads have the same bars, even together, as encoders take them."""
    around, share = votes_of([pair.borders for pair in used])
    if not any(around) or share <= 0.5:
        return None
    top, left, bottom, right = around
    bars = [top, left, bottom + (top + bottom) % 2, right + (left + right) % 2]
    return Measured(bars, share, f'rows above, left, below, right in {share:.0%} of the files')


def _placed(found: dict[str, Measured], generations: int) -> dict[str, Measured]:
    """Names of measured values -> their places in the recipe."""
    own = ('kernel', 'phase', 'sharpen', 'noise', 'frame_rate', 'bars', 'generations')
    last = generations - 1
    places = {'earlier_crf': 'generations.0.crf'}
    return {
        name if name in own else places.get(name, f'generations.{last}.{name}'): value for name, value in found.items()
    }


def _facts(recipe: Recipe, crops: Sequence[Crop], used: Sequence[Pair]) -> dict[str, Measured]:
    streams: list[Bitstream] = [pair.stream for pair in used if pair.stream]
    facts: dict[str, Measured] = {}
    around = sorted({pair.borders for pair in used})
    if len(around) > 1:
        facts['borders'] = Measured([list(n) for n in around], 1.0, 'rows above, left, below, right of the files')
    for name in ('profile', 'level', 'references', 'deblocking', 'pyramid'):
        value, share = votes_of([getattr(stream, name) for stream in streams])
        facts[name] = Measured(value, share if value is not None else 0, f'in {share:.0%} of the streams')
    encoder, share = votes_of([stream.encoder.split(' - H.264')[0][:60] for stream in streams])
    facts['encoder'] = Measured(encoder or 'not said', 1.0, f'in {share:.0%} of the streams')
    sizes = sorted({pair.size for pair in used})
    facts['resolutions'] = Measured([f'{w}x{h}' for h, w in sizes], 1.0, 'sizes of the downloads')
    grids = [block_grid(crop.lq) for crop in crops]
    middle = sorted(grid[8] for grid in grids)[len(grids) // 2]
    facts['blockiness'] = Measured(round(middle, 3), 0.9, 'change across borders of 8x8 blocks, 1 for none')
    place, clear = max((other_origin(crop.lq) for crop in crops), key=lambda row: row[1])
    if clear > max(1.15, 1.05 * middle):
        facts['older_grid'] = Measured(place, min(0.8, clear - 0.6), f'borders of blocks {place} columns off the grid')
    for text in dict.fromkeys(line for stream in streams for line in stream.unknown):
        facts[f'not known {len(facts)}'] = Measured(None, 0.0, text)
    return facts
