"""A small platform of known settings, measured from a few tiny clips, its sheet, and what is refused."""

import json
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest

from votes.cli import main
from votes.platforms import rates
from votes.platforms.calibrate import bars_of
from votes.platforms.generations import block_grid, other_origin
from votes.platforms.pairs import open_pairs
from votes.platforms.rates import Rule, Sample, preset_by_trial, rule, with_encoding
from votes.platforms.streams import constant, own_words, ripple, structure
from votes.platforms.synthesis import apart, made_by, psnr
from votes.platforms.values import Measured, common, spread
from votes.platforms.verify import spectrum, verify
from votes.video.bitstream import read_bitstream
from votes.video.recipe import Degradation, Recipe, read_recipe


def moving(count=12, size=(128, 192), seed=0):
    """Texture of all sizes that moves by a few pixels a frame."""
    rng = np.random.default_rng(seed)
    layers = [rng.normal(0, 30, (n, n, 3)) for n in (12, 40, 160)]
    large = sum(cv2.resize(x, (320, 320), interpolation=cv2.INTER_CUBIC) for x in layers)
    base = np.clip(128 + large, 0, 255).astype(np.uint8)
    return [np.ascontiguousarray(base[8 : 8 + size[0], 2 * i : 2 * i + size[1]]) for i in range(count)]


def platform(root, recipe, clips=3, count=12):
    """Pairs and downloads of a platform that does what a recipe says."""
    for number in range(clips):
        name, frames = f'c{number}', moving(count, seed=number)
        work = root / 'work'
        work.mkdir(parents=True)
        own = recipe.for_clip(0, name)
        passing = Degradation(lambda f=frames: iter(f), count, frames[0].shape[:2], own, 0, work)
        for side, pictures in (('HQ_frames', frames), ('LQ_frames', list(passing.frames()))):
            (root / side / name).mkdir(parents=True)
            for i, frame in enumerate(pictures):
                cv2.imwrite(str(root / side / name / f'{i:08d}.png'), frame[..., ::-1])
        (root / 'downloads').mkdir(exist_ok=True)
        shutil.copy(passing.video, root / 'downloads' / f'{name}.mkv')
        shutil.rmtree(work)
    return root


@pytest.fixture(scope='module')
def measured(tmp_path_factory):
    """A platform of constant quantisers, calibrated by the command; (folder, pairs)."""
    root = tmp_path_factory.mktemp('platform')
    made = Recipe(
        name='p',
        scale=2,
        kernel='bilinear',
        generations=[
            {'qp': 28, 'preset': 'veryfast', 'gop': 5, 'bframes': 2, 'params': 'ref=2:scenecut=0', 'rate': 24}
        ],
    )
    pairs = platform(root / 'pairs', made)
    assert main(['calibrate', str(pairs), '-o', str(root / 'here.yml'), '--frames', '12']) == 0
    return root


def test_what_was_set_is_found(measured):
    recipe = read_recipe(measured / 'here.yml')
    encoding = recipe.generations[0]
    assert (recipe.kernel, recipe.scale, len(recipe.generations)) == ('bilinear', 2, 1)
    assert (encoding.codec, encoding.qp, encoding.gop, encoding.bframes) == ('libx264', 28, 5, 2)
    assert (encoding.preset, encoding.rate) == ('veryfast', 24)
    assert 'ref=2' in encoding.params
    assert recipe.confidence['kernel'] > 0.8
    assert recipe.confidence['generations.0.qp'] > 0.8
    sheet = json.loads((measured / 'here.platform.json').read_text())
    assert sheet['facts']['deblocking']['value'] == 'on'
    assert sheet['kernels']['bilinear'] == 1
    mean = sheet['verification']['recipe']['mean']
    generic = sheet['verification']['generic']['mean']
    assert mean['qp'] == 0
    assert mean['types'] == 1
    assert mean['psnr'] > generic['psnr'] + 3
    assert abs(mean['bits'] - 1) < 0.05


def test_the_sheet_is_shown(measured, capsys, monkeypatch):
    monkeypatch.chdir(measured)
    assert main(['platform', 'show', 'here']) == 0
    said = capsys.readouterr().out
    assert 'kernel' in said
    assert 'psnr: dB to the download' in said
    assert main(['platform', 'show', 'wechat_like']) == 0
    assert 'not measured' in capsys.readouterr().out
    assert main(['platform', 'show', 'nowhere']) == 2
    assert 'wechat_like' in capsys.readouterr().err
    (measured / 'other.yml').write_text((measured / 'here.yml').read_text())
    (measured / 'other.platform.json').write_text('{}')
    assert main(['platform', 'show', 'other']) == 2
    assert 'calibrate again' in capsys.readouterr().err


