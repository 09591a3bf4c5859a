"""Every bad input that reliability asks about, made here, and what a user is told."""

from fractions import Fraction

import av
import numpy as np
import pytest
from restore.clips import Identity, lossless, moving
from test_video import read

from votes.cli import main
from votes.errors import UserError
from votes.restore import Settings, restore_video
from votes.video.read import Reading


def restored(source, target, **settings):
    return restore_video(Identity(), source, target, progress='none', settings=Settings(**settings))


def encoded(path, frames=30, codec='libx264', pixels='yuv420p', options=None, tags=None, size=(96, 128)):
    rng = np.random.default_rng(0)
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = *size, pixels
        stream.options = options or {'crf': '18', 'g': '10'}
        for name, value in (tags or {}).items():
            setattr(stream.codec_context, name, value)
        for rgb in moving(frames, size):
            noisy = np.clip(rgb + rng.normal(0, 6, rgb.shape), 0, 255).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(noisy, 'rgb24').reformat(format=pixels)
            for name, value in (tags or {}).items():
                setattr(frame, name, value)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def cut(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def sound_only(path, cover=False):
    with av.open(str(path), 'w', format='mp4') as container:
        stream = container.add_stream('aac', rate=44100)
        picture = container.add_stream('mjpeg', rate=1) if cover else None
        if picture is not None:
            picture.height, picture.width, picture.pix_fmt = 48, 64, 'yuvj420p'
            picture.disposition = av.stream.Disposition.attached_pic
            picture.codec_context.color_range = 2
        for i in range(20):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format='fltp', layout='mono')
            frame.sample_rate, frame.pts = 44100, i * 1024
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if picture is not None:
            shown = av.VideoFrame.from_ndarray(moving(1)[0], 'rgb24').reformat(format='yuvj420p')
            shown.pts = 0
            container.mux(picture.encode(shown))
            container.mux(picture.encode(None))
    return path


def text(path):
    path.write_text('hello ' * 100)
    return path


def empty(path):
    path.touch()
    return path


REFUSED = {
    'missing': ('none.mp4', lambda p: p, 'video not found'),
    'empty': ('e.mp4', empty, 'not a readable video'),
    'text': ('t.mp4', text, 'not a readable video'),
    'truncated MP4': ('c.mp4', lambda p: cut(encoded(p), 0.5), r'An MP4 without its end has no index'),
    'truncated MKV': ('c.mkv', lambda p: cut(encoded(p), 0.01), 'no frame can be decoded|not a readable'),
    'sound alone': ('s.m4a', sound_only, r'no video in this file[\s\S]*audio'),
    'cover picture alone': ('s.m4a', lambda p: sound_only(p, True), r'no video in this file[\s\S]*cover picture'),
    'HDR (PQ)': (
        'h.mkv',
        lambda p: encoded(p, 4, 'libx265', 'yuv420p10le', {'x265-params': 'log-level=none'},
                          {'color_trc': 16, 'color_primaries': 9, 'colorspace': 9}),
        r'HDR video \(PQ\) is not supported[\s\S]*tone-map',
    ),
    'HDR (HLG)': (
        'h.mkv',
        lambda p: encoded(p, 4, 'libx265', 'yuv420p10le', {'x265-params': 'log-level=none'},
                          {'color_trc': 18, 'color_primaries': 9, 'colorspace': 9}),
        r'HDR video \(HLG\) is not supported',
    ),
    'raw without a description': ('r.yuv', lambda p: p.write_bytes(bytes(9216)) and p, 'not a readable video'),
}  # fmt: skip


@pytest.mark.parametrize('case', REFUSED)
def test_refused_with_a_reason(tmp_path, case, capsys):
    name, make, message = REFUSED[case]
    source = make(tmp_path / name)
    with pytest.raises(UserError, match=message) as told:
        restored(source, tmp_path / 'out.mp4')
    assert str(source) in str(told.value)
    assert not (tmp_path / 'out.mp4').exists()
    assert not list(tmp_path.glob('*.votes-job'))
    assert main(['probe', str(source)]) == 2
    assert 'Traceback' not in capsys.readouterr().err


