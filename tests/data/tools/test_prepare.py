"""Downloaded data sets, imitated in miniature, into clips, lists and splits."""

import shutil
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import write_clip

from votes.cli import main
from votes.data.clip_lists import folds, read_meta_info, split_clips
from votes.data.grid import stored_grid
from votes.data.pairs import ClipPairs
from votes.data.sources import open_source
from votes.data.tools.layouts import LAYOUTS
from votes.errors import UserError
from votes.video.degrade import encode_h264

SIZE = (16, 32)
RECIPE = str(Path(__file__).resolve().parents[3] / 'options' / 'degrade' / 'reds_x2_qp33.yml')


def reds(root):
    for name in ('train/train_sharp/000', 'train/train_sharp/001', 'val/val_sharp/000', 'val/val_sharp/001'):
        write_clip(root / name, 3, (32, 64), seed=hash(name) % 100)


def uvssm(root):
    for platform, count in (('WeChat', 75), ('twitter', 12)):
        for i in range(1, count):
            for side, scale in (('HQ_frames', 2), ('LQ_frames', 1)):
                write_clip(root / platform / side / f'{i:03d}', 1, (4 * scale, 4 * scale), seed=i)


def ldv(root):
    for folder in ('training_raw', 'training_fixed-QP', 'validation_raw', 'validation_fixed-QP'):
        (root / folder).mkdir(parents=True)
        for i in (1, 2):
            clip = list(np.random.default_rng(i).integers(0, 256, (4, *SIZE, 3), dtype=np.uint8))
            encode_h264(clip, root / folder / f'{i:03d}.mp4', 0 if 'raw' in folder else 40)


def vid4(root):
    for clip in ('calendar', 'city'):
        write_clip(root / 'GT' / clip, 3, SIZE)
        for i, path in enumerate(sorted((root / 'GT' / clip).iterdir())):
            path.rename(path.with_name(f'Frame {i + 1:03d}.png'))
        write_clip(root / 'BIx4' / clip, 3, (4, 8))


def udm10(root):
    for folder, size in (('GT', (16, 32)), ('BDx4', (4, 8))):
        write_clip(root / folder / 'archpeople', 2, size)


def reds4(root):
    for clip in ('000', '001', '011', '015', '020'):
        write_clip(root / 'train_sharp' / clip, 2, (16, 32))
        write_clip(root / 'train_sharp_bicubic' / 'X4' / clip, 2, (4, 8))


def mfqe(root):
    for part, clip in (('train_108', 'Birds_32x16_2'), ('test_18', 'Kimono_32x16_2')):
        for folder in ('raw', 'HM16.5_LDP/QP37'):
            path = root / part / folder / f'{clip}.yuv'
            path.parent.mkdir(parents=True)
            path.write_bytes(bytes(range(256)) * 6)


def vimeo90k(root):
    for name in ('00001/0001', '00001/0002', '00002/0001'):
        write_clip(root / 'vimeo_septuplet' / 'sequences' / name, 7, SIZE)
    (root / 'vimeo_septuplet' / 'sep_trainlist.txt').write_text('00001/0001\n00002/0001\n')
    (root / 'vimeo_septuplet' / 'sep_testlist.txt').write_text('00001/0002\n\n')


def videos(root):
    root.mkdir()
    for name in 'abcde':
        clip = list(np.random.default_rng(ord(name)).integers(0, 256, (4, *SIZE, 3), dtype=np.uint8))
        encode_h264(clip, root / f'{name}.mp4', 10)


