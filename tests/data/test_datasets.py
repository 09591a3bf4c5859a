"""Every sample checked pixel by pixel against the files."""

import itertools

import cv2
import numpy as np
import pytest
import torch
from conftest import write_clip
from hypothesis import given
from hypothesis import strategies as st

from votes.data import EndlessBatches, build_test_set, build_train_loader, build_train_set
from votes.data.clip_lists import partition, read_meta_info, split_clips
from votes.data.sources import FolderSource
from votes.data.uvssm_dataset import UVSSMDataset
from votes.data.video_test_dataset import VideoUVSSMTestDataset
from votes.errors import UserError
from votes.options import DatasetOptions


def roots(root):
    return {'dataroot_gt': str(root / 'gt'), 'dataroot_lq': str(root / 'lq')}


def files_of(root, kind, clip):
    return np.stack([cv2.imread(str(p))[..., ::-1] for p in sorted((root / kind / clip).iterdir())])


def find(window, clip):
    """Every orientation and place of a crop in a clip's frame: (orientation, top, left)."""
    hits = []
    for flip, vertical, turn in itertools.product((0, 1), repeat=3):
        back = window.transpose(1, 0, 2) if turn else window
        back = back[::-1] if vertical else back
        back = back[:, ::-1] if flip else back
        size = back.shape[0]
        for top, left in itertools.product(range(clip.shape[0] - size + 1), range(clip.shape[1] - size + 1)):
            if np.array_equal(clip[top : top + size, left : left + size], back):
                hits.append(((flip, vertical, turn), top, left))
    return hits


@pytest.mark.parametrize('center_gt', [True, False])
def test_training_sample_is_cut_from_the_files(pairs, center_gt):
    root = pairs()
    dataset = UVSSMDataset(**roots(root), gt_size=16, center_gt=center_gt)
    seen = set()
    for epoch, index in itertools.product(range(6), range(3)):
        item = dataset[epoch, index]
        clip, centre = item['key'].split('/')
        lq, gt = files_of(root, 'lq', clip), files_of(root, 'gt', clip)
        window = item['lq'].permute(0, 2, 3, 1).numpy()
        places = [find(window[i], lq[int(centre) - 2 + i]) for i in range(5)]
        assert all(len(p) == 1 and p == places[0] for p in places)
        orientation, top, left = places[0][0]
        wanted = [item['gt']] if center_gt else list(item['gt'])
        frames = [int(centre)] if center_gt else range(int(centre) - 2, int(centre) + 3)
        for picture, frame in zip(wanted, frames, strict=True):
            assert find(picture.permute(1, 2, 0).numpy(), gt[frame]) == [(orientation, 2 * top, 2 * left)]
        seen.add(orientation)
    assert len(seen) >= 5


def test_sample_is_a_function_of_seed_epoch_index(pairs):
    root = pairs()
    dataset = UVSSMDataset(**roots(root), gt_size=16)
    once, again = dataset[3, 1]['lq'], dataset[3, 1]['lq']
    assert torch.equal(once, again)
    assert not torch.equal(once, dataset[4, 1]['lq'])
    assert not torch.equal(once, dataset[3, 1 + 3]['lq'])  # the same clip, visited twice in an epoch
    dataset.seed = 1
    assert not torch.equal(once, dataset[3, 1]['lq'])


def test_options_of_the_window(pairs):
    root = pairs()
    dataset = UVSSMDataset(
        **roots(root), gt_size=32, use_flip=False, use_rot=False, interval_list=[1, 2], random_reverse=True, num_frame=3
    )
    clip = files_of(root, 'lq', '001')
    steps, starts = set(), set()
    for epoch in range(60):
        window = dataset[epoch, 1]['lq'].permute(0, 2, 3, 1).numpy()
        order = [next(i for i in range(8) if np.array_equal(clip[i], frame)) for frame in window]
        assert order[2] - order[1] == order[1] - order[0]
        steps.add(order[1] - order[0])
        if abs(order[1] - order[0]) == 1:
            starts.add(min(order))
    assert steps == {1, -1, 2, -2}
    assert starts == set(range(6))  # every legal start, the last one included


