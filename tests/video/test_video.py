"""Video files made here and read back: colour, times, rotation, sound, damage."""

from fractions import Fraction

import av
import numpy as np
import pytest

from votes.errors import UserError
from votes.video.colour import Colour
from votes.video.degrade import encode_h264
from votes.video.encoders import Encoding
from votes.video.read import VideoReader
from votes.video.write import VideoWriter

PATCHES = [(200, 60, 40), (16, 16, 16), (235, 235, 235), (30, 160, 220), (0, 255, 0), (255, 255, 255)]


def flat(colour, size=(48, 64)):
    return np.full((*size, 3), colour, np.uint8)


def textured(count, size=(48, 64)):
    rows, columns = np.mgrid[: size[0], : size[1]]
    return [
        np.stack(
            [128 + 80 * np.sin((columns + 2 * i) / 9), 128 + 80 * np.cos(rows / 7), (rows + columns) * 1.5], -1
        ).astype(np.uint8)
        for i in range(count)
    ]


def write(path, frames, colour=Colour('bt601', False), times=None, **encoding):
    made = Encoding(**{'codec': Encoding.default_codec(path.suffix)} | encoding)
    with VideoWriter(path, frames[0].shape[:2], Fraction(25), Fraction(1, 12800), colour, made) as writer:
        for i, frame in enumerate(frames):
            writer.write(frame, times[i] if times else i * 512)
    return writer


def read(path):
    with VideoReader(path) as reader:
        return reader, list(reader)


@pytest.mark.parametrize('full', [False, True])
@pytest.mark.parametrize('matrix', ['bt601', 'bt709'])
def test_colours_survive(tmp_path, matrix, full):
    colour = Colour(matrix, full)
    for patch in PATCHES:
        write(tmp_path / 'v.mp4', [flat(patch)] * 3, colour, crf=1)
        reader, frames = read(tmp_path / 'v.mp4')
        assert reader.colour == colour
        assert np.abs(frames[1].rgb.astype(int) - patch).max() <= 2


def test_matrices_by_hand():
    assert Colour('bt601', False).to_yuv(flat((255, 0, 0), (1, 1)))[:, 0, 0].tolist() == [81, 90, 240]
    assert Colour('bt709', False).to_yuv(flat((255, 0, 0), (1, 1)))[:, 0, 0].tolist() == [63, 102, 240]
    assert Colour('bt709', True).to_yuv(flat((255, 255, 255), (1, 1)))[:, 0, 0].tolist() == [255, 128, 128]
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    for matrix in ('bt601', 'bt709'):
        for full in (False, True):
            colour = Colour(matrix, full)
            assert np.abs(colour.to_rgb(colour.to_yuv(noise)).astype(int) - noise).max() <= 2


def test_untagged_video_is_guessed_from_its_size(tmp_path):
    assert Colour.of(2, 0, 360, 640) == Colour('bt601', False, assumed=True)
    assert Colour.of(2, 0, 720, 1280) == Colour('bt709', False, assumed=True)
    encode_h264([flat(PATCHES[0])] * 3, tmp_path / 'v.mp4', 10)
    reader, frames = read(tmp_path / 'v.mp4')
    assert 'assumed' in reader.notes[0]
    assert np.abs(frames[0].rgb.astype(int) - PATCHES[0]).max() <= 3


@pytest.mark.parametrize('suffix', ['.mp4', '.mov', '.mkv'])
def test_times_are_kept(tmp_path, suffix):
    times = [1280, 1792, 2304, 2944, 4480, 4992, 5504]  # an offset, a variable rate; whole milliseconds for Matroska
    write(tmp_path / f'v{suffix}', textured(7), times=times)
    reader, frames = read(tmp_path / f'v{suffix}')
    assert [f.pts * reader.time_base for f in frames] == [t * Fraction(1, 12800) for t in times]


def test_picture_survives(tmp_path):
    frames = textured(5)
    write(tmp_path / 'v.mp4', frames, crf=1)
    _, found = read(tmp_path / 'v.mp4')
    assert np.mean([(a.astype(float) - b.rgb) ** 2 for a, b in zip(frames, found, strict=True)]) < 10


def test_odd_sizes(tmp_path):
    write(tmp_path / 'v.mp4', textured(3, (47, 63)))
    reader, frames = read(tmp_path / 'v.mp4')
    assert reader.size == (47, 63)
    assert frames[0].rgb.shape == (47, 63, 3)


def audio_packets(path):
    with av.open(str(path)) as container:
        return [
            (bytes(p), p.pts * p.time_base) for p in container.demux(container.streams.audio[0]) if p.dts is not None
        ]


def test_rotated_video_is_read_upright(tmp_path):
    frames = textured(3)
    write(tmp_path / 'v.mp4', frames, crf=1)
    # the display matrix of the track header, turned by 90 degrees: what a phone writes
    content = bytearray((tmp_path / 'v.mp4').read_bytes())
    identity = b''.join(int(n).to_bytes(4, 'big') for n in (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30))
    turned = b''.join(
        (int(n) % (1 << 32)).to_bytes(4, 'big') for n in (0, 65536, 0, -65536, 0, 0, 48 << 16, 0, 1 << 30)
    )
    at = content.rindex(identity)
    content[at : at + 36] = turned
    (tmp_path / 'v.mp4').write_bytes(content)
    reader, found = read(tmp_path / 'v.mp4')
    assert reader.size == (64, 48)
    assert 'rotated' in '\n'.join(reader.notes)
    expected = np.rot90(frames[1], -1)  # clockwise
    assert np.mean((expected.astype(float) - found[1].rgb) ** 2) < 10


def test_damaged_videos(tmp_path):
    write(tmp_path / 'v.mp4', textured(30))
    whole = (tmp_path / 'v.mp4').read_bytes()
    for name, content, message in (
        ('cut.mp4', whole[: len(whole) // 2], 'not a readable video'),
        ('empty.mp4', b'', 'not a readable video'),
        ('text.mp4', b'hello' * 100, 'not a readable video'),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=message):
            VideoReader(tmp_path / name)
    with pytest.raises(UserError, match=r'not found[\s\S]*v\.mp4'):
        VideoReader(tmp_path / 'none.mp4')
    with av.open(str(tmp_path / 'sound.m4a'), 'w', format='mp4') as container:
        stream = container.add_stream('aac', rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format='fltp', layout='mono')
        frame.sample_rate, frame.pts = 44100, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(UserError, match='no video'):
        VideoReader(tmp_path / 'sound.m4a')


def test_nothing_is_left_of_a_video_that_was_not_finished(tmp_path):
    frames = textured(3)

    def broken():
        with VideoWriter(tmp_path / 'v.mp4', (48, 64), Fraction(25), Fraction(1, 25), Colour('bt601', False)) as writer:
            writer.write(frames[0], 0)
            raise RuntimeError('network failed')

    with pytest.raises(RuntimeError, match='network failed'):
        broken()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match='unknown kind of video file'):
        VideoWriter(tmp_path / 'v.xyz', (48, 64), Fraction(25), Fraction(1, 25), Colour('bt601', False))
    assert list(tmp_path.iterdir()) == []
