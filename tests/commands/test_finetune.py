"""Adapting a network to another platform, from a folder of pairs or of originals."""

import argparse
import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import TINY_DSM, VDSR, write_clip

from votes import checkpoint
from votes.archs import build_network
from votes.archs.contract import Promise, Window
from votes.cli import main
from votes.commands.finetune import pairs_of, sections
from votes.errors import UserError
from votes.options import load_options
from votes.processes.lease import Lease
from votes.training.validation import Validation
from votes.video.degrade import encode_h264

NETWORK = {
    'type': 'VOTES',
    'num_feat': 8,
    'deformable_groups': 2,
    'num_extract_block': 1,
    'num_reconstruct_block': 1,
    'num_modulation_blocks': 1,
    **{f'dsm_{k}': v for k, v in TINY_DSM.items()},
}
SMALL = ['--batch', '2', '--gt-size', '16', '--set', 'datasets.train.num_worker_per_gpu=0', 'num_gpu=0']


@pytest.fixture
def weights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    checkpoint.save({'params': build_network(NETWORK).state_dict(), 'network_g': NETWORK}, 'start.pth')
    return 'start.pth'


def test_from_pairs(weights, capsys):
    for i in range(5):
        clip = write_clip(Path('mine/HQ') / f'c{i}', 5, (32, 48), seed=i)
        for j, frame in enumerate(clip):
            Path(f'mine/LQ/c{i}').mkdir(parents=True, exist_ok=True)
            small = cv2.resize(frame, (24, 16), interpolation=cv2.INTER_AREA)
            cv2.imwrite(f'mine/LQ/c{i}/{j:08d}.png', small[..., ::-1])
    command = ['finetune', '--weights', weights, '--data', 'mine', '--platform', 'Here', '--epochs', '2', *SMALL]
    assert main(command) == 0
    said = capsys.readouterr().out
    opt = load_options('experiments/finetune_Here.yml')
    assert opt.train.total_iter == 2 * (3 * 5 // 2)
    assert opt.datasets['train'].dataset_enlarge_ratio == 5
    folder = Path('datasets/finetune_Here')
    lists = [(folder / f'meta_info_{part}.txt').read_text().split()[::2] for part in ('train', 'val', 'test')]
    assert sorted(clip for clips in lists for clip in clips) == [f'c{i}' for i in range(5)]
    assert [len(clips) for clips in lists] == [3, 1, 1]
    assert said.count('  epoch ') == 3, 'the starting weights are epoch 0'
    assert 'votes restore IN.mp4 OUT.mp4 --weights experiments/finetune_Here/models/net_g_best.pth' in said
    before, after = (
        json.loads(Path(f'results/finetune_Here{end}/results.json').read_text()) for end in ('_before', '')
    )
    assert before['weights']['path'] == weights
    assert len(re.findall(r'^finetune_Here(?:_before)? +\d', said, re.M)) == 2, 'a line before, a line after'
    restored = [r['results']['finetune_Here']['mean']['restored']['psnr'] for r in (before, after)]
    assert restored[0] != restored[1]


def small_pairs(seed=0):
    """mine/HQ and mine/LQ of half the size."""
    for i in range(3):
        for j, frame in enumerate(write_clip(Path('mine/HQ') / f'c{i}', 5, (32, 48), seed=seed + i)):
            Path(f'mine/LQ/c{i}').mkdir(parents=True, exist_ok=True)
            small = cv2.resize(frame, (24, 16), interpolation=cv2.INTER_AREA)
            cv2.imwrite(f'mine/LQ/c{i}/{j:08d}.png', small[..., ::-1])


def test_any_network_what_gained_nothing_and_other_data(tmp_path, monkeypatch, capsys):
    """A network of the registry that sees single frames; a rate of 0 gains nothing; other data under the same name."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    checkpoint.save({'params': build_network(VDSR).state_dict(), 'network_g': VDSR}, 'start.pth')
    small_pairs()
    command = ['finetune', '--weights', 'start.pth', '--data', 'mine', '--platform', 'P', '--epochs', '1', *SMALL]
    assert main([*command, '--lr', '0']) == 3
    said = capsys.readouterr().out
    assert 'nothing was gained' in said
    assert 'keep start.pth' in said
    assert 'votes restore' not in said
    epochs = re.findall(r'epoch +(\d+), iteration +\d+ +([\d.]+)', said)
    assert [number for number, _ in epochs] == ['0', '1']
    assert epochs[0][1] == epochs[1][1], 'the same weights on the same clips'
    opt = load_options('experiments/finetune_P.yml')
    assert (opt.network_g.type, opt.scale) == ('VDSR', 2)
    assert 'num_frame' not in opt.datasets['train'].args, 'told by the network'

    shutil.rmtree('mine')
    small_pairs(seed=50)
    assert main([*command, '--lr', '0']) == 2
    assert 'dataroot_hq: clips hold other frames: c0, c1, c2' in capsys.readouterr().err
    checkpoint.save({'params': build_network(VDSR).state_dict(), 'network_g': VDSR}, 'start.pth')
    main([*command, '--restart'])
    capsys.readouterr()
    assert len(list(Path('datasets').glob('finetune_P_archived_*'))) == 1
    assert len(list(Path('experiments').glob('finetune_P_archived_*'))) == 1
    used = cv2.imread('datasets/finetune_P/HQ_frames/c0/00000000.png')
    assert (used == cv2.imread('mine/HQ/c0/00000000.png')).all()
    checkpoint.save({'params': build_network(VDSR).state_dict(), 'network_g': VDSR}, 'start.pth')
    assert main(command) == 2
    assert 'another file: weights' in capsys.readouterr().err
    with Lease(Path('datasets/finetune_P'), 'fine-tuning'):
        assert main(command) == 2
    assert 'another process owns this folder: fine-tuning' in capsys.readouterr().err


def test_what_the_codec_says_for_networks_that_read_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small_pairs()
    said = Promise('Reader', Window(3), inputs=('mv_past',))
    args = argparse.Namespace(data=Path('mine'), recipe=None, test=1, val=1, seed=0, platform='M', restart=False)
    args.originals, args.replay = None, []
    target = Path('datasets/finetune_M')
    with pytest.raises(UserError, match='reads what the codec says'):
        pairs_of(args, target, said)
    assert not target.exists()
    shutil.rmtree('mine/LQ')
    Path('mine/LQ').mkdir()
    for i in range(3):
        frames = list(np.random.default_rng(i).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8))
        encode_h264(frames, f'mine/LQ/c{i}.mp4', 30)
    pairs_of(args, target, said)
    assert sections(target, 'train')['codec_metadata'] == str(target / 'metadata')
    assert sorted(path.name for path in (target / 'metadata').iterdir() if path.is_dir()) == ['c0', 'c1', 'c2']


def test_from_originals_and_a_recipe(weights, monkeypatch):
    monkeypatch.setattr('votes.data.tools.check.examined', None)  # LQ that is made of GT is not doubted
    for i in range(3):
        write_clip(Path('mine') / f'c{i}', 5, (32, 64), seed=i)
    recipe = Path(__file__).resolve().parents[2] / 'options' / 'degrade' / 'reds_x2_qp33.yml'
    command = ['finetune', '--weights', weights, '--data', 'mine', '--platform', 'X', '--recipe', str(recipe)]
    assert main([*command, '--epochs', '1', *SMALL]) == 0
    assert Path('datasets/finetune_X/LQ_frames_qp33_x2/manifest.json').is_file()


def test_what_is_refused(weights, capsys):
    command = ['finetune', '--weights', weights, '--platform', 'X', *SMALL, '--data']
    assert main([*command, 'nowhere']) == 2
    for i in range(4):
        write_clip(Path('mine/HQ') / f'c{i}', 5, (32, 48), seed=i)
    assert main([*command, 'mine']) == 2
    assert 'or originals alone and --recipe' in capsys.readouterr().err
    for i in range(4):
        write_clip(Path('mine/LQ') / f'c{i}', 5, (8, 12), seed=i)
    assert main([*command, 'mine']) == 2
    captured = capsys.readouterr()
    assert 'in the option file: scale: 4' in captured.out
    assert 'not fit for training' in captured.err
    assert main([*command, 'mine', '--originals', 'more']) == 2
    assert 'with --recipe R.yml and --originals FOLDER' in capsys.readouterr().err, 'they are not passed over'
    dsm = {'type': 'BIN', **TINY_DSM}
    checkpoint.save({'params': build_network(dsm).state_dict(), 'network_g': dsm}, 'dsm.pth')
    assert main(['finetune', '--weights', 'dsm.pth', '--platform', 'X', '--data', 'mine']) == 2


def test_training_ends_when_nothing_is_gained(place, capsys, monkeypatch):
    """With a rate of zero nothing is gained: it ends after `patience` validations, also when resumed."""
    options = place(
        val__patience=2,
        val__val_freq=1,
        train__optim_g={'type': 'Adam', 'lr': 0.0},
        train__total_iter=40,
        train__scheduler=None,
        name='stale',
    )
    seen = []
    original = Validation.run_if_due

    def noted(self, model, at, *rest):
        seen.append(at.iteration)
        return original(self, model, at, *rest)

    monkeypatch.setattr(Validation, 'run_if_due', noted)
    assert main(['train', '-opt', options]) == 0
    assert max(seen) == 3, 'the first is the best so far, and two gain nothing'
    state = checkpoint.load('experiments/stale/training_states/3.state')
    assert state['position']['stale'] == 2
    assert Path('experiments/stale/models/net_g_latest.pth').is_file()
    assert main(['train', '-opt', options]) == 0
    assert not Path('experiments/stale/training_states/4.state').exists()


def test_pairs_with_made_ones_and_an_earlier_platform(tmp_path, monkeypatch, capsys):
    """Made pairs are for training alone; of the earlier platform no more is replayed than is new, and both are told."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    checkpoint.save({'params': build_network(VDSR).state_dict(), 'network_g': VDSR}, 'start.pth')
    small_pairs()
    start = ['finetune', '--weights', 'start.pth', '--data', 'mine', '--epochs', '1', *SMALL]
    main([*start, '--platform', 'Old'])
    for i in range(2):
        write_clip(Path('more') / f'm{i}', 5, (32, 48), seed=20 + i)
    Path('r.yml').write_text('name: measured\nscale: 2\nkernel: area\ngenerations: [{qp: {uniform: [20, 30]}}]\n')
    capsys.readouterr()
    given = [*start, '--platform', 'New', '--recipe', 'r.yml', '--originals', 'more', '--replay', 'Old']
    main(given)
    said = capsys.readouterr().out
    assert 'on Old, which was replayed' in said
    folder = Path('datasets/finetune_New')
    lists = {p.stem: p.read_text().split()[::2] for p in folder.glob('meta_info_*.txt')}
    assert len(lists['meta_info_train']) == 4, 'one of the pairs, two that were made, one of the earlier platform'
    assert [name for name in lists['meta_info_train'] if name.startswith('made__')] == ['made__m0', 'made__m1']
    assert all(name.startswith('Old__') for name in lists['meta_info_test_Old'])
    assert len(lists['meta_info_val']) == 2
    assert len(lists['meta_info_test']) == 1
    assert Path('results/finetune_New_on_Old/results.json').is_file()
    assert Path('results/finetune_New_before_on_Old/results.json').is_file()
    main(given)
    again = {p.stem: p.read_text().split()[::2] for p in folder.glob('meta_info_*.txt')}
    assert again == lists, 'nothing is joined twice'
    assert main([*start, '--platform', 'X', '--replay', 'nowhere']) == 2
    assert 'no pairs of an earlier platform' in capsys.readouterr().err
    assert main([*start, '--platform', 'X', '--recipe', 'r.yml']) == 2
    assert '--originals FOLDER' in capsys.readouterr().err
