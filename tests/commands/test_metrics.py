"""`votes metrics`: videos, folders and stores against each other, and results files side by side."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import write_clip
from skimage import data

from votes import checkpoint
from votes.checkpoint import read_record, write_record
from votes.cli import main
from votes.commands.metrics import NAMES, clips_at
from votes.metrics.psnr_ssim import calculate_psnr, calculate_ssim
from votes.metrics.vmaf import find_ffmpeg
from votes.video.degrade import encode_h264


@pytest.fixture
def videos(tmp_path, monkeypatch):
    """GT.mp4 (hardly compressed), OUT.mp4, and LQ.mp4 of half the size, of a picture that moves."""
    monkeypatch.chdir(tmp_path)
    picture = cv2.resize(data.astronaut(), (300, 260), interpolation=cv2.INTER_AREA)
    frames = [np.ascontiguousarray(picture[2 * i : 2 * i + 192, 3 * i : 3 * i + 192]) for i in range(10)]
    encode_h264(frames, 'GT.mp4', 1)
    encode_h264(frames, 'OUT.mp4', 28)
    encode_h264(frames, 'LQ.mp4', 28, (96, 96))


def measured(*words):
    assert main(['metrics', *words, '--json', 'm.json']) == 0

    def refuse(word):
        raise AssertionError(f'{word} is no JSON')

    return json.loads(Path('m.json').read_text(), parse_constant=refuse)


def test_two_videos(videos, capsys):
    content = measured('OUT.mp4', 'GT.mp4', '--lq', 'LQ.mp4', '--metrics', 'psnr,ssim,ms_ssim,warping_error,tof')
    a, b = (list(clips_at(Path(name)).popitem()[1]()) for name in ('OUT.mp4', 'GT.mp4'))
    (result,) = content['results'].values()
    assert len(result['frames']) == 10
    wanted = np.mean([calculate_psnr(x, y, 2, True) for x, y in zip(a, b, strict=True)])
    assert result['mean']['restored']['psnr'] == pytest.approx(wanted, abs=1e-9)
    assert result['frames'][7]['restored']['ssim'] == pytest.approx(calculate_ssim(a[7], b[7], 2, True), abs=1e-12)
    assert 'warping_error' not in result['frames'][0]['restored'], 'it takes two frames'
    assert result['mean']['restored']['fluctuation'] == pytest.approx(
        np.std([f['restored']['psnr'] for f in result['frames']])
    )
    assert list(result['mean']) == ['LQ bicubic', 'restored']
    assert result['mean']['LQ bicubic']['psnr'] < result['mean']['restored']['psnr']
    said = capsys.readouterr().out
    assert 'gain' in said
    assert 'warping_error 0.0000' not in said, 'small values have digits'
    protocol = content['protocol']
    assert protocol['channel'] == 'y'
    assert {'range', 'rounding', 'window_padding', 'aggregation', 'crop_border', 'flow'} <= protocol.keys()
    assert 'sha256' in content['data']['restored']
    assert content['data']['restored'] != content['data']['reference']


@pytest.mark.skipif(find_ffmpeg('libvmaf') is None, reason='no ffmpeg program with libvmaf here')
def test_vmaf(videos):
    first = measured('GT.mp4', 'GT.mp4', '--metrics', 'vmaf')['results']['GT']['mean']['restored']['vmaf']
    second = measured('OUT.mp4', 'GT.mp4', '--metrics', 'vmaf')['results']['GT']['mean']['restored']['vmaf']
    assert first > 95
    assert second < first


def test_folders_stores_and_channels(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ('a', 'b'):
        for i in range(2):
            write_clip(Path(name) / f'{i:03d}', 4, (24, 32), seed=10 * i + (name == 'b'))
    assert main(['pack', 'b', 'packed']) == 0
    whole = measured('a', 'packed', '--channel', 'rgb', '--crop', '0')
    one = measured('a/001', 'b/001', '--channel', 'rgb', '--crop', '0')
    assert whole['results']['packed']['clips']['restored']['psnr']['001'] == pytest.approx(
        one['results']['001']['mean']['restored']['psnr']
    )
    assert set(whole['results']['packed']['clips']['restored']['psnr']) == {'000', '001'}
    assert measured('a', 'b')['results']['b']['mean'] != whole['results']['packed']['mean']


def test_results_side_by_side(videos, capsys):
    for name in ('OUT', 'GT'):
        assert main(['metrics', f'{name}.mp4', 'GT.mp4', '--metrics', 'ssim', '--json', f'{name}.json']) == 0
    capsys.readouterr()
    assert main(['metrics', 'compare', 'OUT.json', 'GT.json']) == 0
    assert '1.0000' in capsys.readouterr().out
    named = read_record('OUT.json')
    write_record('OUT.json', {**named, 'name': 'OUT#1_50%&'})
    assert main(['metrics', 'compare', 'OUT.json', 'GT.json', '--format', 'latex']) == 0
    said = capsys.readouterr().out
    assert r'OUT\#1\_50\%\& & 0.9' in said
    assert [word in said for word in (r'\toprule', r'\midrule', r'\bottomrule')] == [True] * 3
    Path('OUT.json').write_text(json.dumps(named))
    for style, words in (('markdown', '|---|'), ('latex', r'\begin{tabular}'), ('csv', 'OUT,')):
        assert main(['metrics', 'compare', 'OUT.json', 'GT.json', '--format', style]) == 0
        assert words in capsys.readouterr().out
    assert main(['metrics', 'OUT.mp4', 'GT.mp4', '--metrics', 'ssim', '--crop', '0', '--json', 'other.json']) == 0
    assert main(['metrics', 'compare', 'OUT.json', 'other.json']) == 2
    assert 'another protocol' in capsys.readouterr().err
    assert main(['metrics', 'compare', 'OUT.json', 'other.json', '--any-protocol']) == 0


def test_what_is_refused(videos, capsys):
    encode_h264(list(clips_at(Path('GT.mp4'))['GT']())[:7], 'short.mp4', 1)
    for words, message in (
        (['OUT.mp4', 'nothing.mp4'], 'not found'),
        (['OUT.mp4', 'GT.mp4', '--metrics', 'psrn'], "unknown metric 'psrn'"),
        (['OUT.mp4'], 'two inputs'),
        (['OUT.mp4', 'LQ.mp4'], '192x192 and 96x96'),
        (['OUT.mp4', 'short.mp4'], 'one ends after 7 frames'),
        (['OUT.mp4', 'GT.mp4', '--metrics', 'lpips'], 'lpips needs weights'),
        (['OUT.mp4', 'GT.mp4', '--crop', '200'], 'leaves nothing'),
    ):
        assert main(['metrics', *words, '--json', 'bad.json']) == 2
        assert message in capsys.readouterr().err
        assert not Path('bad.json').exists()
    assert set(NAMES) >= {'psnr', 'ssim', 'ms_ssim', 'vmaf', 'lpips', 'dists'}


def test_learned_distances_with_weights_of_the_user(tmp_path, monkeypatch):
    """With random weights: zero for equal frames, larger for worse ones. (Their values were compared with the
    packages lpips 0.1.4 and DISTS_pytorch 0.1 on random weights by hand: equal in all printed digits.)"""
    monkeypatch.chdir(tmp_path)
    corner = np.ascontiguousarray(data.astronaut()[:48, :48])
    for name, quantiser in (('GT.mp4', 1), ('OUT.mp4', 28)):  # VGG takes a second a frame of the size of the others
        encode_h264([corner, corner[::-1].copy()], name, quantiser)
    rng = torch.Generator().manual_seed(0)
    shapes = {0: (64, 3), 2: (64, 64), 5: (128, 64), 7: (128, 128), 10: (256, 128), 12: (256, 256), 14: (256, 256)}
    shapes |= {i: (512, 256 if i == 17 else 512) for i in (17, 19, 21, 24, 26, 28)}
    features = {}
    for i, (out, into) in shapes.items():
        features[f'features.{i}.weight'] = torch.randn(out, into, 3, 3, generator=rng) * (2 / (9 * into)) ** 0.5
        features[f'features.{i}.bias'] = torch.zeros(out)
    sizes = (64, 128, 256, 512, 512)
    checkpoint.save(
        {f'lin{i}.model.1.weight': torch.rand(1, n, 1, 1, generator=rng) for i, n in enumerate(sizes)}, 'vgg.pth'
    )
    checkpoint.save({name: torch.rand(1, 3 + sum(sizes), 1, 1, generator=rng) for name in ('alpha', 'beta')}, 'd.pth')
    checkpoint.save(features, 'vgg16.pth')
    words = ['--metrics', 'lpips,dists', '--features', 'vgg16.pth', '--lpips', 'vgg.pth', '--dists', 'd.pth']
    equal = measured('GT.mp4', 'GT.mp4', *words)['results']['GT']['mean']['restored']
    worse = measured('OUT.mp4', 'GT.mp4', *words)['results']['GT']['mean']['restored']
    for name in ('lpips', 'dists'):
        assert equal[name] == pytest.approx(0, abs=1e-5)
        assert worse[name] > 1e-4
    assert main(['metrics', 'GT.mp4', 'GT.mp4', *words[:5], 'vgg16.pth']) == 2


def test_bits_for_the_same_quality(tmp_path, capsys):
    (tmp_path / 'a.csv').write_text('kbps,psnr\n100,30\n200,32\n400,34\n800,36\n')
    (tmp_path / 'b.csv').write_text('90,30\n180,32\n360,34\n720,36\n')
    assert main(['metrics', 'bd-rate', str(tmp_path / 'a.csv'), str(tmp_path / 'b.csv')]) == 0
    assert capsys.readouterr().out.startswith('-10.00 % bits')
    (tmp_path / 'b.csv').write_text('90,30\nmany,32\n')
    assert main(['metrics', 'bd-rate', str(tmp_path / 'a.csv'), str(tmp_path / 'b.csv')]) == 2
    assert 'b.csv:2' in capsys.readouterr().err
