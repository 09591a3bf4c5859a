from fractions import Fraction

import av
import numpy as np
import pytest
from restore.clips import Enlarge
from test_video import audio_packets, read, textured, write

from votes.archs.contract import promise
from votes.archs.windows import window_indices
from votes.errors import UserError
from votes.inference.views import Views
from votes.restore import Settings, check_paths, restore_video
from votes.video.degrade import encode_h264
from votes.video.read import TimedFrame


@pytest.mark.parametrize('length', [1, 3, 5, 6, 12])
def test_windows_are_those_of_evaluation(length):
    frames = [TimedFrame(np.zeros((1, 1, 3), np.uint8), i) for i in range(length)]
    for centre, window in enumerate(Views(promise(Enlarge())).of(iter(frames))):
        assert window.centres == [centre]
        wanted = (
            window_indices(centre, length, 5, 'reflection_circle')
            if length >= 5
            else [min(max(i, 0), length - 1) for i in range(centre - 2, centre + 3)]
        )
        assert [window.frames[i].pts for i in window.indices] == window.indices == wanted
    assert centre == length - 1


def test_few_frames_are_held():
    alive = 0

    class Counted(TimedFrame):
        def __del__(self):
            nonlocal alive
            alive -= 1

    def source():
        nonlocal alive
        for i in range(200):
            alive += 1
            yield Counted(np.zeros((1, 1, 3), np.uint8), i)

    most = 0
    for _ in Views(promise(Enlarge())).of(source()):
        most = max(most, alive)
    assert most <= 9


def test_a_video_end_to_end(tmp_path):
    encode_h264(textured(30), tmp_path / 'in.mp4', 20, tone_hz=330)
    summary = restore_video(
        Enlarge(), tmp_path / 'in.mp4', tmp_path / 'out.mp4', progress='none', settings=Settings(crf=1)
    )
    before, source = read(tmp_path / 'in.mp4')
    after, found = read(tmp_path / 'out.mp4')
    assert summary.frames == len(found) == 30
    assert after.size == (96, 128)
    assert [f.pts * after.time_base for f in found] == [f.pts * before.time_base for f in source]
    assert audio_packets(tmp_path / 'in.mp4') == audio_packets(tmp_path / 'out.mp4')
    for a, b in zip(source, found, strict=True):
        assert np.mean((a.rgb.repeat(2, 0).repeat(2, 1).astype(float) - b.rgb) ** 2) < 8
    assert 'frames/s' in str(summary)


def test_sizes_that_the_network_does_not_take(tmp_path):
    write(tmp_path / 'in.mp4', textured(6, (46, 62)), times=[0, 500, 1700, 1800, 5000, 5100])
    restore_video(Enlarge(), tmp_path / 'in.mp4', tmp_path / 'out.mp4', progress='none')
    after, found = read(tmp_path / 'out.mp4')
    assert after.size == (92, 124)
    assert [f.pts for f in found] == [0, 500, 1700, 1800, 5000, 5100]


def test_paths_that_must_not_be_written(tmp_path):
    write(tmp_path / 'in.mp4', textured(3))
    (tmp_path / 'out.mp4').write_text('mine')
    for paths in (('-', tmp_path / 'x.mp4'), (tmp_path / 'in.mp4', '-')):
        with pytest.raises(UserError, match='pipe'):
            check_paths(*paths)
    for target, message in (('out.mp4', 'exists'), ('none/out.mp4', 'does not exist'), ('.', 'folder')):
        with pytest.raises(UserError, match=message):
            check_paths(tmp_path / 'in.mp4', tmp_path / target)
    with pytest.raises(UserError, match='same file'):
        check_paths(tmp_path / 'in.mp4', tmp_path / 'in.mp4', overwrite=True)
    with pytest.raises(UserError, match='exists'):
        restore_video(Enlarge(), tmp_path / 'in.mp4', tmp_path / 'out.mp4', progress='none')
    assert (tmp_path / 'out.mp4').read_text() == 'mine'


def test_a_failure_leaves_nothing(tmp_path):
    write(tmp_path / 'in.mp4', textured(8))

    class Fails(Enlarge):
        calls = 0

        def forward(self, x):
            self.calls += 1
            if self.calls == 4:
                raise RuntimeError('out of memory')
            return super().forward(x)

    with pytest.raises(RuntimeError, match='out of memory'):
        restore_video(Fails(), tmp_path / 'in.mp4', tmp_path / 'out.mp4', progress='none')
    assert sorted(p.name for p in tmp_path.iterdir()) == ['in.mp4']


def anamorphic(path):
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('libx264', rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, 'yuv420p'
        stream.codec_context.sample_aspect_ratio = Fraction(16, 15)
        for frame in textured(6, (48, 64)):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, 'rgb24')))
        container.mux(stream.encode(None))


def test_pixels_keep_their_shape(tmp_path):
    anamorphic(tmp_path / 'in.mp4')
    restore_video(Enlarge(), tmp_path / 'in.mp4', tmp_path / 'out.mp4', progress='none')
    with av.open(str(tmp_path / 'out.mp4')) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(16, 15)


def test_sound_that_the_container_refuses_is_converted(tmp_path):
    with av.open(str(tmp_path / 'in.mkv'), 'w') as container:
        stream, sound = container.add_stream('libx264', rate=25), container.add_stream('libopus', rate=48000)
        stream.height, stream.width, stream.pix_fmt = 48, 64, 'yuv420p'
        for frame in textured(6, (48, 64)):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, 'rgb24')))
        container.mux(stream.encode(None))
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 1920), np.int16), format='s16', layout='mono')
        samples.sample_rate = 48000
        container.mux(sound.encode(samples))
        container.mux(sound.encode(None))
    summary = restore_video(Enlarge(), tmp_path / 'in.mkv', tmp_path / 'out.mov', progress='none')
    assert summary.frames == 6
    assert any('converted: audio (opus) to aac: .mov does not take it' in note for note in summary.notes)
    assert audio_packets(tmp_path / 'out.mov')
    kept = restore_video(Enlarge(), tmp_path / 'in.mkv', tmp_path / 'out.mkv', progress='none')
    assert any('kept: audio (opus)' in note for note in kept.notes)


def test_a_raw_stream(tmp_path):
    encode_h264(textured(8), tmp_path / 'in.mp4', 20)
    with av.open(str(tmp_path / 'in.mp4')) as source, av.open(str(tmp_path / 'in.h264'), 'w') as raw:
        copy = raw.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = copy
                raw.mux(packet)
    assert restore_video(Enlarge(), tmp_path / 'in.h264', tmp_path / 'out.mp4', progress='none').frames == 8
