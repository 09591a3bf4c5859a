"""The commands restore, dfm and probe, and the same from Python."""

import json
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import VDSR
from restore.clips import frames_of, lossless, moving, small_network
from test_video import read

from votes import checkpoint
from votes.cli import main
from votes.commands.arguments import frame_range
from votes.errors import UserError


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with in.mp4 and weights of a small VOTES."""
    monkeypatch.chdir(tmp_path)
    lossless(tmp_path / 'in.mp4', moving(20), codec='libx264', chroma='420')
    net = small_network()
    options = {'type': 'VOTES', 'num_feat': 8, 'deformable_groups': 2, 'num_extract_block': 1}
    options |= {'num_reconstruct_block': 1, 'num_modulation_blocks': 1}
    options |= {'dsm_num_feat': 4, 'dsm_num_block': 1, 'dsm_num_layer': 1, 'dsm_num_grow_ch': 2}
    checkpoint.save({'params': net.state_dict(), 'network_g': options}, 'w.pth')
    checkpoint.save({'params': net.bin.state_dict()}, 'dsm.pth')
    return tmp_path


def restore(*arguments):
    return main(['restore', *arguments, '--weights', 'w.pth', '--device', 'cpu'])


@pytest.mark.parametrize('codec', [pytest.param('ffv1', marks=pytest.mark.long), 'h264'])
def test_several_processes_make_what_one_makes(place, codec):
    lossless(place / 'in.mp4', moving(18, (30, 52)), codec='libx264', chroma='420')  # 120x208: not whole macroblocks
    assert restore('in.mp4', 'one.mkv', '--codec', codec, '--segment', '6') == 0
    command = [sys.executable, '-m', 'votes.cli', 'restore', 'in.mp4', 'two.mkv', '--weights', 'w.pth', '--device']
    command += ['cpu', '--codec', codec, '--segment', '6', '--gpus', '2']
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        command, env=dict(os.environ, PYTHONPATH=str(root)), capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    assert '3 segments were there before' in done.stdout, 'the helpers made them all'
    assert frames_of('one.mkv') == frames_of('two.mkv')
    assert not Path('two.mkv.votes-job').exists()


def test_sigterm_to_the_command(place):
    lossless(place / 'long.mp4', moving(60) * 6, codec='libx264', chroma='420')
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, '-m', 'votes.cli', 'restore', 'long.mp4', 'out.mp4', '--weights', 'w.pth']
    command += ['--segment', '4', '--device', 'cpu', '--progress', 'json']
    process = subprocess.Popen(command, env=dict(os.environ, PYTHONPATH=str(root)), stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 100
    while len(list(Path('out.mp4.votes-job').glob('*.nut'))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 75
    assert not Path('out.mp4').exists()
    assert not list(Path('out.mp4.votes-job').glob('.*tmp*'))


def test_parts_and_comparisons(place, capsys):
    assert restore('in.mp4', 'part.mkv', '--frames', '5:12', '--codec', 'ffv1') == 0
    assert restore('in.mp4', 'all.mkv', '--codec', 'ffv1') == 0
    assert frames_of('part.mkv') == frames_of('all.mkv')[5:12], 'the same pictures at the same times'
    assert restore('in.mp4', 'p.mp4', '--preview', '0.2s@00:00.4') == 0
    reader, found = read('p_side.mp4')
    assert reader.size == (96, 256)
    assert [float(f.pts * reader.time_base) for f in found] == pytest.approx([0.4, 0.44, 0.48, 0.52, 0.56])
    kinds = ['split', 'diff', 'dfm', 'slider']
    arguments = [a for kind in kinds for a in ('--compare', kind)]
    assert restore('in.mp4', 'c.mp4', *arguments) == 0
    assert [read(f'c_{kind}.mp4')[0].size for kind in kinds[:3]] == [(96, 128), (96, 384), (96, 384)]
    page = Path('c_slider.html').read_text()
    shown = json.loads(page.split('id="frames">')[1].split('</script>')[0])
    frames = shown['sets'][0]['clips'][0]['frames']
    assert [f['index'] for f in frames] == list(range(20))
    assert list(frames[0]['pictures']) == ['input', 'output', 'DFM', 'difference']
    assert not list(place.glob('.*'))
    _, (split, *_) = read('c_split.mp4')
    _, (output, *_) = read('c.mp4')
    assert np.abs(split.rgb[:, 70:].astype(int) - output.rgb[:, 70:]).mean() < 4
    capsys.readouterr()
    assert restore('in.mp4', 'c.mp4', '--overwrite', '--compare', 'dfm') == 0
    assert 'comparison: c_dfm.mp4' in capsys.readouterr().out


def test_what_would_be_done(place, capsys):
    assert restore('in.mp4', 'out.mp4', '--dry-run') == 0
    told = capsys.readouterr().out
    for words in ('64x48, about 20 frames, 8 bits', '128x96', 'libx264, yuv420p, crf 16', 'time: about', 'none, whole'):
        assert words in told
    assert sorted(p.name for p in place.iterdir()) == ['dsm.pth', 'in.mp4', 'w.pth']


def test_progress_for_programs(place, capsys, monkeypatch):
    from votes.restore import progress

    clock = iter(range(10**6))
    monkeypatch.setattr(progress.time, 'monotonic', lambda: float(next(clock)))
    assert restore('in.mp4', 'out.mp4', '--progress', 'json') == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events[-1]['event'] == 'done'
    assert events[-1]['frames'] == 20
    steps = [e for e in events if e['event'] == 'progress']
    assert [e['frame'] for e in steps] == sorted(e['frame'] for e in steps)
    assert steps[-1]['frames'] == 20
    assert {'frames_per_second', 'seconds_left', 'peak_bytes'} <= set(steps[0])


def test_lines_for_logs(place, capsys, monkeypatch):
    from votes.restore import progress

    clock = iter(range(0, 10**7, 7))
    monkeypatch.setattr(progress.time, 'monotonic', lambda: float(next(clock)))
    assert restore('in.mp4', 'out.mp4', '--progress', 'lines') == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith('frame ')]
    assert any('/20 ' in line and 'frames/s ETA' in line for line in lines)


def test_folders_and_patterns(place, capsys):
    videos = place / 'videos'
    videos.mkdir()
    for name in ('a', 'b'):
        lossless(videos / f'{name}.mp4', moving(5), codec='libx264', chroma='420')
    (videos / 'broken.mp4').write_text('no video')
    assert restore('videos', 'out') == 1
    told = capsys.readouterr()
    assert told.out.splitlines()[-3:-1] == ['done    out/a.mp4', 'done    out/b.mp4']
    assert 'FAILED  videos/broken.mp4: not a readable video' in told.out
    assert sorted(p.name for p in (place / 'out').iterdir()) == ['a.mp4', 'b.mp4']
    assert restore('videos/[ab].mp4', 'again') == 0
    assert frames_of('again/a.mp4') == frames_of('out/a.mp4')
    for bad, message in (('nothing/*.mp4', 'nothing matches'), ('again', '')):
        capsys.readouterr()
        if message:
            assert restore(bad, 'x') == 2
            assert message in capsys.readouterr().err


def test_pictures_in_and_out(place, capsys):
    assert restore('in.mp4', 'pictures') == 0
    assert sorted(p.name for p in (place / 'pictures').iterdir())[:2] == ['00000000.png', '00000001.png']
    assert len(list((place / 'pictures').iterdir())) == 20
    assert restore('pictures', 'from_pictures.mp4', '--rate', '10') == 0
    reader, found = read('from_pictures.mp4')
    assert (len(found), reader.size, float(reader.rate)) == (20, (192, 256), 10)
    assert restore('in.mp4', 'pictures') == 2, 'a folder that exists is not replaced'
    assert restore('in.mp4', '-') == restore('-', 'out.mp4') == 2, 'nor is a pipe taken for a name'
    assert not Path('-').exists()
    assert restore('in.mp4', 'pictures', '--overwrite') == 0
    (place / 'pictures' / 'mine.txt').write_text('mine')
    assert restore('in.mp4', 'pictures', '--overwrite') == 2
    assert (place / 'pictures' / 'mine.txt').exists()


@pytest.mark.parametrize('weights', ['w.pth', 'dsm.pth'])
def test_the_degradation_map_as_a_video(place, weights):
    assert main(['dfm', 'in.mp4', 'map.mkv', '--weights', weights, '--codec', 'ffv1', '--device', 'cpu']) == 0
    reader, found = read('map.mkv')
    assert reader.size == (48, 64)
    assert [f.pts * reader.time_base for f in found] == [f[1] for f in frames_of('in.mp4')]
    net = small_network()
    source = [torch.from_numpy(f.rgb.copy()).permute(2, 0, 1).float() / 255 for f in read('in.mp4')[1]]
    dfm = net.degradation_map(torch.stack(source[4:9]).unsqueeze(0))[0, 0]
    brightness = found[6].rgb.astype(float).sum(2)
    flat = dfm.flatten().argsort()
    order = brightness.flatten()[flat]
    assert np.all(np.diff(order)[np.diff(dfm.flatten()[flat].numpy()) == 0] == 0), 'one colour for one value'
    assert order[-100:].mean() > order[:100].mean()


def test_weights_without_a_map(place, capsys):
    net = small_network(__import__('votes.archs.edvr_arch', fromlist=['EDVR']).EDVR)
    checkpoint.save({'params': net.state_dict()}, 'edvr.pth')
    assert main(['dfm', 'in.mp4', 'map.mp4', '--weights', 'edvr.pth']) == 2
    assert 'EDVR has no degradation map' in capsys.readouterr().err


def test_probe(place, capsys):
    assert main(['probe', 'in.mp4', '--json']) == 0
    (about,) = json.loads(capsys.readouterr().out)
    assert about['size'] == '64x48'
    assert about['frames'] == 20
    assert (about['codec'], about['bits'], about['matrix'], about['range']) == ('h264', 8, 'bt601', 'limited')
    assert len(about['quantisers']) == len(about['picture_types']) == 20
    assert not about['variable_rate']
    lossless(
        place / 'hard.mp4',
        moving(9),
        times=[0, 500, 1700, 1800, 5000, 5100, 6000, 7000, 9000],
        codec='libx264',
        chroma='420',
    )
    assert main(['probe', 'hard.mp4']) == 0
    assert 'variable rate        True' in capsys.readouterr().out
    assert main(['probe', 'w.pth']) == 2


def test_from_python(place):
    import votes

    summary = votes.restore('in.mp4', 'out.mkv', weights='w.pth', device='cpu', codec='ffv1')
    assert summary.frames == 20
    kept = frames_of('out.mkv')
    streamed = list(votes.stream('in.mp4', 'w.pth', device='cpu'))
    assert [rgb.tobytes() for _, rgb in streamed] == [content for content, _ in kept]
    assert [seconds for seconds, _ in streamed] == pytest.approx([float(t) for _, t in kept])
    some = votes.stream('in.mp4', small_network(), device='cpu', frames=(3, 6))
    assert [rgb.shape for _, rgb in some] == [(96, 128, 3)] * 3
    with pytest.raises(UserError, match='the output exists'):
        votes.restore('in.mp4', 'out.mkv', weights='w.pth')
    with pytest.raises(AttributeError):
        _ = votes.nothing


def test_strength_mixes_the_result_with_the_enlarged_source(place, capsys):
    import votes
    from votes.archs import build_network
    from votes.archs.parts.blocks import enlarged

    torch.manual_seed(0)
    net = build_network(VDSR)
    shown = {
        share: [rgb for _, rgb in votes.stream('in.mp4', net, device='cpu', strength=share, frames=(3, 6))]
        for share in (1.0, 0.25, 1.1)
    }
    source = [torch.from_numpy(f.rgb.copy()).permute(2, 0, 1)[None].float() / 255 for f in read('in.mp4')[1][3:6]]
    for full, weak, more, lq in zip(*shown.values(), source, strict=True):
        plain = enlarged(lq, full.shape[:2])[0].permute(1, 2, 0).numpy() * 255
        assert np.abs(full - plain).max() > 8
        assert np.abs(weak - (0.25 * full + 0.75 * plain)).max() < 1.01
        assert np.abs(more - (1.1 * full - 0.1 * plain).clip(0, 255)).max() < 1.11
    for wrong in ('2.5', '-1', 'nan'):
        assert restore('in.mp4', 'out.mp4', '--strength', wrong) == 2
        assert 'strength' in capsys.readouterr().err


def test_previews_are_ranges_of_frames():
    assert frame_range(None, '3s@00:10', Fraction(25)) == (250, 325)
    assert frame_range(None, '.5s@1:00:01.5', Fraction(10)) == (36015, 36020)
    assert frame_range(None, '2s', Fraction(30000, 1001)) == (0, 60)
    for text in ('1.2.3s', '3s@1.2.3', '3s@1:1:1:1', '3'):
        with pytest.raises(UserError, match='a preview is SECONDS'):
            frame_range(None, text, Fraction(25))
