"""Interrupted, killed, asked to stop, done by several processes: the output is the same, and never half there."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from faults import damages
from restore.clips import Enlarge, frames_of, lossless, moving, small_network

from votes.errors import UserError
from votes.options.changes import flat
from votes.processes.signals import Preempted
from votes.restore import Settings, restore_video
from votes.restore.job import Job

SMALL = Settings(codec='ffv1', segment=8)


def stopping(net, after, how=lambda: os.kill(os.getpid(), signal.SIGTERM)):
    """`net`, which calls `how` at a frame."""
    done = 0

    class Stopping(type(net)):
        def forward(self, x):
            nonlocal done
            done += 1
            if done == after:
                how()
            return super().forward(x)

    net.__class__ = Stopping
    return net


@pytest.fixture
def whole(tmp_path):
    """in.mkv of 50 frames, and what an uninterrupted run makes of it."""
    lossless(tmp_path / 'in.mkv', moving(50))
    restore_video(Enlarge(), tmp_path / 'in.mkv', tmp_path / 'whole.mkv', settings=SMALL, progress='none')
    return frames_of(tmp_path / 'whole.mkv')


def test_a_signal_finishes_the_segment_and_the_same_call_goes_on(tmp_path, whole):
    with pytest.raises(Preempted, match='the same command continues'):
        restore_video(
            stopping(Enlarge(), 20), tmp_path / 'in.mkv', tmp_path / 'out.mkv', settings=SMALL, progress='none'
        )
    assert not (tmp_path / 'out.mkv').exists()
    job = tmp_path / 'out.mkv.votes-job'
    finished = len(list(job.glob('*.nut')))
    assert 2 <= finished < 7
    counted = stopping(Enlarge(), -1)
    summary = restore_video(counted, tmp_path / 'in.mkv', tmp_path / 'out.mkv', settings=SMALL, progress='none')
    assert summary.resumed == finished
    assert summary.frames == 50
    assert not job.exists()
    assert frames_of(tmp_path / 'out.mkv') == whole


def test_h264_that_was_interrupted_is_that_of_an_uninterrupted_run(tmp_path):
    """With the default codec, at a size that is no whole number of macroblocks."""
    lossless(tmp_path / 'in.mp4', moving(18, (60, 104)), codec='libx264', chroma='420')

    def attempt(name, net=None):
        how = Settings(segment=6)
        restore_video(net or Enlarge(), tmp_path / 'in.mp4', tmp_path / name, settings=how, progress='none')

    for name in ('whole', 'again', 'stopped'):
        if name == 'stopped':
            with pytest.raises(Preempted):
                attempt('stopped.mp4', stopping(Enlarge(), 8))
        attempt(f'{name}.mp4')
    whole, again, stopped = ((tmp_path / f'{name}.mp4').read_bytes() for name in ('whole', 'again', 'stopped'))
    assert whole == again == stopped


def test_a_job_is_only_gone_on_with_by_the_same_options(tmp_path, whole):
    def attempt(net=None, source='in.mkv', **changes):
        settings = Settings(**{'codec': 'ffv1', 'segment': 8, **changes})
        restore_video(net or Enlarge(), tmp_path / source, tmp_path / 'out.mkv', settings=settings, progress='none')

    with pytest.raises(Preempted):
        attempt(stopping(Enlarge(), 20))
    lossless(tmp_path / 'other.mkv', moving(30))
    for changes, told in (
        ({'segment': 9}, "settings.segment: was '8', is '9'"),
        ({'ensemble': 'x4'}, "settings.ensemble: was 'none', is 'x4'"),
        ({'codec': 'h264'}, "settings.codec: was 'ffv1', is 'h264'"),
        ({'source': 'other.mkv'}, "source.name: was 'in.mkv', is 'other.mkv'"),
        ({'net': small_network()}, 'network: was'),
    ):
        with pytest.raises(UserError, match=f'begun with something else[\\s\\S]*{told}[\\s\\S]*--restart'):
            attempt(**changes)
    attempt()
    assert frames_of(tmp_path / 'out.mkv') == whole


def test_damaged_notes_of_a_job_are_not_believed(tmp_path):
    """A segment whose note is damaged is made again; what all of it depends on is not guessed."""
    with Job.of(tmp_path / 'out.mkv', {'a': 1}) as job:
        job.finish(0, job.folder / '000000.nut', 8, 0)
        job.remember({'tile': 64})
        known = job.segments()
        for _ in damages(job.folder / '000000.json'):
            assert job.segments() in (known, {})
        for _ in damages(job.folder / 'limits.json'):
            with contextlib.suppress(UserError):
                assert job.recall() == {'tile': 64}
        for _ in damages(job.folder / 'job.json'):
            with contextlib.suppress(UserError):
                assert flat(job._noted(job.folder / 'job.json')) == {'a': 1}
        (job.folder / '000000.json').write_text('{"file": "000000.nut", "frames": 8, "first": 0}')
        assert job.segments() == known, 'of a version before, without a checksum'


def test_restart_begins_anew(tmp_path, whole):
    with pytest.raises(Preempted):
        restore_video(
            stopping(Enlarge(), 20), tmp_path / 'in.mkv', tmp_path / 'out.mkv', settings=SMALL, progress='none'
        )
    other = Settings(codec='ffv1', segment=5)
    summary = restore_video(
        Enlarge(), tmp_path / 'in.mkv', tmp_path / 'out.mkv', settings=other, progress='none', restart=True
    )
    assert summary.resumed == 0
    assert frames_of(tmp_path / 'out.mkv') == whole


def test_two_processes_do_not_work_on_one_output(tmp_path):
    def job():
        return Job.of(tmp_path / 'out.mp4', {'a': 1})

    with job(), pytest.raises(UserError, match='another process owns this folder: a restoration'), job():
        pytest.fail('both have it')
    with job() as again:
        assert again.folder.is_dir()


def test_killed_when_the_output_was_there_and_the_job_too(tmp_path, whole, monkeypatch):
    """The same call makes it again from the segments, and asks for no --overwrite."""
    monkeypatch.setattr(Job, 'remove', lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        restore_video(Enlarge(), tmp_path / 'in.mkv', tmp_path / 'out.mkv', settings=SMALL, progress='none')
    assert (tmp_path / 'out.mkv').exists()
    monkeypatch.undo()
    summary = restore_video(Enlarge(), tmp_path / 'in.mkv', tmp_path / 'out.mkv', settings=SMALL, progress='none')
    assert summary.resumed == 7
    assert frames_of(tmp_path / 'out.mkv') == whole
    assert not (tmp_path / 'out.mkv.votes-job').exists()
    with pytest.raises(UserError, match='the output exists'):
        restore_video(Enlarge(), tmp_path / 'in.mkv', tmp_path / 'out.mkv', settings=SMALL, progress='none')


def test_a_process_that_lost_its_output_writes_no_more(tmp_path):
    with Job.of(tmp_path / 'out.mp4', {'a': 1}) as job:
        assert job.lease is not None
        job.lease.path.rename(job.lease.path.with_name('.out.mp4.votes-job.owner.7.json'))  # as one that took over
        with pytest.raises(UserError, match='has taken over this output'):
            job.finish(0, tmp_path / 'x.nut', 3, 0)
        assert job.segments() == {}


def test_limits_of_memory_are_remembered(tmp_path, monkeypatch):
    """A tile size that was found stays, so that the rest is made in the same way."""
    from votes.restore import video

    lossless(tmp_path / 'in.mkv', moving(30, (160, 200)))
    monkeypatch.setattr(video, 'fit', lambda *_: 100)
    with pytest.raises(Preempted):
        restore_video(
            stopping(Enlarge(), 30), tmp_path / 'in.mkv', tmp_path / 'out.mkv', settings=SMALL, progress='none'
        )
    monkeypatch.setattr(video, 'fit', lambda *_: pytest.fail('measured again'))
    summary = restore_video(Enlarge(), tmp_path / 'in.mkv', tmp_path / 'out.mkv', settings=SMALL, progress='none')
    assert any('tiles of 100 pixels' in note for note in summary.notes)


def test_a_full_disk_keeps_what_is_finished(tmp_path, whole, monkeypatch):
    from votes.video.write import VideoWriter

    original, calls = VideoWriter.write, []

    def write(self, rgb, pts):
        calls.append(pts)
        if len(calls) == 22:  # the first two are of the rehearsal
            raise OSError(28, 'No space left on device')
        original(self, rgb, pts)

    monkeypatch.setattr(VideoWriter, 'write', write)
    with pytest.raises(UserError, match=r'disk is full[\s\S]*finished segments are kept'):
        restore_video(Enlarge(), tmp_path / 'in.mkv', tmp_path / 'out.mkv', settings=SMALL, progress='none')
    assert not list((tmp_path / 'out.mkv.votes-job').glob('*.tmp*'))
    summary = restore_video(Enlarge(), tmp_path / 'in.mkv', tmp_path / 'out.mkv', settings=SMALL, progress='none')
    assert summary.resumed == 2
    assert frames_of(tmp_path / 'out.mkv') == whole


KILLED = """
import os, random, signal, sys, time
sys.path[:0] = [{tests!r}, {videos!r}]
from pathlib import Path
from restore.clips import Enlarge
from votes.restore import Settings, restore_video

