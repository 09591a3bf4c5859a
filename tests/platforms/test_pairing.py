"""`votes pair`: downloads under other names, changed as platforms change videos, to their originals."""

import json
import shutil
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data as photographs

from votes.cli import main
from votes.data.sources import FolderSource, read_picture
from votes.errors import UserError
from votes.platforms.habit import followed, of_most
from votes.platforms.match import Match
from votes.platforms.pairing import pair_folders
from votes.platforms.pairs import open_pairs
from votes.processes.lease import Lease
from votes.relation.colour import Colours
from votes.relation.looks import look
from votes.relation.measure import Relation
from votes.relation.space import whole
from votes.relation.timing import Timing
from votes.video.colour import Colour
from votes.video.encoders import Encoding
from votes.video.write import VideoWriter

SIZE, COUNT = (144, 240), 14
BT601, BT709 = Colour('bt601', False), Colour('bt709', False)


def moving(name):
    photograph = getattr(photographs, name)()
    factor = 1.3 * max(SIZE[0] / photograph.shape[0], SIZE[1] / photograph.shape[1])
    large = cv2.resize(photograph, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    frames = []
    for i in range(COUNT):
        frame = np.ascontiguousarray(large[i : i + SIZE[0], 2 * i : 2 * i + SIZE[1]])
        place = 120 + round(70 * np.cos(i / 3)), 72 + round(40 * np.sin(i / 3))
        frames.append(cv2.circle(frame, place, 12, (250, 60, 30), -1))
    return frames


def write(path, frames, crf=12):
    path.parent.mkdir(parents=True, exist_ok=True)
    size = frames[0].shape[:2]
    with VideoWriter(path, size, Fraction(25), Fraction(1, 25), BT601, Encoding(codec='h264', crf=crf)) as writer:
        for i, frame in enumerate(frames):
            writer.write(np.ascontiguousarray(frame), i)


def small(frames):
    return [cv2.resize(f, (SIZE[1] // 2, SIZE[0] // 2), interpolation=cv2.INTER_AREA) for f in frames]


def coarse(frame):
    return cv2.resize(frame, (15, 9), interpolation=cv2.INTER_AREA).astype(float)


@pytest.fixture
def folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    clips = {name: moving(name) for name in ('astronaut', 'coffee', 'chelsea')}
    for name, frames in clips.items():
        write(Path('originals') / f'my {name}.mp4', frames)
    late = small(clips['astronaut'])[3:]
    boxed = [cv2.copyMakeBorder(f, 10, 10, 0, 0, cv2.BORDER_CONSTANT) for f in small(clips['coffee'])]
    del boxed[8]
    write(Path('downloads') / 'a.mp4', boxed, 26)
    write(Path('downloads') / 'b.mp4', [BT601.to_rgb(BT709.to_yuv(f)) for f in late], 26)
    write(Path('downloads') / 'c.mp4', small(moving('rocket')), 26)
    (Path('downloads') / 'd.mp4').write_bytes(b'no video')
    return clips


def test_pairs(folders, capsys, monkeypatch):
    assert main(['pair', 'originals', 'downloads', 'out', '--workers', '1', '--test', '1', '--val', '0']) == 0
    said = capsys.readouterr().out
    assert '2 pairs, 2 downloads not paired, 1 originals without one' in said
    content = json.loads(Path('out/pairs.json').read_text())
    coffee, astronaut = content['clips']['my_coffee'], content['clips']['my_astronaut']
    assert Path(coffee['download']).name == 'a.mp4'
    assert coffee['content'] == [10, 0, 72, 120]
    assert coffee['gt_frames'] == [i for i in range(COUNT) if i != 8]
    assert astronaut['gt_frames'] == list(range(3, COUNT))
    assert astronaut['colours'] == ['a BT.709 video read as BT.601']
    assert coffee['confidence'] > 0.9 < astronaut['confidence']
    assert list(content['not_paired']) == ['c']
    assert 'd' in content['unreadable']
    assert content['originals_unused'] == ['my_chelsea']
    lists = Path('out/meta_info_train.txt').read_text() + Path('out/meta_info_test.txt').read_text()
    assert sorted(lists.split()) == ['11', '13', 'my_astronaut', 'my_coffee']
    hq, lq = FolderSource('out/HQ_frames'), FolderSource('out/LQ_frames')
    for clip, first in (('my_coffee', 0), ('my_astronaut', 3)):
        assert hq.size(clip) == SIZE
        assert lq.size(clip) == (72, 120)
        shown = [f for i, f in enumerate(folders[clip[3:]]) if i >= first]
        assert np.abs(hq.read(clip, 0).astype(int) - shown[0]).mean() < 4, 'the original, at its own size'
        apart = np.abs(coarse(lq.read(clip, 2)) - coarse(small(shown)[2]))
        assert apart.mean() < 3, 'the download, without borders and with its own colours'
    page = Path('out/pairs.html').read_text()
    assert 'my_coffee: a shows my_coffee; confidence' in page
    assert 'originals without a download' in page
    assert page.count('data:image/') >= 2 * 3 * 3

    def refuse(*_):
        raise AssertionError('looked at again')

    monkeypatch.setattr('votes.platforms.pairing.look_at', refuse)
    before = Path('out/LQ_frames/my_coffee/00000000.png').stat().st_mtime_ns
    Path('downloads/d.mp4').unlink()
    assert main(['pair', 'originals', 'downloads', 'out']) == 0, 'what is known is not measured again'
    assert Path('out/LQ_frames/my_coffee/00000000.png').stat().st_mtime_ns == before
    Path('originals').rename('moved')
    assert main(['pair', 'moved', 'downloads', 'out']) == 0, 'the same files at another place'
    there = {path: path.read_bytes() for path in Path('out').rglob('*') if path.is_file()}
    Path('others').mkdir()
    Path('moved/my chelsea.mp4').rename('others/my coffee.mp4')
    capsys.readouterr()
    for originals, downloads, side in (('others', 'downloads', 'originals'), ('moved', 'others', 'downloads')):
        assert main(['pair', originals, downloads, 'out']) == 2
        said = capsys.readouterr().err
        assert f'made of other {side}, and would be replaced' in said
        assert all(word in said for word in ('2 pairs', 'moved/my astronaut.mp4', 'another output folder'))
    Path('out/pairs.json').unlink()
    shutil.rmtree('out/.pairing')
    assert main(['pair', 'others', 'downloads', 'out']) == 2, 'of votes prepare'
    assert {path: path.read_bytes() for path in Path('out').rglob('*') if path.is_file()}.items() <= there.items()


def test_one_at_a_time_and_other_frames_of_a_name(folders):
    with Lease(Path('out'), 'pairing'), pytest.raises(UserError, match='another process owns'):
        pair_folders(Path('originals'), Path('downloads'), Path('out'))
    for name in ('b', 'c', 'd'):
        (Path('downloads') / f'{name}.mp4').unlink()
    for name in ('astronaut', 'chelsea'):
        (Path('originals') / f'my {name}.mp4').unlink()
    pair_folders(Path('originals'), Path('downloads'), Path('out'), say=lambda line: None)
    first = read_picture(Path('out/LQ_frames/my_coffee/00000000.png'))
    write(Path('downloads') / 'a.mp4', [f[:, ::-1] for f in small(folders['coffee'])], 26)
    outcome = pair_folders(Path('originals'), Path('downloads'), Path('out'), say=lambda line: None)
    assert outcome.pairs['my_coffee'].space.mirror
    second = read_picture(Path('out/LQ_frames/my_coffee/00000000.png'))
    assert np.abs(second.astype(int)[:, ::-1] - first).mean() < 6, 'LQ stays as it was downloaded'
    gt = read_picture(Path('out/HQ_frames/my_coffee/00000000.png'))
    assert np.abs(gt.astype(int)[:, ::-1] - folders['coffee'][0]).mean() < 4, 'GT stands as LQ does'


def test_damaged_records_are_made_again(folders):
    for name in ('b', 'c', 'd'):
        (Path('downloads') / f'{name}.mp4').unlink()
    said = []
    pair_folders(Path('originals'), Path('downloads'), Path('out'), say=said.append)
    pairs = Path('out/pairs.json')
    told = pairs.read_bytes()
    for record in (*Path('out/.pairing/found').iterdir(), pairs):
        content = record.read_bytes()
        place = next(i for i in range(len(content) // 2, len(content)) if chr(content[i]).isdigit())
        record.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        if record == pairs:
            with pytest.raises(UserError, match='what is known of the pairs cannot be read'):
                open_pairs(Path('out'))
        pair_folders(Path('originals'), Path('downloads'), Path('out'), say=said.append)
        assert record.read_bytes() == content
        assert pairs.read_bytes() == told
    assert sum('shows' in line for line in said) == 2, 'measured again, once'


def test_a_still_clip_lies_as_most_do():
    def matched(name, shown):
        numbers = np.arange(len(shown))
        always = np.ones(len(shown), bool)
        timing = Timing(np.array(shown), numbers, always, ~always)
        place = whole((72, 120), (144, 240))
        relation = Relation(place, timing, Colours(), (0, 0, 72, 120), (0, 0, 144, 240), 0.99, 0.9, 0.02, 1.0, 1.0)
        return Match(name, name, confidence=1.0, relation=relation)

    drops = [list(range(0, 14, 2))] * 3
    matches = [matched(str(i), shown) for i, shown in enumerate([*drops, [1, 2, 4, 5, 7, 8, 13]])]
    assert of_most(matches) == (2, 0)
    assert of_most(matches[2:]) is None, 'one clip is no habit'
    rng = np.random.default_rng(0)
    picture = moving('coffee')[0]  # noise is all that changes
    frames = [np.clip(picture + rng.normal(0, 2, picture.shape), 0, 255).astype(np.uint8) for _ in range(14)]
    sides = {'original': frames, 'download': small(frames[::2])}

    def looked(side, name):
        return look((i, float(i), frame) for i, frame in enumerate(sides[side]))

    again = followed(matches[3], (2, 0), looked)
    assert again.sure
    assert again.relation.timing.shown.tolist() == drops[0]
    sides['download'] = small(moving('coffee'))[:7]
    sides['original'] = moving('coffee')
    assert followed(matched('x', list(range(7))), (2, 0), looked) is None, 'its frames say something else'
