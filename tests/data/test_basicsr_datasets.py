"""The video datasets of BasicSR's option files, and datasets of a user's own."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import write_clip
from torch.utils.data import Dataset

from votes.archs.contract import Clip, Promise, Window
from votes.cli import main
from votes.data import build_test_set, build_train_loader, build_train_set
from votes.data.degrading import degrade_source
from votes.data.tools.pack import pack
from votes.errors import UserError
from votes.options.schema import DatasetOptions
from votes.video.recipe import Recipe

CLIP = Promise('net', Clip(), scale=2)
WINDOW = Promise('net', Window(5), scale=2)


def options(kind, root, **given):
    given = {'dataroot_gt': str(root / 'gt'), 'dataroot_lq': str(root / 'lq'), 'gt_size': 16, **given}
    loader = {'num_worker_per_gpu': 0, 'batch_size_per_gpu': 2}
    return DatasetOptions(type=kind, **given, **loader)


@pytest.fixture
def septuplets(tmp_path):
    """Vimeo-90K's tree: gt/00001/0001/im1.png ... and its list."""
    for scene, shot in ((1, 1), (1, 2), (2, 1)):
        for side, size in (('gt', (32, 48)), ('lq', (16, 24))):
            folder = tmp_path / side / f'{scene:05d}' / f'{shot:04d}'
            write_clip(folder, 7, size, seed=10 * scene + shot)
            for i in range(7):
                (folder / f'{i:08d}.png').rename(folder / f'im{i + 1}.png')
    (tmp_path / 'list.txt').write_text('00001/0001 7 (32,48,3)\n00002/0001 7 (32,48,3)\n')
    return tmp_path


def test_septuplets_for_networks_that_see_clips(septuplets):
    given = {'meta_info_file': str(septuplets / 'list.txt'), 'num_frame': -1, 'flip_sequence': True}
    dataset = build_train_set(options('Vimeo90KRecurrentDataset', septuplets, **given), 2, 0, CLIP)
    assert dataset.clips == ['00001/0001', '00002/0001']
    item = dataset[0, 1]
    assert item['lq'].shape == (14, 3, 8, 8)
    assert item['gt'].shape == (14, 3, 16, 16)
    for name in ('lq', 'gt'):
        assert torch.equal(item[name][:7], item[name].flip(0)[:7]), 'mirrored in time'
        assert not torch.equal(item[name][0], item[name][1])
    batch = next(iter(build_train_loader(dataset, options('x', septuplets), 0)))
    assert batch['lq'].shape == (2, 14, 3, 8, 8)


@pytest.mark.parametrize('only_middle', [False, True])
@pytest.mark.parametrize('count', [5, 7])
def test_septuplets_for_networks_that_see_windows(septuplets, only_middle, count):
    """The window is around im4, which may be all that GT holds, in an LMDB as well."""
    whole = options('Vimeo90KDataset', septuplets, num_frame=count)
    said = Promise('net', Window(count), scale=2)
    expected = build_train_set(whole, 2, 3, said)[0, 1]
    middle = build_train_set(whole, 2, 3, said).pairs.read_gt('00001/0002', 3)
    if only_middle:
        for path in (septuplets / 'gt').glob('*/*/im[123567].png'):
            path.unlink()
        pack(septuplets / 'gt', septuplets / 'only4th.lmdb', 'lmdb', say=str)
        whole = options('Vimeo90KDataset', septuplets, num_frame=count, dataroot_gt=str(septuplets / 'only4th.lmdb'))
    dataset = build_train_set(whole, 2, 3, said)
    assert dataset.clips[1] == '00001/0002'
    assert np.array_equal(dataset.pairs.read_gt('00001/0002', 3), middle)
    item = dataset[0, 1]
    assert item['lq'].shape == (count, 3, 8, 8)
    assert item['gt'].shape == (3, 16, 16)
    assert torch.equal(item['gt'], expected['gt'])
    assert torch.equal(item['lq'], expected['lq'])


