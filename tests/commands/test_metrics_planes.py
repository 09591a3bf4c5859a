"""Videos measured on their own planes, raw files, and what is said where a measurement cuts or cannot be made."""

import json
import math
import re
import subprocess
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from skimage import data

from votes.cli import main
from votes.data.raw_video import format_of
from votes.data.sources import open_source
from votes.errors import UserError
from votes.metrics import vmaf as vmaf_module
from votes.metrics.vmaf import find_ffmpeg

PICTURE = cv2.resize(data.astronaut(), (300, 260), interpolation=cv2.INTER_AREA)
SIZE = (130, 178)  # height and width: no multiples of 4, and chroma of an odd number of columns


def write(path, pixels, crf, count=4, size=SIZE, full=False):
    """A moving picture."""
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('libx264', rate=25, options={'crf': str(crf)})
        stream.height, stream.width, stream.pix_fmt = *size, pixels
        for i in range(count):
            part = np.ascontiguousarray(PICTURE[2 * i : 2 * i + size[0], 3 * i : 3 * i + size[1]])
            frame = av.VideoFrame.from_ndarray(part, 'rgb24')
            stretched = frame.reformat(format=pixels, dst_color_range=2 if full else 1)
            stretched.color_range = 1  # with `full`, values beyond 16 to 235 in a video that says limited
            container.mux(stream.encode(stretched))
        container.mux(stream.encode(None))


def planes_of(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray() for frame in container.decode(video=0)]


def measured(*words):
    assert main(['metrics', *map(str, words), '--json', 'm.json']) == 0
    return json.loads(Path('m.json').read_text())


def filtered(program, name, first, second, *before):
    """What an ffmpeg filter says at its end: {'y': ..., 'u': ..., ...}."""
    inputs = [word for path in (first, second) for word in (*before, '-i', str(path))]
    # -cpuflags 0: for an odd number of columns, SSIM of ffmpeg 5.1's vector code differs from that of its C code
    command = [program, '-hide_banner', '-cpuflags', '0', *inputs, '-lavfi', name, '-f', 'null', '-']
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    line = next(line for line in reversed(said.splitlines()) if f'{name.upper()} ' in line)
    return {key.lower(): float(value) for key, value in re.findall(r'(\w+):([\d.]+|inf)', line)}


@pytest.mark.skipif(find_ffmpeg('psnr') is None, reason='no ffmpeg program here')
@pytest.mark.parametrize('pixels', ['yuv420p', 'yuv420p10le', 'yuv422p', 'yuv444p10le'])
def test_planes_are_measured_as_by_ffmpegs_filters(tmp_path, monkeypatch, pixels):
    monkeypatch.chdir(tmp_path)
    write('a.mkv', pixels, 30)
    write('b.mkv', pixels, 3)
    found = measured('a.mkv', 'b.mkv', '--planes')['results']['b']
    program = find_ffmpeg('psnr')
    psnr, ssim = (filtered(program, name, 'a.mkv', 'b.mkv') for name in ('psnr', 'ssim'))
    for plane, theirs in (('y', 'y'), ('u', 'u'), ('v', 'v'), ('yuv', 'average')):
        assert found['pooled']['restored'][f'psnr_{plane}'] == pytest.approx(psnr[theirs], abs=6e-5)
    for plane, theirs in (('y', 'y'), ('u', 'u'), ('v', 'v'), ('yuv', 'all')):
        assert found['mean']['restored'][f'ssim_{plane}'] == pytest.approx(ssim[theirs], abs=6e-5)
    assert found['mean']['restored']['psnr_y'] != found['pooled']['restored']['psnr_y']
    values = [frame['restored']['psnr_y'] for frame in found['frames']]
    assert found['mean']['restored']['psnr_y'] == pytest.approx(np.mean(values))


