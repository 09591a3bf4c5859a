"""A network that goes from frame to frame (RSDN) over segments: interrupted or killed, its state goes on."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from restore.clips import frames_of, lossless, moving

from votes.archs.rsdn_arch import RSDN
from votes.processes.signals import Preempted
from votes.restore import Settings, restore_video

SMALL = Settings(codec='ffv1', segment=4)


def rsdn():
    torch.set_num_threads(1)  # rounding of another number of threads would grow from frame to frame
    torch.manual_seed(0)
    net = RSDN(**RSDN.small).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, 0, 0.15)
    return net


@pytest.fixture
def whole(tmp_path):
    """in.mkv of 26 frames, and what an uninterrupted run makes of it."""
    lossless(tmp_path / 'in.mkv', moving(26, (24, 32)))
    restore_video(rsdn(), tmp_path / 'in.mkv', tmp_path / 'whole.mkv', settings=SMALL, progress='none')
    return frames_of(tmp_path / 'whole.mkv')


def test_segments_do_not_show(tmp_path, whole):
    """One segment or seven: the state is handed on, every frame depends on all before it."""
    one = Settings(codec='ffv1', segment=64)
    restore_video(rsdn(), tmp_path / 'in.mkv', tmp_path / 'one.mkv', settings=one, progress='none')
    assert frames_of(tmp_path / 'one.mkv') == whole
    cut = Settings(codec='ffv1', segment=4, frames=(8, None))
    restore_video(rsdn(), tmp_path / 'in.mkv', tmp_path / 'cut.mkv', settings=cut, progress='none')
    assert [content for content, _ in frames_of(tmp_path / 'cut.mkv')] == [content for content, _ in whole[8:]]


@pytest.mark.parametrize('stop_at', [2, 9, 21])
def test_a_stopped_stream_goes_on_where_it_was(tmp_path, whole, stop_at):
    done = 0

    class Stopping(RSDN):
        def step(self, *args, **kwargs):
            nonlocal done
            done += 1
            if done == stop_at:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().step(*args, **kwargs)

    net = rsdn()
    net.__class__ = Stopping
    with pytest.raises(Preempted):
        restore_video(net, tmp_path / 'in.mkv', tmp_path / 'out.mkv', settings=SMALL, progress='none')
    assert len(list((tmp_path / 'out.mkv.votes-job').glob('*.nut'))) >= 1
    restore_video(rsdn(), tmp_path / 'in.mkv', tmp_path / 'out.mkv', settings=SMALL, progress='none')
    assert frames_of(tmp_path / 'out.mkv') == whole


KILLED = """
import os, random, signal, sys, time
sys.path[:0] = [{tests!r}, {videos!r}]
from pathlib import Path
from restore.test_causal_jobs import SMALL, rsdn
from votes.archs.rsdn_arch import RSDN
from votes.restore import restore_video

class Slow(RSDN):
    def step(self, *args, **kwargs):
        time.sleep(0.03)
        return super().step(*args, **kwargs)

def work():
    net = rsdn()
    net.__class__ = Slow
    restore_video(net, 'in.mkv', 'out.mkv', settings=SMALL, progress='none')

chance, kills = random.Random(3), 0
while not Path('out.mkv').exists() and kills < 6:
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    time.sleep(chance.uniform(0.1, 0.6))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    kills += 1
if not Path('out.mkv').exists():
    work()
print(kills)
"""


def test_a_killed_stream_is_that_of_an_uninterrupted_run(tmp_path, whole):
    tests = Path(__file__).resolve().parents[1]
    script = textwrap.dedent(KILLED).format(tests=str(tests), videos=str(tests / 'video'))
    environment = dict(os.environ, OMP_NUM_THREADS='1', PYTHONPATH=str(tests.parent))
    done = subprocess.run(
        [sys.executable, '-c', script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 2
    assert frames_of(tmp_path / 'out.mkv') == whole
