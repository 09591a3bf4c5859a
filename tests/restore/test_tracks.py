"""Everything beside the picture: known before the first frame, copied, converted or dropped."""

from fractions import Fraction

import av
import numpy as np
import pytest
from restore.clips import Identity, lossless, moving
from restore.test_clip_sources import filmed
from test_video import read

from votes.errors import UserError
from votes.restore import Settings, restore_video, video
from votes.restore.inputs import open_input
from votes.restore.ledger import announce
from votes.restore.video import Restoration
from votes.video.read import Reading


def restored(source, target, **settings):
    return restore_video(Identity(), source, target, progress='none', settings=Settings(**settings))


def announced(source, target):
    """What a dry run says."""
    work = Restoration(Identity(), source, Settings(), 'cpu')
    with work.open() as reader:
        encoding = work.settings.encoding(target, reader.bits, reader.chroma)
        return announce(target, work.new_size, reader, encoding, work.beside(reader)).lines()


def run(source, target, **settings):
    """Notes of a run; all that a dry run says is among them."""
    said = announced(source, target)
    notes = restored(source, target, **settings).notes
    assert set(said) <= set(notes)
    return '\n'.join(notes)


def kinds(path):
    with av.open(str(path)) as container:
        return [(s.type, s.codec_context.name if s.codec_context else None) for s in container.streams]


def copied(source, target, **options):
    """All packets of a file into another one; for what PyAV does not write in one go."""
    with av.open(str(source)) as old, av.open(str(target), 'w', **options) as new:
        here = {s.index: new.add_stream_from_template(s, opaque=True) for s in old.streams}
        yield old, new, here
        for packet in old.demux():
            if packet.dts is not None:
                packet.stream = here[packet.stream.index]
                new.mux(packet)


@pytest.mark.parametrize('suffix', ['.mp4', '.mov', '.mkv', '.webm', '.avi'])
def test_a_timecode_track(tmp_path, suffix):
    filmed(tmp_path / 'a.mp4', 12)
    for _, _, here in copied(tmp_path / 'a.mp4', tmp_path / 'in.mov'):
        here[0].metadata['timecode'] = '01:00:00:00'
        here[0].codec_context.framerate = Fraction(25)
    assert ('data', None) in kinds(tmp_path / 'in.mov')
    notes = run(tmp_path / 'in.mov', tmp_path / f'out{suffix}')
    assert 'timecode' in notes
    if suffix in ('.mp4', '.mov', '.mkv'):
        with av.open(str(tmp_path / f'out{suffix}')) as container:
            tags = {k.lower(): v for s in [container, *container.streams] for k, v in s.metadata.items()}
            assert tags['timecode'] == '01:00:00:00'


@pytest.mark.parametrize('suffix', ['.mp4', '.mkv'])
def test_a_data_track(tmp_path, suffix):
    filmed(tmp_path / 'a.ts', 12)
    with av.open(str(tmp_path / 'a.ts')) as old, av.open(str(tmp_path / 'in.ts'), 'w') as new:
        here = {s.index: new.add_stream_from_template(s, opaque=True) for s in old.streams}
        data = new.add_data_stream('klv')
        for packet in old.demux():
            if packet.dts is not None:
                packet.stream = here[packet.stream.index]
                new.mux(packet)
        for i in range(3):
            packet = av.Packet(bytes(range(16)))
            packet.pts = packet.dts = 126000 + i * 9000
            packet.time_base, packet.stream = Fraction(1, 90000), data
            new.mux(packet)
    notes = run(tmp_path / 'in.ts', tmp_path / f'out{suffix}')
    assert 'dropped: data (klv)' in notes or 'kept: data (klv)' in notes
    assert len(read(tmp_path / f'out{suffix}')[1]) == 12