WANTED = {  # folder, LQ folder, train, val, test
    'reds': ('', None, ['001'], ['000'], ['240', '241']),
    'uvssm': ('twitter', 'LQ_frames', 1, 0, 10),
    'ldv': ('', 'LQ_frames_fixed-qp', ['train_001', 'train_002'], ['val_001', 'val_002'], []),
    'mfqe': ('', 'LQ_frames_HM16.5_LDP_QP37', ['train_Birds_2'], [], ['test_Kimono_2']),
    'reds4': ('', 'LQ_frames_BIx4', [], [], ['000', '011', '015', '020']),
    'udm10': ('', 'LQ_frames_BDx4', [], [], ['archpeople']),
    'vid4': ('', 'LQ_frames_BIx4', [], [], ['calendar', 'city']),
    'vimeo90k': ('', None, ['00001_0001', '00002_0001'], [], ['00001_0002']),
    'videos': ('', None, 3, 1, 1),
}


@pytest.mark.parametrize('name', sorted(LAYOUTS))
def test_every_data_set(name, tmp_path, capsys):
    source, target = tmp_path / 'download', tmp_path / 'out'
    globals()[name](source)
    assert main(['prepare', name, str(source), str(target)]) == 0
    said = capsys.readouterr().out
    folder, lq, *parts = WANTED[name]
    root = target / folder
    found = [list(read_meta_info(p)) if p.is_file() else [] for p in map(root.joinpath, LISTS)]
    assert all(len(f) == n if isinstance(n, int) else f == n for f, n in zip(found, parts, strict=True)), found
    frames = open_source(root / 'HQ_frames')
    assert set(frames.clips()) == {clip for part in found for clip in part}
    assert sorted(p.name for p in (root / 'HQ_frames' / frames.clips()[0]).iterdir())[0].startswith('00000000')
    assert f'dataroot_gt: {root / "HQ_frames"}' in said
    if lq:
        scale = frames.size(frames.clips()[0])[0] // open_source(root / lq).size(frames.clips()[0])[0]
        assert ClipPairs(str(root / 'HQ_frames'), str(root / lq), scale).names() == frames.clips()
        assert stored_grid(root / lq) == {'BD': 'origin', 'BI': 'centre'}.get(lq[10:12]), 'it says where pixels lie'


LISTS = [f'meta_info_{part}.txt' for part in ('train', 'val', 'test')]


def test_reds_in_archives_with_its_recipe_resumed(tmp_path, monkeypatch, capsys):
    reds(tmp_path / 'plain')
    (tmp_path / 'zips').mkdir()
    for part in ('train', 'val'):
        shutil.make_archive(str(tmp_path / 'zips' / f'{part}_sharp'), 'zip', tmp_path / 'plain', part)
    command = ['prepare', 'reds', str(tmp_path / 'zips'), str(tmp_path / 'out'), '--recipe', RECIPE]
    from votes.data.tools import prepare

    original, calls = prepare._write, []

    def dies(*args):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        original(*args)

    with monkeypatch.context() as m:
        m.setattr(prepare, '_write', dies)
        with pytest.raises(KeyboardInterrupt):
            main(command)
    assert sorted(p.name for p in (tmp_path / 'out' / 'HQ_frames').iterdir()) == ['000', '001']
    assert main(command) == 0
    assert capsys.readouterr().out.count('unpacking') == 2, 'not unpacked again'
    lq = tmp_path / 'out' / 'LQ_frames_qp33_x2'
    assert ClipPairs(str(tmp_path / 'out' / 'HQ_frames'), str(lq), 2).names() == ['000', '001', '240', '241']
    assert np.array_equal(
        open_source(tmp_path / 'out' / 'HQ_frames').read('240', 1),
        open_source(tmp_path / 'plain' / 'val' / 'val_sharp').read('000', 1),
    )
    before = (lq / 'manifest.json').stat().st_mtime_ns
    assert main(command) == 0
    assert (lq / 'manifest.json').stat().st_mtime_ns == before


def test_links_and_copies(tmp_path):
    vid4(tmp_path / 'in')
    for copy in ([], ['--copy']):
        out = tmp_path / f'out{len(copy)}'
        assert main(['prepare', 'vid4', str(tmp_path / 'in'), str(out), '--frames', '2', *copy]) == 0
        frames = sorted((out / 'HQ_frames' / 'city').iterdir())
        assert len(frames) == 2
        assert frames[0].is_symlink() is not bool(copy)
        assert np.array_equal(cv2.imread(str(frames[0])), cv2.imread(str(tmp_path / 'in/GT/city/Frame 001.png')))


