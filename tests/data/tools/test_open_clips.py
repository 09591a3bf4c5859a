"""The list of open clips, and originals made of files that are on it."""

import hashlib
import json
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from conftest import write_clip

from votes.cli import main
from votes.data.sources import open_source
from votes.data.tools import open_clips as tool

ROOT = Path(__file__).resolve().parents[3]
RECIPE = 'name: {}\nscale: 2\ngenerations:\n  - {{codec: libx264, qp: {}, preset: ultrafast}}\n'


def test_the_list():
    clips = tool.open_clips()
    assert len({clip.clip for clip in clips}) == len({clip.sha256 for clip in clips}) == len(clips) >= 20
    assert {clip.split for clip in clips} == set(tool.PARTS)
    assert all(len(clip.sha256) == 64 and clip.licence and clip.bytes and clip.commit for clip in clips)
    assert all(clip.shrink >= 2 for clip in clips if clip.tier != 'A'), 'what was compressed is shrunk'
    assert len({clip.source for clip in clips}) == len(clips)


def test_the_page_is_that_of_the_list():
    assert (ROOT / 'docs' / 'open-clips.md').read_text() == tool.page()


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A folder of pictures and a video, and a list of them."""
    folder = tmp_path / 'files'
    pictures = write_clip(folder / 'any name', 5, (34, 50))
    video = folder / 'v.mkv'
    with av.open(str(video), 'w') as out:
        stream = out.add_stream('ffv1', 25)
        stream.width, stream.height, stream.pix_fmt = 48, 40, 'bgr0'
        for frame in write_clip(tmp_path / 'made', 3, (40, 48), seed=1):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, 'rgb24').reformat(format='bgr0')))
        out.mux(stream.encode(None))

    def row(clip, split, shrink, data, **more):
        size = sum(map(len, data))
        common = {'tier': 'B', 'repository': 'a/b', 'path': clip, 'commit': '0', 'licence': 'x', 'content': 'c'}
        digest = hashlib.sha256(b''.join(data)).hexdigest()
        return common | {
            'clip': clip,
            'split': split,
            'shrink': shrink,
            'sha256': digest,
            'bytes': size,
            'stored': 's',
            **more,
        }

    frames = [p.read_bytes() for p in sorted((folder / 'any name').iterdir())][:4]
    rows = [row('one', 'train', 2, frames, pictures=4), row('two', 'val', 1, [video.read_bytes()])]
    rows.append(rows[1] | {'clip': 'three', 'split': 'test', 'shrink': 3})
    monkeypatch.setattr(tool, 'LIST', tmp_path / 'list.json')
    (tmp_path / 'list.json').write_text(json.dumps(rows))
    return folder, pictures


def test_originals_and_versions(files, tmp_path, capsys):
    folder, pictures = files
    (tmp_path / 'recipes').mkdir()
    for name, qp in (('soft', 40), ('fine', 10)):
        (tmp_path / 'recipes' / f'{name}.yml').write_text(RECIPE.format(name, qp))
    command = ['prepare', 'open-clips', str(tmp_path / 'out'), '--from', str(folder)]
    assert main([*command, '--recipe', str(tmp_path / 'recipes')]) == 0
    gt = open_source(tmp_path / 'out' / 'train' / 'HQ_frames')
    assert (gt.clips(), gt.length('one'), gt.size('one')) == (['one'], 4, (16, 24))
    expected = cv2.resize(pictures[3][:32, :48], (24, 16), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(gt.read('one', 3), expected)
    assert (tmp_path / 'out' / 'train' / 'meta_info.txt').read_text() == 'one 4\n'
    together = open_source(tmp_path / 'out' / 'HQ_frames')
    assert together.clips() == ['one', 'three', 'two'], 'what studies read'
    np.testing.assert_array_equal(together.read('one', 3), expected)
    assert open_source(tmp_path / 'out' / 'val' / 'HQ_frames').size('two') == (40, 48)
    assert open_source(tmp_path / 'out' / 'test' / 'HQ_frames').size('three') == (12, 16)
    lq = open_source(tmp_path / 'out' / 'train' / 'LQ_versions_x2')
    assert (lq.names, lq.size('one'), lq.length('one')) == (['fine', 'soft'], (8, 12), 4)
    draws = [lq.window('one', [1, 2], (0, 0, 8, 8), np.random.default_rng(seed)) for seed in range(12)]
    kinds = {b''.join(frame.tobytes() for frame in window) for window in draws}
    assert len(kinds) == 2, 'a window is of one version, and both are drawn'
    again = lq.window('one', [1, 2], (0, 0, 8, 8), np.random.default_rng(3))
    np.testing.assert_array_equal(again, draws[3])
    capsys.readouterr()
    assert main([*command, '--recipe', str(tmp_path / 'recipes')]) == 0, 'once more: there is nothing left to do'


def test_versions_of_other_clips_are_refused(files, tmp_path):
    from votes.data.versions_source import VersionsSource
    from votes.errors import UserError

    write_clip(tmp_path / 'v' / 'a' / 'x', 2, (8, 8))
    write_clip(tmp_path / 'v' / 'b' / 'x', 3, (8, 8))
    (tmp_path / 'v' / 'versions.json').write_text('{"versions": {"a": 1, "b": 2}}')
    with pytest.raises(UserError, match='versions of different clips'):
        VersionsSource(tmp_path / 'v')
    (tmp_path / 'v' / 'versions.json').write_text('{"versions": {}}')
    with pytest.raises(UserError, match='no versions'):
        VersionsSource(tmp_path / 'v')


def test_other_files_are_refused_and_where_to_fetch_them_is_said(files, tmp_path, capsys):
    folder, _ = files
    assert main(['prepare', 'open-clips', str(tmp_path / 'out')]) == 0
    said = capsys.readouterr().out
    assert 'a/b:one @0' in said
    assert not (tmp_path / 'out').exists()
    video = folder / 'v.mkv'
    video.write_bytes(video.read_bytes()[:-1] + b'x')
    assert main(['prepare', 'open-clips', str(tmp_path / 'out'), '--from', str(folder)]) == 2
    error = capsys.readouterr().err
    assert '2 of 3 files' in error
    assert 'a/b:two @0' in error
