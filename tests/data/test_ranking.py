"""Pairs of frames that compression has damaged to different degrees, and a training on them."""

import itertools
import json

import numpy as np
import pytest
import torch
import yaml
from decoded import decoded

from votes.archs.cavsr_arch import CAVSREncoder
from votes.cli import main
from votes.data.codec_metadata import write_metadata
from votes.data.degrading import write_clip
from votes.data.ranking_dataset import QUALITY, CompressionRankingDataset, CompressionRankingTestDataset
from votes.errors import UserError
from votes.losses.ranking_loss import RankingLoss
from votes.video.degrade import encode_h264
from votes.video.metadata import each_frame


@pytest.fixture(scope='module')
def versions(tmp_path_factory):
    """Three clips of moving noise on a gradient, encoded at three quantisers."""
    root, found = tmp_path_factory.mktemp('versions'), []
    for qp in (18, 30, 42):
        for clip in range(3):
            wide = np.random.default_rng(clip).normal(128, 40, (64, 96, 3)) + np.linspace(-60, 60, 96)[:, None]
            frames = [wide[8:56, 2 * t : 2 * t + 64].clip(0, 255).astype(np.uint8) for t in range(12)]
            encode_h264(frames, root / 'video.mp4', qp)
            video = decoded(root / 'video.mp4')
            write_clip(root / f'qp{qp}' / f'{clip:03d}', video.frames)
            write_metadata(root / f'metadata{qp}' / f'{clip:03d}', each_frame(root / 'video.mp4'))
        found.append({'dataroot': str(root / f'qp{qp}'), 'codec_metadata': str(root / f'metadata{qp}')})
    return found


def test_the_better_frame_comes_first(versions):
    dataset = CompressionRankingDataset(versions, gt_size=32)
    kinds = set()
    for epoch in range(12):
        sample = dataset[epoch, epoch]
        first, second = ([int(n) for n in place.split(':')] for place in sample['key'].split('/')[1].split(' '))
        types = bytes(sample['pict_type'].tolist()).decode()
        if first[0] != second[0]:
            kinds.add('level')
            assert first[0] < second[0]
            assert first[1] == second[1]
            assert types[0] == types[1]
        else:
            kinds.add('type')
            assert QUALITY.index(types[0]) < QUALITY.index(types[1])
            assert 0 < abs(first[1] - second[1]) <= 8
        assert sample['lq'].shape == (2, 3, 32, 32)
        again = dataset[epoch, epoch]
        assert torch.equal(again['lq'], sample['lq'])
    assert kinds == {'level', 'type'}


def test_colours_change_places_alike_in_both_frames(versions):
    """The pair, its crop and its turn are those without; colours are others, and the same for both frames."""
    plain = CompressionRankingDataset(versions, gt_size=32)
    changed = CompressionRankingDataset(versions, gt_size=32, use_colour=True)
    ways = set()
    for epoch in range(8):
        before, after = plain[epoch, 0], changed[epoch, 0]
        assert after['key'] == before['key']
        fitting = [
            (order, sign)
            for order in itertools.permutations(range(3))
            for sign in (1, -1)
            if torch.equal(after['lq'].int() * sign + 255 * (sign < 0), before['lq'][:, list(order)].int())
        ]
        ways.update(fitting)
        assert len(fitting) == 1
        assert torch.equal(after['gt'][0], after['lq'][0])
    assert len(ways) > 3


def test_versions_that_cannot_be_ranked_are_named(versions):
    with pytest.raises(UserError, match='two versions or more'):
        CompressionRankingDataset(versions[:1])
    with pytest.raises(UserError, match='larger than a frame'):
        CompressionRankingDataset(versions, gt_size=256)


def test_ranking_loss():
    loss = RankingLoss(margin=0.5, loss_weight=2)
    scores = torch.tensor([[0.0], [1.0], [2.0], [1.0]], requires_grad=True)  # right by more than enough; wrong
    value = loss(scores)
    assert value.item() == pytest.approx(2 * (0 + 1.5) / 2)
    value.backward()
    assert scores.grad.flatten().tolist() == [0, 0, 1, -1]


def test_accuracy_counts_pairs_in_order(versions):
    dataset = CompressionRankingTestDataset(versions, pairs_per_clip=4)
    assert len(dataset) == 2 * 3 * 4
    assert dataset.judge({'score': torch.tensor([[[0.1], [0.2]]])}) == {'accuracy': 1}
    assert dataset.judge({'score': torch.tensor([[[0.2], [0.2]]])}) == {'accuracy': 0}


def test_an_encoder_is_trained_measured_and_loaded(versions, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    loader = {'batch_size_per_gpu': 2, 'num_worker_per_gpu': 0, 'gt_size': 32}
    options = {
        'name': 'rank',
        'model_type': 'RestorationModel',
        'scale': 1,
        'num_gpu': 0,
        'datasets': {
            'train': {'type': 'CompressionRankingDataset', 'versions': versions, **loader},
            'val': {'type': 'CompressionRankingTestDataset', 'versions': versions, 'pairs_per_clip': 2},
        },
        'network_g': {'type': 'CAVSRRanker'},
        'train': {
            'optim_g': {'type': 'Adam', 'lr': 1e-3},
            'total_iter': 2,
            'pixel_opt': {'type': 'RankingLoss', 'margin': 0.5},
        },
        'val': {'val_freq': 2},
        'logger': {'print_freq': 1, 'save_checkpoint_freq': 2, 'use_tb_logger': False},
    }
    (tmp_path / 'opt.yml').write_text(yaml.safe_dump(options))
    assert main(['train', '-opt', 'opt.yml']) == 0
    rows = [json.loads(line) for line in (tmp_path / 'experiments/rank/metrics.jsonl').read_text().splitlines()]
    measured = next(row for row in rows if any('accuracy' in key for key in row))
    assert 0 <= next(value for key, value in measured.items() if 'restored_accuracy' in key) <= 1
    weights = torch.load('experiments/rank/models/net_g_latest.pth', weights_only=True)['params']
    assert CAVSREncoder.from_weights({key.removeprefix('encoder.'): x for key, x in weights.items()}) == {}
