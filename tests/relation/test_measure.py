"""What is measured between a clip and what was made of it, against what was done."""

import cv2
import numpy as np
import pytest
from skimage import data as photographs

from votes.relation.catalogue import Catalogue
from votes.relation.colour import BT601_AS_709, BT709_AS_601, FULL_AS_LIMITED, LIMITED_AS_FULL
from votes.relation.looks import Look, look
from votes.relation.measure import measure
from votes.relation.space import Space, brought, snapped, whole
from votes.relation.timing import differences, paced, path
from votes.video.colour import Colour

SIZE = (144, 256)
COUNT = 24


def moving(name, count=COUNT, size=SIZE, step=3):
    """A photograph that passes by, with a disc that turns in front of it."""
    photograph = getattr(photographs, name)()
    factor = 1.5 * max(size[0] / photograph.shape[0], size[1] / photograph.shape[1])
    large = cv2.resize(photograph, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    frames = []
    for i in range(count):
        frame = np.ascontiguousarray(large[i : i + size[0], step * i : step * i + size[1]])
        place = 128 + round(60 * np.cos(i / 4)), 72 + round(40 * np.sin(i / 4))
        frames.append(cv2.circle(frame, place, 14, (250, 60, 30), -1))
    return frames


def halved(frame):
    rng = np.random.default_rng(int(frame[::9, ::9].sum()))
    small = cv2.resize(frame, (frame.shape[1] // 2, frame.shape[0] // 2), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), 0.6).astype(int)
    return np.clip(small + rng.integers(-3, 4, small.shape), 0, 255).astype(np.uint8)


def looked(frames):
    return look((i, i, np.ascontiguousarray(frame)) for i, frame in enumerate(frames))


@pytest.fixture(scope='module')
def gt():
    return moving('coffee')


def related(lq, gt, start=0.0):
    catalogue, clip, original = Catalogue(), looked(lq), looked(gt)
    catalogue.add('gt', original)
    return measure(clip, original, catalogue.candidates(clip)[0].spaces, start)


def test_a_look_comes_back_from_its_file(gt, tmp_path):
    clip = looked(gt)
    clip.save(tmp_path / 'a.npz')
    again = Look.load(tmp_path / 'a.npz')
    assert again.size == SIZE
    assert all((getattr(again, name) == getattr(clip, name)).all() for name in ('numbers', 'times', 'grey', 'coloured'))


@pytest.mark.parametrize(
    ('change', 'mirror', 'turn'),
    [
        (lambda f: f, False, 0),
        (lambda f: f[:, ::-1], True, 0),
        (lambda f: f[::-1, ::-1], False, 2),
        (lambda f: np.rot90(f), False, 1),
        (lambda f: np.rot90(f[:, ::-1], 3), True, 3),
    ],
)
def test_how_it_stands(gt, change, mirror, turn):
    found = related([change(halved(f)) for f in gt], gt)
    assert (found.space.mirror, found.space.turn) == (mirror, turn)
    assert found.space == whole(found.content[2:], SIZE, mirror, turn)
    assert found.correlation > 0.98
    assert (found.timing.shown == np.arange(COUNT)).all()


def test_borders_and_crops(gt):
    def boxed(frame):
        return cv2.copyMakeBorder(halved(frame), 17, 15, 0, 0, cv2.BORDER_CONSTANT)

    found = related([boxed(f) for f in gt], gt)
    assert found.content == (17, 0, 72, 128)
    assert found.space.scale == pytest.approx((2, 2), abs=1e-6)
    found = related([halved(np.ascontiguousarray(f[:, 46:206])) for f in gt], gt)
    assert found.window == pytest.approx((0, 46, 144, 160), abs=0.7)
    assert found.covered == pytest.approx(160 / 256, abs=0.01)


def test_frames_that_are_missing_repeated_blended_or_of_another_clip(gt):
    order = [3, 4, 5, 6, 6, 7, 9, 10, 11, 12, 13, 13, 14, 17, 18, 19]
    lq = [halved(gt[i]) for i in order]
    lq[9] = halved(np.rint(gt[12] * 0.5 + gt[13] * 0.5).astype(np.uint8))
    lq[2] = halved(moving('astronaut', 1)[0])
    timing = related(lq, gt).timing
    assert timing.shown[2] == -1
    assert timing.blended.tolist() == [i == 9 for i in range(16)]
    kept = [i for i in range(16) if i not in (2, 9)]
    assert timing.shown[kept].tolist() == [order[i] for i in kept]
    assert {8, 15, 16} <= set(timing.dropped())
    assert timing.repeated() == [4, 11]


def test_another_frame_rate(gt):
    order = [round(i * 1.25) for i in range(19)]
    found = related([halved(gt[i]) for i in order], gt)
    assert found.timing.shown.tolist() == order
    assert found.timing.rate() == pytest.approx(1.25, abs=0.02)


@pytest.mark.parametrize('tempo', [2, 1.25, 0.5])
def test_a_steady_tempo_is_kept_where_little_moves(tempo):
    rng = np.random.default_rng(3)
    gt = (np.arange(48)[:, None] * rng.normal(0, 0.3, 700)).astype(np.float32)  # each frame nearly the one before it
    shown = np.array([int(i * tempo) for i in range(int(47 / tempo))][:60])
    cost = differences(gt[shown] + rng.normal(0, 2, (len(shown), 700)).astype(np.float32), gt)
    clock, noise = np.minimum(np.arange(len(shown)), 47), float(np.median(cost.min(1)))
    assert np.abs(path(cost, clock, noise)[0] - shown).max() > 1
    assert np.abs(paced(cost, clock, noise)[0] - shown).max() <= (0 if tempo >= 1 else 1)


BT601, BT709, FULL = Colour('bt601', False), Colour('bt709', False), Colour('bt601', True)


@pytest.mark.parametrize(
    ('written', 'read', 'words'),
    [
        (BT709, BT601, [BT709_AS_601]),
        (BT601, BT709, [BT601_AS_709]),
        (BT601, FULL, [LIMITED_AS_FULL]),
        (FULL, BT601, [FULL_AS_LIMITED]),
        (BT601, BT601, []),
    ],
)
def test_colours(gt, written, read, words):
    lq = [halved(f) for f in gt]
    changed = [read.to_rgb(written.to_yuv(f)) for f in lq]
    found = related(changed, gt).colours
    assert found.mistakes() == words
    assert found.gain == pytest.approx(1, abs=0.03)
    back = found.undone(np.stack(changed)).astype(float)
    assert np.abs(back - np.stack(lq)).mean() < (2.5 if FULL in (written, read) else 1.2)


def test_exchanged_channels(gt):
    lq = [halved(f)[..., ::-1] for f in gt]
    found = related(lq, gt).colours
    assert found.mistakes() == ['red and blue exchanged']
    assert (found.undone(np.stack(lq)) == np.stack(lq)[..., ::-1]).all()


def test_a_crop_without_features_is_found_by_sliding_it():
    def plain(i):
        y, x = np.mgrid[: SIZE[0], : SIZE[1]]
        glow = 150 * np.exp(-((y - 60) ** 2 + (x - 150 - i) ** 2) / 700) + 40 * np.exp(
            -((y - 110) ** 2 + (x - 60) ** 2) / 500
        )
        return np.repeat((20 + glow)[..., None], 3, 2).astype(np.uint8)

    gt = [plain(i) for i in range(COUNT)]
    clip = looked([halved(np.ascontiguousarray(f[20:130, 70:230][:, ::-1])) for f in gt])
    catalogue = Catalogue()
    catalogue.add('gt', looked(gt))
    for name in ('coffee', 'chelsea'):
        catalogue.add(name, looked(moving(name)))
    best = catalogue.cropped(clip)[0]
    assert best.name == 'gt'
    assert best.spaces[0].mirror
    assert best.spaces[0].scale == pytest.approx((2, 2), rel=0.12)
    assert best.spaces[0].shift == pytest.approx((20, SIZE[1] - 230), abs=14)


def test_another_clip_is_not_explained(gt):
    lq = [halved(f) for f in moving('chelsea')]
    found = related(lq, gt)
    assert found is None or found.correlation < 0.8


def test_places_of_pixels():
    """A picture brought to LQ is what was cropped and shrunk there; edges that nearly fit, fit."""
    gt = moving('coffee', 1)[0].astype(np.float32)
    space = Space(scale=(2.0, 2.0), shift=(8.0, 20.0))
    seen = brought(gt, space, (60, 100), SIZE, (60, 100))
    assert np.abs(seen - cv2.resize(gt[8:128, 20:220], (100, 60), interpolation=cv2.INTER_AREA)).mean() < 0.6
    assert np.isnan(brought(gt, Space(scale=(2.0, 2.0), shift=(-8.0, 0.0)), (80, 100), SIZE, (80, 100))[:4]).all()
    near = snapped(Space(scale=(2.002, 1.998), shift=(0.3, -0.2)), (72, 128), SIZE)
    assert near == whole((72, 128), SIZE)