class Slow(Enlarge):
    def forward(self, x):
        time.sleep(0.02)
        return super().forward(x)

def work():
    restore_video(Slow(), 'in.mkv', 'out.mkv', settings=Settings(codec='ffv1', segment=4), progress='none')

chance, kills, sizes = random.Random(5), 0, []
while not Path('out.mkv').exists() and kills < 10:
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    time.sleep(chance.uniform(0.05, 0.3))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    kills += 1
    sizes.append(len(list(Path('out.mkv.votes-job').glob('*.nut'))))
    assert not Path('out.mkv').exists() or kills == 10 or len(sizes) > 3, 'too early'
if not Path('out.mkv').exists():
    work()
print(kills, sizes)
"""


@pytest.mark.long
def test_killed_ten_times(tmp_path):
    """kill -9 at random moments: finished segments stay, and the output is that of an uninterrupted run."""
    lossless(tmp_path / 'in.mkv', moving(170))
    settings = Settings(codec='ffv1', segment=4)
    restore_video(Enlarge(), tmp_path / 'in.mkv', tmp_path / 'whole.mkv', settings=settings, progress='none')
    tests = Path(__file__).resolve().parents[1]
    script = textwrap.dedent(KILLED).format(tests=str(tests), videos=str(tests / 'video'))
    environment = dict(os.environ, OMP_NUM_THREADS='1', PYTHONPATH=str(tests.parent))
    done = subprocess.run(
        [sys.executable, '-c', script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    kills, sizes = done.stdout.split(maxsplit=1)
    assert int(kills) == 10, sizes
    assert frames_of(tmp_path / 'out.mkv') == frames_of(tmp_path / 'whole.mkv')
    assert sorted(p.name for p in tmp_path.iterdir()) == ['in.mkv', 'out.mkv', 'whole.mkv']


def test_memory_does_not_grow_with_the_video(tmp_path):
    """The peak of a process that has restored 60 frames, and when it has restored 600 more."""
    script = (
        'import sys, torch; sys.path[:0] = [{0!r}, {1!r}]\n'
        'from restore.clips import Enlarge\n'
        'from votes.restore import restore_video\n'
        'from votes.restore.progress import peak_memory\n'
        'for count in (60, 600):\n'
        '    restore_video(Enlarge(), f"{{count}}.mp4", f"{{count}}_out.mp4", progress="none")\n'
        '    print(peak_memory(torch.device("cpu")))'
    )
    tests = Path(__file__).resolve().parents[1]
    for count in (60, 600):
        lossless(tmp_path / f'{count}.mp4', moving(60, (96, 128)) * (count // 60), codec='libx264', chroma='420')
    command = [sys.executable, '-c', script.format(str(tests), str(tests / 'video'))]
    environment = dict(os.environ, PYTHONPATH=str(tests.parent))
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    peaks = [int(line) / 2**20 for line in done.stdout.split()]
    assert peaks[1] < peaks[0] + 20, f'MiB: {peaks}; 540 more frames of 96x128 alone would be 20, enlarged 80'
