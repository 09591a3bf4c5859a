"""What stands here does what BasicSR's public classes do: numbers recorded by record.py, see README.md."""

import json
import os

import cv2
import numpy as np
import pytest
import torch
import yaml
from conftest import tiny_options

from differential import record
from votes.data.transforms import random_crop, random_turn
from votes.data.uvssm_dataset import UVSSMDataset
from votes.metrics.psnr_ssim import calculate_psnr, calculate_ssim
from votes.models import build_model
from votes.models.learner import Learner
from votes.options import Spec, TrainOptions, load_options

RECORDED = json.loads(record.PATH.read_text())
DRAWS = 20000


def test_the_recorded_numbers_are_those_of_the_rules():
    def flat(value):
        if isinstance(value, dict):
            return [number for item in value.values() for number in flat(item)]
        return [number for item in value for number in flat(item)] if isinstance(value, list) else [value]

    now = record.record()
    assert flat(now) == pytest.approx(flat(RECORDED), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize('name', record.SCHEDULES)
@pytest.mark.parametrize('warmup', record.WARM_UPS)
def test_learning_rate_of_each_update(name, warmup):
    schedule = record.SCHEDULES[name]
    train = TrainOptions(
        optim_g=Spec(type='Adam', lr=record.BASE), scheduler=Spec(**schedule), total_iter=99, warmup_iter=warmup
    )
    learner = Learner(torch.nn.Linear(1, 1), train, train.optim_g)
    ours = [learner.learning_rate(i) for i in range(1, record.UPDATES + 1)]
    theirs = RECORDED['rates'][f'{name}, warm-up {warmup}']
    if warmup > 0 and schedule['type'].startswith('MultiStep'):
        # theirs goes on from the last rate of the warm-up, until it begins anew: see MultiStepLR
        again = next((at for at in schedule.get('restarts', []) if at), record.UPDATES)
        theirs = [rate * warmup / (warmup - 1) if warmup <= i <= again else rate for i, rate in enumerate(theirs, 1)]
    assert ours == pytest.approx(theirs, rel=1e-12)


def fits(counts, expected):
    """Pearson's statistic over its degrees of freedom, of counts that have these probabilities."""
    counts, expected = np.asarray(counts, float), np.asarray(expected) * sum(counts)
    assert not counts[expected == 0].any(), 'something was drawn that never is there'
    there = expected > 0
    statistic = float(((counts - expected)[there] ** 2 / expected[there]).sum())
    freedom = there.sum() - 1
    return abs(statistic - freedom) < 5 * np.sqrt(2 * freedom)


@pytest.fixture(scope='module')
def clip(tmp_path_factory):
    """A clip of 100 frames, as REDS has them."""
    root = tmp_path_factory.mktemp('reds')
    for kind, side in (('gt', 16), ('lq', 8)):
        folder = root / kind / '000'
        folder.mkdir(parents=True)
        cv2.imwrite(str(root / f'{kind}.png'), np.zeros((side, side, 3), np.uint8))
        for i in range(100):
            os.link(root / f'{kind}.png', folder / f'{i:08d}.png')
    return root


@pytest.mark.parametrize('name', RECORDED['windows'])
def test_windows_are_drawn_alike(name, clip):
    _, count, interval = name.split()
    data = UVSSMDataset(
        str(clip / 'gt'), str(clip / 'lq'), num_frame=int(count), interval_list=[int(interval)], gt_size=16, scale=2
    )
    rng = np.random.default_rng(1)
    starts = [data._frames('000', rng) for _ in range(DRAWS)]
    assert all(np.diff(frames).tolist() == [int(interval)] * (int(count) - 1) for frames in starts[:50])
    counts = np.bincount([frames[0] for frames in starts], minlength=100)
    assert fits(counts, RECORDED['windows'][name])


def test_crops_and_turns_are_drawn_alike():
    rng = np.random.default_rng(2)
    corners = [random_crop(rng, (40, 40), 16)[:2] for _ in range(DRAWS)]
    for axis in (0, 1):
        assert fits(np.bincount([c[axis] for c in corners], minlength=25), RECORDED['crops'])
    numbers = torch.stack([random_turn(rng, True, True).long() for _ in range(DRAWS)]) @ torch.tensor([1, 2, 4])
    assert fits(np.bincount(numbers.numpy(), minlength=8), RECORDED['turns'])


@pytest.mark.parametrize('name', RECORDED['metrics'])
def test_metrics(name):
    channel, border = name.split()
    first, second = record.pictures()
    for metric, measure in (('psnr', calculate_psnr), ('ssim', calculate_ssim)):
        found = measure(first, second, int(border), channel == 'y')
        assert found == pytest.approx(RECORDED['metrics'][name][metric], abs=1e-6)


def test_weights_after_ten_steps(pairs, monkeypatch):
    monkeypatch.chdir(pairs())
    about = record.TRAINING
    options = tiny_options('EDVRModel')
    options['network_g'] = {'type': 'EDSR', 'num_feat': 4, 'num_block': 1, 'upscale': 2}
    options['train'] |= {
        'optim_g': {'type': 'Adam', 'lr': about['lr'], 'betas': list(about['betas'])},
        'scheduler': {'type': 'CosineAnnealingRestartLR', **record.SCHEDULE},
        'pixel_opt': {'type': 'CharbonnierLoss', 'loss_weight': 1.0, 'reduction': 'sum'},
        'warmup_iter': about['warmup'],
        'ema_decay': about['ema'],
        'total_iter': about['steps'],
    }
    options['datasets']['train']['center_gt'] = False
    options['train']['optim_g']['weight_decay'] = about['weight_decay']
    with open('opt.yml', 'w') as file:
        yaml.safe_dump(options, file)
    model = build_model(load_options('opt.yml'), torch.device('cpu'))
    for net in (model.net, model.generator.ema):
        missing = net.load_state_dict({k: v.float() for k, v in record.initial().items()}, strict=False)
        assert not missing.unexpected_keys
        assert missing.missing_keys in ([], ['mean'])
    losses = []
    for step in range(1, about['steps'] + 1):
        lq, gt = record.batch(step)
        outcome = model.step({'lq': lq.float().unsqueeze(1), 'gt': gt.float().unsqueeze(1)}, step)
        losses.append(float(sum(outcome.terms.values())))
    wanted = RECORDED['ten_steps']
    assert losses == pytest.approx(wanted['losses'], rel=1e-4)
    for key, net in (('params', model.net), ('params_ema', model.generator.ema)):
        found = record.told(dict(net.named_parameters()))
        assert found.keys() == wanted[key].keys()
        for name, values in found.items():
            assert values == pytest.approx(wanted[key][name], rel=1e-3, abs=2e-4), name
