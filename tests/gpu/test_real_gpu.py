"""On a machine with a GPU: networks, training, launching and restoring there against the same on the CPU.

`bash scripts/bench_gpu.sh` runs them. Without a GPU one network goes through the same code on the CPU.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import VDSR, write_clip
from gpu.networks import WHOLE, training

from votes import checkpoint
from votes.archs import build_network
from votes.cli import main
from votes.models import build_model
from votes.video.degrade import encode_h264
from votes.video.read import VideoReader

GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU')]
QUICK = {'model_type': 'EDVRModel', 'network_g': VDSR, 'datasets__train__center_gt': False}
NEAR = {'none': 1e-2, 'bf16': 1e-1}  # of losses, relative: TF32, other orders of sums


def losses(name, amp, device):
    """Two steps from the same weights."""
    _, opt, batch = training(name, amp)
    torch.manual_seed(0)
    model = build_model(opt, torch.device(device))
    found = [model.step(batch, i) for i in (1, 2)]
    assert all(outcome.finite for outcome in found)
    return [float(sum(outcome.terms.values())) for outcome in found]


@pytest.mark.parametrize('amp', ['none', 'bf16'])
@pytest.mark.parametrize(
    ('name', 'device'), [('VDSR', 'cpu'), *(pytest.param(name, 'cuda', marks=GPU) for name in WHOLE)]
)
def test_two_steps_are_those_of_the_cpu(name, device, amp):
    assert losses(name, amp, device) == pytest.approx(losses(name, 'none', 'cpu'), rel=NEAR[amp])


@pytest.mark.parametrize('gpus', [0, pytest.param(1, marks=GPU)])
def test_a_run_that_stopped_goes_on(place, gpus):
    """The loop with its loader, checkpoints, validation and pictures; deterministic, so that the end is the same."""
    how = {**QUICK, 'num_gpu': gpus, 'deterministic': True, 'datasets__train__prefetch_mode': 'cuda'}
    assert main(['train', '-opt', place(file='whole.yml', name='whole', **how)]) == 0
    file = place(file='parts.yml', name='parts', **how)
    assert main(['train', '-opt', file, '--set', 'train.total_iter=2']) == 0
    assert main(['train', '-opt', file]) == 0
    whole, parts = (checkpoint.read_weights(f'experiments/{name}/models/net_g_4.pth') for name in ('whole', 'parts'))
    assert all(torch.equal(value, parts[key]) for key, value in whole.items())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU')
def test_launched_on_every_gpu(place):
    """nccl: a process a GPU."""
    file = place(**QUICK, num_gpu='auto')
    assert main(['launch', '--nproc', 'auto', 'train', '-opt', file]) == 0
    lines = Path('experiments/tiny/metrics.jsonl').read_text().splitlines()
    assert sum(json.loads(line)['kind'] == 'train' for line in lines) == 4


@pytest.mark.parametrize('device', ['cpu', pytest.param('cuda', marks=GPU)])
@pytest.mark.parametrize('more', [[], ['--tile', '64']])
def test_a_restored_video_is_that_of_the_cpu(tmp_path, monkeypatch, device, more):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    checkpoint.save({'params': build_network(VDSR).state_dict(), 'network_g': VDSR}, 'W.pth')
    encode_h264(write_clip(Path('clip'), 4, (64, 96)), 'in.mp4', 20)
    for name, where in (('here', 'cpu'), ('there', device)):
        assert main(['restore', 'in.mp4', f'{name}.mp4', '--weights', 'W.pth', '--device', where, *more]) == 0
    here, there = (pictures(f'{name}.mp4') for name in ('here', 'there'))
    assert here.shape == there.shape == (4, 128, 192, 3)
    assert np.square(here - there).mean() < 2, '45 dB'


def pictures(path):
    with VideoReader(path) as reader:
        return np.stack([frame.rgb for frame in reader]).astype(float)
