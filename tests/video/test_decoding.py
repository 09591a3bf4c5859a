"""One definition of decoding: what the ffmpeg program makes of a video as PNGs is what a reader gives."""

import subprocess

import av
import cv2
import numpy as np
import pytest
from restore.clips import lossless, moving
from test_video import read

from votes.video.colour import Colour
from votes.video.read import Reading, VideoReader

KINDS = {
    'bt601': {'colour': Colour('bt601', False)},
    'bt709': {'colour': Colour('bt709', False)},
    'full range': {'colour': Colour('bt709', True)},
    '4:2:2': {'colour': Colour('bt601', False), 'chroma': '422'},
    '4:4:4': {'colour': Colour('bt709', False), 'chroma': '444'},
    'odd size': {'colour': Colour('bt601', False), 'chroma': '444', 'size': (47, 63)},
    '10 bits': {'colour': Colour('bt709', False), 'bits': 10},
    '10 bits, full range': {'colour': Colour('bt601', True), 'bits': 10},
    '10 bits, 4:4:4': {'colour': Colour('bt709', False), 'bits': 10, 'chroma': '444'},
}


def noisy(count, size=(48, 64)):
    rng = np.random.default_rng(0)
    return [np.clip(f + rng.normal(0, 10, f.shape), 0, 255).astype(np.uint8) for f in moving(count, size)]


def converted(path, pixels):
    """By swscale, as the scale filter that the ffmpeg program puts in does it."""
    found = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            graph = av.filter.Graph()
            source = graph.add_buffer(
                width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
            )
            wanted = graph.add('format', f'pix_fmts={pixels}')
            graph.link_nodes(source, graph.add('scale', 'flags=bicubic'), wanted, graph.add('buffersink')).configure()
            graph.push(frame)
            found.append(graph.pull().to_ndarray())
    return found


def made(tmp_path, size=(48, 64), **kind):
    lossless(tmp_path / 'in.mkv', noisy(3, size), codec='libx264', **{'chroma': '420', **kind})
    return tmp_path / 'in.mkv'


@pytest.mark.parametrize('kind', KINDS)
def test_a_reader_converts_as_swscale_does(tmp_path, kind):
    path = made(tmp_path, **KINDS[kind])
    expected = converted(path, 'rgb24')
    assert [f.rgb.tolist() for f in read(path)[1]] == [f.tolist() for f in expected]
    if KINDS[kind].get('bits') == 10:
        with VideoReader(path, deep=True) as reader:
            assert [f.rgb.tolist() for f in reader] == [f.tolist() for f in converted(path, 'rgb48le')]


@pytest.mark.parametrize('kind', KINDS)
def test_a_reader_gives_the_pngs_of_the_ffmpeg_program(tmp_path, kind):
    program = pytest.importorskip('imageio_ffmpeg', exc_type=ImportError).get_ffmpeg_exe()
    path = made(tmp_path, **KINDS[kind])
    subprocess.run([program, '-v', 'error', '-i', str(path), str(tmp_path / '%02d.png')], check=True)
    pictures = [cv2.imread(str(p), cv2.IMREAD_UNCHANGED)[..., ::-1] for p in sorted(tmp_path.glob('*.png'))]
    with VideoReader(path, deep=True) as reader:
        for frame, picture in zip(reader, pictures, strict=True):
            assert frame.rgb.dtype == picture.dtype
            assert np.array_equal(frame.rgb, picture)


@pytest.mark.parametrize('kind', ['bt601', 'bt709', 'full range', '4:4:4', '10 bits'])
def test_exact_rgb_is_that_of_the_formula(tmp_path, kind):
    colour = KINDS[kind]['colour']
    path = tmp_path / 'in.mkv'
    lossless(path, moving(1), codec='libx264', **{'chroma': '420', **KINDS[kind]})
    with VideoReader(path, threads=1, reading=Reading(exact=True)) as reader, av.open(str(path)) as container:
        rgb = next(iter(reader)).rgb.astype(float)
        planes = next(container.decode(video=0)).to_ndarray().astype(float) / (4 if kind == '10 bits' else 1)
    luma = (planes[0] if kind == '4:4:4' else planes[:48])[:, :64]
    red, blue = {'bt601': (0.299, 0.114), 'bt709': (0.2126, 0.0722)}[colour.matrix]
    y = rgb @ [red, 1 - red - blue, blue]
    apart = (y if colour.full else 16 + y * 219 / 255) - luma
    assert abs(apart.mean()) < 0.1
    assert np.abs(apart).max() < 1.5


def test_what_a_file_says_of_its_matrix_can_be_overruled(tmp_path):
    path = made(tmp_path, colour=Colour('bt601', False), bits=10)
    with VideoReader(path, deep=True, reading=Reading('bt709', full=True)) as reader:
        overruled = [f.rgb for f in reader]
    path = made(tmp_path, colour=Colour('bt601', False), bits=10)
    with VideoReader(path, deep=True) as reader:
        assert np.abs(next(iter(reader)).rgb.astype(int) - overruled[0]).mean() > 1000
