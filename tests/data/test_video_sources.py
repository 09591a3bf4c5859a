"""Frames straight out of videos and raw files are those of a full decode."""

import gc
import os
import signal
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import av
import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from votes.data import build_train_loader
from votes.data.sources import open_source
from votes.data.video_source import YuvSource
from votes.errors import Stalled, UserError
from votes.options.schema import DatasetOptions
from votes.video.read import VideoReader


def write_video(path, frames, codec='libx264', rate=25, **options):
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = 'yuv420p'
        for frame in frames:
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame, 'rgb24')):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def moving(count, size=(48, 64)):
    base = cv2.resize(np.random.default_rng(0).integers(0, 256, (12, 40, 3), np.uint8), (200, 60))
    return [np.ascontiguousarray(base[i % 6 : i % 6 + size[0], 2 * i : 2 * i + size[1]]) for i in range(count)]


@pytest.mark.parametrize(
    ('suffix', 'codec', 'options'),
    [
        ('mp4', 'libx264', {'bf': '3', 'g': '12', 'b-pyramid': 'normal'}),
        ('mkv', 'libx264', {'x264-params': 'open-gop=1:keyint=9:bframes=2'}),
        ('webm', 'libvpx-vp9', {'g': '10'}),
        ('mp4', 'libx265', {'x265-params': 'log-level=none:keyint=8:bframes=3'}),
        ('ts', 'libx264', {'g': '7', 'bf': '2'}),
    ],
)
def test_any_frame_of_a_video_is_the_one_of_a_full_decode(tmp_path, suffix, codec, options):
    (tmp_path / 'videos').mkdir()
    write_video(tmp_path / 'videos' / f'clip.{suffix}', moving(50), codec, **options)
    with VideoReader(tmp_path / 'videos' / f'clip.{suffix}') as reader:
        everything = [frame.rgb for frame in reader]
    source = open_source(tmp_path / 'videos')
    assert source.clips() == ['clip']
    assert source.length('clip') == len(everything) == 50
    assert source.size('clip') == (48, 64)
    jumps = [0, 49, 3, 4, 5, 30, 12, 11, 13, 48, 1, 25, 24, 9, 10, *np.random.default_rng(1).permutation(50)]
    for i in jumps:
        assert np.array_equal(source.read('clip', int(i)), everything[i]), i
    assert np.array_equal(source.read('clip', 7, (4, 6, 10, 12)), everything[7][4:14, 6:18])


def test_videos_stay_few_and_unreadable_ones_are_named(tmp_path):
    for i in range(6):
        write_video(tmp_path / f'{i}.mp4', moving(6))
    source = open_source(tmp_path)
    for _ in range(2):
        assert [source.read(clip, 3).shape for clip in source.clips()] == [(48, 64, 3)] * 6
    assert len(source._opened) == source.OPEN
    (tmp_path / '7.mp4').write_bytes(b'nothing')
    with pytest.raises(UserError, match='not a readable video'):
        open_source(tmp_path).length('7')


def test_raw_yuv(tmp_path):
    """The same pictures as the decoder's planes, written out."""
    (tmp_path / 'raw').mkdir()
    (tmp_path / 'video').mkdir()
    write_video(tmp_path / 'video' / 'ball.mp4', [cv2.GaussianBlur(f, (0, 0), 6) for f in moving(6)])
    with av.open(str(tmp_path / 'video' / 'ball.mp4')) as container:
        planes = [f.to_ndarray().tobytes() for f in container.decode(video=0)]
    (tmp_path / 'raw' / 'ball_64x48_yuv420p.yuv').write_bytes(b''.join(planes))
    raw, video = open_source(tmp_path / 'raw'), open_source(tmp_path / 'video')
    assert raw.clips() == ['ball']
    assert (raw.length('ball'), raw.size('ball')) == (6, (48, 64))
    for i in range(6):  # not equal: the decoder knows where chroma lies, a raw file does not
        assert np.abs(raw.read('ball', i).astype(int) - video.read('ball', i)).mean() < 1
        assert np.abs(raw.read('ball', i).astype(int) - video.read('ball', 5 - i)).mean() > 1.5
    (tmp_path / 'raw' / 'ball_64x48_yuv420p.yuv').write_bytes(b''.join(planes)[:-5])
    with pytest.raises(UserError, match='no whole number of frames'):
        open_source(tmp_path / 'raw')
    (tmp_path / 'raw' / 'ball_64x48_yuv420p.yuv').rename(tmp_path / 'raw' / 'ball.yuv')
    with pytest.raises(UserError, match='without its size'):
        open_source(tmp_path / 'raw')


