"""scripts/slurm_train.sh with a cluster made of three shell scripts."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / 'scripts' / 'slurm_train.sh'


@pytest.fixture
def cluster(tmp_path):
    """Puts `srun` (which does what the given shell code says) and `scontrol` on the path; returns a starter."""

    def command(name, code):
        path = tmp_path / 'bin' / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'#!/usr/bin/env bash\n{code}\n')
        path.chmod(0o755)

    def start(srun, slow=':', **variables):
        command('srun', f'printf "%s\\n" "$@" > {tmp_path}/srun.log\n{srun}')
        nodes = f'{slow}; printf "n1\\nn2\\n"'
        command('scontrol', f'echo "$@" >> {tmp_path}/scontrol.log; [ "$1" = requeue ] || {{ {nodes}; }}')
        path = {'PATH': f'{tmp_path}/bin:{os.environ["PATH"]}', 'SLURM_JOB_ID': '41', 'SLURM_SUBMIT_DIR': str(tmp_path)}
        return subprocess.Popen(
            ['bash', str(SCRIPT), 'o.yml', '--set', 'a=1'], env={**os.environ, **path, **variables}, text=True
        )

    return start


def log(tmp_path, name):
    path = tmp_path / f'{name}.log'
    return path.read_text() if path.exists() else ''


PATIENT = 'trap "sleep 0.5; exit 75" TERM; touch ready; for i in $(seq 100); do sleep 0.1; done'


@pytest.mark.parametrize('sent', [signal.SIGTERM, signal.SIGUSR1])
def test_a_job_whose_time_is_up_saves_and_queues_again(cluster, tmp_path, sent):
    job = cluster(PATIENT)
    while not (tmp_path / 'ready').exists():
        time.sleep(0.02)
    job.send_signal(sent)
    assert job.wait(20) == 0
    assert log(tmp_path, 'scontrol') == 'requeue 41\n'


@pytest.mark.parametrize('code', [143, 138])
def test_a_signal_at_start_up_is_no_end(cluster, tmp_path, code):
    """Before Python listens, a signal kills it; nothing is lost by that."""
    job = cluster(PATIENT.replace('exit 75', f'exit {code}'))
    while not (tmp_path / 'ready').exists():
        time.sleep(0.02)
    job.send_signal(signal.SIGTERM)
    assert job.wait(20) == 0
    assert log(tmp_path, 'scontrol') == 'requeue 41\n'


@pytest.mark.parametrize('code', [0, 1, 2, 143])
def test_other_ends_are_ends(cluster, tmp_path, code):
    assert cluster(f'exit {code}').wait(20) == code
    assert 'requeue' not in log(tmp_path, 'scontrol')


def test_several_nodes_meet_at_the_first(cluster, tmp_path):
    assert cluster('exit 0', SLURM_NNODES='2', SLURM_JOB_NODELIST='n[1-2]', SLURM_GPUS_ON_NODE='4').wait(20) == 0
    arguments = ' '.join(log(tmp_path, 'srun').split()[2:])
    place = '--nnodes 2 --rdzv n1:20041 --rdzv-id 41'
    assert arguments == f'votes.cli launch --nproc 4 {place} train -opt o.yml --set a=1'


def test_a_signal_before_the_start_is_heard(cluster, tmp_path):
    """While the nodes are asked for there is no child that it could be passed on to."""
    job = cluster(PATIENT, slow='touch asked; sleep 1', SLURM_NNODES='2', SLURM_JOB_NODELIST='n[1-2]')
    while not (tmp_path / 'asked').exists():
        time.sleep(0.02)
    job.send_signal(signal.SIGTERM)
    assert job.wait(20) == 0
    assert 'requeue 41' in log(tmp_path, 'scontrol')