@pytest.mark.parametrize(
    ('pixels', 'name'),
    [('yuv420p', 'x_178x130_420_8bit'), ('yuv420p10le', 'x_178x130_25fps_10bit_420'), ('yuv444p', 'x_178x130_yuv444p')],
)
def test_raw_files_are_what_the_videos_are(tmp_path, monkeypatch, capsys, pixels, name):
    """10 bit and 4:4:4 were read as 8-bit 4:2:0 of more frames, without a word."""
    monkeypatch.chdir(tmp_path)
    for side, crf in (('a', 30), ('b', 3)):
        write(f'{side}.mkv', pixels, crf)
        Path(side).mkdir()
        (Path(side) / f'{name}.yuv').write_bytes(b''.join(frame.tobytes() for frame in planes_of(f'{side}.mkv')))
    wanted = measured('a.mkv', 'b.mkv', '--planes')['results']['b']
    told = measured(f'a/{name}.yuv', f'b/{name}.yuv', '--planes')['results'][name]
    assert told['mean'] == wanted['mean']
    assert told['pooled'] == wanted['pooled']
    assert len(told['frames']) == 4
    mixed = measured(f'a/{name}.yuv', 'b.mkv', '--planes')['results']['b']
    assert mixed['mean'] == wanted['mean']
    (Path('a') / f'{name}.yuv').rename('bare.yuv')
    assert main(['metrics', 'bare.yuv', 'b.mkv', '--planes']) == 2
    assert 'without its size' in capsys.readouterr().err
    declared = measured('bare.yuv', f'b/{name}.yuv', '--planes', '--raw', f'178x130:{pixels}:25')['results'][name]
    assert declared['mean'] == wanted['mean']
    through_rgb = measured('bare.yuv', 'b.mkv', '--raw', f'178x130:{pixels}:25')
    assert through_rgb['results']['b']['mean']['restored']['psnr'] > 20