@pytest.mark.parametrize('suffix', ['.mp4', '.mkv'])
def test_damaged_packets_of_sound(tmp_path, suffix):
    """In a transport stream: MP4 takes AAC apart, and refuses what is no AAC."""
    content = bytearray(filmed(tmp_path / 'in.ts', 25).read_bytes())
    with av.open(str(tmp_path / 'in.ts')) as container:
        places = [p.pos for p in container.demux(audio=0) if p.pos]
    for place in places[8:12]:
        content[place + 20 : place + 60] = bytes(40)
    (tmp_path / 'in.ts').write_bytes(content)
    notes = run(tmp_path / 'in.ts', tmp_path / f'out{suffix}')
    assert 'audio (aac)' in notes
    with av.open(str(tmp_path / f'out{suffix}')) as container:
        assert sum(1 for p in container.demux(audio=0) if p.size) > 30


@pytest.mark.parametrize(('name', 'sound', 'target', 'told'), [
    ('in.wmv', 'wmav2', 'out.mkv', 'converted: audio (wmav2) to aac'),
    ('in.wmv', 'wmav2', 'out.mp4', 'converted: audio (wmav2) to aac: .mp4 does not take it'),
    ('in.wmv', 'wmav2', 'out.webm', 'converted: audio (wmav2) to opus'),
    ('in.mkv', 'flac', 'out.avi', 'audio (flac)'),
    ('in.mkv', 'pcm_s16le', 'out.mp4', 'audio (pcm_s16le)'),
])  # fmt: skip
def test_sound_is_copied_else_converted(tmp_path, name, sound, target, told):
    filmed(tmp_path / name, 25, sound, codec='libx264' if name.endswith('mkv') else 'mpeg4')
    assert told in run(tmp_path / name, tmp_path / target)
    with av.open(str(tmp_path / target)) as container:
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
        assert 0.9 < sum(f.shape[-1] // (2 if f.shape[0] == 1 else 1) for f in frames) / 48000 < 1.2


def test_amr_of_an_old_phone(tmp_path):
    with av.open(str(tmp_path / 'in.3gp'), 'w') as container:
        picture, sound = container.add_stream('h263', rate=15), container.add_stream('libopencore_amrnb', rate=8000)
        picture.height, picture.width, picture.pix_fmt = 144, 176, 'yuv420p'
        sound.codec_context.layout, sound.codec_context.bit_rate = 'mono', 12200
        for i, rgb in enumerate(moving(8, (144, 176))):
            frame = av.VideoFrame.from_ndarray(rgb, 'rgb24')
            frame.pts, frame.time_base = i, Fraction(1, 15)
            container.mux(picture.encode(frame))
        container.mux(picture.encode(None))
        for at in range(0, 4000, 160):
            tone = (np.sin(np.arange(at, at + 160) / 5) * 8000).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(tone[None], 's16', 'mono')
            frame.sample_rate, frame.pts, frame.time_base = 8000, at, Fraction(1, 8000)
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    notes = run(tmp_path / 'in.3gp', tmp_path / 'out.mp4')
    assert 'audio (amrnb' in notes.replace('amr_nb', 'amrnb')
    assert 'dropped: audio' not in notes
    assert 'audio' in [kind for kind, _ in kinds(tmp_path / 'out.mp4')]


def titled(path):
    path.with_suffix('.srt').write_text('1\n00:00:00,200 --> 00:00:00,700\nGood morning\n')
    filmed(path.with_name('a.mkv'), 25, None)
    with (
        av.open(str(path.with_name('a.mkv'))) as old,
        av.open(str(path.with_suffix('.srt'))) as said,
        av.open(str(path), 'w') as new,
    ):
        here = new.add_stream_from_template(old.streams.video[0], opaque=True)
        text = new.add_stream_from_template(said.streams.subtitles[0])
        for packet in [*old.demux(video=0), *said.demux()]:
            if packet.size:
                packet.stream = text if packet.stream.type == 'subtitle' else here
                new.mux(packet)
    return path


def test_subtitles_go_there_and_back(tmp_path):
    run(titled(tmp_path / 'in.mkv'), tmp_path / 'there.mp4')
    assert kinds(tmp_path / 'there.mp4')[1] == ('subtitle', 'mov_text')
    notes = run(tmp_path / 'there.mp4', tmp_path / 'back.mkv')
    assert 'subtitle (mov_text)' in notes
    assert 'dropped: subtitle' not in notes
    with av.open(str(tmp_path / 'back.mkv')) as container:
        (packet,) = [p for p in container.demux(container.streams.subtitles[0]) if p.size > 2]
        assert b'Good morning' in bytes(packet)
        assert float(packet.pts * packet.time_base) == pytest.approx(0.2, abs=0.002)
        assert float(packet.duration * packet.time_base) == pytest.approx(0.5, abs=0.01)
    assert 'converted: subtitle (srt) to webvtt' in run(tmp_path / 'in.mkv', tmp_path / 'web.webm').replace(
        'subrip', 'srt'
    )
    assert 'dropped: subtitle (srt)' in run(tmp_path / 'in.mkv', tmp_path / 'o.avi').replace('subrip', 'srt')


def test_a_cover_is_kept(tmp_path):
    filmed(tmp_path / 'a.mp4', 12)
    with av.open(str(tmp_path / 'a.mp4')) as old, av.open(str(tmp_path / 'in.mp4'), 'w') as new:
        here = {s.index: new.add_stream_from_template(s, opaque=True) for s in old.streams}
        cover = new.add_stream('mjpeg', rate=1)
        cover.height, cover.width, cover.pix_fmt, cover.codec_context.color_range = 32, 32, 'yuvj420p', 2
        cover.disposition = av.stream.Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(moving(1, (32, 32))[0], 'rgb24').reformat(format='yuvj420p')
        picture.pts = 0
        new.mux(cover.encode(picture) + cover.encode(None))
        for packet in old.demux():
            if packet.dts is not None:
                packet.stream = here[packet.stream.index]
                new.mux(packet)
    assert 'kept: cover picture (mjpeg)' in run(tmp_path / 'in.mp4', tmp_path / 'out.mp4')
    assert 'kept: cover picture (mjpeg), as an attachment' in run(tmp_path / 'in.mp4', tmp_path / 'out.mkv')
    assert 'dropped: cover picture (mjpeg): .webm has no covers' in run(tmp_path / 'in.mp4', tmp_path / 'o.webm')
    for name in ('out.mp4', 'out.mkv'):
        assert ('video', 'mjpeg') in kinds(tmp_path / name)


PHONE = {
    'com.apple.quicktime.make': 'Apple',
    'com.apple.quicktime.model': 'iPhone 15',
    'com.apple.quicktime.location.ISO6709': '+52.5200+013.4050+034.000/',
    'com.apple.quicktime.creationdate': '2026-05-01T12:00:00+0200',
}


@pytest.mark.parametrize('suffix', ['.mp4', '.mov', '.mkv', '.webm'])
def test_what_a_phone_says_of_a_recording(tmp_path, suffix):
    filmed(tmp_path / 'a.mp4', 12)
    for _, new, _ in copied(tmp_path / 'a.mp4', tmp_path / 'in.mov', options={'movflags': 'use_metadata_tags'}):
        new.metadata.update(PHONE | {'creation_time': '2026-05-01T10:00:00.000000Z'})
    notes = run(tmp_path / 'in.mov', tmp_path / f'out{suffix}')
    with av.open(str(tmp_path / f'out{suffix}')) as container:
        there = {k.lower(): v for k, v in container.metadata.items()}
    for name, value in {**PHONE, 'creation_time': '2026-05-01T10:00:00'}.items():
        assert there.get(name.lower(), '').startswith(value) or name in notes
    if suffix != '.webm':
        assert all(there[name.lower()] == value for name, value in PHONE.items())


@pytest.mark.parametrize('suffix', ['.mkv', '.mp4', '.webm', '.avi'])
@pytest.mark.parametrize('times', [None, [0, 512, 1152, 1664, 2304, 3840, 4352, 4864]])
def test_no_container_claims_its_ticks_as_frames(tmp_path, suffix, times):
    lossless(tmp_path / 'in.mkv', moving(8), times=times, codec='libx264', chroma='420')
    run(tmp_path / 'in.mkv', tmp_path / f'out{suffix}')
    with av.open(str(tmp_path / f'out{suffix}')) as container:
        stream = container.streams.video[0]
        assert 10 < float(stream.average_rate) < 60
        assert 10 < float(stream.guessed_rate) < 60


def test_avi_keeps_its_shape_and_is_not_lossless(tmp_path):
    with av.open(str(tmp_path / 'in.mp4'), 'w') as container:
        stream = container.add_stream('libx264', rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, 'yuv420p'
        stream.codec_context.sample_aspect_ratio = Fraction(16, 15)
        for rgb in moving(12):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, 'rgb24')))
        container.mux(stream.encode(None))
    run(tmp_path / 'in.mp4', tmp_path / 'out.avi')
    with av.open(str(tmp_path / 'out.avi')) as container:
        assert container.streams.video[0].codec_context.name == 'h264'
        frame = next(container.decode(video=0))
        assert container.streams.video[0].sample_aspect_ratio == Fraction(16, 15)
        del frame
    assert (tmp_path / 'out.avi').stat().st_size < 3 * (tmp_path / 'in.mp4').stat().st_size + 20000