def test_the_middle_frame_is_the_centre_of_any_window(septuplets):
    """Of a network whose centre is its first frame, im4 is the first one; GT that is not there is never replaced."""
    said = Promise('net', Window(3, 0), scale=2)
    whole = build_train_set(options('Vimeo90KDataset', septuplets, use_flip=False, use_rot=False), 2, 3, said)
    item = whole[0, 1]
    assert item['key'] == '00001/0002/00000003'
    for path in (septuplets / 'gt').glob('*/*/im[123567].png'):
        path.unlink()
    alone = build_train_set(options('Vimeo90KDataset', septuplets, use_flip=False, use_rot=False), 2, 3, said)
    assert all(torch.equal(alone[0, 1][name], item[name]) for name in ('lq', 'gt'))
    back = build_train_set(options('Vimeo90KDataset', septuplets, random_reverse=True), 2, 3, said)
    with pytest.raises(UserError, match='middle frame of each clip alone'):
        [back[epoch, 1] for epoch in range(8)]


def test_nested_clips_through_the_tools(septuplets):
    degrade_source(septuplets / 'gt', septuplets / 'made', Recipe(name='r', generations=[{'qp': 30}]), say=str)
    assert sorted(p.name for p in (septuplets / 'made').iterdir()) == ['00001', '00002', 'manifest.json']
    assert len(list((septuplets / 'made' / '00002' / '0001').iterdir())) == 7
    pack(septuplets / 'made', septuplets / 'packed', say=str)
    data = options('UVSSMDataset', septuplets, dataroot_lq=str(septuplets / 'packed'))
    assert len(build_train_set(data, 2, 0, WINDOW)) == 3


def test_reds_in_test_mode_and_whole_clips(pairs):
    root = pairs(((6, (16, 20)), (6, (16, 16)), (7, (24, 16))))
    (root / 'gt' / '002').rename(root / 'gt' / '011')
    (root / 'lq' / '002').rename(root / 'lq' / '011')
    for kind in ('REDSDataset', 'REDSRecurrentDataset'):
        for test_mode, clips in ((False, ['001']), (True, ['000', '011'])):
            given = {'val_partition': 'REDS4', 'test_mode': test_mode, 'num_frame': 5}
            assert build_train_set(options(kind, root, **given), 2, 0, CLIP).clips == clips
    with pytest.raises(UserError, match='different lengths'):
        build_train_set(options('REDSRecurrentDataset', root, num_frame=-1), 2, 0, CLIP)
    shutil.rmtree(root / 'gt' / '011')
    shutil.rmtree(root / 'lq' / '011')
    assert build_train_set(options('REDSRecurrentDataset', root, num_frame=-1), 2, 0, CLIP)[0, 0]['lq'].shape[0] == 6
    with pytest.raises(UserError, match='no centre frame'):
        build_train_set(options('REDSRecurrentDataset', root, flip_sequence=True), 2, 0, WINDOW)


def test_evaluation_clips_by_basicsrs_name(pairs):
    root = pairs()
    data = DatasetOptions(
        type='VideoRecurrentTestDataset',
        dataroot_gt=str(root / 'gt'),
        dataroot_lq=str(root / 'lq'),
        num_frame=-1,
        cache_data=True,
    )
    dataset = build_test_set(data, 2, CLIP)
    assert len(dataset.positions()) == len(dataset) == 6 + 8 + 7
    assert dataset.shown('000', 3)['lq'].shape == (1, 3, 16, 20)


class Mine(Dataset):
    """A dataset as people write it: asked for by number, with randomness of its own."""

    def __init__(self, count: int = 6):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index: int):
        assert isinstance(index, int)
        lq = torch.rand(5, 3, 8, 8) + torch.tensor(np.random.rand())
        return {'lq': (60 * lq).byte(), 'gt': torch.zeros(3, 16, 16, dtype=torch.uint8), 'key': str(index)}


@pytest.mark.parametrize('workers', [0, 2])
def test_an_ordinary_dataset_of_ones_own(workers):
    """It ended in a TypeError. Its samples are a function of the seed, whatever the workers and where it goes on."""

    def batches(consumed, count):
        data = DatasetOptions(type='x', num_worker_per_gpu=workers, batch_size_per_gpu=2)
        loader = build_train_loader(Mine(), data, 5, consumed=consumed)
        found = [batch for batch, _ in zip(loader, range(count), strict=False)]
        loader.close()
        return found

    whole, later = batches(0, 5), batches(6, 2)
    assert len({key for batch in whole[:3] for key in batch['key']}) == 6
    assert all(torch.equal(a['lq'], b['lq']) for a, b in zip(whole[3:], later, strict=True))
    first = {key: lq for batch in whole[:3] for key, lq in zip(batch['key'], batch['lq'], strict=True)}
    again = {key: lq for batch in whole[3:] for key, lq in zip(batch['key'], batch['lq'], strict=True)}
    assert not any(torch.equal(first[key], again[key]) for key in again), 'another epoch, another sample'
    assert torch.equal(whole[0]['lq'], batches(0, 1)[0]['lq'])


