import contextlib
import json

import av
import cv2
import numpy as np
import pytest
from av.codec.context import Flags2
from decoded import decoded
from faults import damages

from votes.archs.windows import CUT, PICKED, peak_indices
from votes.data.codec_metadata import CodecMetadata, extract_metadata, take_labels
from votes.errors import UserError
from votes.video.metadata import each_frame, pqf_labels

ONE_BACK = {'x264-params': 'bframes=0:ref=1:me=esa:subme=9', 'qp': '20'}


def pan(count=16, step=3, size=(96, 128)):
    base = np.random.default_rng(0).integers(0, 256, (40, 90, 3), np.uint8)
    base = cv2.resize(base, (360, 160), interpolation=cv2.INTER_CUBIC)
    return [np.ascontiguousarray(base[8 : 8 + size[0], step * i : step * i + size[1]]) for i in range(count)]


def write(path, frames, codec='libx264', pixels='yuv420p', **options):
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], pixels
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, 'rgb24')))
        container.mux(stream.encode(None))
    return path


def test_vectors_are_the_motion(tmp_path):
    """The camera moves 3 pixels to the right: what is at p was at p + 3 a frame ago."""
    video = decoded(write(tmp_path / 'v.mp4', pan(), **ONE_BACK))
    assert video.frames.shape == (16, 96, 128, 3)
    assert video.types == ['I'] + ['P'] * 15
    assert video.mv_past.shape == (16, 24, 32, 2)
    assert not video.past_valid[0].any()
    assert not video.future_valid.any()
    for t in range(1, 16):
        inner = video.mv_past[t][video.past_valid[t]].astype(float)
        assert video.past_valid[t].mean() > 0.7
        assert np.abs(np.median(inner, 0) - [3, 0]).max() < 0.3
    # and the previous frame moved by them is nearer to this one than the previous frame as it is
    grid = np.stack(np.meshgrid(np.arange(128), np.arange(96)), -1).astype(np.float32)
    field = cv2.resize(video.mv_past[5].astype(np.float32), (128, 96), interpolation=cv2.INTER_NEAREST)
    moved = cv2.remap(video.frames[4], grid + field, None, cv2.INTER_LINEAR)
    inside = np.s_[8:-8, 8:-16]
    before = np.abs(video.frames[5].astype(int) - video.frames[4])[inside].mean()
    assert np.abs(video.frames[5].astype(int) - moved)[inside].mean() < 0.35 * before  # chroma has half the columns


def test_quantisers_of_h264(tmp_path):
    video = decoded(write(tmp_path / 'v.mp4', pan(24), qp='33'))
    assert video.qp.shape == (24, 6, 8)
    by_type = {
        kind: {int(q) for q, t in zip(video.qp.reshape(24, -1)[:, 0], video.types, strict=True) if t == kind}
        for kind in 'IPB'
    }
    assert by_type['I'] == {30}
    assert by_type['P'] == {33}
    assert by_type['B'] <= {34, 35}
    assert by_type['B']
    assert video.future_valid.any(), 'B frames look ahead, too'


def test_quantisers_mean_the_same_whatever_the_depth(tmp_path):
    """FFmpeg's are 12 larger for 10 bit."""
    eight, ten = (
        decoded(write(tmp_path / f'{pixels}.mp4', pan(8), pixels=pixels, crf='28'))
        for pixels in ('yuv420p', 'yuv420p10le')
    )
    assert abs(eight.qp.mean() - ten.qp.mean()) < 2


def test_the_map_of_quantisers_is_the_librarys(tmp_path):
    path = write(tmp_path / 'v.mp4', pan(8), crf='28')
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.options = {'export_side_data': 'venc_params'}
        maps = [frame.side_data.get('VIDEO_ENC_PARAMS').qp_map() for frame in container.decode(video=0)]
    assert np.array_equal(decoded(path).qp, np.stack(maps))