@pytest.mark.parametrize('suffix', ['.mp4', '.mkv'])
def test_how_long_the_last_frame_is_shown(tmp_path, suffix):
    with av.open(str(tmp_path / 'in.mp4'), 'w') as container:
        stream = container.add_stream('libx264', rate=25)
        stream.height, stream.width, stream.pix_fmt, stream.options = 48, 64, 'yuv420p', {'bf': '0'}
        packets = []
        for rgb in moving(5):
            packets += stream.encode(av.VideoFrame.from_ndarray(rgb, 'rgb24'))
        packets += stream.encode(None)
        packets[-1].duration = 50
        container.mux(packets)
    with open_input(tmp_path / 'in.mp4', Reading()) as reader:
        assert float(reader.survey.streams[0].last * reader.time_base) == pytest.approx(2, abs=0.01)
    notes = run(tmp_path / 'in.mp4', tmp_path / f'out{suffix}')
    if suffix == '.mkv':
        assert 'the last frame, shown for 2.000 s' in notes
    else:
        with open_input(tmp_path / 'out.mp4', Reading()) as reader:
            assert float(reader.survey.streams[0].last * reader.time_base) == pytest.approx(2, abs=0.01)


@pytest.mark.parametrize(('pixels', 'codec', 'target', 'made', 'told'), [
    ('yuv444p', 'libx264', 'out.mp4', 'yuv444p', ''),
    ('yuv422p10le', 'libx264', 'out.mp4', 'yuv422p10le', ''),
    ('yuv420p10le', 'libx264', 'out.webm', 'yuv420p', '10 bits become 8: libvpx-vp9 has no more'),
    ('yuv444p12le', 'ffv1', 'out.mp4', 'yuv444p10le', '12 bits become 10: libx264 has no more'),
    ('yuv420p12le', 'ffv1', 'out.mkv', 'yuv420p10le', '12 bits become 10'),
    ('yuva420p', 'ffv1', 'out.mp4', 'yuv420p', 'dropped: the opacity of pixels'),
    ('bgra', 'ffv1', 'out.mkv', 'yuv444p', 'dropped: the opacity of pixels'),
])  # fmt: skip
def test_bits_chroma_and_opacity_are_kept_or_listed(tmp_path, pixels, codec, target, made, told):
    with av.open(str(tmp_path / 'in.mkv'), 'w') as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, pixels
        for rgb in moving(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, 'rgb24').reformat(format=pixels)))
        container.mux(stream.encode(None))
    notes = run(tmp_path / 'in.mkv', tmp_path / target)
    assert told in notes
    assert kinds(tmp_path / target)
    with av.open(str(tmp_path / target)) as container:
        assert container.streams.video[0].codec_context.pix_fmt == made


