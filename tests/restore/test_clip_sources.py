"""Files as people have them: raw streams, joined files, variable rates, what is cut and what only looks so."""

from fractions import Fraction

import av
import numpy as np
import pytest
from restore.clips import Identity, lossless, moving
from test_video import read

from votes.restore import Settings, restore_video
from votes.restore.inputs import open_input
from votes.video.read import Reading


def restored(source, target, **settings):
    return restore_video(Identity(), source, target, progress='none', settings=Settings(**settings))


def filmed(path, frames=50, sound='aac', codec='libx264', start=0, rate=25):
    """A moving picture and a tone, of equal length."""
    with av.open(str(path), 'w') as container:
        video = container.add_stream(codec, rate=rate)
        video.height, video.width, video.pix_fmt = 48, 64, 'yuv420p'
        video.options = {'g': '12'}
        audio = container.add_stream(sound, rate=48000, bit_rate=128000) if sound else None
        for i, rgb in enumerate(moving(frames)):
            frame = av.VideoFrame.from_ndarray(rgb, 'rgb24')
            frame.pts, frame.time_base = start + i, Fraction(1, rate)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None:
            size = audio.codec_context.frame_size or 1024
            for at in range(0, frames * 48000 // rate, size):
                tone = (np.sin(np.arange(at, at + size) / 20) * 0.2).astype(np.float32)
                sample = av.AudioFrame.from_ndarray(np.stack((tone, tone)), 'fltp', 'stereo')
                sample.sample_rate = 48000
                if audio.codec_context.format.name != 'fltp':
                    sample = av.AudioResampler(audio.codec_context.format.name).resample(sample)[0]
                sample.pts, sample.time_base = at, Fraction(1, 48000)
                container.mux(audio.encode(sample))
            container.mux(audio.encode(None))
    return path


def times_of(path):
    reader, found = read(path)
    return [float(f.pts * reader.time_base) for f in found]


@pytest.mark.parametrize(('codec', 'suffix'), [('libx264', 'h264'), ('libx265', 'hevc')])
def test_a_raw_stream_has_the_rate_that_it_states(tmp_path, codec, suffix):
    filmed(tmp_path / f'in.{suffix}', 12, None, codec, rate=30)
    summary = restored(tmp_path / f'in.{suffix}', tmp_path / 'out.mp4')
    times = times_of(tmp_path / 'out.mp4')
    assert np.diff(times) == pytest.approx([1 / 30] * 11, abs=1e-4)
    assert not any('--rate' in note for note in summary.notes)


def test_a_stream_without_a_rate(tmp_path):
    with av.open(str(tmp_path / 'in.m4v'), 'w', format='m4v') as container:
        stream = container.add_stream('mpeg4', rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, 'yuv420p'
        for rgb in moving(6):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, 'rgb24')))
        container.mux(stream.encode(None))
    restored(tmp_path / 'in.m4v', tmp_path / 'out.mp4', reading=Reading(rate=Fraction(50)))
    assert len(times_of(tmp_path / 'out.mp4')) == 6


@pytest.mark.parametrize('pause', [0, 30])
def test_a_joined_transport_stream_goes_on(tmp_path, pause):
    """Two recordings one behind the other: the clock of the second starts anew, or elsewhere."""
    first = filmed(tmp_path / 'a.ts', 50).read_bytes()
    second = filmed(tmp_path / 'b.ts', 50, start=pause * 25).read_bytes()
    (tmp_path / 'in.ts').write_bytes(first + second)
    summary = restored(tmp_path / 'in.ts', tmp_path / 'out.mkv', codec='ffv1', segment=30)
    assert summary.frames == 100
    assert any('starts anew after' in note for note in summary.notes)
    steps = np.diff(times_of(tmp_path / 'out.mkv'))
    assert np.abs(steps - 0.04).max() < 0.05, 'no gap, nothing squeezed'
    assert np.abs(np.delete(steps, 49) - 0.04).max() < 0.002
    with av.open(str(tmp_path / 'out.mkv')) as container:
        sound = [float(p.pts * p.time_base) for p in container.demux(audio=0) if p.pts is not None]
        assert np.diff(sound).min() >= 0
        assert len(sound) > 180
    reader, found = read(tmp_path / 'out.mkv')
    second_picture = float(found[50].pts * reader.time_base)
    with open_input(tmp_path / 'in.ts', Reading()) as source:
        assert len(source.survey.times) == 100
        assert float(source.survey.times[50] * source.time_base) == pytest.approx(second_picture, abs=0.002)


def test_what_is_whole_does_not_break_off(tmp_path):
    """A variable rate, an offset, a long pause: all frames are there, whatever the average says."""
    for name, times in (
        ('rate', [0, 512, 1024, 10240, 10752, 102400]),
        ('offset', [256000 + 512 * i for i in range(6)]),
    ):
        for suffix in ('mkv', 'mp4'):
            lossless(tmp_path / f'{name}.{suffix}', moving(6), times=times, codec='libx264', chroma='420')
            summary = restored(tmp_path / f'{name}.{suffix}', tmp_path / f'{name}_out.{suffix}')
            assert not any('breaks off' in note for note in summary.notes)
            with open_input(tmp_path / f'{name}.{suffix}', Reading()) as reader:
                assert reader.frames_hint == 6, 'progress knows the number of frames'


def test_an_mp4_whose_end_was_not_downloaded(tmp_path):
    """Its index is at the beginning, so that it opens."""
    with av.open(str(tmp_path / 'in.mp4'), 'w', options={'movflags': 'faststart'}) as container:
        stream = container.add_stream('libx264', rate=25)
        stream.height, stream.width, stream.pix_fmt = 96, 128, 'yuv420p'
        stream.options = {'g': '5'}
        for rgb in moving(40, (96, 128)):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, 'rgb24')))
        container.mux(stream.encode(None))
    content = (tmp_path / 'in.mp4').read_bytes()
    (tmp_path / 'in.mp4').write_bytes(content[: len(content) * 6 // 10])
    summary = restored(tmp_path / 'in.mp4', tmp_path / 'out.mkv', codec='ffv1')
    assert any('breaks off' in note for note in summary.notes)
    assert 5 < summary.frames < 40