def test_training_on_a_dataset_of_ones_own(place):
    Path('opt.yml').write_text(Path(place('EDVRModel')).read_text())
    options = yaml.safe_load(Path('opt.yml').read_text())
    options['datasets']['train'] = {
        'type': 'test_basicsr_datasets:Mine', 'batch_size_per_gpu': 2, 'num_worker_per_gpu': 0
    }  # fmt: skip
    options['train']['total_iter'] = 2
    Path('opt.yml').write_text(yaml.safe_dump(options))
    assert main(['train', '-opt', 'opt.yml']) == 0


def basicsr_file(train):
    """What BasicSR's option files of BasicVSR say, with a small network and few iterations."""
    return {
        'name': 'BasicVSR_small',
        'model_type': 'VideoRecurrentModel',
        'scale': 4,
        'num_gpu': 0,
        'manual_seed': 0,
        'datasets': {
            'train': {
                'dataroot_gt': 'gt',
                'dataroot_lq': 'lq',
                'io_backend': {'type': 'disk'},
                'gt_size': 64,
                'interval_list': [1],
                'random_reverse': False,
                'use_hflip': True,
                'use_rot': True,
                'num_worker_per_gpu': 0,
                'batch_size_per_gpu': 1,
                'dataset_enlarge_ratio': 2,
                'prefetch_mode': None,
                **train,
            },
            'val': {
                'name': 'REDS4',
                'type': 'VideoRecurrentTestDataset',
                'dataroot_gt': 'gt',
                'dataroot_lq': 'lq',
                'cache_data': True,
                'io_backend': {'type': 'disk'},
                'num_frame': -1,
            },
        },
        'network_g': {'type': 'BasicVSR', 'num_feat': 8, 'num_block': 1, 'spynet_path': None},
        'path': {'pretrain_network_g': None, 'strict_load_g': True, 'resume_state': None},
        'train': {
            'ema_decay': 0.999,
            'optim_g': {'type': 'Adam', 'lr': 2e-4, 'weight_decay': 0, 'betas': [0.9, 0.99]},
            'scheduler': {'type': 'CosineAnnealingRestartLR', 'periods': [2], 'restart_weights': [1], 'eta_min': 1e-7},
            'total_iter': 2,
            'warmup_iter': -1,
            'fix_flow': 1,
            'flow_lr_mul': 0.125,
            'pixel_opt': {'type': 'CharbonnierLoss', 'loss_weight': 1.0, 'reduction': 'mean'},
        },
        'val': {
            'val_freq': 2,
            'save_img': False,
            'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 0, 'test_y_channel': False}},
        },
        'logger': {'print_freq': 1, 'save_checkpoint_freq': 2, 'use_tb_logger': False},
        'dist_params': {'backend': 'nccl', 'port': 29500},
        'find_unused_parameters': True,
    }


@pytest.mark.parametrize(
    'train',
    [
        {'type': 'REDSRecurrentDataset', 'name': 'REDS', 'num_frame': 4, 'val_partition': 'REDS4', 'test_mode': False},
        {'type': 'Vimeo90KRecurrentDataset', 'name': 'Vimeo90K', 'num_frame': -1, 'flip_sequence': True},
    ],
    ids=['REDS', 'Vimeo90K'],
)
def test_basicsrs_option_files_of_recurrent_networks_run(tmp_path, monkeypatch, train):
    for clip in ('000', '001'):
        write_clip(tmp_path / 'gt' / clip, 5, (64, 96), seed=int(clip))
        write_clip(tmp_path / 'lq' / clip, 5, (16, 24), seed=int(clip))
    monkeypatch.chdir(tmp_path)
    Path('opt.yml').write_text(yaml.safe_dump(basicsr_file(train)))
    assert main(['train', '-opt', 'opt.yml']) == 0
    assert Path('experiments/BasicVSR_small/models/net_g_2.pth').is_file()
    assert Path('experiments/BasicVSR_small/metrics.jsonl').read_text().count('restored_psnr') == 1