def test_full_range_into_prores(tmp_path):
    from votes.video.colour import Colour

    lossless(tmp_path / 'in.mp4', moving(3), Colour('bt709', True), codec='libx264', chroma='420')
    summary = restored(tmp_path / 'in.mp4', tmp_path / 'out.mov', codec='prores')
    assert any('full range becomes limited' in note for note in summary.notes)
    (a, *_), (b, *_) = read(tmp_path / 'in.mp4')[1], read(tmp_path / 'out.mov')[1]
    assert np.abs(a.rgb.astype(int) - b.rgb).mean() < 2.5


def test_the_comment_of_a_gif(tmp_path):
    with av.open(str(tmp_path / 'in.gif'), 'w') as container:
        stream = container.add_stream('gif', rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 64, 'rgb8'
        for rgb in moving(4):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, 'rgb24').reformat(format='rgb8')))
        container.mux(stream.encode(None))
    content = (tmp_path / 'in.gif').read_bytes()
    at = content.index(b'\x21\xf9')
    comment = b'\x21\xfe\x0bmade by me!\x00'
    (tmp_path / 'in.gif').write_bytes(content[:at] + comment + content[at:])
    with av.open(str(tmp_path / 'in.gif')) as container:
        said = {k.lower(): v for k, v in container.metadata.items()}
    notes = run(tmp_path / 'in.gif', tmp_path / 'out.mp4')
    with av.open(str(tmp_path / 'out.mp4')) as container:
        assert {k: container.metadata.get(k) for k in said} == said or 'comment' in notes
    assert said.get('comment') == 'made by me!' or 'comment' in notes