@pytest.mark.parametrize(
    ('name', 'size', 'pixels', 'frames'),
    [
        ('a_64x48_yuv420p10le', 64 * 48 * 3 * 4, 'yuv420p10le', 4),
        ('a_64x48_420_8bit', 64 * 48 * 3 * 4, 'yuv420p', 8),
        ('a_64x48_444_8bit_30', 64 * 48 * 3 * 4, 'yuv444p', 4),
        ('a_64x48_8', 64 * 48 * 3 * 4, 'yuv420p', 8),  # the name's number of frames settles it, as in MFQE's data
        ('BasketballPass_416x240_500', 416 * 240 * 3 // 2 * 500, 'yuv420p', 500),
        ('a_64x48', 64 * 48 * 3 // 2 * 7, 'yuv420p', 7),  # nothing else fits
        ('a_64x48', 64 * 48 * 3 * 4, None, 'several ways'),
        ('a_64x48_10bit', 64 * 48 * 3 * 4, None, 'several ways'),
        ('a_64x48_yuv420p', 64 * 48 * 3 + 1, None, 'no whole number'),
        ('a', 64 * 48 * 3, None, 'without its size'),
    ],
)
def test_formats_of_raw_files_are_never_guessed(tmp_path, name, size, pixels, frames):
    path = tmp_path / f'{name}.yuv'
    with open(path, 'wb') as file:
        file.truncate(size)
    if pixels is None:
        with pytest.raises(UserError, match=frames) as caught:
            format_of(path)
        assert '--raw' in str(caught.value)
        return
    told = format_of(path)
    assert (told.pixels, told.count(path)) == (pixels, frames)
    assert format_of(path, f'64x48:{pixels}').pixels == pixels if name.startswith('a_') else True
    source = open_source(tmp_path)
    assert source.length(source.clips()[0]) == frames
    assert source.read(source.clips()[0], frames - 1).shape == (told.height, told.width, 3)


def test_what_a_protocol_cuts_is_said(tmp_path, monkeypatch, capsys):
    """10 bits and levels that RGB has no place for: on the terminal and in the JSON, where RGB is measured."""
    monkeypatch.chdir(tmp_path)
    write('a.mkv', 'yuv420p10le', 30, full=True)
    write('b.mkv', 'yuv420p10le', 3, full=True)
    cuts = measured('a.mkv', 'b.mkv')['cuts']
    said = capsys.readouterr().out
    assert 'a.mkv: its 10 bits are cut to 8' in cuts
    assert any('% of its luma lies beyond 64 to 940' in line for line in cuts)
    assert all(line in said for line in cuts)
    assert measured('a.mkv', 'b.mkv', '--planes')['cuts'] == []
    assert 'note' not in capsys.readouterr().out
    write('c.mkv', 'yuv420p', 3)
    assert not any('bits' in line for line in measured('c.mkv', 'c.mkv')['cuts'])
    assert main(['metrics', 'a.mkv', 'c.mkv', '--planes']) == 2
    assert '178x130 yuv420p10le, 178x130 yuv420p' in capsys.readouterr().err


def test_an_identical_pair_is_json_all_the_same(tmp_path, monkeypatch, capsys):
    """PSNR is infinite; 'inf' stands for what JSON does not have, and tables read it."""
    monkeypatch.chdir(tmp_path)
    write('a.mkv', 'yuv420p', 10)
    for words in ((), ('--planes',)):
        content = measured('a.mkv', 'a.mkv', *words)
        assert 'Infinity' not in Path('m.json').read_text()
        assert 'NaN' not in Path('m.json').read_text()
        values = [v for n, v in content['results']['a']['mean']['restored'].items() if n.startswith('psnr')]
        assert values
        assert all(math.isinf(float(value)) for value in values)
        assert main(['metrics', 'compare', 'm.json', 'm.json']) == 0
        assert 'nan' not in capsys.readouterr().out


def test_without_libvmaf_the_others_are_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write('a.mkv', 'yuv420p', 30)
    write('b.mkv', 'yuv420p', 3)
    monkeypatch.setattr(vmaf_module, 'has_filter', lambda program, name: False)
    for words in ((), ('--planes',)):
        content = measured('a.mkv', 'b.mkv', '--metrics', 'psnr,vmaf', *words)
        assert 'vmaf' in content['not_available']
        values = content['results']['b']['mean']['restored']
        assert any(name.startswith('psnr') for name in values)
        assert 'vmaf' not in values
        assert 'vmaf: NOT AVAILABLE: ' in capsys.readouterr().out
        assert main(['metrics', 'a.mkv', 'b.mkv', '--metrics', 'vmaf', *words]) == 2
        assert 'libvmaf' in capsys.readouterr().err


def test_the_ffmpeg_that_has_the_filter_is_taken(tmp_path, monkeypatch):
    """A system's ffmpeg without libvmaf does not hide the wheel's."""
    program = tmp_path / 'ffmpeg'
    program.write_text('#!/bin/sh\necho " ... psnr VV->V"\n')
    program.chmod(0o755)
    whole = tmp_path / 'whole'
    whole.write_text('#!/bin/sh\necho " ... libvmaf VV->V"\n')
    whole.chmod(0o755)
    monkeypatch.setattr(vmaf_module, 'programs', lambda: [str(program), str(whole)])
    assert find_ffmpeg('libvmaf') == str(whole)
    assert find_ffmpeg('psnr') == str(program)
    assert find_ffmpeg('zscale') is None


@pytest.mark.skipif(find_ffmpeg('libvmaf') is None, reason='no ffmpeg program with libvmaf here')
def test_vmaf_of_planes_is_that_of_the_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for pixels in ('yuv420p', 'yuv420p10le'):
        write('a.mkv', pixels, 30, full=True)
        write('b.mkv', pixels, 3, full=True)
        found = measured('a.mkv', 'b.mkv', '--planes', '--metrics', 'vmaf')['results']['b']['mean']['restored']['vmaf']
        command = [find_ffmpeg('libvmaf'), '-v', 'error', '-i', 'a.mkv', '-i', 'b.mkv']
        command += ['-lavfi', 'libvmaf=log_fmt=json:log_path=log.json', '-f', 'null', '-']
        subprocess.run(command, check=True)
        theirs = json.loads(Path('log.json').read_text())['pooled_metrics']['vmaf']['mean']
        assert found == pytest.approx(theirs, abs=1e-3)
