"""Promises P7 to P12 and P15 on two processes, through `votes launch` and dist_train.sh, torchrun and gloo."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from votes import checkpoint
from votes.cli import main

ROOT = Path(__file__).resolve().parents[2]
PLAIN = {'type': 'CharbonnierLoss', 'epsilon': 1e-3}
SMALL = {'datasets__train__batch_size_per_gpu': 1, 'train__total_iter': 6, 'train__scheduler': None}
SMALL |= {'val': None, 'datasets__val': None, 'train__pixel_opt': PLAIN, 'logger__save_checkpoint_freq': 1}


def environment():
    paths = f'{ROOT}:{ROOT / "tests"}'
    return {**os.environ, 'PYTHONPATH': paths, 'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}'}


def start(*arguments, program='train', more=()):
    command = [
        sys.executable,
        '-m',
        'votes.cli',
        'launch',
        '--nproc',
        '2',
        *arguments,
        program,
        '-opt',
        'opt.yml',
        *more,
    ]
    return subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def launch(*arguments, **options):
    process = start(*arguments, **options)
    output, _ = process.communicate(timeout=200)
    assert not left_over(), 'no orphans'
    return process.returncode, output


def ranks(program='train'):
    """What `launch` starts, without torchrun."""
    with socket.socket() as probe:
        probe.bind(('localhost', 0))
        port = probe.getsockname()[1]
    place = {'MASTER_ADDR': 'localhost', 'MASTER_PORT': str(port), 'WORLD_SIZE': '2', 'LOCAL_WORLD_SIZE': '2'}
    command = [sys.executable, '-m', 'votes.cli', program, '-opt', 'opt.yml', '--launcher', 'pytorch']
    both = [
        subprocess.Popen(
            command,
            env={**environment(), **place, 'RANK': rank, 'LOCAL_RANK': rank},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in '01'
    ]
    output = ''.join(process.communicate(timeout=200)[0] for process in both)
    return max(process.returncode for process in both), output


STARTED = pytest.mark.parametrize('started', [ranks, pytest.param(launch, marks=pytest.mark.long)])


def left_over():
    """Processes that still work in this folder, which every test has for itself."""
    found = []
    for process in Path('/proc').glob('[0-9]*'):
        try:
            here = process.joinpath('cwd').resolve() == Path.cwd() and int(process.name) != os.getpid()
            found += [process.name] if here and process.joinpath('cmdline').read_bytes() else []
        except OSError:
            continue
    return found


def weights(n=6, name='tiny', key=None):
    return checkpoint.read_weights(Path('experiments', name, 'models', f'net_g_{n}.pth'), key)


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory):
    """A folder for the run that all the others are compared with."""
    return tmp_path_factory.mktemp('undisturbed') / 'whole'


@pytest.fixture
def whole(place, undisturbed):
    """Weights of an undisturbed run of two processes, called 'whole'; returns the writer of option files."""
    place(**SMALL, name='whole')
    if not undisturbed.is_dir():
        code, output = launch()
        assert code == 0, output
        shutil.copytree('experiments/whole', undisturbed)
    else:
        shutil.copytree(undisturbed, 'experiments/whole')
    return place


def test_dist_train_does_what_one_process_does(place):
    """P7: the same samples a step, shared out."""
    small = {'train__optim_g__lr': 1e-4, 'train__scheduler': None}
    pair = {'dist_params__backend': 'nccl', 'train__static_graph': True}
    file = place(datasets__train__batch_size_per_gpu=1, **pair, **small)
    done = subprocess.run(
        ['bash', str(ROOT / 'dist_train.sh'), '2', file, '43217', '--set', 'logger.print_freq=2'],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert 'nccl needs GPUs; gloo is used' in done.stdout, 'num_gpu: 0 in these option files'
    assert done.stdout.count('it 4/4') == 1, 'only one rank speaks'
    two = weights(4)
    shutil.rmtree('experiments')
    assert main(['train', '-opt', place(**small)]) == 0
    one = weights(4)
    distance = sum(float((one[k] - two[k]).square().sum()) for k in one) ** 0.5
    assert distance / sum(float(v.square().sum()) for v in one.values()) ** 0.5 < 1e-5


@pytest.mark.long
def test_resume_on_two_processes(whole):
    """P1 with bf16, accumulation, a moving average and workers, from the middle of an epoch."""
    changes = {'train__amp': 'bf16', 'train__accumulate': 2, 'train__ema_decay': 0.9, 'train__pixel_opt': PLAIN}
    whole(**{**SMALL, **changes, 'datasets__train__num_worker_per_gpu': 2})
    assert launch()[0] == 0
    first = weights(key='params'), weights(key='params_ema')
    for n in (3, 4, 5, 6, 'latest'):
        Path(f'experiments/tiny/models/net_g_{n}.pth').unlink()
    code, output = launch()
    assert code == 0
    assert 'checkpoint 3 is passed over' in output
    assert 'resumed from experiments/tiny/training_states/2.state' in output
    assert same(first[0], weights(key='params'))
    assert same(first[1], weights(key='params_ema'))


@pytest.mark.long
def test_two_machines(place, monkeypatch):
    """Each with a launcher of its own, meeting at a rendezvous; here both are this one."""
    monkeypatch.setenv('OMP_NUM_THREADS', '1')  # both are this machine: their threads would wait for each other
    place(**SMALL)
    with socket.socket() as probe:
        probe.bind(('localhost', 0))
        port = probe.getsockname()[1]
    meeting = ['--nproc', '1', '--nnodes', '2', '--rdzv', f'localhost:{port}', '--rdzv-id', 'test']
    machines = [start(*meeting) for _ in range(2)]
    output = [machine.communicate(timeout=200)[0] for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], output
    assert 'on cpu x 2' in ''.join(output)
    assert ''.join(output).count('it 6/6') == 1


def test_a_port_in_use(place, capsys):
    with socket.socket() as other:
        other.bind(('localhost', 0))
        other.listen()
        port = other.getsockname()[1]
        assert main(['launch', '--nproc', '2', '--port', str(port), 'train', '-opt', place()]) == 2
    assert 'this port is in use' in capsys.readouterr().err
    assert main(['launch', '--nnodes', '2', 'train', '-opt', 'opt.yml']) == 2
    assert '--rdzv HOST:PORT' in capsys.readouterr().err


@STARTED
def test_a_nan_on_one_rank_is_skipped_by_both(place, started):
    """P8: no rank runs ahead, and the log names rank and samples."""
    place(**{**SMALL, 'train__pixel_opt': {'type': 'faults:NanLoss', 'at': [3], 'rank': 1}})
    code, output = started()
    assert code == 0, output
    assert same(weights(2), weights(3))
    assert not same(weights(3), weights(4))
    assert re.search(r'rank 1: l_pix = nan; samples \[.00\d/', output)
    assert 'rank 0: l_pix' not in output
    assert 'the batch is in experiments/tiny/bad_batches/3_rank1.pth' in output
    assert 'rank0.pth' not in output, 'not the file of a rank whose batch was good'
    assert [p.name for p in Path('experiments/tiny/bad_batches').iterdir()] == ['3_rank1.pth']
    state = checkpoint.load('experiments/tiny/training_states/6.state')
    assert state['position']['consumed'] == 12
    assert int(state['optimizers'][0]['state'][0]['step']) == 5


@pytest.mark.parametrize(
    ('target', 'on'),
    [('launcher', False), *(pytest.param(who, True, marks=pytest.mark.long) for who in ('launcher', 'rank 1'))],
)
def test_signals(place, request, target, on):
    """P9: one checkpoint at a common step, exit code 75, and the same weights in the end."""
    write = request.getfixturevalue('whole') if target == 'rank 1' else place
    loss = PLAIN if target == 'launcher' else {'type': 'faults:SignalledLoss', 'at': [2], 'rank': 1, 'name': 'SIGUSR1'}
    long = {} if target == 'rank 1' else {'train__total_iter': 100_000, 'logger__save_checkpoint_freq': 10**6}
    write(**{**SMALL, 'train__pixel_opt': loss, **long})
    process = start()
    output = []
    if target == 'launcher':
        for line in process.stdout:
            output.append(line)
            if line.startswith('it 2/'):
                process.send_signal(signal.SIGUSR1)
                break
    output.append(process.communicate(timeout=100)[0])
    assert process.returncode == 75, ''.join(output)
    stopped = json.loads(Path('experiments/tiny/PREEMPTED.json').read_text())['iter']
    assert stopped == 2 if target == 'rank 1' else stopped >= 2
    if not on:
        return
    write(**{**SMALL, 'train__total_iter': max(6, stopped + 2)})
    code, text = launch(more=['--allow_changes'] if target == 'rank 1' else [])
    assert code == 0, text
    assert not Path('experiments/tiny/PREEMPTED.json').exists()
    if target == 'rank 1':
        assert same(weights(), weights(name='whole'))


@pytest.mark.long
def test_a_killed_rank_is_started_again(whole):
    """P11: with --max-restarts, kill -9 of a rank costs only the steps since the last checkpoint."""
    whole(**{**SMALL, 'train__pixel_opt': {'type': 'faults:KilledLoss', 'at': [4], 'rank': 1, 'once': 'killed'}})
    code, output = launch('--max-restarts', '1')
    assert code == 0, output
    assert Path('killed').exists()
    assert 'resumed from experiments/tiny/training_states/3.state' in output
    assert same(weights(), weights(name='whole'))


@pytest.mark.parametrize(
    'kind', [*(pytest.param(kind, marks=pytest.mark.long) for kind in ('RaisingLoss', 'HangingLoss')), 'KilledLoss']
)
def test_a_rank_that_fails_ends_the_run(place, kind):
    """P10, P15: a non-zero exit within the time-out, the cause readable, nothing half-written, no orphans."""
    place(
        **{**SMALL, 'train__pixel_opt': {'type': f'faults:{kind}', 'at': [3], 'rank': 1}, 'dist_params__timeout': 5.0}
    )
    started = time.monotonic()
    code, output = launch()
    assert code not in (0, 2, 75)
    assert time.monotonic() - started < 150
    if kind == 'RaisingLoss':
        assert 'RuntimeError: out of luck' in output
        assert re.search(r'iteration +3', output)
    assert not list(Path('experiments').rglob('*.tmp*'))
    assert main(['checkpoint', 'verify', 'experiments/tiny']) == 0


@pytest.mark.long
def test_refused_input_is_exit_code_2(place):
    """P15: also through torchrun, which turns every failure into 1."""
    place(network_g__num_feats=3)
    code, output = launch()
    assert code == 2
    assert 'num_feats: unknown key' in output


@STARTED
def test_validation_shared_out_equals_one_process(place, started):
    """P12: 21 frames on two ranks, two sets, every frame once."""
    second = {'type': 'VideoUVSSMTestDataset', 'dataroot_gt': 'gt', 'dataroot_lq': 'lq', 'padding': 'replicate'}
    changes = {'train': None, 'datasets__train': None, 'datasets__test_2': second, 'val': {'save_img': True}}
    place('EDVRModel', path={'pretrain_network_g': None}, manual_seed=1, **changes)
    assert main(['train', '-opt', place('EDVRModel', file='train.yml')]) == 0
    weights_file = 'experiments/tiny/models/net_g_latest.pth'
    place('EDVRModel', path={'pretrain_network_g': weights_file}, **changes)
    assert main(['test', '-opt', 'opt.yml']) == 0
    shutil.move('results', 'alone')
    code, output = started(program='test')
    assert code == 0, output
    one, two = (json.loads(Path(root, 'tiny/results.json').read_text())['results'] for root in ('alone', 'results'))
    assert one.keys() == two.keys() == {'val', 'test_2'}
    for name in one:
        frames = [one[name]['frames'], two[name]['frames']]
        assert [(f['clip'], f['index']) for f in frames[0]] == [(f['clip'], f['index']) for f in frames[1]]
        for a, b in zip(*frames, strict=True):
            assert a['restored']['psnr'] == pytest.approx(b['restored']['psnr'], abs=1e-9)
            assert a['restored']['ssim'] == pytest.approx(b['restored']['ssim'], abs=1e-9)
    pictures = [sorted(p.relative_to(r) for p in Path(r).rglob('*.png')) for r in ('alone', 'results')]
    assert pictures[0] == pictures[1]
    assert len(pictures[0]) == 42


HEADS = '''
from torch import nn
from votes.archs.contract import Frame


class Heads(nn.Module):
    """Two pictures, of parameters of their own."""

    sees, scale = Frame(), 1

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        return {'out': x + self.first(x), 'other': x + self.second(x)}
'''


@pytest.mark.long
def test_an_output_whose_loss_begins_later(place):
    """Its parameters take part in the averaging over ranks before, and do not move."""
    Path('heads.py').write_text(HEADS)
    Path('lq').rename('small')
    shutil.copytree('gt', 'lq')
    losses = {'now': {'type': 'L1Loss'}, 'late': {'type': 'L1Loss', 'output': 'other', 'from_iter': 3}}
    heads = {'network_g': {'type': 'heads:Heads'}, 'scale': 1, 'datasets__train__center_gt': False}
    place('EDVRModel', **{**SMALL, **heads, 'train__pixel_opt': None, 'train__losses': losses})
    code, output = launch()
    assert code == 0, output
    first, third, last = (weights(n, key='params') for n in (1, 3, 6))
    assert torch.equal(first['second.weight'], third['second.weight'])
    assert not torch.equal(third['second.weight'], last['second.weight'])
    assert not torch.equal(first['first.weight'], third['first.weight'])