def test_vectors_are_those_of_the_blocks(tmp_path):
    """Every block's cells hold its vector: compared with a loop over blocks."""
    path = write(tmp_path / 'v.mp4', [f[:90, :118] for f in pan(12)], crf='20')
    video = decoded(path)
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.flags2 |= Flags2.export_mvs
        rows = [frame.side_data.get('MOTION_VECTORS') for frame in container.decode(video=0)]
    covered = np.zeros(video.past_valid.shape, bool)
    for t, blocks in enumerate(rows):
        for row in blocks.to_ndarray() if blocks else ():
            if row['source'] > 0:
                continue
            y, x = (int(row[f'dst_{n}']) - int(row[side]) // 2 for n, side in (('y', 'h'), ('x', 'w')))
            part = np.s_[
                t, max(0, y) // 4 : -(-(y + int(row['h'])) // 4), max(0, x) // 4 : -(-(x + int(row['w'])) // 4)
            ]
            covered[part] = True
            assert (video.mv_past[part][..., 0] == np.float16(row['motion_x'] / row['motion_scale'])).all()
    assert np.array_equal(covered, video.past_valid)
    assert covered.any()


def test_bytes_are_those_of_the_packets(tmp_path):
    path = write(tmp_path / 'v.mkv', pan(20))
    with av.open(str(path)) as container:
        total = sum(packet.size for packet in container.demux(video=0))
    video = decoded(path)
    assert video.bytes.sum() == total
    assert video.bytes[0] == video.bytes.max()


@pytest.mark.parametrize(
    ('codec', 'suffix', 'options'),
    [
        ('libx265', 'mp4', {'x265-params': 'log-level=none'}),
        ('libvpx-vp9', 'webm', {}),
        ('libsvtav1', 'mp4', {'svtav1-params': 'preset=12'}),
    ],
)
def test_what_a_codec_does_not_give_is_none(tmp_path, codec, suffix, options):
    video = decoded(write(tmp_path / f'v.{suffix}', pan(10), codec, **options))
    assert len(video.frames) == len(video.types) == len(video.bytes) == 10
    assert (video.mv_past, video.mv_future, video.past_valid, video.qp) == (None,) * 4


def test_mirrored_vectors_belong_to_the_mirrored_video(tmp_path):
    frames = pan(6)
    plain = decoded(write(tmp_path / 'a.mp4', frames, **ONE_BACK))
    mirrored = decoded(write(tmp_path / 'b.mp4', [np.ascontiguousarray(f[:, ::-1]) for f in frames], **ONE_BACK))
    turned = plain.mv_past[..., ::-1, :] * np.float16([-1, 1])
    assert np.abs(np.median(turned[3].reshape(-1, 2), 0) - np.median(mirrored.mv_past[3].reshape(-1, 2), 0)).max() < 0.3


def test_peak_quality_frames():
    qp = np.array([30, 34, 33, 35, 31, 31])[:, None, None]
    assert pqf_labels(qp, np.zeros(6, int)).tolist() == [True, False, True, False, True, True]
    assert pqf_labels(None, np.array([9, 2, 5, 1, 0])).tolist() == [True, False, True, False, True]
    assert pqf_labels(None, np.array([9, 8, 7, 6, 5, 4]), [3]).tolist() == [True, False, True, True, False, True]


def test_scenes_are_cut_where_something_else_is_shown(tmp_path):
    """Fast motion is no cut, nor is what changes a little; metadata says it, and windows of peaks end there."""
    smooth = [cv2.GaussianBlur(frame, (0, 0), 5) for frame in pan(12)]
    frames = [*smooth[:5], *(np.ascontiguousarray(255 - frame[::-1]) for frame in smooth[5:])]
    (tmp_path / 'videos').mkdir()
    write(tmp_path / 'videos' / 'clip.mp4', frames)
    extract_metadata(tmp_path / 'videos', tmp_path / 'out', say=str)
    metadata = CodecMetadata(tmp_path / 'out')
    assert metadata.about('clip')['cuts'] == [5]
    marks = metadata.marks('clip')
    assert [mark & CUT for mark in marks] == [CUT * (i == 5) for i in range(12)]
    assert all(marks[i] & PICKED for i in (0, 4, 5, 11))
    (tmp_path / 'labels').mkdir()
    (tmp_path / 'labels' / 'clip.txt').write_text('0 1 0 0 0 0 0 1 0 0 0 0'.replace(' ', '\n'))
    take_labels(tmp_path / 'out', tmp_path / 'labels')
    lines = []
    extract_metadata(tmp_path / 'videos', tmp_path / 'out', say=lines.append)
    assert 'peak quality of labels' in lines[0], 'what is there is kept, and told'
    assert CodecMetadata(tmp_path / 'out').read('clip', [3, 4, 5, 6], (0, 0, 8, 8))['scene'].tolist() == [0, 0, 1, 1]
    marks = CodecMetadata(tmp_path / 'out').marks('clip')
    assert [i for i, mark in enumerate(marks) if mark & PICKED] == [1, 7]
    assert peak_indices(4, marks, 3) == [1, 4, 4]
    assert peak_indices(5, marks, 3) == [5, 5, 7]
    stored = tmp_path / 'out' / 'clip' / 'frames.json'
    about = json.loads(stored.read_text())
    new = ('rule', 'cuts', 'checksum')
    stored.write_text(json.dumps({key: value for key, value in about.items() if key not in new}))
    extract_metadata(tmp_path / 'videos', tmp_path / 'out', say=lines.append)
    assert 'made again, by the rules of today, its labels need --peaks again' in lines[1]
    assert CodecMetadata(tmp_path / 'out').marks('clip')[5] == PICKED | CUT
    (tmp_path / 'labels' / 'clip.txt').write_text('1 2 3')
    with pytest.raises(UserError, match='12 numbers are needed'):
        take_labels(tmp_path / 'out', tmp_path / 'labels')


def test_no_video(tmp_path):
    with pytest.raises(UserError, match='video not found'):
        next(each_frame(tmp_path / 'none.mp4'))


def test_damaged_metadata_are_refused_and_made_again(tmp_path):
    videos, target = tmp_path / 'videos', tmp_path / 'metadata'
    videos.mkdir()
    write(videos / 'a.mp4', pan(3, size=(16, 32)))
    extract_metadata(videos, target)
    files = {path: path.read_bytes() for path in (target / 'a').iterdir()}
    assert sorted(path.stem for path in files) == ['frames', 'future_valid', 'mv_future', 'mv_past', 'past_valid', 'qp']
    for stored, whole in files.items():
        for data in damages(stored):
            found = CodecMetadata(target)
            if stored.suffix == '.npy' or json.loads(whole) != _parsed(data):
                with pytest.raises(UserError, match='codec metadata cannot be read'):
                    found.field('a', stored.stem)
        stored.unlink()
        with pytest.raises(UserError, match='codec metadata cannot be read'):
            CodecMetadata(target).field('a', stored.stem)
        extract_metadata(videos, target)
        assert {path: path.read_bytes() for path in files} == files


def _parsed(data):
    with contextlib.suppress(ValueError):
        return json.loads(data)