def test_bits_that_flipped_are_told_and_survived(tmp_path):
    source = encoded(tmp_path / 'in.mkv', 40)
    content = bytearray(source.read_bytes())
    rng = np.random.default_rng(1)
    for at in rng.integers(len(content) // 3, len(content) * 2 // 3, 60):
        content[at] ^= 0x55
    source.write_bytes(content)
    summary = restored(source, tmp_path / 'out.mkv', codec='ffv1')
    (note,) = [n for n in summary.notes if 'damaged in the source' in n]
    assert ' s' in note
    assert summary.frames >= 30
    assert len(read(tmp_path / 'out.mkv')[1]) == summary.frames


def test_an_mkv_that_breaks_off(tmp_path):
    summary = restored(cut(encoded(tmp_path / 'in.mkv', 40), 0.5), tmp_path / 'out.mkv', codec='ffv1')
    assert 10 < summary.frames < 35
    assert any('breaks off' in note and 'of 1.60 s are there' in note for note in summary.notes)


def test_a_length_that_nobody_knows(tmp_path):
    """MKV and WebM do not count frames; a stream that was cut live has no duration either."""
    encoded(tmp_path / 'in.mkv', 20)
    with av.open(str(tmp_path / 'in.mkv')) as container:
        assert container.streams.video[0].frames == 0
    assert restored(tmp_path / 'in.mkv', tmp_path / 'out.mp4').frames == 20


def test_a_cover_is_not_the_video(tmp_path):
    """A film whose first stream is a picture: the film is restored."""
    with av.open(str(tmp_path / 'in.mp4'), 'w') as container:
        cover, film = container.add_stream('mjpeg', rate=1), container.add_stream('libx264', rate=25)
        cover.height, cover.width, cover.pix_fmt = 32, 32, 'yuvj420p'
        cover.codec_context.color_range = 2
        cover.disposition = av.stream.Disposition.attached_pic
        film.height, film.width, film.pix_fmt = 48, 64, 'yuv420p'
        picture = av.VideoFrame.from_ndarray(moving(1, (32, 32))[0], 'rgb24').reformat(format='yuvj420p')
        picture.pts = 0
        container.mux(cover.encode(picture))
        container.mux(cover.encode(None))
        for rgb in moving(6):
            container.mux(film.encode(av.VideoFrame.from_ndarray(rgb, 'rgb24')))
        container.mux(film.encode(None))
    summary = restored(tmp_path / 'in.mp4', tmp_path / 'out.mp4')
    assert (summary.frames, summary.size) == (6, (48, 64))
    assert any('kept: cover picture' in note for note in summary.notes)
    with av.open(str(tmp_path / 'out.mp4')) as container:
        assert container.streams[1].disposition & av.stream.Disposition.attached_pic


def test_untagged_hd_is_read_as_709(tmp_path):
    source = encoded(tmp_path / 'in.mp4', 3, size=(720, 1280))
    summary = restored(source, tmp_path / 'out.mp4')
    assert any('bt709 is assumed from its size' in note for note in summary.notes)
    with av.open(str(tmp_path / 'out.mp4')) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_primaries, context.color_trc, context.color_range) == (1, 1, 1, 1)


def test_range_that_is_flagged_wrongly(tmp_path):
    lossless(tmp_path / 'in.mkv', [np.full((48, 64, 3), 16, np.uint8)] * 3)
    restored(tmp_path / 'in.mkv', tmp_path / 'as_said.mkv', codec='ffv1')
    restored(tmp_path / 'in.mkv', tmp_path / 'full.mkv', codec='ffv1', reading=Reading(full=True))
    (said, *_), (full, *_) = (read(tmp_path / n)[1] for n in ('as_said.mkv', 'full.mkv'))
    assert abs(int(said.rgb[0, 0, 0]) - 16) <= 1
    assert abs(int(full.rgb[0, 0, 0]) - 30) <= 1, '16 + 16 * 219 / 255 read as it is'


def test_a_picture_that_changes_its_size(tmp_path):
    encoded(tmp_path / 'a.h264', 5, size=(48, 64))
    encoded(tmp_path / 'b.h264', 5, size=(96, 128))
    (tmp_path / 'in.h264').write_bytes((tmp_path / 'a.h264').read_bytes() + (tmp_path / 'b.h264').read_bytes())
    with pytest.raises(UserError, match=r'changes its size[\s\S]*128x96 after 64x48'):
        restored(tmp_path / 'in.h264', tmp_path / 'out.mp4')


def test_more_videos_in_a_file(tmp_path):
    with av.open(str(tmp_path / 'in.mkv'), 'w') as container:
        streams = [container.add_stream('libx264', rate=25) for _ in range(2)]
        for stream in streams:
            stream.height, stream.width, stream.pix_fmt = 48, 64, 'yuv420p'
        for i, rgb in enumerate(moving(5)):
            for stream in streams:
                frame = av.VideoFrame.from_ndarray(rgb, 'rgb24')
                frame.pts, frame.time_base = i, Fraction(1, 25)
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))
    summary = restored(tmp_path / 'in.mkv', tmp_path / 'out.mkv')
    assert any('only the first video is restored' in note for note in summary.notes)
    assert summary.frames == 5


def test_nothing_can_be_written_there(tmp_path, monkeypatch):
    from votes.restore import settings

    encoded(tmp_path / 'in.mp4', 3)
    monkeypatch.setattr(settings.os, 'access', lambda *_: False)  # the tests may run as root, who may write anywhere
    with pytest.raises(UserError, match='cannot be written to'):
        restored(tmp_path / 'in.mp4', tmp_path / 'out.mp4')