def test_without_originals(measured, capsys):
    assert main(['calibrate', '--blind', str(measured / 'pairs' / 'downloads')]) == 0
    said = capsys.readouterr().out
    assert 'one quantiser for a type of frames' in said
    assert 'cannot be told without originals' in said
    assert main(['calibrate', '--blind', str(measured / 'pairs')]) == 2


def test_what_is_refused(measured, tmp_path, capsys):
    assert main(['calibrate', '-o', 'x.yml']) == 2
    assert main(['calibrate', str(tmp_path), '-o', 'x.yml']) == 2
    assert 'votes pair' in capsys.readouterr().err
    shutil.copytree(measured / 'pairs', tmp_path / 'pairs')
    shutil.rmtree(tmp_path / 'pairs' / 'downloads')
    assert main(['calibrate', str(tmp_path / 'pairs'), '-o', str(tmp_path / 'x.yml')]) == 2
    assert 'the downloaded videos themselves are needed' in capsys.readouterr().err


def test_a_rate_by_crf_or_by_bits(tmp_path):
    """Clips of one crf have other bits each; clips of one bitrate have other quantisers."""
    start = Recipe(name='s', scale=2, kernel='area', generations=[{'crf': 28, 'preset': 'veryfast', 'bframes': 0}])
    plain = [cv2.GaussianBlur(frame, (0, 0), 3) for frame in moving(16, seed=5)]
    clips = {'busy': moving(16, seed=4), 'plain': plain}

    def found(changes):
        real = with_encoding(start, changes)
        samples = [Sample(name, gt, made_by(real, gt).stream) for name, gt in clips.items()]
        return rule(start, samples)

    by_crf = found({'crf': 31})
    assert by_crf.field == 'crf'
    assert abs(by_crf.value.value - 31) < 1
    by_bits = found({'kbps': 90, 'params': 'ratetol=1.0'})
    assert by_bits.field == 'kbps'
    assert by_bits.value.value == pytest.approx(90, rel=0.1)
    assert by_bits.clips['busy']['crf'] > by_bits.clips['plain']['crf'] + 2


def test_how_sure_a_preset_is():
    """Tools that a stream states tell one; of neighbours that make nearly the same nothing is claimed."""
    start = Recipe(name='s', scale=2, kernel='area', generations=[{'qp': 30, 'bframes': 0}])
    clips = [moving(8, seed=seed) for seed in (6, 7)]

    def found(preset):
        real = with_encoding(start, {'preset': preset})
        return preset_by_trial(start, [Sample(str(i), gt, made_by(real, gt).stream) for i, gt in enumerate(clips)])

    assert (found('ultrafast').value, found('veryfast').value) == ('ultrafast', 'veryfast')
    assert found('ultrafast').confidence > 0.7
    assert 'best in 2 of 2 clips' in found('veryfast').why
    other = with_encoding(start, {'preset': 'fast', 'params': 'ref=3:trellis=0:deblock=-1,-1'})
    mixed = [Sample(str(i), gt, made_by(other, gt).stream) for i, gt in enumerate(clips)]
    assert preset_by_trial(start, mixed).confidence < found('ultrafast').confidence - 0.1


def test_a_bitrate_is_searched_only_where_none_is_known(monkeypatch):
    """One kbit/s is a bitrate as any other."""
    start = Recipe(name='s', scale=2, kernel='area', generations=[{'kbps': 1, 'bframes': 0}])
    clip = moving(3, (64, 64))
    samples = [Sample('a', clip, made_by(start, clip).stream)]
    searches = []
    monkeypatch.setattr(rates, '_fitted_kbps', lambda recipe, samples, rate: (searches.append(rate) or 50, 0.0))
    preset_by_trial(start, samples, Rule('kbps', Measured(1, 0.9, ''), {}))
    assert not searches
    preset_by_trial(with_encoding(start, {'crf': 30}), samples)
    assert searches == [samples[0].stream.kbps] * len(rates.PRESETS)


