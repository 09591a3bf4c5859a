"""Nothing is lost: colour, times, sound, subtitles, chapters, with a network that changes nothing."""

from fractions import Fraction

import av
import numpy as np
import pytest
from restore.clips import Enlarge, Identity, lossless, moving
from test_video import audio_packets, read

from votes.errors import UserError
from votes.restore import Settings, restore_video
from votes.video.colour import Colour
from votes.video.degrade import encode_h264
from votes.video.read import Reading, VideoReader


def restored(source, target, net=None, **settings):
    return restore_video(net or Identity(), source, target, progress='none', settings=Settings(**settings))


def deep(path):
    with VideoReader(path, deep=True) as reader:
        return reader, list(reader)


@pytest.mark.parametrize('bits', [8, 10])
@pytest.mark.parametrize('full', [False, True])
@pytest.mark.parametrize('matrix', ['bt601', 'bt709'])
def test_colours(tmp_path, matrix, full, bits):
    """Within one level of 8 (10) bits after two conversions, in 4:4:4 as in 4:2:0."""
    colour = Colour(matrix, full, primaries=5, transfer=6)
    level = 1 if bits == 8 else 65535 / 1023 * 1.01
    lossless(tmp_path / 'in.mkv', moving(4), colour, bits)
    restored(tmp_path / 'in.mkv', tmp_path / 'out.mkv', codec='ffv1')
    before, source = deep(tmp_path / 'in.mkv')
    after, found = deep(tmp_path / 'out.mkv')
    assert before.colour == colour
    assert after.bits == before.bits == bits
    assert (after.colour.primaries, after.colour.transfer) == (5, 6)
    for a, b in zip(source, found, strict=True):
        assert np.abs(a.rgb.astype(int) - b.rgb).max() <= (0 if bits == 8 else level)
    # and through YUV 4:2:0 of the same kind, as most videos are
    lossless(tmp_path / 'in.mp4', moving(4), colour, bits, codec='libx264', chroma='420')
    restored(tmp_path / 'in.mp4', tmp_path / 'out.mp4', encoder_options=(('qp', '0'),))
    before, source = deep(tmp_path / 'in.mp4')
    after, found = deep(tmp_path / 'out.mp4')
    assert after.colour == colour
    assert (after.bits, after.colour.primaries, after.colour.transfer) == (bits, 5, 6)
    for i, (a, b) in enumerate(zip(planes(tmp_path / 'in.mp4'), planes(tmp_path / 'out.mp4'), strict=True)):
        assert np.abs(a - b).max() <= (3 if i % 3 == 0 else 2), 'ffmpeg truncates when it makes RGB'
        if i % 3:
            assert np.abs((a - b).mean()) < (0.4 if bits == 8 else 1), 'chroma lies where it lay'
    for a, b in zip(source, found, strict=True):
        difference = np.abs(a.rgb.astype(int) - b.rgb)[4:-4, 4:-4]
        assert difference.max() <= (4 if bits == 8 else 8) * level, 'a level of Y and one of U are up to four of blue'


