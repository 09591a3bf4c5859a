"""What encoders are given, what they keep, and that they give the same bits every time."""

import av
import numpy as np
import pytest
from test_decoding import noisy
from test_video import read, write

from votes.video.colour import Colour
from votes.video.encoders import Encoding
from votes.video.read import VideoReader


@pytest.mark.parametrize('size', [(120, 208), (72, 88)])
def test_h264_gives_the_same_bits_every_time(tmp_path, size):
    """x264's code for AVX-512 did not: 4 to 9 of 12 results were different."""
    frames, junk, found = noisy(6, size), [], set()
    for i in range(12):
        junk = [*junk[-3:], np.random.default_rng(i).integers(0, 255, (i % 7 + 1) * 50000, dtype=np.uint8)]
        write(tmp_path / f'{i}.mp4', frames)
        with av.open(str(tmp_path / f'{i}.mp4')) as container:
            found.add(b''.join(bytes(p) for p in container.demux(video=0)))
    assert len(found) == 1


@pytest.mark.parametrize('count', [1, 2])
def test_few_frames_of_h265_have_times(tmp_path, count):
    """x265 leaves decoding times of so few frames as they were in memory: 2 and more results of 20."""
    found = set()
    for i in range(20):
        write(tmp_path / f'{i}.mkv', noisy(count, (64, 64)), codec='h265')
        with av.open(str(tmp_path / f'{i}.mkv')) as container:
            found.add(tuple((p.pts, p.dts) for p in container.demux(video=0) if p.size))
    assert len(found) == 1


@pytest.mark.parametrize(('codec', 'bits', 'chroma', 'pixels'), [
    ('h264', 8, '420', 'yuv420p'), ('h264', 10, '422', 'yuv422p10le'), ('h264', 12, '444', 'yuv444p10le'),
    ('h265', 12, '420', 'yuv420p12le'), ('ffv1', 12, '420', 'gbrp12le'), ('ffv1', 16, '444', 'gbrp16le'),
    ('prores', 8, '420', 'yuv422p10le'), ('prores', 12, '444', 'yuv444p10le'), ('av1', 10, '444', 'yuv420p10le'),
])  # fmt: skip
def test_pixels_are_kept_where_the_encoder_has_them(tmp_path, codec, bits, chroma, pixels):
    made = Encoding(codec, bits=bits, chroma=chroma)
    assert made.pixels((64, 64)) == pixels
    losses = ' '.join(made.losses((64, 64)))
    assert (f'{bits} bits become' in losses) == (bits > {'h264': 10, 'prores': 10, 'av1': 10}.get(codec, 16))
    assert ('chroma of' in losses) == (codec == 'av1')
    frames = [f.astype(np.uint16) * 257 for f in noisy(2, (64, 64))]
    write(tmp_path / f'v.{"mov" if codec == "prores" else "mkv"}', frames, codec=codec, bits=bits, chroma=chroma)


def test_sixteen_bits_survive(tmp_path):
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 65536, (16, 32, 3)).astype(np.uint16) for _ in range(2)]
    write(tmp_path / 'v.mkv', frames, codec='ffv1', bits=16)
    with VideoReader(tmp_path / 'v.mkv', deep=True) as reader:
        assert [f.rgb.tobytes() for f in reader] == [f.tobytes() for f in frames]


def test_full_range_in_prores_is_made_limited(tmp_path):
    """A MOV of ProRes does not say its range: players take it as limited."""
    frames = noisy(2)
    for full in (False, True):
        write(tmp_path / f'{full}.mov', frames, Colour('bt709', full), codec='prores')
    (a, *_), (b, *_) = (read(tmp_path / f'{full}.mov')[1] for full in (False, True))
    assert np.array_equal(a.rgb, b.rgb)
    assert not read(tmp_path / 'True.mov')[0].colour.full


def test_parameters_of_x264_add_up():
    options = Encoding('h264', options=(('x264-params', 'keyint=3'),)).encoder_options()
    assert options['x264-params'].endswith('keyint=3')
