"""`votes check-data` finds LQ that does not show what GT shows, in photographs after a real codec."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data as photographs

from votes.data.tools.check import Check
from votes.video.colour import Colour
from votes.video.recipe import Recipe, degrade

BT601, BT709, FULL = Colour('bt601', False), Colour('bt709', False), Colour('bt601', True)
PHOTOGRAPHS = ('astronaut', 'coffee', 'chelsea')
COUNT = 5


def moving(name, size=(176, 288)):
    photograph = getattr(photographs, name)()
    factor = 1.1 * max(size[0] / photograph.shape[0], size[1] / photograph.shape[1])
    whole = cv2.resize(photograph, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    return [np.ascontiguousarray(whole[i : i + size[0], 2 * i : 2 * i + size[1]]) for i in range(COUNT)]


@pytest.fixture(scope='module')
def clips():
    """Photograph -> GT, and LQ of half the size after x264 at QP 33."""
    recipe = Recipe(name='r', scale=2, kernel='area', generations=[{'qp': 33, 'preset': 'veryfast'}])
    return {name: (gt, degrade(gt, recipe, describe=False)[0]) for name in PHOTOGRAPHS for gt in [moving(name)]}


@pytest.fixture
def check(clips, place):
    """What is found in a pair of which one side was changed."""

    def findings(name, change_lq=lambda lq: lq, change_gt=lambda gt: gt):
        gt, lq = clips[name]
        for folder, frames in (('gt', change_gt(list(gt))), ('lq', change_lq(list(lq)))):
            (Path(folder) / 'photo').mkdir(parents=True, exist_ok=True)
            for i, frame in enumerate(frames):
                cv2.imwrite(f'{folder}/photo/{i:08d}.png', np.ascontiguousarray(frame[..., ::-1]))
        Path('one.txt').write_text(f'photo {COUNT}\n')
        options = place(datasets__val=None, datasets__train__meta_info_file='one.txt', datasets__train__num_frame=None)
        return [(found.level, found.text) for found in Check().option_file(options)]

    return lambda *args: findings(*args)


def each(change):
    return lambda frames: [change(frame) for frame in frames]


def read_as(written, read):
    return each(lambda frame: read.to_rgb(written.to_yuv(frame)))


def zoomed(factor):
    def change(frame):
        height, width = frame.shape[:2]
        rows, columns = int(height / factor), int(width / factor)
        part = frame[(height - rows) // 2 :, (width - columns) // 2 :][:rows, :columns]
        return cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA)

    return each(change)


def letterboxed(frame):
    boxed = np.zeros_like(frame)
    boxed[11:-11] = cv2.resize(frame, (frame.shape[1], frame.shape[0] - 22))
    return boxed


CHANGES = {
    'mirrored left to right': each(lambda frame: frame[:, ::-1]),
    'upside down': each(lambda frame: frame[::-1]),
    'shifted by +4': each(lambda frame: np.roll(frame, 4, 1)),
    'black bars': each(letterboxed),
    'values overflowed': each(lambda frame: (frame.astype(int) + 20).astype(np.uint8)),
    'red and blue exchanged': each(lambda frame: frame[..., ::-1]),
    'about 1.25 times': zoomed(1.25),
    'about 1.1 times': zoomed(1.1),
    'limited range read as full range': read_as(BT601, FULL),
    'full range read as limited range': read_as(FULL, BT601),
    'a BT.709 video read as BT.601': read_as(BT709, BT601),
    'a BT.601 video read as BT.709': read_as(BT601, BT709),
    'shows nothing at frame 2': lambda frames: [*frames[:2], np.full_like(frames[2], 128), *frames[3:]],
}


@pytest.mark.parametrize('words', CHANGES)
@pytest.mark.parametrize('name', PHOTOGRAPHS[:2])
def test_what_is_wrong_is_found_and_named(check, name, words):
    found = check(name, CHANGES[words])
    assert any(level == 'error' and words in text for level, text in found), found
    assert len(found) == 1, found


@pytest.mark.parametrize('name', PHOTOGRAPHS)
def test_compression_alone_is_not(check, name):
    assert check(name) == []


def test_another_clip_and_a_gt_that_stands(check, clips):
    found = check('astronaut', lambda _: clips['coffee'][1])
    assert any('another picture than GT' in text for _, text in found), found
    found = check('astronaut', lambda lq: lq, lambda gt: [gt[0], gt[0], *gt[2:]])
    assert any('GT repeats a frame at 1 where LQ moves' in text for _, text in found), found