def test_finished_segments_are_never_useless(tmp_path, monkeypatch):
    """What was rehearsed fails in the end: the picture is saved in another container."""
    from votes.restore import sinks

    filmed(tmp_path / 'in.mp4', 12)
    original = sinks.assemble

    def refusing(pieces, target, *rest):
        if target.suffix == '.mp4':
            raise UserError('this video cannot be written', where=target, value='Invalid argument')
        original(pieces, target, *rest)

    monkeypatch.setattr(sinks, 'assemble', refusing)
    summary = restored(tmp_path / 'in.mp4', tmp_path / 'out.mp4')
    assert summary.output == tmp_path / 'out.mp4.mkv'
    assert any('out.mp4 could not be written (Invalid argument)' in note for note in summary.notes)
    assert len(read(tmp_path / 'out.mp4.mkv')[1]) == 12


def test_a_container_that_refuses_is_known_before_the_first_frame(tmp_path, monkeypatch):
    filmed(tmp_path / 'in.mp4', 12)
    monkeypatch.setattr(video, '_write_segments', lambda *_: pytest.fail('frames were computed'))
    with pytest.raises(UserError, match='cannot be written'):
        restored(tmp_path / 'in.mp4', tmp_path / 'out.mp4', preset='sluggish')


@pytest.mark.parametrize('what', ['frame', 'tag', 'sound'])
def test_a_difference_that_was_not_announced_is_an_error(tmp_path, monkeypatch, what):
    from votes.restore import sinks

    filmed(tmp_path / 'in.mp4', 12)
    original = sinks.assemble

    def careless(pieces, target, shape, source, plan):
        if what == 'sound':
            plan.tracks[0].refused = {3, 4}
            original(pieces, target, shape, source, plan)
            plan.tracks[0].refused = set()
        elif what == 'frame':
            original(pieces[:-1], target, shape, source, plan)
        else:
            shape.rate *= 2
            shape.tags = shape.tags | {'color_primaries': 9}
            original(pieces, target, shape, source, plan)

    if what == 'tag':
        from votes.video.colour import Colour

        lossless(tmp_path / 'in.mp4', moving(12), Colour('bt709', False, primaries=1), codec='libx264', chroma='420')
    monkeypatch.setattr(sinks, 'assemble', careless)
    with pytest.raises(UserError, match='differs from its source in what was not announced'):
        restored(tmp_path / 'in.mp4', tmp_path / 'out.mp4', segment=6)
    assert (tmp_path / 'out.mp4').exists()
