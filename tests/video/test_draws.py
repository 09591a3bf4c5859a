"""Recipes that draw, and encodings that change in the course of a clip."""

import json

import cv2
import numpy as np
import pytest
from decoded import last_generation
from test_metadata import pan

from votes.cli import main
from votes.data.degrading import degrade_source
from votes.errors import UserError
from votes.video import draws
from votes.video.bitstream import read_bitstream
from votes.video.encoding import Encoding, activity_of
from votes.video.recipe import Recipe, degrade, read_recipe
from votes.video.shrink import KERNELS, shrink

DRAWN = {
    'name': 'r',
    'scale': 2,
    'kernel': {'choice': {'area': 3, 'bilinear': 1}},
    'generations': [{'qp': {'normal': [31, 2]}, 'gop': {'uniform': [10, 12]}, 'bframes': {'choice': [0, 3]}}],
}


def test_a_clip_draws_once_whatever_else_there_is():
    recipe = Recipe(**DRAWN)
    assert (recipe.generations[0].qp, recipe.generations[0].gop, recipe.kernel) == (31, 11, 'area'), 'the middle'
    first = recipe.for_clip(0, 'a')
    assert first == recipe.for_clip(0, 'a')
    others = [recipe.for_clip(0, f'c{i}') for i in range(300)]
    qp = [o.generations[0].qp for o in others]
    assert abs(np.mean(qp) - 31) < 0.4
    assert abs(np.std(qp) - 2) < 0.4
    assert {o.generations[0].gop for o in others} == {10, 11, 12}
    assert 0.65 < np.mean([o.kernel == 'area' for o in others]) < 0.85
    assert any(o != p for o, p in zip(others, [recipe.for_clip(1, f'c{i}') for i in range(300)], strict=True))
    less = {**DRAWN, 'kernel': 'area', 'generations': [{'qp': {'normal': [31, 2]}, 'gop': 11}]}
    assert Recipe(**less).for_clip(0, 'c5').generations[0].qp == qp[5], 'other draws change nothing'
    assert Recipe(**json.loads(json.dumps(recipe.model_dump(mode='json')))) == recipe


def test_whole_encodings_may_be_drawn():
    lists = {'choice': [[{'qp': {'uniform': [20, 24]}}], [{'crf': 30.5}, {'codec': 'libvpx-vp9', 'crf': 40}]]}
    recipe = Recipe(name='r', generations=lists)
    found = {len(recipe.for_clip(0, f'c{i}').generations) for i in range(20)}
    assert found == {1, 2}
    assert [value for _, value, _ in draws.ends({'generations': lists})][:2] == [20, 24]


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('generations: [{qp: {normal: [48, 2]}}]', 'may be drawn as 54: qp of libx264 goes from 0 to 51, not 54'),
        ('generations: [{qp: {uniform: [30, 60]}}]', 'may be drawn as 60'),
        ('generations: [{qp: {normal: 3}}]', 'normal needs two numbers, [mean, deviation]'),
        ('generations: [{qp: {uniform: [30, 20]}}]', 'uniform is [low, high]'),
        ('generations: [{qp: {choice: []}}]', 'choice needs a list'),
        ('scale: {choice: [1, 2]}\ngenerations: [{qp: 3}]', 'scale is the same for all clips'),
        ('generations: [{crf: 20, preset: {choice: [fast, fastest]}}]', "no preset 'fastest'"),
        ('generations: [{crf: 20, params: {choice: ["ref=1", "ref=99"]}}]', 'makes 16 of ref=99'),
        ('generations: [{codec: libx265, crf: 20, follow: {}}]', 'follow needs libx264'),
        ('generations: [{crf: 20, switch: [[3, 1]]}]', 'switch begins with frame 0'),
        ('generations: [{codec: libvpx-vp9, crf: 30.5}]', 'whole number'),
    ],
)
def test_the_ends_of_distributions_are_checked(tmp_path, text, words):
    (tmp_path / 'r.yml').write_text(f'name: x\n{text}\n')
    with pytest.raises(UserError) as caught:
        read_recipe(tmp_path / 'r.yml')
    assert words in str(caught.value)


def write_clips(root, names, count=4, size=(64, 96)):
    for name in names:
        (root / name).mkdir(parents=True)
        for i, frame in enumerate(pan(count, size=size)):
            cv2.imwrite(str(root / name / f'{i:08d}.png'), frame[..., ::-1])