def loader_options(root):
    return DatasetOptions(
        type='UVSSMDataset',
        **roots(root),
        gt_size=16,
        batch_size_per_gpu=2,
        num_worker_per_gpu=0,
        dataset_enlarge_ratio=2,
        use_shuffle=True,
        pin_memory=False,
    )


def loader(options, *place):
    return build_train_loader(build_train_set(options, 2, seed=5), options, 5, *place)


def take(loader, steps):
    return list(itertools.islice(iter(loader), steps))


def flat(batches):
    """Batches -> [(key, bytes of lq and gt) of each sample]."""
    return [
        (key, lq.numpy().tobytes() + gt.numpy().tobytes())
        for batch in batches
        for key, lq, gt in zip(batch['key'], batch['lq'], batch['gt'], strict=True)
    ]


@pytest.mark.parametrize(('workers', 'ranks'), [(2, 1), (0, 2), (2, 2), (0, 3)])
def test_same_bytes_for_any_number_of_workers_and_ranks(pairs, workers, ranks):
    options = loader_options(pairs())
    plain = flat(take(loader(options), 6))
    assert len({data for _, data in plain}) == 12  # two epochs of three clips, twice each: never the same again
    options.num_worker_per_gpu = workers
    shares = [take(loader(options, rank, ranks), 6 // ranks) for rank in range(ranks)]
    assert flat(batch for step in zip(*shares, strict=True) for batch in step) == plain


@pytest.mark.parametrize(('consumed', 'ranks'), [(8, 1), (4, 2), (5, 1)])
def test_resumed_loader_goes_on_with_the_next_sample(pairs, consumed, ranks):
    options = loader_options(pairs())
    plain = flat(take(loader(options), 6))
    shares = [take(loader(options, rank, ranks, consumed), 1) for rank in range(ranks)]
    assert flat(batch for share in shares for batch in share) == plain[consumed : consumed + 2 * ranks]


@given(st.integers(1, 30), st.integers(1, 4), st.lists(st.tuples(st.integers(1, 4), st.integers(1, 9)), min_size=1))
def test_each_epoch_visits_every_sample_once_also_resumed_on_other_ranks(size, batch, runs):
    """`runs`: (ranks, steps) of a job that is stopped and resumed."""
    seen = []
    for ranks, steps in runs:
        readers = [iter(EndlessBatches(size, batch, 7, rank, ranks, len(seen))) for rank in range(ranks)]
        seen += [key for _ in range(steps) for reader in [list(map(next, readers))] for keys in reader for key in keys]
    assert [epoch for epoch, _ in seen] == [position // size for position in range(len(seen))]
    for epoch in range(len(seen) // size):
        assert sorted(index for _, index in seen[epoch * size : (epoch + 1) * size]) == list(range(size))


def test_order_of_epochs():
    def order(seed, shuffle=True):
        return next(iter(EndlessBatches(20, 40, seed, shuffle=shuffle)))

    first, second = order(0)[:20], order(0)[20:]
    assert [i for _, i in first] != [i for _, i in second]
    assert first != order(1)[:20]
    assert order(0, shuffle=False) == [(epoch, i) for epoch in range(2) for i in range(20)]


@pytest.mark.parametrize('cache', [False, True])
def test_evaluation_windows(pairs, cache):
    root = pairs()
    options = DatasetOptions(type='VideoUVSSMTestDataset', **roots(root), cache_data=cache)
    dataset = build_test_set(options, 2)
    assert len(dataset) == 6 + 8 + 7
    wanted = [(clip, index) for clip, length in (('000', 6), ('001', 8), ('002', 7)) for index in range(length)]
    assert dataset.positions() == wanted
    for clip, index in wanted:
        shown = dataset.shown(clip, index)['lq'].permute(0, 2, 3, 1).numpy()
        assert np.array_equal(shown, files_of(root, 'lq', clip)[index][None])
        assert np.array_equal(dataset.gt(clip, index).permute(1, 2, 0).numpy(), files_of(root, 'gt', clip)[index])


def test_a_test_set_that_is_kept_in_memory_decodes_each_frame_once(pairs, monkeypatch):
    reads, read = [], FolderSource.read
    monkeypatch.setattr(FolderSource, 'read', lambda self, *a: reads.append((self.root.name, *a[:2])) or read(self, *a))
    dataset = VideoUVSSMTestDataset(**roots(pairs()), cache_data=True)
    for clip, index in [*dataset.positions(), *dataset.positions()]:
        dataset.shown(clip, index)
    assert len(reads) == len(set(reads)) == len(dataset)


@pytest.mark.parametrize('size', [(31, 39), (33, 41), (32, 40)])
def test_odd_sizes_line_up(tmp_path, size):
    write_clip(tmp_path / 'lq' / '000', 6, (16, 20))
    gt = write_clip(tmp_path / 'gt' / '000', 6, size)
    found = VideoUVSSMTestDataset(**roots(tmp_path)).gt('000', 3).permute(1, 2, 0).numpy()
    assert found.shape == (32, 40, 3)
    inner = np.s_[: min(32, size[0]), : min(40, size[1])]
    assert np.array_equal(found[inner], gt[3][inner])
    if size == (31, 39):
        assert np.array_equal(found[31], found[30])
    dataset = UVSSMDataset(**roots(tmp_path), gt_size=32, use_flip=False, use_rot=False)
    for epoch in range(3):
        item = dataset[epoch, 0]
        centre = int(item['key'].split('/')[1])
        ((_, top, left),) = find(item['lq'][2].permute(1, 2, 0).numpy(), files_of(tmp_path, 'lq', '000')[centre])
        whole = np.pad(gt[centre], ((0, 1), (0, 1), (0, 0)), mode='edge')[:32, :40]
        crop = whole[2 * top : 2 * top + 32, 2 * left : 2 * left + 32]
        assert np.array_equal(item['gt'].permute(1, 2, 0).numpy(), crop)


def test_lists_and_splits(pairs, tmp_path):
    root = pairs()
    (tmp_path / 'all.txt').write_text('000 6\n001 5 (16,16,3)\n\n002 7\n')
    (tmp_path / 'test.txt').write_text('002 7\n')
    lists = {'meta_info_file': str(tmp_path / 'all.txt'), 'meta_test_file': str(tmp_path / 'test.txt')}
    dataset = UVSSMDataset(**roots(root), **lists, gt_size=16)
    assert dataset.clips == ['000', '001']
    assert dataset.pairs.lengths['001'] == 5
    assert UVSSMDataset(**roots(root), val_partition=['000', '002'], gt_size=16).clips == ['001']
    names = [f'{i:03d}' for i in range(50)]
    parts = {p: split_clips(names, {'seed': 0, 'test': 10, 'val': 2, 'part': p}) for p in ('train', 'val', 'test')}
    assert sorted(itertools.chain(*parts.values())) == names
    assert [len(parts[p]) for p in ('train', 'val', 'test')] == [38, 2, 10]
    assert split_clips(names, {'seed': 1, 'test': 10, 'val': 2, 'part': 'test'}) != parts['test']
    with pytest.raises(UserError, match='too few clips for this split'):
        split_clips(names, {'seed': 0, 'test': 48, 'val': 2, 'part': 'train'})


def test_named_partitions():
    assert partition('REDS4') == ['000', '011', '015', '020']
    assert (len(partition('official')), partition('official')[0], partition(None)) == (30, '240', [])
    with pytest.raises(UserError, match='unknown val_partition'):
        partition('REDS5')


def test_lists_that_are_wrong(tmp_path):
    for text, message in (
        ('001\n', r'list\.txt:1'),
        ('001 100\n001 100\n', r'list\.txt:2'),
        ('001 ten\n', 'NAME FRAMES'),
        ('\n', 'empty'),
    ):
        (tmp_path / 'list.txt').write_text(text)
        with pytest.raises(UserError, match=message):
            read_meta_info(tmp_path / 'list.txt')


def test_clips_that_do_not_fit_are_all_named(pairs, tmp_path):
    root = pairs(clips=[(6, (16, 16))] * 7)
    (root / 'lq' / '001' / '00000005.png').unlink()
    for file in (root / 'gt' / '002').iterdir():
        cv2.imwrite(str(file), np.zeros((40, 40, 3), np.uint8))
    for kind in ('lq', 'gt'):
        for i in (2, 3, 4, 5):
            (root / kind / '003' / f'{i:08d}.png').unlink()
    (root / 'lq' / '005' / '00000002.png').unlink()
    (root / 'gt' / '006' / '00000000.png').write_bytes(b'')
    (tmp_path / 'list.txt').write_text('000 6\n001 6\n002 6\n003 2\n004 9\n005 6\n006 6\n007 6\n')
    with pytest.raises(UserError) as caught:
        UVSSMDataset(**roots(root), meta_info_file=str(tmp_path / 'list.txt'))
    for text in (
        '001: LQ has 5 frames, GT has 6',
        '002: LQ 16x16 times scale 2 is not GT 40x40',
        '003: 2 frames are shorter',
        '004: the list says 9',
        '005: 1 frames are missing',
        'number 2',
        '006: damaged picture',
        '007: no folder in LQ and GT',
        '7 of 8 clips',
    ):
        assert text in str(caught.value)


def test_long_tables_are_cut_and_both_folders_count(pairs):
    root = pairs()
    for i in range(14):
        (root / ('lq' if i % 2 else 'gt') / f'extra_{i:02d}').mkdir()
    with pytest.raises(UserError, match=r'14 of 17 clips[\s\S]*extra_01: no folder in GT[\s\S]*and 4 more') as caught:
        VideoUVSSMTestDataset(**roots(root))
    assert 'extra_10' not in str(caught.value)


def test_damaged_frame_is_named_when_it_is_reached(pairs):
    root = pairs()
    broken = root / 'lq' / '000' / '00000003.png'
    broken.write_bytes(broken.read_bytes()[:200])
    for read in (
        lambda: VideoUVSSMTestDataset(**roots(root)).shown('000', 3),
        lambda: UVSSMDataset(**roots(root), gt_size=16)[0, 0],
    ):
        with pytest.raises(UserError, match=r'damaged picture[\s\S]*000/00000003\.png'):
            read()


def test_crops_that_cannot_be(pairs):
    root = pairs()
    with pytest.raises(UserError, match=r'clip 000[\s\S]*gt_size: 32 or less'):
        UVSSMDataset(**roots(root), gt_size=64)
    with pytest.raises(UserError, match='no multiple of scale'):
        UVSSMDataset(**roots(root), gt_size=31)


@pytest.mark.parametrize('center_gt', [True, False])
def test_frames_after_the_first_of_two_encodes_lie_where_lq_does(pairs, center_gt):
    root = pairs(scale=1)
    (root / 'gt').rename(root / 'once')
    pairs(scale=2, root=root / 'more')
    roots = {'dataroot_gt': str(root / 'more/gt'), 'dataroot_lq': str(root / 'lq'), 'dataroot_once': str(root / 'once')}
    dataset = UVSSMDataset(**roots, gt_size=16, center_gt=center_gt)
    for epoch in range(3):
        item = dataset[epoch, epoch]
        clip, centre = item['key'].split('/')
        indices = [int(centre)] if center_gt else range(int(centre) - 2, int(centre) + 3)
        once, lq = files_of(root, 'once', clip), files_of(root, 'lq', clip)
        assert len(item['once']) == len(indices)
        place = find(item['lq'][2].permute(1, 2, 0).numpy(), lq[int(centre)])
        for frame, index in zip(item['once'], indices, strict=True):
            assert find(frame.permute(1, 2, 0).numpy(), once[index]) == place