def planes(path):
    """Y, U and V of every frame, as they are stored."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            for plane in frame.planes:
                kind = np.dtype('<u2' if frame.format.name.endswith('10le') else np.uint8)
                values = np.frombuffer(plane, kind).reshape(plane.height, -1)
                yield values[:, : plane.width].astype(int)


def test_frames_are_the_same_with_ffv1(tmp_path):
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (34, 46, 3), dtype=np.uint8) for _ in range(9)]
    with av.open(str(tmp_path / 'in.mkv'), 'w') as container:
        stream = container.add_stream('ffv1', rate=25)
        stream.height, stream.width, stream.pix_fmt = 34, 46, 'bgr0'
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, 'rgb24').reformat(format='bgr0')))
        container.mux(stream.encode(None))
    restored(tmp_path / 'in.mkv', tmp_path / 'out.mkv', codec='ffv1', segment=4)
    _, found = read(tmp_path / 'out.mkv')
    assert [f.rgb.tobytes() for f in found] == [f.tobytes() for f in frames]


TIMES = [640, 1152, 1664, 2304, 3840, 4352, 4864, 7680]  # an offset, a variable rate; whole milliseconds


@pytest.mark.parametrize(('suffix', 'codec'), [('.mp4', 'h264'), ('.mkv', 'h264'), ('.webm', 'vp9'), ('.mov', 'prores'),
                                               ('.mp4', 'h265'), ('.mp4', 'av1'), ('.mkv', 'ffv1')])  # fmt: skip
@pytest.mark.parametrize('origin', ['.mp4', '.mkv'])
def test_every_time_is_kept(tmp_path, origin, suffix, codec):
    lossless(tmp_path / f'in{origin}', moving(8), times=TIMES, codec='libx264', chroma='420')
    summary = restored(tmp_path / f'in{origin}', tmp_path / f'out{suffix}', codec=codec, segment=3)
    reader, found = read(tmp_path / f'out{suffix}')
    assert [f.pts * reader.time_base for f in found] == [Fraction(t, 12800) for t in TIMES]
    assert summary.frames == 8
    assert summary.resumed == 0


def with_sound(path, sound='aac', start=0, subtitle=False, attachment=False, chapters=(), cover=False):
    """25 frames of video, and streams beside it."""
    with av.open(str(path), 'w') as container:
        video = container.add_stream('libx264', rate=25)
        video.height, video.width, video.pix_fmt = 48, 64, 'yuv420p'
        audio = container.add_stream(sound, rate=48000)
        audio.metadata['language'] = 'deu'
        container.metadata['title'] = 'A film'
        text = None
        if subtitle:
            path.with_suffix('.srt').write_text('1\n00:00:00,200 --> 00:00:00,700\nGood morning\n')
            said = av.open(str(path.with_suffix('.srt')))
            text = container.add_stream_from_template(said.streams.subtitles[0])
        if attachment:
            container.add_attachment('font.ttf', 'application/x-truetype-font', b'letters')
        if chapters:
            container.set_chapters(
                [
                    {'id': i, 'start': a, 'end': b, 'time_base': Fraction(1, 1000), 'metadata': {'title': name}}
                    for i, (a, b, name) in enumerate(chapters)
                ]
            )
        for i, rgb in enumerate(moving(25)):
            frame = av.VideoFrame.from_ndarray(rgb, 'rgb24')
            frame.pts, frame.time_base = i, Fraction(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        size = audio.codec_context.frame_size or 960
        for at in range(0, 48000, size):
            tone = (np.sin(np.arange(at, at + size) / 20) * 8000).astype(np.int16)
            if audio.codec_context.format.name == 'fltp':
                frame = av.AudioFrame.from_ndarray((tone / 32768).astype(np.float32)[None], 'fltp', 'mono')
            else:
                frame = av.AudioFrame.from_ndarray(tone[None], 's16', 'mono')
            frame.sample_rate, frame.pts, frame.time_base = 48000, start + at, Fraction(1, 48000)
            container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
        if text is not None:
            packet = next(said.demux())
            packet.stream = text
            container.mux(packet)


@pytest.mark.parametrize(('name', 'target', 'sound', 'start'), [
    ('in.mp4', 'out.mp4', 'aac', 0), ('in.mp4', 'out.mp4', 'aac', 4800), ('in.mkv', 'out.mkv', 'libopus', 0),
    ('in.mkv', 'out.mkv', 'flac', 2400), ('in.mkv', 'out.webm', 'libopus', 0), ('in.mov', 'out.mov', 'aac', 0),
])  # fmt: skip
def test_sound_is_copied_packet_for_packet(tmp_path, name, target, sound, start):
    with_sound(tmp_path / name, sound, start)
    summary = restored(tmp_path / name, tmp_path / target, segment=10)
    assert any(note.startswith('kept: audio') for note in summary.notes)
    before, after = audio_packets(tmp_path / name), audio_packets(tmp_path / target)
    assert [content for content, _ in before] == [content for content, _ in after]
    # against the first picture, as Matroska moves everything when sound begins before zero
    _, pictures = read(tmp_path / name)
    reader, shown = read(tmp_path / target)
    first = shown[0].pts * reader.time_base
    shift = after[0][1] - before[0][1]
    assert abs(first - shift) <= Fraction(1, 1000)
    assert all(abs(b - a - shift) <= Fraction(1, 1000) for (_, a), (_, b) in zip(before, after, strict=True))
    assert len(pictures) == len(shown) == 25


def test_subtitles_chapters_attachments_metadata(tmp_path):
    with_sound(tmp_path / 'in.mkv', 'libopus', 0, True, True, [(0, 400, 'one'), (400, 1000, 'two')])
    summary = restored(tmp_path / 'in.mkv', tmp_path / 'out.mkv')
    with av.open(str(tmp_path / 'out.mkv')) as container:
        kinds = [s.type for s in container.streams]
        assert sorted(kinds) == ['attachment', 'audio', 'subtitle', 'video']
        assert container.metadata['title'] == 'A film'
        assert container.streams.audio[0].metadata['language'] == 'deu'
        assert [(c['metadata']['title'], c['start'] * c['time_base']) for c in container.chapters()] == [
            ('one', 0),
            ('two', Fraction(2, 5)),
        ]
        assert next(s for s in container.streams if s.type == 'attachment').data == b'letters'
        texts = [bytes(p) for p in container.demux(container.streams.subtitles[0]) if p.size]
        assert texts == [b'Good morning']
    kept = [note for note in summary.notes if note.startswith('kept')]
    assert kept == [
        'kept: 2 chapters',
        'kept: audio (opus, deu)',
        'kept: subtitle (srt)',
        'kept: attachment (font.ttf)',
    ]
    other = restored(tmp_path / 'in.mkv', tmp_path / 'out.mp4')
    changed = [note for note in other.notes if note.startswith(('dropped', 'converted'))]
    assert 'converted: subtitle (srt) to mov_text: .mp4 does not take it' in changed[0]
    assert 'dropped: attachment (font.ttf): .mp4 has no attachments' in changed[1]
    with av.open(str(tmp_path / 'out.mp4')) as container:
        texts = [bytes(p) for p in container.demux(container.streams.subtitles[0]) if p.size > 2]
        assert texts == [b'\x00\x0cGood morning']


def test_a_matrix_that_the_file_does_not_name(tmp_path):
    encode_h264(moving(4), tmp_path / 'in.mp4', 10)
    summary = restored(tmp_path / 'in.mp4', tmp_path / 'as_709.mkv', codec='ffv1', reading=Reading(matrix='bt709'))
    assert not any('assumed' in note for note in summary.notes)
    guessed = restored(tmp_path / 'in.mp4', tmp_path / 'as_601.mkv', codec='ffv1')
    assert any('bt601 is assumed' in note for note in guessed.notes)
    (a, *_), (b, *_) = (read(tmp_path / name)[1] for name in ('as_709.mkv', 'as_601.mkv'))
    assert np.abs(a.rgb.astype(int) - b.rgb).max() > 4
    with pytest.raises(UserError, match='unknown colour matrix'):
        restored(tmp_path / 'in.mp4', tmp_path / 'x.mkv', reading=Reading(matrix='bt470'))


def test_interlaced_video(tmp_path):
    """Two fields of different times in each frame: joined, a moving edge is no comb any more."""
    rows = np.arange(48)[:, None]
    frames = []
    for i in range(8):
        field = [np.where(np.arange(64) < 10 + 5 * i + 2 * f, 40, 220) for f in (0, 1)]
        frames.append(np.repeat(np.where(rows % 2 == 0, field[0], field[1])[..., None], 3, 2).astype(np.uint8))
    with av.open(str(tmp_path / 'in.mp4'), 'w') as container:
        stream = container.add_stream('libx264', rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, 'yuv420p'
        stream.options = {'qp': '4', 'x264-params': 'tff=1'}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, 'rgb24')))
        container.mux(stream.encode(None))

    def comb(path):
        picture = read(path)[1][4].rgb[..., 1].astype(int)
        return np.abs(2 * picture[1:-1] - picture[:-2] - picture[2:]).mean()

    summary = restored(tmp_path / 'in.mp4', tmp_path / 'woven.mkv', codec='ffv1')
    assert any('--deinterlace' in note for note in summary.notes)
    summary = restored(tmp_path / 'in.mp4', tmp_path / 'joined.mkv', codec='ffv1', reading=Reading(deinterlace=True))
    assert any('joined' in note for note in summary.notes)
    assert summary.frames == 8
    assert comb(tmp_path / 'joined.mkv') < 0.5 * comb(tmp_path / 'woven.mkv')
    assert [f.pts for f in read(tmp_path / 'joined.mkv')[1]] == [f.pts for f in read(tmp_path / 'woven.mkv')[1]]


def test_raw_yuv(tmp_path):
    colour = Colour('bt601', False)
    with open(tmp_path / 'in.yuv', 'wb') as file:
        for frame in moving(6):
            file.write(colour.to_yuv(frame).tobytes())
    restored(tmp_path / 'in.yuv', tmp_path / 'out.mkv', codec='ffv1', reading=Reading(raw='64x48:yuv444p:30'))
    reader, found = read(tmp_path / 'out.mkv')
    assert float(reader.rate) == pytest.approx(30, abs=0.1)
    assert len(found) == 6
    assert max(np.abs(f.rgb.astype(int) - m).max() for f, m in zip(found, moving(6), strict=True)) <= 2
    with pytest.raises(UserError, match='WIDTHxHEIGHT:FORMAT:RATE'):
        restored(tmp_path / 'in.yuv', tmp_path / 'x.mkv', reading=Reading(raw='64-48'))


@pytest.mark.parametrize(('codec', 'target', 'pixels'), [
    ('h264', 'o.mp4', 'yuv444p'), ('vp9', 'o.webm', 'yuv444p'), ('ffv1', 'o.mkv', 'bgr0'),
    ('prores', 'o.mov', 'yuv444p10le'),
])  # fmt: skip
def test_odd_sizes_keep_every_row(tmp_path, codec, target, pixels):
    lossless(tmp_path / 'in.mkv', moving(4, (47, 63)))
    restored(tmp_path / 'in.mkv', tmp_path / target, codec=codec)
    with av.open(str(tmp_path / target)) as container:
        context = container.streams.video[0].codec_context
        assert (context.height, context.width, context.pix_fmt) == (47, 63, pixels)


def test_encoders_and_containers_that_do_not_fit(tmp_path):
    lossless(tmp_path / 'in.mkv', moving(3))
    for target, settings, message in (
        ('o.mp4', {'codec': 'ffv1'}, 'ffv1 does not go into .mp4'),
        ('o.webm', {'codec': 'h264'}, 'h264 does not go into .webm'),
        ('o.mkv', {'codec': 'h266'}, 'unknown codec'),
        ('o.mkv', {'crf': 99}, 'crf goes from 0 to 51'),
        ('o.mkv', {'codec': 'ffv1', 'crf': 3}, 'has no crf'),
        ('o.xyz', {}, 'unknown kind of video file'),
        ('o.mp4', {'preset': 'sluggish'}, 'cannot be written'),
        ('o.mp4', {'frames': (90, 95)}, 'no such frames'),
        ('o.mp4', {'frames': (5, 5)}, 'no frames in this range'),
        ('o.mp4', {'amp': 'fp8'}, 'unknown precision'),
        ('o.mp4', {'tile': 4}, 'tiles are at least'),
    ):
        with pytest.raises(UserError, match=message):
            restored(tmp_path / 'in.mkv', tmp_path / target, **settings)
        assert not (tmp_path / target).exists()


def test_an_encoder_that_is_not_there(tmp_path, monkeypatch):
    import dataclasses

    from votes.video import encoders as write

    monkeypatch.setitem(write.CODECS, 'h264', dataclasses.replace(write.CODECS['h264'], encoder='libnothing'))
    lossless(tmp_path / 'in.mkv', moving(3))
    with pytest.raises(UserError, match=r'no encoder libnothing[\s\S]*ffv1'):
        restored(tmp_path / 'in.mkv', tmp_path / 'o.mp4')


def test_ten_bits_enlarged(tmp_path):
    lossless(tmp_path / 'in.mkv', moving(4), bits=10, chroma='420')
    restored(tmp_path / 'in.mkv', tmp_path / 'out.mp4', net=Enlarge(), codec='h265')
    with av.open(str(tmp_path / 'out.mp4')) as container:
        assert container.streams.video[0].codec_context.pix_fmt == 'yuv420p10le'


def test_webm_in(tmp_path):
    lossless(tmp_path / 'in.webm', moving(8), times=TIMES, codec='libvpx-vp9', chroma='420')
    restored(tmp_path / 'in.webm', tmp_path / 'out.mkv', codec='ffv1', segment=3)
    before, source = read(tmp_path / 'in.webm')
    after, found = read(tmp_path / 'out.mkv')
    assert [f.pts * after.time_base for f in found] == [f.pts * before.time_base for f in source]
    assert [f.rgb.tobytes() for f in found] == [f.rgb.tobytes() for f in source]


@pytest.mark.parametrize('degrees', [90, 180, 270])
def test_a_phone_that_was_turned(tmp_path, degrees):
    """Pixels are written upright, and no player turns them again."""
    lossless(tmp_path / 'in.mp4', moving(4), codec='libx264', chroma='420')
    rotate(tmp_path / 'in.mp4', degrees)
    summary = restored(tmp_path / 'in.mp4', tmp_path / 'out.mp4', encoder_options=(('qp', '0'),))
    before, source = read(tmp_path / 'in.mp4')
    after, found = read(tmp_path / 'out.mp4')
    assert before.rotation != 0
    assert after.rotation == 0
    assert after.size == before.size == ((48, 64) if degrees == 180 else (64, 48))
    assert any('upright' in note for note in summary.notes)
    for a, b in zip(source, found, strict=True):
        assert np.abs(a.rgb.astype(int) - b.rgb)[4:-4, 4:-4].max() <= 3


def rotate(path, degrees):
    """Writes the display matrix of a phone into the track header of an MP4 of 64x48."""
    cosine, sine = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    x, y = {90: (48, 0), 180: (64, 48), 270: (0, 64)}[degrees]
    unit = 65536
    numbers = [cosine * unit, sine * unit, 0, -sine * unit, cosine * unit, 0, x * unit, y * unit, 1 << 30]
    turned = b''.join((n % (1 << 32)).to_bytes(4, 'big') for n in numbers)
    upright = b''.join(n.to_bytes(4, 'big') for n in (unit, 0, 0, 0, unit, 0, 0, 0, 1 << 30))
    content = bytearray(path.read_bytes())
    at = content.rindex(upright)
    content[at : at + 36] = turned
    path.write_bytes(content)


def test_a_bar_on_a_terminal(tmp_path, capsys):
    lossless(tmp_path / 'in.mkv', moving(6))
    restore_video(Identity(), tmp_path / 'in.mkv', tmp_path / 'out.mkv', progress='bar')
    assert '6/6' in capsys.readouterr().out
