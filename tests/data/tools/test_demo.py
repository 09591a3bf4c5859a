"""The clips of `votes demo-data`."""

import hashlib
import json

import cv2
import numpy as np
import pytest

from votes.cli import main
from votes.data.tools.demo import make_demo_data
from votes.errors import UserError
from votes.video.read import VideoReader


def digest(folder):
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob('*') if p.is_file()
    }


@pytest.fixture(scope='module')
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp('made') / 'demo'
    assert main(['demo-data', str(folder)]) == 0
    return folder


@pytest.mark.long
def test_same_seed_same_files(demo, tmp_path):
    make_demo_data(tmp_path / 'again', seed=0)
    assert digest(tmp_path / 'again') == digest(demo)


def test_layout_and_split(demo):
    root = demo / 'UVSSM' / 'demo'
    clips = sorted(p.name for p in (root / 'HQ_frames').iterdir())
    assert len(clips) >= 8
    assert clips == sorted(p.name for p in (root / 'LQ_frames').iterdir())
    parts = {}
    for part, name in (('all', 'meta_info_demo'), ('val', 'meta_info_demo_val'), ('test', 'meta_info_demo_test')):
        lines = (demo / 'meta_info' / f'{name}.txt').read_text().splitlines()
        parts[part] = dict(line.split() for line in lines)
    assert sorted(parts['all']) == clips
    assert {*parts['val'], *parts['test']} < {*clips}
    assert not {*parts['val']} & {*parts['test']}
    assert all(int(count) >= 40 for count in parts['all'].values())
    manifest = json.loads((demo / 'manifest.json').read_text())
    pictures = {clip: about['picture'] for clip, about in manifest['clips'].items()}
    seen = {pictures[c] for c in clips if c not in parts['val'] and c not in parts['test']}
    assert not seen & {pictures[c] for c in parts['test']}, 'a test picture is never seen in training'


def test_pictures_move_and_are_really_compressed(demo):
    root = demo / 'UVSSM' / 'demo'
    for clip in sorted((root / 'HQ_frames').iterdir()):
        frames = [cv2.imread(str(clip / f'{i:08d}.png')) for i in (0, 1, 39)]
        assert min(frames[0].shape[:2]) >= 256
        assert np.abs(frames[0].astype(int) - frames[1]).mean() > 0.3, clip
        assert np.abs(frames[0].astype(int) - frames[2]).mean() > 2, clip
        lq = cv2.imread(str(root / 'LQ_frames' / clip.name / '00000001.png'))
        assert (lq.shape[0] * 2, lq.shape[1] * 2) == frames[1].shape[:2]
        small = cv2.resize(frames[1], (lq.shape[1], lq.shape[0]), interpolation=cv2.INTER_AREA)
        psnr = 10 * np.log10(255**2 / np.mean((small.astype(float) - lq) ** 2))
        assert 22 < psnr < 45, clip


def test_a_video_with_sound_to_restore(demo):
    with VideoReader(demo / 'test_clip.mp4') as video:
        assert sum(1 for _ in video) >= 40


@pytest.mark.long
def test_stronger_compression_costs_quality(demo, tmp_path):
    make_demo_data(tmp_path / 'worse', seed=0, qp=40)

    def error(folder):
        gt = cv2.imread(str(folder / 'UVSSM/demo/HQ_frames/001/00000020.png')).astype(float)
        lq = cv2.imread(str(folder / 'UVSSM/demo/LQ_frames/001/00000020.png'))
        return np.mean((cv2.resize(lq, gt.shape[1::-1], interpolation=cv2.INTER_CUBIC) - gt) ** 2)

    assert error(tmp_path / 'worse') > 1.3 * error(demo)


def test_what_is_refused(demo, tmp_path):
    with pytest.raises(UserError, match='exists'):
        make_demo_data(demo)
    with pytest.raises(UserError, match='0 to 51'):
        make_demo_data(tmp_path / 'x', qp=90)