def test_wechat_folds(tmp_path):
    """As in the paper: five splits of 10 test and 4 validation clips; the published list is the split itself."""
    uvssm(tmp_path / 'in')
    assert main(['prepare', 'uvssm', str(tmp_path / 'in'), str(tmp_path / 'out')]) == 0
    root = tmp_path / 'out' / 'WeChat'
    tests = [set(read_meta_info(root / f'meta_info_fold{k}_test.txt')) for k in range(5)]
    assert len(set.union(*tests)) == 50
    for k in range(5):
        train, val = (set(read_meta_info(root / f'meta_info_fold{k}_{part}.txt')) for part in ('train', 'val'))
        assert (len(train), len(val), len(tests[k])) == (60, 4, 10)
        assert len(train | val | tests[k]) == 74
    assert list(read_meta_info(root / 'meta_info_test.txt')) == ['016', '048', '055', '065']


def test_a_drawn_split_is_the_one_of_option_files():
    clips = [f'{i:03d}' for i in range(50)]
    (mine,) = folds(clips, 1, 10, 0, seed=0)
    for part in ('train', 'test'):
        assert mine[part] == split_clips(clips, {'seed': 0, 'test': 10, 'val': 0, 'part': part})
    with pytest.raises(UserError, match='too few clips'):
        folds(clips, 6, 10, 0, 0)


def test_pairs_of_videos(tmp_path, capsys):
    videos(tmp_path / 'hq')
    shutil.copytree(tmp_path / 'hq', tmp_path / 'lq')
    command = ['prepare', 'videos', str(tmp_path / 'hq'), str(tmp_path / 'out'), '--lq', str(tmp_path / 'lq')]
    assert main(command) == 0
    assert open_source(tmp_path / 'out' / 'LQ_frames').clips() == list('abcde')
    (tmp_path / 'lq' / 'c.mp4').unlink()
    assert main(command[:3] + [str(tmp_path / 'out2')] + command[4:]) == 2
    assert 'c (of LQ_frames)' in capsys.readouterr().err


def test_what_is_not_there(tmp_path, capsys):
    (tmp_path / 'in' / 'stuff').mkdir(parents=True)
    for name in sorted(LAYOUTS):
        assert main(['prepare', name, str(tmp_path / 'in'), str(tmp_path / 'out')]) == 2
    error = capsys.readouterr().err
    assert 'no folder train_sharp' in error
    assert 'it holds stuff' in error
    (tmp_path / 'in' / 'a.zip').write_bytes(b'PK\x03\x04 cut off')
    assert main(['prepare', 'reds', str(tmp_path / 'in'), str(tmp_path / 'out')]) == 2
    assert 'a.zip' in capsys.readouterr().err
    assert zipfile.is_zipfile(tmp_path / 'in' / 'a.zip') is False


@pytest.fixture
def archive(tmp_path):
    """REDS in archives, and the bytes of the first one."""
    reds(tmp_path / 'plain')
    (tmp_path / 'zips').mkdir()
    for part in ('train', 'val'):
        shutil.make_archive(str(tmp_path / 'zips' / f'{part}_sharp'), 'zip', tmp_path / 'plain', part)
    return tmp_path / 'zips' / 'train_sharp.zip'


