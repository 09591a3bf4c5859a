import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from votes.cli import main
from votes.data.tools.check import Check
from votes.video.colour import Colour

COUNT = 20


def scene(i, size=(64, 96)):
    """A smooth picture that moves, RGB."""
    base = cv2.resize(np.random.default_rng(0).integers(0, 256, (10, 24, 3), np.uint8), (288, 120), interpolation=2)
    return np.ascontiguousarray(base[i : i + size[0], 3 * i : 3 * i + size[1]])


def write(path, frame):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), frame[..., ::-1])


@pytest.fixture
def clip(place):
    """A clip '000' whose LQ frame i shows scene `shown[i]`, changed by `change`; returns the findings."""

    def check(shown=range(COUNT), still=False, change=lambda lq: lq, noise=4, everything=False):
        for root in ('gt', 'lq'):
            shutil.rmtree(root)
        for i, j in enumerate(shown):
            write(Path(f'gt/000/{i:08d}.png'), scene(0 if still else i))
            small = cv2.resize(scene(j), (48, 32), interpolation=cv2.INTER_AREA).astype(int)
            noisy = np.random.default_rng(j).integers(-noise, noise + 1, small.shape) if noise else 0
            write(Path(f'lq/000/{i:08d}.png'), change(np.clip(small + noisy, 0, 255).astype(np.uint8)))
        return Check(everything).option_file(place(datasets__val=None))

    return check


def test_a_good_pair(clip):
    assert clip() == []


@pytest.mark.parametrize(('shift', 'words'), [(2, '2 frames early'), (-3, '3 frames late')])
def test_a_shift(clip, shift, words):
    (found,) = clip(shown=[max(0, i + shift) for i in range(COUNT)])[-1:]
    assert words in found.text
    assert found.level == 'error'


def test_a_dropped_frame(clip):
    (found,) = clip(shown=[*range(9), *range(10, COUNT + 1)])
    assert 'offsets [0, 1]' in found.text
    assert any(f'part at frame {n}' in found.text for n in (9, 10))


def test_a_repeated_frame(clip):
    found = clip(shown=[*range(9), 8, *range(9, COUNT - 1)])
    assert any('LQ repeats a frame at 9' in f.text for f in found)


def test_still_pictures_are_no_shift(clip):
    """Where nothing moves, nothing can be told and nothing is."""
    assert clip(shown=[0] * COUNT, still=True) == []


def test_lq_that_was_not_compressed(clip):
    (found,) = clip(noise=0)
    assert found.level == 'warning'
    assert 'hardly compressed' in found.text


@pytest.mark.parametrize(
    ('written', 'read', 'words'),
    [
        (Colour('bt709', False), Colour('bt601', False), 'a BT.709 video read as BT.601'),
        (Colour('bt601', False), Colour('bt709', False), 'a BT.601 video read as BT.709'),
        (Colour('bt601', False), Colour('bt601', True), 'limited range read as full range'),
        (Colour('bt601', True), Colour('bt601', False), 'full range read as limited range'),
    ],
)
def test_colours(clip, written, read, words):
    found = clip(change=lambda lq: read.to_rgb(written.to_yuv(lq)), noise=1)
    assert [words in f.text for f in found] == [True]


def test_a_damaged_frame_wherever_it_is(clip, place):
    clip()
    path = Path('lq/000/00000004.png')
    whole = path.read_bytes()
    path.write_bytes(whole[:200])
    (found,) = Check().option_file('opt.yml')
    assert '00000004.png' in found.text
    for i in range(COUNT, 40):
        write(Path(f'gt/000/{i:08d}.png'), scene(i))
        write(Path(f'lq/000/{i:08d}.png'), cv2.resize(scene(i), (48, 32), interpolation=cv2.INTER_AREA) // 2 * 2)
    path.write_bytes(whole)
    Path('lq/000/00000030.png').write_bytes(whole[:200])
    assert any('00000030' in f.text for f in Check().option_file('opt.yml')), 'its file is much smaller than the others'
    assert any('00000030' in f.text for f in Check(everything=True).option_file('opt.yml'))


def test_exit_code_and_json(place, capsys):
    assert main(['check-data', '-opt', place()]) == 0, 'noise has no timing that could be wrong'
    assert '(42 of 42 frames of LQ were read)' in capsys.readouterr().out
    Path('lq/001/00000007.png').unlink()
    capsys.readouterr()
    assert main(['check-data', '-opt', 'opt.yml', '--json']) == 1
    content = json.loads(capsys.readouterr().out)
    assert content['may_train'] is False
    assert {f['dataset'] for f in content['findings']} == {'train', 'val'}
    assert main(['check-data', '-opt', 'missing.yml']) == 2


def test_what_to_change_in_the_option_file(place, capsys):
    """A wrong scale, a crop that is too large, a list of the clips that fit."""
    place()
    for file in Path('gt/000').iterdir():
        write(file, cv2.resize(cv2.imread(str(file)), (60, 48)))
    Path('lq/001/00000007.png').unlink()
    assert main(['check-data', '-opt', 'opt.yml', '--write-list', 'good.txt']) == 1
    said = capsys.readouterr().out
    assert 'in the option file: scale: 3' in said
    assert 'LQ has 7 frames, GT has 8' in said
    assert 'datasets.train.meta_info_file: good.txt' in said
    assert Path('good.txt').read_text() == '002 7\n'
    lists = {'datasets__train__meta_info_file': 'good.txt', 'datasets__val__meta_info_file': 'good.txt'}
    assert main(['check-data', '-opt', place(**lists)]) == 0
    capsys.readouterr()
    assert main(['check-data', '-opt', place(**lists, datasets__train__gt_size=64)]) == 1
    assert 'gt_size: 32 or less' in capsys.readouterr().out


def test_bits_and_colours(place, capsys):
    options = place()
    deep = cv2.imread('lq/000/00000000.png').astype(np.uint16) * 257
    write(Path('lq/000/00000000.png'), deep)
    grey = cv2.imread('gt/001/00000000.png', cv2.IMREAD_GRAYSCALE)
    write(Path('gt/001/00000000.png'), grey)
    assert main(['check-data', '-opt', options]) == 1
    said = capsys.readouterr().out
    assert 'warning: train, 000: LQ has 16 bits a channel' in said
    assert 'error: train, 001: GT is grey and the other is not' in said


def test_pairs_made_while_training(place, capsys):
    recipe = str(Path(__file__).resolve().parents[3] / 'options' / 'degrade' / 'crf25.yml')
    Path('r.yml').write_text(Path(recipe).read_text().replace('scale: 4', 'scale: 2'))
    assert (
        main(['check-data', '-opt', place(datasets__train__dataroot_lq=None, datasets__train__degradation='r.yml')])
        == 0
    )