@pytest.mark.parametrize(('pixels', 'scale', 'kind'), [('yuv420p', 1, np.uint8), ('yuv420p10le', 4, np.uint16)])
def test_luma_alone_is_what_metrics_of_y_see(tmp_path, pixels, scale, kind):
    """Also of colours that no RGB has, and of sizes that are taken for BT.709."""
    rng = np.random.default_rng(2)
    luma, chroma = rng.integers(16, 236, (2, 720, 32)), rng.integers(0, 256, (2, 2 * 360 * 16))
    planes = [np.concatenate((y.ravel(), c)) * scale for y, c in zip(luma, chroma, strict=True)]
    (tmp_path / f'clip_32x720_{pixels}.yuv').write_bytes(np.stack(planes).astype(kind).tobytes())
    source = open_source(tmp_path, {'type': 'luma'})
    assert type(open_source(tmp_path)) is YuvSource, 'unless it is asked for'
    seen = source.read('clip', 1) @ (np.array([65.481, 128.553, 24.966]) / 255) + 16
    assert np.abs(seen - luma[1]).max() < 0.44, 'half of 219 / 255'
    assert np.array_equal(source.read('clip', 1, (4, 6, 10, 12)), source.read('clip', 1)[4:14, 6:18])


def in_a_fork(work):
    """Exit status of `work` in a forked process, which is killed after a while: it may not come out of the fork."""
    child = os.fork()
    if not child:
        work()
        os._exit(0)
    end = time.monotonic() + 30
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def test_a_fork_reads_on_where_its_parent_has_read(tmp_path):
    """What PyAV converts with several threads waits for them for ever where a fork, which has none, frees it."""
    for name, codec, size in (('a.mp4', 'libx264', (48, 64)), ('b.mkv', 'ffv1', (48, 64)), ('c.mkv', 'ffv1', (32, 64))):
        with av.open(str(tmp_path / name), 'w') as container:
            stream = container.add_stream(codec, rate=25)
            stream.height, stream.width, stream.pix_fmt = *size, 'yuv420p' if codec == 'libx264' else 'yuv420p10le'
            for frame in moving(4, size):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, 'rgb24')))
            container.mux(stream.encode(None))
    source = open_source(tmp_path)
    expected = [source.read(clip, 2) for clip in 'abc']

    def read():
        assert all(np.array_equal(source.read(clip, 2), picture) for clip, picture in zip('abc', expected, strict=True))

    with ThreadPoolExecutor(1) as other:  # a fork frees what the threads that it lacks have kept
        assert other.submit(in_a_fork, int).result() == 0
    assert in_a_fork(read) == 0


class Collects(Dataset):
    """Its workers collect garbage."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        gc.collect()
        return torch.zeros(1)


def test_workers_leave_their_parents_garbage_alone(tmp_path):
    write_video(tmp_path / 'clip.mp4', moving(6))
    ring = deque([av.open(str(tmp_path / 'clip.mp4'))])
    ring[0].streams.video[0].thread_count = 2
    ring[0].streams.video[0].thread_type = 'AUTO'
    ring.append(next(ring[0].decode(video=0)).reformat(format='rgb24'))
    ring.append(ring)  # what only the garbage collector frees
    del ring
    data = DatasetOptions(type='x', num_worker_per_gpu=1, batch_size_per_gpu=1, worker_timeout=20)
    loader = build_train_loader(Collects(), data, 0)
    assert next(iter(loader)).shape == (1, 1)
    loader.close()


def test_the_end_of_frozen_workers_interrupts_nothing():
    """DataLoader's own watch over its workers raises in the main thread, which is saving by then."""
    data = DatasetOptions(type='x', num_worker_per_gpu=2, batch_size_per_gpu=1, worker_timeout=20)
    loader = build_train_loader(Collects(), data, 0)
    batches = iter(loader)
    next(batches)
    loader._end_workers(loader._iterator)
    for worker in loader._iterator._workers:
        worker.join()
    assert 'has given nothing for 20 s' in loader.frozen
    with pytest.raises(Stalled):
        next(batches)
    loader.close()
