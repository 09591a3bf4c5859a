"""`votes check-data` looks all over a clip, needs no weights, and repairs what can be repaired."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data as photographs

from votes.cli import main
from votes.data.sources import read_picture
from votes.data.tools.check import Check
from votes.video.colour import Colour

SIZE = (112, 176)
BT601, BT709 = Colour('bt601', False), Colour('bt709', False)


def gt_frames(name, count):
    """A photograph that passes by, with a disc that goes round in front of it."""
    photograph = getattr(photographs, name)()
    factor = 1.4 * max(SIZE[0] / photograph.shape[0], SIZE[1] / photograph.shape[1])
    large = cv2.resize(photograph, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    frames = []
    for i in range(count):
        top, left = 15 + round(14 * np.cos(i / 7)), 28 + round(27 * np.sin(i / 9))
        frame = np.ascontiguousarray(large[top : top + SIZE[0], left : left + SIZE[1]])
        place = 88 + round(50 * np.cos(i / 4)), 56 + round(35 * np.sin(i / 4))
        frames.append(cv2.circle(frame, place, 14, (250, 60, 30), -1))
    return frames


def lq_frame(frame):
    small = cv2.resize(frame, (frame.shape[1] // 2, frame.shape[0] // 2), interpolation=cv2.INTER_AREA).astype(int)
    noise = np.random.default_rng(int(frame[::9, ::9].sum())).integers(-3, 4, small.shape)
    return np.clip(small + noise, 0, 255).astype(np.uint8)


def write(root, clip, frames):
    folder = Path(root) / clip
    folder.mkdir(parents=True)
    for i, frame in enumerate(frames):
        cv2.imwrite(str(folder / f'{i:08d}.png'), np.ascontiguousarray(frame[..., ::-1]))


def read(root, clip, index):
    return read_picture(Path(root) / clip / f'{index:08d}.png').astype(float)


@pytest.fixture
def data(place):
    """Clip -> (GT, LQ) are written under new roots; returns the name of the option file."""

    def make(clips, **changes):
        for clip, (gt, lq) in clips.items():
            write('hq_new', clip, gt)
            write('lq_new', clip, lq)
        roots = {'datasets__train__dataroot_gt': 'hq_new', 'datasets__train__dataroot_lq': 'lq_new'}
        return place(datasets__val=None, **roots, **changes)

    return make


def pair(name='coffee', count=10):
    gt = gt_frames(name, count)
    return gt, [lq_frame(f) for f in gt]


def test_trouble_late_in_a_clip(data, capsys):
    """A frame that is grey, and frames that are late from the middle on, of 70."""
    gt, lq = pair('astronaut', 70)
    lq[45] = np.full_like(lq[45], 128)
    late, of_late = pair('coffee', 70)
    of_late = [*of_late[:50], *of_late[49:-1]]
    options = data({'grey': (gt, lq), 'late': (late, of_late)})
    assert main(['check-data', '-opt', options]) == 1
    said = capsys.readouterr().out
    assert 'train, grey: LQ shows nothing at frame 45 (1 such frames)' in said
    assert any(f'train, late: LQ and GT part at frame {n}: offsets [-1, 0]' in said for n in (50, 51)), said
    assert 'of 140 frames of LQ were read' in said


def test_a_good_clip_is_looked_at_all_over(data, capsys):
    assert main(['check-data', '-opt', data({'good': pair('astronaut', 70)})]) == 0
    assert '(24 of 70 frames of LQ were read, spread over each clip; --all reads all)' in capsys.readouterr().out


def test_weights_of_stage_1_need_not_be_there(data):
    options = data({'good': pair()}, path__bin_model='nowhere.pth')
    assert Check().option_file(options) == []


def test_repairs(data, capsys):
    """Mirrored, moved, exchanged, read with another matrix, in borders, late, of another clip: repaired. Overflowed
    values: left out."""
    gt, lq = pair()
    chelsea, its_lq = pair('chelsea')
    clips = {
        'good': (gt, lq),
        'mirrored': (gt, [f[:, ::-1] for f in lq]),
        'moved': (gt, [np.roll(f, 4, 1) for f in lq]),
        'exchanged': (gt, [f[..., ::-1] for f in lq]),
        'matrix': (gt, [BT601.to_rgb(BT709.to_yuv(f)) for f in lq]),
        'borders': (gt, [cv2.copyMakeBorder(f[7:49], 7, 7, 0, 0, cv2.BORDER_CONSTANT) for f in lq]),
        'late': (gt, [lq[0], lq[0], lq[0], *lq[:-3]]),
        'repeated': ([*gt[:6], gt[5], *gt[7:]], lq),
        'named': (gt, its_lq),
        'zchelsea': (chelsea, its_lq),
        'overflowed': (gt, [(f.astype(int) + 30).astype(np.uint8) for f in lq]),
    }
    options = data(clips)
    assert main(['check-data', '-opt', options, '--write-fixed', 'fixed']) == 1
    said = capsys.readouterr().out
    assert 'note: train, overflowed: is left out' in said
    assert 'of LQ: values overflowed' in said
    assert 'note: train, named: is repaired: 10 frames, with the GT of zchelsea' in said
    assert 'note: train, late: is repaired: 7 frames' in said
    assert 'note: train, repeated: is repaired: 9 frames' in said
    assert 'good: is repaired' not in said
    root = Path('fixed/train')
    names = sorted(p.name for p in (root / 'LQ_frames').iterdir() if p.is_dir())
    assert names == sorted(set(clips) - {'overflowed'})
    for name in names:
        frames = len(list((root / 'LQ_frames' / name).iterdir()))
        assert frames == len(list((root / 'HQ_frames' / name).iterdir()))
        small, large = read(root / 'LQ_frames', name, frames - 1), read(root / 'HQ_frames', name, frames - 1)
        assert large.shape[:2] == (2 * small.shape[0], 2 * small.shape[1])
        inner = np.abs(cv2.resize(large, small.shape[1::-1], interpolation=cv2.INTER_AREA) - small)[6:-6, 6:-6]
        assert inner.mean() < 4, name
    lists = {'datasets__train__meta_info_file': str(root / 'meta_info_train.txt')}
    roots = {'datasets__train__dataroot_gt': str(root / 'HQ_frames')}
    roots |= {'datasets__train__dataroot_lq': str(root / 'LQ_frames')}
    from yaml import safe_dump, safe_load

    content = safe_load(Path(options).read_text())
    content['datasets']['train'] |= {key.rsplit('__', 1)[1]: value for key, value in (roots | lists).items()}
    Path('fixed.yml').write_text(safe_dump(content))
    assert [f for f in Check(everything=True).option_file('fixed.yml') if f.level == 'error'] == []