def test_borders_are_encoded_with_their_clips(tmp_path):
    pairs = open_pairs(platform(tmp_path, Recipe(name='s', scale=2, generations=[{'crf': 30}]), clips=1, count=2))
    pair = pairs[0]
    assert pair.borders == (0, 0, 0, 0)
    pair.about = {'content': [8, 0, *pair.size]}
    pair.stream = replace(pair.stream, size=(pair.size[0] + 20, pair.size[1]))
    assert pair.borders == (8, 0, 12, 0)
    framed, plain = pair.framed(1)[0], pair.frames(1)[0][0]
    assert framed.shape[0] == plain.shape[0] + 40
    assert (framed[16 : 16 + plain.shape[0]] == plain).all()
    assert not framed[:16].any()
    assert bars_of(pairs).value == [8, 0, 12, 0]
    pair.about = {'content': [7, 0, *pair.size]}
    pair.stream = replace(pair.stream, size=(pair.size[0] + 20, pair.size[1]))
    other = replace(pair, about={'content': [7, 1, *pair.size]})
    assert bars_of([pair, pair, other]).value == [7, 0, 13, 0]
    assert bars_of([pair, other]) is None, 'no rule'


def test_streams(tmp_path):
    cycle = Recipe(name='s', scale=1, generations=[{'qp_cycle': [30, 34, 32], 'bframes': 0, 'params': 'aq-mode=0'}])
    stream = made_by(cycle, moving(12)).stream
    assert ripple(stream) == [30, 34, 32]
    assert constant(stream) is None
    fixed = made_by(Recipe(name='s', scale=1, generations=[{'qp': 33, 'gop': 4, 'preset': 'fast'}]), moving(10)).stream
    assert ripple(fixed) is None
    assert constant(fixed) == 33
    assert structure([fixed])['gop'].value == 4
    said = own_words([fixed], 'libx264')
    assert (said['preset'].value, said['qp'].value) == ('fast', 33)
    assert own_words([stream, fixed, fixed], 'libvpx-vp9') == {}


def test_values_of_clips():
    assert spread([30.1, 30.2, 29.9], 0.5, 'x', (0, 51)).value == 30
    assert spread([26, 30, 34], 0.5, 'x', (0, 51)).value == {'normal': [30, 4]}
    assert 'uniform' in spread([41, 46, 50], 0.5, 'x', (0, 51)).value
    assert common(['a'] * 9 + ['b'], 'x').value == 'a'
    assert common(['a', 'a', 'b'], 'x').value == {'choice': {'a': 2, 'b': 1}}
    assert spread([3], 1, 'x', (0, 9)).confidence < spread([3, 3, 3], 1, 'x', (0, 9)).confidence


def test_traces_of_blocks():
    """Borders of 8x8 blocks are seen, and where they begin."""
    rng = np.random.default_rng(0)
    blocks = np.kron(rng.integers(60, 200, (12, 16, 1)), np.ones((8, 8, 3))).astype(np.uint8)
    smooth = cv2.GaussianBlur(rng.integers(0, 255, (96, 128, 3)).astype(np.uint8), (0, 0), 2)
    assert block_grid([blocks])[8] > 2
    assert 0.9 < block_grid([smooth])[8] < 1.1
    place, clear = other_origin([np.roll(blocks, 3, 1)])
    assert place == 3
    assert clear > 2


def test_comparisons():
    frames = moving(2)
    assert psnr(apart(frames, frames)) == 100
    assert apart(frames, [frame[:-2] for frame in frames]) == 0
    soft = [cv2.GaussianBlur(frame, (0, 0), 1) for frame in frames]
    assert spectrum(frames)[-1] > spectrum(soft)[-1] + 5
    assert abs(spectrum(frames)[0] - spectrum(soft)[0]) < 1


def test_pairs_that_do_not_fit(tmp_path, measured):
    pairs = open_pairs(measured / 'pairs')
    assert [len(pair) for pair in pairs] == [12, 12, 12]
    assert pairs[0].size == (64, 96)
    gt, lq = pairs[0].frames(2, 48)
    assert (gt[0].shape[:2], lq[0].shape[:2]) == ((96, 96), (48, 48))
    found = verify(Recipe(name='q', scale=2, generations=[{'crf': 40}]), pairs[:1], frames=4)
    assert found['recipe']['mean']['qp'] > 5
    assert read_bitstream(measured / 'pairs' / 'downloads' / 'c0.mkv', 3).types[0] == 'I'
