"""Promise P9 on one process: a signal ends a run after this step and a checkpoint, and the same command goes on."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import VDSR

from votes import checkpoint
from votes.cli import main
from votes.processes.signals import StopRequests

RUN = Path('experiments/tiny')


def weights(name='tiny', n=6):
    return checkpoint.read_weights(Path('experiments', name, 'models', f'net_g_{n}.pth'))


def options(place, **changes):
    long = {'train__total_iter': 6, 'train__scheduler': None, 'logger__save_checkpoint_freq': 100, 'val__val_freq': 3}
    quick = {'model_type': 'EDVRModel', 'network_g': VDSR, 'datasets__train__center_gt': False}
    return place(**{**long, **quick, **changes})


QUICK = [('SIGTERM', 0), ('SIGINT', 1)]
CASES = [(name, workers) for name in ('SIGTERM', 'SIGINT', 'SIGUSR1', 'SIGHUP') for workers in (0, 1)]


@pytest.mark.parametrize(
    ('name', 'workers'), [pytest.param(*case, marks=() if case in QUICK else pytest.mark.long) for case in CASES]
)
def test_stops_at_this_step_and_goes_on(place, name, workers):
    loader = {'datasets__train__num_worker_per_gpu': workers}
    plain = {'type': 'CharbonnierLoss', 'epsilon': 1e-3}
    assert main(['train', '-opt', options(place, name='whole', train__pixel_opt=plain, **loader)]) == 0
    loss = {'type': 'faults:SignalledLoss', 'at': [3], 'name': name}
    assert main(['train', '-opt', options(place, train__pixel_opt=loss, **loader)]) == 75
    marker = json.loads((RUN / 'PREEMPTED.json').read_text())
    assert marker['iter'] == 3
    assert marker['signal'] == name
    assert checkpoint.load(RUN / 'training_states' / '3.state')['position']['validated'] == 0, 'validation can wait'
    assert main(['train', '-opt', options(place, train__pixel_opt=plain, **loader), '--allow_changes']) == 0
    assert not (RUN / 'PREEMPTED.json').exists()
    whole, resumed = weights('whole'), weights()
    assert all(torch.equal(whole[k], resumed[k]) for k in whole)
    assert (RUN / 'previews' / '00000003.png').exists(), 'and was made up for'


def test_validation_is_given_up(place, monkeypatch):
    """A signal in a long validation does not wait for its end."""
    from votes.models.restoration_model import RestorationModel

    original, calls = RestorationModel.baselines, []

    def baselines(self, lq):
        calls.append(1)
        if len(calls) == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, lq)

    monkeypatch.setattr(RestorationModel, 'baselines', baselines)
    assert main(['train', '-opt', options(place)]) == 75
    assert len(calls) == 4, 'of 21 frames'
    assert json.loads((RUN / 'PREEMPTED.json').read_text())['iter'] == 3
    assert main(['train', '-opt', 'opt.yml']) == 0
    assert (RUN / 'previews' / '00000003.png').exists(), 'and made up for'


def test_a_signal_before_the_first_step_is_kept(place, monkeypatch):
    """While libraries load and networks are built: exit code 75, for SLURM to queue it again, and no step."""
    from votes import train

    def build(opt, device, original=train.build_model):
        os.kill(os.getpid(), signal.SIGUSR1)
        return original(opt, device)

    monkeypatch.setattr(train, 'build_model', build)
    assert main(['train', '-opt', options(place)]) == 75
    assert json.loads((RUN / 'PREEMPTED.json').read_text())['iter'] == 0
    assert not (RUN / 'metrics.jsonl').exists()


def test_a_signal_while_libraries_load(place):
    """The handler stands before torch is imported."""
    code = (
        'import os, signal, sys\n'
        'class Meddler:\n'
        '    def find_spec(self, name, *rest):\n'
        '        if name == "torch": os.kill(os.getpid(), signal.SIGTERM)\n'
        'sys.meta_path.insert(0, Meddler())\n'
        'from votes.cli import main\n'
        'sys.exit(main(["train", "-opt", "opt.yml"]))'
    )
    options(place)
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 75, done.stderr
    assert json.loads((RUN / 'PREEMPTED.json').read_text())['signal'] == 'SIGTERM'


def test_a_second_ctrl_c_leaves_at_once():
    before = signal.getsignal(signal.SIGINT)
    with StopRequests() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.requested == 'SIGINT'
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) == before