def test_the_manifest_says_what_was_drawn(tmp_path, capsys):
    write_clips(tmp_path / 'in', ['a', 'b', 'c'])
    (tmp_path / 'r.yml').write_text('name: x\nscale: 1\ngenerations: [{qp: {uniform: [20, 45]}, bframes: 0}]\n')
    given = ['-opt', str(tmp_path / 'r.yml'), str(tmp_path / 'in')]
    videos = str(tmp_path / 'videos')
    assert main(['degrade', *given, str(tmp_path / 'out'), '--seed', '3', '--workers', '2', '--videos', videos]) == 0
    manifest = json.loads((tmp_path / 'out' / 'manifest.json').read_text())
    recipe = read_recipe(tmp_path / 'r.yml')
    for clip, about in manifest['clips'].items():
        qp = about['drawn']['generations.0.qp']
        assert qp == recipe.for_clip(3, clip).generations[0].qp
        assert abs(about['generations'][0]['qp'] - qp) < 3
    stream = read_bitstream(tmp_path / 'videos' / 'b.mkv')
    assert stream.types == 'IPPP'
    assert abs(stream.qp - manifest['clips']['b']['generations'][0]['qp']) < 0.01
    assert len({about['drawn']['generations.0.qp'] for about in manifest['clips'].values()}) > 1
    assert manifest['recipe']['seed'] == 3
    assert Recipe(**{k: v for k, v in manifest['recipe'].items() if k != 'seed'}) == recipe
    alone = tmp_path / 'alone'
    write_clips(alone, ['b'])
    degrade_source(alone, tmp_path / 'out_b', recipe, seed=3, say=str)
    again = json.loads((tmp_path / 'out_b' / 'manifest.json').read_text())
    assert again['clips']['b'] == manifest['clips']['b'], 'the other clips change nothing'


def test_a_resolution_that_switches(tmp_path):
    frames = pan(8, size=(96, 128))
    still = Recipe(name='r', scale=1, generations=[{'qp': 10, 'bframes': 0}])
    switched = Recipe(name='r', scale=1, generations=[{'qp': 10, 'bframes': 0, 'switch': [[0, 1], [5, 2], [50, 1]]}])
    plain, _ = degrade(frames, still)
    halved, (generation,) = degrade(frames, switched)
    assert generation.types == 'IPPPPIPP'
    assert {f.shape for f in halved} == {(96, 128, 3)}

    def detail(frame):
        return np.abs(np.diff(frame.astype(float), axis=1)).mean()

    assert all(np.array_equal(a, b) for a, b in zip(plain[:5], halved[:5], strict=True))
    assert all(detail(b) < 0.9 * detail(a) for a, b in zip(plain[5:], halved[5:], strict=True))
    with pytest.raises(UserError, match='no metadata'):
        degrade_source(tmp_path, tmp_path / 'out', switched, metadata=tmp_path / 'm')


def test_a_rate_that_follows_content():
    """The busy half of a clip gets a larger share of the bits than with one rate for all."""
    busy = list(np.random.default_rng(0).integers(0, 256, (12, 64, 96, 3), dtype=np.uint8))
    frames = [cv2.GaussianBlur(f, (0, 0), 4) for f in busy] + [cv2.GaussianBlur(f, (0, 0), 1) for f in busy]
    activity = activity_of(frames, 12)
    assert activity[1] > 2 * activity[0]

    def quantiser(strength):
        encoding = {'crf': 30, 'bframes': 0, 'follow': {'frames': 12, 'strength': strength}}
        qp = last_generation(frames, Recipe(name='r', scale=1, generations=[encoding])).qp.reshape(24, -1).mean(1)
        return qp[12:].mean() - qp[:12].mean()

    assert quantiser(1.0) < quantiser(0.0) - 2
    shares = Encoding(crf=30, follow={'frames': 2}).options(frames=5, activity=[1, 4, 1])['x264-params']
    assert 'zones=0,1,b=' in shares
    assert '4,4,b=' in shares


def test_every_kernel_shrinks_about_the_same_place():
    """Without a phase no kernel moves the picture; with one, each moves it alike."""
    x = np.arange(64)
    ramp = np.repeat(np.broadcast_to(x * 2.0 + 40, (64, 64))[..., None], 3, 2).astype(np.uint8)
    for kernel in KERNELS:
        middle = shrink(ramp, (32, 32), kernel)[16, 8:24, 0].astype(float)
        moved = shrink(ramp, (32, 32), kernel, (1.0, 0.0))[16, 8:24, 0].astype(float)
        expected = 40 + 2 * (2 * np.arange(8, 24) + (1 if kernel == 'nearest' else 0.5))
        if kernel == 'nearest':
            expected -= 2
        assert np.abs(middle - expected).max() <= 1, kernel
        assert np.abs(moved - middle - 2).max() <= 1, kernel


def test_what_was_shown_between_two_encodings(tmp_path, capsys):
    write_clips(tmp_path / 'in', ['a'])
    (tmp_path / 'r.yml').write_text('name: x\nscale: 1\ngenerations: [{qp: 20}, {qp: 44}]\n')
    given = ['degrade', '-opt', str(tmp_path / 'r.yml'), str(tmp_path / 'in'), str(tmp_path / 'twice')]
    assert main([*given, '--once', str(tmp_path / 'once')]) == 0
    original, once, twice = (cv2.imread(str(tmp_path / n / 'a' / '00000002.png')) for n in ('in', 'once', 'twice'))
    first, _ = degrade(pan(4, size=(64, 96)), Recipe(name='x', scale=1, generations=[{'qp': 20}]))
    assert np.array_equal(once[..., ::-1], first[2])
    assert cv2.PSNR(original, once) > cv2.PSNR(original, twice) + 3
    (tmp_path / 'r.yml').write_text('name: x\nscale: 1\ngenerations: [{qp: 20}]\n')
    assert main([*given[:-1], str(tmp_path / 'other'), '--once', str(tmp_path / 'o')]) == 2
    assert 'encodes once' in capsys.readouterr().err
