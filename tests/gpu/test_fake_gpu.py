"""Every network trains a step and restores on a GPU that holds no values: what shows on a real one shows here."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from gpu.networks import WHOLE

PROGRAM = Path(__file__).with_name('on_fake_gpu.py')
TOGETHER = 8  # networks of a process
# what decides the loss scale of float16 is a value
SCALED = {'models/learner.py:judge', 'models/learner.py:update'}
# networks that decide by values what is computed
DECIDES = {
    'ByQuantiser': {'archs/by_quantiser_arch.py:restored'},
    'CDAVSR': {'archs/cdavsr_arch.py:forward', 'archs/cdavsr_arch.py:step'},
    'MFQE': {'archs/mfqe_arch.py:forward'},
}
PROGRAMS = ['VDSR', 'VOTES', 'FRVSR', 'BasicVSR']
FETCHED = {
    'inference/frames.py:to_image',
    'checkpoint.py:digest',  # once, by which a job knows its weights again
    'inference/stream.py:precision_gap',  # once, of the first frame
}

pytestmark = pytest.mark.skipif(shutil.which('c++') is None, reason='no compiler for the device that does nothing')


def run(names):
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(PROGRAM.parents[2])}
    done = subprocess.run(
        [sys.executable, str(PROGRAM), *names], env=environment, capture_output=True, text=True, timeout=1500
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return {name: cases for line in done.stdout.splitlines() for name, cases in json.loads(line).items()}


def check(names, *more):
    found = run([*more, *names])
    assert list(found) == names
    for name, cases in found.items():
        assert len(cases) >= 3
        for case, said in cases.items():
            assert said['problem'] is None, f'{name}, {case}: {said["problem"]}'
            allowed = DECIDES.get(name, set()) | (SCALED if 'fp16' in case else set())
            assert set(said['waits']) <= allowed, f'{name}, {case} waits for a value'


def test_one():
    """In a process that first looks whether the device is as strict as a GPU."""
    check(['VDSR'], '--strict')


@pytest.mark.long
@pytest.mark.timeout(1600)
def test_evaluation_and_a_video():
    """A network of each kind; pictures are fetched where they are measured and encoded, and nowhere else."""
    found = run(['--programs', *PROGRAMS])
    assert list(found) == PROGRAMS
    for name, cases in found.items():
        assert set(cases) == {'validation', 'a video'}
        for case, said in cases.items():
            assert said['problem'] is None, f'{name}, {case}: {said["problem"]}'
            assert set(said['waits']) <= FETCHED, f'{name}, {case} waits for a value'


@pytest.mark.long
@pytest.mark.timeout(1600)
@pytest.mark.parametrize('first', range(0, len(WHOLE), TOGETHER))
def test_all(first):
    check(WHOLE[first : first + TOGETHER])
