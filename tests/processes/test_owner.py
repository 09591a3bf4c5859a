"""One training in one folder: a second start, `--restart`, killed launchers, two launchers, frozen data workers."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import VDSR

from votes import checkpoint
from votes.cli import main
from votes.processes.lease import Lease, owner_of

ROOT = Path(__file__).resolve().parents[2]
RUN = Path('experiments/tiny')
LONG = {'model_type': 'EDVRModel', 'network_g': VDSR, 'datasets__train__center_gt': False, 'train__scheduler': None}
LONG |= {'train__total_iter': 10**6, 'val__val_freq': 10**6, 'logger__save_checkpoint_freq': 10**6}
LONG |= {'datasets__train__batch_size_per_gpu': 1}


def start(*arguments, folder='.', **variables):
    environment = {**os.environ, 'PYTHONPATH': f'{ROOT}:{ROOT / "tests"}', 'OMP_NUM_THREADS': '1', **variables}
    return subprocess.Popen(
        [sys.executable, '-m', 'votes.cli', *arguments],
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_until(condition, seconds=100):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def running():
    """Processes that work in this folder, which every test has for itself."""
    found = []
    for process in Path('/proc').glob('[0-9]*'):
        try:
            here = process.joinpath('cwd').resolve() == Path.cwd() and int(process.name) != os.getpid()
            found += [int(process.name)] if here and process.joinpath('cmdline').read_bytes() else []
        except OSError:
            continue
    return found


def trains():
    path = RUN / 'metrics.jsonl'
    return path.exists() and '"iter": 3' in path.read_text()


def test_a_second_start_is_refused_and_harms_nothing(place, capsys):
    file = place(**LONG)
    first = start('train', '-opt', file)
    wait_until(trains)
    for more in ([], ['--restart'], ['--set', 'manual_seed=9', '--allow_changes']):
        assert main(['train', '-opt', file, *more]) == 2
        error = capsys.readouterr().err
        assert f'another process owns this folder: training, process {first.pid} on ' in error
        assert main(['checkpoint', 'verify', '--repair', str(RUN)]) == 2
    first.terminate()
    output, _ = first.communicate(timeout=60)
    assert first.returncode == 75, output
    iterations = [json.loads(line)['iter'] for line in (RUN / 'metrics.jsonl').read_text().splitlines()]
    assert iterations == list(range(1, len(iterations) + 1))
    assert owner_of(RUN) is None


def test_a_killed_training_is_succeeded_at_once(place):
    first = start('train', '-opt', place(**LONG))
    wait_until(trains)
    first.kill()
    first.wait()
    assert main(['train', '-opt', place(**{**LONG, 'train__total_iter': 4})]) == 0


def test_a_training_that_lost_its_folder_stops_and_writes_nothing(place, monkeypatch, capsys):
    monkeypatch.setattr('votes.processes.lease.BEAT', 0.05)
    acquire = Lease.acquire

    def acquired(self):
        self.beat = 0.05
        acquire(self)
        RUN.with_name('.tiny.owner.9.json').write_text(json.dumps({'what': 'training', 'pid': 7, 'host': 'far'}))

    monkeypatch.setattr(Lease, 'acquire', acquired)
    assert main(['train', '-opt', place(**{**LONG, 'logger__print_freq': 10**6})]) == 1
    assert 'belongs to training, process 7 on far' in capsys.readouterr().err
    assert not list(RUN.glob('models/*'))


@pytest.mark.long
@pytest.mark.parametrize('victim', ['launcher', 'agent'])
def test_ranks_end_with_their_launcher(place, victim):
    """Killed, it could not tell them. They save, and the folder is free again."""
    launcher = start('launch', '--nproc', '2', 'train', '-opt', place(**LONG))
    wait_until(trains)
    agent = int(Path(f'/proc/{launcher.pid}/task/{launcher.pid}/children').read_text().split()[0])
    os.kill(launcher.pid if victim == 'launcher' else agent, signal.SIGKILL)
    wait_until(lambda: not running(), 40)
    launcher.communicate()
    assert (RUN / 'PREEMPTED.json').exists()
    assert main(['checkpoint', 'verify', str(RUN)]) == 0
    assert owner_of(RUN) is None


def test_a_training_ends_with_the_program_that_started_it(place):
    """A study that is killed, for instance."""
    place(**LONG)
    code = (
        'import os, subprocess, sys\n'
        'from votes.processes.parent import child_environment\n'
        'command = [sys.executable, "-m", "votes.cli", "train", "-opt", "opt.yml"]\n'
        'subprocess.run(command, env={**os.environ, **child_environment()})'
    )
    environment = {**os.environ, 'PYTHONPATH': f'{ROOT}:{ROOT / "tests"}', 'OMP_NUM_THREADS': '1'}
    study = subprocess.Popen([sys.executable, '-c', code], env=environment, stdout=subprocess.DEVNULL)
    wait_until(trains)
    study.kill()
    study.wait()
    wait_until(lambda: not running(), 30)
    assert checkpoint.read_record(RUN / 'PREEMPTED.json')['signal'] == 'SIGTERM'


@pytest.mark.long
def test_a_stop_is_quiet_and_says_which_signal(place):
    launcher = start('launch', '--nproc', '2', 'train', '-opt', place(**LONG))
    wait_until(trains)
    launcher.send_signal(signal.SIGUSR1)
    output, _ = launcher.communicate(timeout=60)
    assert launcher.returncode == 75, output
    assert 'Traceback' not in output
    assert 'torch' not in output.lower()
    assert checkpoint.read_record(RUN / 'PREEMPTED.json')['signal'] == 'SIGUSR1'


def test_a_bad_option_is_said_once(place):
    place(**{**LONG, 'train__total_itr': 3})
    launcher = start('launch', '--nproc', '2', 'train', '-opt', 'opt.yml')
    output, _ = launcher.communicate(timeout=60)
    assert launcher.returncode == 2
    assert output.count('total_itr: unknown key') == 1
    assert len(output.splitlines()) <= 4, output


def test_a_stop_while_the_launcher_starts(place):
    launcher = start('launch', '--nproc', '2', 'train', '-opt', place(**LONG))
    wait_until(lambda: Path(f'/proc/{launcher.pid}/task/{launcher.pid}/children').read_text())
    launcher.terminate()
    output, _ = launcher.communicate(timeout=60)
    assert launcher.returncode == 75, output
    wait_until(lambda: not running(), 30)


@pytest.mark.parametrize('asked', [*(pytest.param(who, marks=pytest.mark.long) for who in ('first', 'second')), 'both'])
def test_two_launchers_stop_together(place, asked):
    place(**LONG)
    with socket.socket() as probe:
        probe.bind(('localhost', 0))
        port = probe.getsockname()[1]
    meeting = ['--nproc', '1', '--nnodes', '2', '--rdzv', f'localhost:{port}', '--rdzv-id', 'test']
    launchers = [start('launch', *meeting, 'train', '-opt', 'opt.yml') for _ in range(2)]
    wait_until(trains)
    for launcher in {'first': launchers[:1], 'second': launchers[1:], 'both': launchers}[asked]:
        launcher.terminate()
    asked_at = time.monotonic()
    output = [launcher.communicate(timeout=60)[0] for launcher in launchers]
    assert [launcher.returncode for launcher in launchers] == [75, 75], output
    assert time.monotonic() - asked_at < 30
    assert 'Traceback' not in ''.join(output)


@pytest.mark.parametrize('ranks', [1, pytest.param(2, marks=pytest.mark.long)])
def test_a_frozen_data_worker_is_named(place, ranks):
    """The run saves what it has and ends; a step that lacks samples on one rank is no step on any."""
    loader = {'datasets__train__num_worker_per_gpu': 1, 'datasets__train__worker_timeout': 2}
    file = place(**{**LONG, **loader})
    more = ['launch', '--nproc', '2'] if ranks == 2 else []
    trainer = start(*more, 'train', '-opt', file)
    wait_until(trains)
    workers = [pid for pid in running() if is_data_worker(pid)]
    assert len(workers) == ranks
    os.kill(workers[-1], signal.SIGSTOP)
    output, _ = trainer.communicate(timeout=60)
    assert trainer.returncode == 1, output
    assert re.search(rf'rank \d: data worker 0 \(process {workers[-1]}\) has given nothing for 2 s', output)
    assert 'datasets.train.worker_timeout' in output
    saved = int(re.search(r'Saved after iteration (\d+)', output)[1])
    state = checkpoint.load(RUN / 'training_states' / f'{saved}.state')
    assert state['position']['consumed'] == saved * ranks
    assert int(state['optimizers'][0]['state'][0]['step']) == saved
    wait_until(lambda: not running(), 30)
    assert torch.isfinite(checkpoint.read_weights(RUN / f'models/net_g_{saved}.pth')['body.0.0.weight']).all()


def is_data_worker(pid):
    """A process that was forked by a training in this folder, and has the same command line."""
    try:
        parent = Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()[1]
        mine, its = (Path(f'/proc/{p}/cmdline').read_bytes() for p in (pid, parent))
    except OSError:
        return False
    return mine == its and int(parent) in running()