@pytest.mark.parametrize('seed', range(8))
def test_damaged_archives_are_named(archive, tmp_path, capsys, seed):
    """Cut or flipped anywhere: an error that names the archive, nothing that looks unpacked, and a way on."""
    whole = bytearray(archive.read_bytes())
    rng = np.random.default_rng(seed)
    data = whole[: int(rng.integers(4, len(whole)))] if seed % 2 else bytearray(whole)
    for place in () if seed % 2 else rng.integers(0, len(data), 40):
        data[place] ^= 0xFF
    archive.write_bytes(data)
    assert main(['prepare', 'reds', str(tmp_path / 'zips'), str(tmp_path / 'out')]) == 2
    assert 'train_sharp.zip' in capsys.readouterr().err
    assert not list((tmp_path / 'out').glob('unpacked/*train*'))
    archive.write_bytes(whole)
    assert main(['prepare', 'reds', str(tmp_path / 'zips'), str(tmp_path / 'out')]) == 0


def test_archives_with_a_password_and_without_room(archive, tmp_path, capsys, monkeypatch):
    from collections import namedtuple

    with monkeypatch.context() as full:
        usage = namedtuple('usage', 'total used free')
        full.setattr('shutil.disk_usage', lambda path: usage(10**6, 10**6, 10))
        assert main(['prepare', 'reds', str(tmp_path / 'zips'), str(tmp_path / 'out')]) == 2
        assert 'too little room to unpack' in capsys.readouterr().err
    data = bytearray(archive.read_bytes())
    for mark, place in ((b'PK\x03\x04', 6), (b'PK\x01\x02', 8)):
        start = -1
        while (start := data.find(mark, start + 1)) >= 0:
            data[start + place] |= 1
    archive.write_bytes(data)
    assert main(['prepare', 'reds', str(tmp_path / 'zips'), str(tmp_path / 'out')]) == 2
    assert 'archive with a password' in capsys.readouterr().err


def test_videos_as_people_have_them(tmp_path, capsys):
    """Folders below, spaces and capitals in names, sizes that do not divide, text files beside, one clip alone."""
    clip = list(np.random.default_rng(0).integers(0, 256, (4, 34, 66, 3), dtype=np.uint8))
    for name in ('VID 1 (2).MOV', 'holiday/B.MP4', 'holiday/sea/c.mkv'):
        (tmp_path / 'hq' / name).parent.mkdir(parents=True, exist_ok=True)
        encode_h264(clip, tmp_path / 'made.mp4', 10)
        (tmp_path / 'made.mp4').rename(tmp_path / 'hq' / name)
    (tmp_path / 'hq' / 'notes.txt').write_text('sea')
    command = ['prepare', 'videos', str(tmp_path / 'hq'), str(tmp_path / 'out'), '--recipe', RECIPE]
    assert main(command) == 0
    names = ['VID_1_(2)', 'holiday_B', 'holiday_sea_c']
    root = tmp_path / 'out'
    pairs = ClipPairs(str(root / 'HQ_frames'), str(root / 'LQ_frames_qp33_x2'), 2)
    assert sorted(pairs.names()) == names
    assert pairs.lq.size('holiday_B') == (16, 32)
    listed = [clip for part in LISTS if (root / part).is_file() for clip in read_meta_info(root / part)]
    assert sorted(listed) == names
    assert 'cropped from 66x34 to 64x32' in capsys.readouterr().out
    (tmp_path / 'one').mkdir()
    shutil.copy(tmp_path / 'hq' / 'holiday' / 'B.MP4', tmp_path / 'one' / 'B.MP4')
    assert main(['prepare', 'videos', str(tmp_path / 'one'), str(tmp_path / 'single')]) == 0
    assert list(read_meta_info(tmp_path / 'single' / 'meta_info_train.txt')) == ['B']


def test_every_bad_video_is_named_before_anything_is_written(tmp_path, capsys):
    videos(tmp_path / 'hq')
    for name in 'bd':
        (tmp_path / 'hq' / f'{name}.mp4').write_bytes(b'nothing')
    assert main(['prepare', 'videos', str(tmp_path / 'hq'), str(tmp_path / 'out')]) == 2
    error = capsys.readouterr().err
    assert '2 of 5 clips cannot be read' in error
    assert 'b.mp4' in error
    assert 'd.mp4' in error
    assert not (tmp_path / 'out' / 'HQ_frames').exists()
