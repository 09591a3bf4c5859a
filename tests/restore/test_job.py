"""Interrupted, killed, asked to stop, done by several processes: the output is the same, and never half there."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from restore.clips import Enlarge, lossless, moving, small_network
from test_video import read

from votes import checkpoint
from votes.cli import main
from votes.errors import UserError
from votes.restore import Settings, restore_video
from votes.restore.job import Job
from votes.signals import Preempted

SMALL = Settings(codec='ffv1', segment=8)


def frames_of(path):
    reader, found = read(path)
    return [(f.rgb.tobytes(), f.pts * reader.time_base) for f in found]


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


def test_a_job_is_only_gone_on_with_by_the_same_options(tmp_path, whole):
    def attempt(net=None, source='in.mkv', **changes):
        settings = Settings(**{'codec': 'ffv1', 'segment': 8, **changes})
        restore_video(net or Enlarge(), tmp_path / source, tmp_path / 'out.mkv', settings=settings, progress='none')

    with pytest.raises(Preempted):
        attempt(stopping(Enlarge(), 20))
    lossless(tmp_path / 'other.mkv', moving(30))
    for changes, told in (
        ({'segment': 9}, 'settings.segment was 8, is 9'),
        ({'ensemble': 'x4'}, 'settings.ensemble was none, is x4'),
        ({'codec': 'h264'}, 'settings.codec was ffv1, is h264'),
        ({'source': 'other.mkv'}, 'source.name was in.mkv, is other.mkv'),
        ({'net': small_network()}, 'network was'),
    ):
        with pytest.raises(UserError, match=f'begun with something else[\\s\\S]*{told}[\\s\\S]*--restart'):
            attempt(**changes)
    attempt()
    assert frames_of(tmp_path / 'out.mkv') == whole


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
    job = Job(tmp_path / 'out.mp4', {'a': 1})
    with pytest.raises(UserError, match='another process works on this output'):
        Job(tmp_path / 'out.mp4', {'a': 1})
    job.lock.close()
    Job(tmp_path / 'out.mp4', {'a': 1})


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
    from votes.restore.sinks import VideoSink

    original, calls = VideoSink.write, []

    def write(self, rgb, index, pts):
        calls.append(index)
        if len(calls) == 20:
            raise OSError(28, 'No space left on device')
        original(self, rgb, index, pts)

    monkeypatch.setattr(VideoSink, 'write', write)
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
    """The peak of a process that restores 60 frames, and of one that restores 600."""
    script = (
        'import sys, torch; sys.path[:0] = [{0!r}, {1!r}]\n'
        'from restore.clips import Enlarge\n'
        'from votes.restore import restore_video\n'
        'restore_video(Enlarge(), sys.argv[1], sys.argv[2], progress="none")\n'
        'from votes.restore.progress import peak_memory\n'
        'print(peak_memory(torch.device("cpu")))'
    )
    tests = Path(__file__).resolve().parents[1]
    peaks = []
    for count in (60, 600):
        lossless(tmp_path / f'{count}.mp4', moving(60, (96, 128)) * (count // 60), codec='libx264', chroma='420')
        command = [sys.executable, '-c', script.format(str(tests), str(tests / 'video'))]
        command += [str(tmp_path / f'{count}.mp4'), str(tmp_path / f'{count}_out.mp4')]
        done = subprocess.run(
            command, env=dict(os.environ, PYTHONPATH=str(tests.parent)), capture_output=True, text=True, check=True
        )
        peaks.append(int(done.stdout.split()[-1]) / 2**20)
    assert peaks[1] < peaks[0] + 20, f'MiB: {peaks}; 540 more frames of 96x128 alone would be 20, enlarged 80'


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with in.mp4 and weights of a small VOTES."""
    monkeypatch.chdir(tmp_path)
    lossless(tmp_path / 'in.mp4', moving(20), codec='libx264', chroma='420')
    net = small_network()
    options = {'type': 'VOTES', 'num_feat': 8, 'deformable_groups': 2, 'num_extract_block': 1}
    options |= {'num_reconstruct_block': 1, 'num_modulation_blocks': 1}
    options |= {'dsm_num_feat': 4, 'dsm_num_block': 1, 'dsm_num_layer': 1, 'dsm_num_grow_ch': 2}
    checkpoint.save({'params': net.state_dict(), 'network_g': options}, 'w.pth')
    checkpoint.save({'params': net.bin.state_dict()}, 'dsm.pth')
    return tmp_path


def restore(*arguments):
    return main(['restore', *arguments, '--weights', 'w.pth', '--device', 'cpu'])


def test_several_processes_make_what_one_makes(place):
    assert restore('in.mp4', 'one.mkv', '--codec', 'ffv1', '--segment', '4') == 0
    command = [sys.executable, '-m', 'votes.cli', 'restore', 'in.mp4', 'two.mkv', '--weights', 'w.pth', '--device']
    command += ['cpu', '--codec', 'ffv1', '--segment', '4', '--gpus', '2']
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        command, env=dict(os.environ, PYTHONPATH=str(root)), capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    assert '5 segments were there before' in done.stdout, 'the helpers made them all'
    assert frames_of('one.mkv') == frames_of('two.mkv')
    assert not Path('two.mkv.votes-job').exists()


def test_sigterm_to_the_command(place):
    lossless(place / 'long.mp4', moving(60) * 6, codec='libx264', chroma='420')
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, '-m', 'votes.cli', 'restore', 'long.mp4', 'out.mp4', '--weights', 'w.pth']
    command += ['--segment', '4', '--device', 'cpu', '--progress', 'json']
    process = subprocess.Popen(command, env=dict(os.environ, PYTHONPATH=str(root)), stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 100
    while len(list(Path('out.mp4.votes-job').glob('*.nut'))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 75
    assert not Path('out.mp4').exists()
    assert not list(Path('out.mp4.votes-job').glob('.*tmp*'))


def test_parts_and_comparisons(place, capsys):
    assert restore('in.mp4', 'part.mkv', '--frames', '5:12', '--codec', 'ffv1') == 0
    assert restore('in.mp4', 'all.mkv', '--codec', 'ffv1') == 0
    assert frames_of('part.mkv') == frames_of('all.mkv')[5:12], 'the same pictures at the same times'
    assert restore('in.mp4', 'p.mp4', '--preview', '0.2s@00:00.4') == 0
    reader, found = read('p_side.mp4')
    assert reader.size == (96, 256)
    assert [float(f.pts * reader.time_base) for f in found] == pytest.approx([0.4, 0.44, 0.48, 0.52, 0.56])
    kinds = ['split', 'diff', 'dfm', 'slider']
    arguments = [a for kind in kinds for a in ('--compare', kind)]
    assert restore('in.mp4', 'c.mp4', *arguments) == 0
    assert [read(f'c_{kind}.mp4')[0].size for kind in kinds[:3]] == [(96, 128), (96, 384), (96, 384)]
    page = Path('c_slider.html').read_text()
    shown = json.loads(page.split('id="frames">')[1].split('</script>')[0])
    (frames,) = shown['in.mp4'].values()
    assert [f['index'] for f in frames] == list(range(20))
    assert list(frames[0]['pictures']) == ['input', 'output', 'DFM', 'difference']
    assert not list(place.glob('.*'))
    _, (split, *_) = read('c_split.mp4')
    _, (output, *_) = read('c.mp4')
    assert np.abs(split.rgb[:, 70:].astype(int) - output.rgb[:, 70:]).mean() < 4
    capsys.readouterr()
    assert restore('in.mp4', 'c.mp4', '--overwrite', '--compare', 'dfm') == 0
    assert 'comparison: c_dfm.mp4' in capsys.readouterr().out


def test_what_would_be_done(place, capsys):
    assert restore('in.mp4', 'out.mp4', '--dry-run') == 0
    told = capsys.readouterr().out
    for words in ('64x48, about 20 frames, 8 bits', '128x96', 'libx264, yuv420p, crf 16', 'time: about', 'none, whole'):
        assert words in told
    assert sorted(p.name for p in place.iterdir()) == ['dsm.pth', 'in.mp4', 'w.pth']


def test_progress_for_programs(place, capsys, monkeypatch):
    from votes.restore import progress

    clock = iter(range(10**6))
    monkeypatch.setattr(progress.time, 'monotonic', lambda: float(next(clock)))
    assert restore('in.mp4', 'out.mp4', '--progress', 'json') == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events[-1]['event'] == 'done'
    assert events[-1]['frames'] == 20
    steps = [e for e in events if e['event'] == 'progress']
    assert [e['frame'] for e in steps] == sorted(e['frame'] for e in steps)
    assert steps[-1]['frames'] == 20
    assert {'frames_per_second', 'seconds_left', 'peak_bytes'} <= set(steps[0])


def test_lines_for_logs(place, capsys, monkeypatch):
    from votes.restore import progress

    clock = iter(range(0, 10**7, 7))
    monkeypatch.setattr(progress.time, 'monotonic', lambda: float(next(clock)))
    assert restore('in.mp4', 'out.mp4', '--progress', 'lines') == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith('frame ')]
    assert any('/20 ' in line and 'frames/s ETA' in line for line in lines)


def test_folders_and_patterns(place, capsys):
    videos = place / 'videos'
    videos.mkdir()
    for name in ('a', 'b'):
        lossless(videos / f'{name}.mp4', moving(5), codec='libx264', chroma='420')
    (videos / 'broken.mp4').write_text('no video')
    assert restore('videos', 'out') == 1
    told = capsys.readouterr()
    assert told.out.splitlines()[-3:-1] == ['done    out/a.mp4', 'done    out/b.mp4']
    assert 'FAILED  videos/broken.mp4: not a readable video' in told.out
    assert sorted(p.name for p in (place / 'out').iterdir()) == ['a.mp4', 'b.mp4']
    assert restore('videos/[ab].mp4', 'again') == 0
    assert frames_of('again/a.mp4') == frames_of('out/a.mp4')
    for bad, message in (('nothing/*.mp4', 'nothing matches'), ('again', '')):
        capsys.readouterr()
        if message:
            assert restore(bad, 'x') == 2
            assert message in capsys.readouterr().err


def test_pictures_in_and_out(place, capsys):
    assert restore('in.mp4', 'pictures') == 0
    assert sorted(p.name for p in (place / 'pictures').iterdir())[:2] == ['00000000.png', '00000001.png']
    assert len(list((place / 'pictures').iterdir())) == 20
    assert restore('pictures', 'from_pictures.mp4', '--rate', '10') == 0
    reader, found = read('from_pictures.mp4')
    assert (len(found), reader.size, float(reader.rate)) == (20, (192, 256), 10)
    assert restore('in.mp4', 'pictures') == 2, 'a folder that exists is not replaced'
    assert restore('in.mp4', 'pictures', '--overwrite') == 0
    (place / 'pictures' / 'mine.txt').write_text('mine')
    assert restore('in.mp4', 'pictures', '--overwrite') == 2
    assert (place / 'pictures' / 'mine.txt').exists()


@pytest.mark.parametrize('weights', ['w.pth', 'dsm.pth'])
def test_the_degradation_map_as_a_video(place, weights):
    assert main(['dfm', 'in.mp4', 'map.mkv', '--weights', weights, '--codec', 'ffv1', '--device', 'cpu']) == 0
    reader, found = read('map.mkv')
    assert reader.size == (48, 64)
    assert [f.pts * reader.time_base for f in found] == [f[1] for f in frames_of('in.mp4')]
    net = small_network()
    source = [torch.from_numpy(f.rgb.copy()).permute(2, 0, 1).float() / 255 for f in read('in.mp4')[1]]
    dfm = net.degradation_map(torch.stack(source[4:9]).unsqueeze(0))[0, 0]
    brightness = found[6].rgb.astype(float).sum(2)
    flat = dfm.flatten().argsort()
    order = brightness.flatten()[flat]
    assert np.all(np.diff(order)[np.diff(dfm.flatten()[flat].numpy()) == 0] == 0), 'one colour for one value'
    assert order[-100:].mean() > order[:100].mean()


def test_weights_without_a_map(place, capsys):
    net = small_network(__import__('votes.archs.edvr_arch', fromlist=['EDVR']).EDVR)
    checkpoint.save({'params': net.state_dict()}, 'edvr.pth')
    assert main(['dfm', 'in.mp4', 'map.mp4', '--weights', 'edvr.pth']) == 2
    assert 'EDVR has no degradation map' in capsys.readouterr().err


def test_probe(place, capsys):
    assert main(['probe', 'in.mp4', '--json']) == 0
    (about,) = json.loads(capsys.readouterr().out)
    assert about['size'] == '64x48'
    assert about['frames'] == 20
    assert (about['codec'], about['bits'], about['matrix'], about['range']) == ('h264', 8, 'bt601', 'limited')
    assert len(about['quantisers']) == len(about['picture_types']) == 20
    assert not about['variable_rate']
    lossless(
        place / 'hard.mp4',
        moving(9),
        times=[0, 500, 1700, 1800, 5000, 5100, 6000, 7000, 9000],
        codec='libx264',
        chroma='420',
    )
    assert main(['probe', 'hard.mp4']) == 0
    assert 'variable rate        True' in capsys.readouterr().out
    assert main(['probe', 'w.pth']) == 2


def test_from_python(place):
    import votes

    summary = votes.restore('in.mp4', 'out.mkv', weights='w.pth', device='cpu', codec='ffv1')
    assert summary.frames == 20
    kept = frames_of('out.mkv')
    streamed = list(votes.stream('in.mp4', 'w.pth', device='cpu'))
    assert [rgb.tobytes() for _, rgb in streamed] == [content for content, _ in kept]
    assert [seconds for seconds, _ in streamed] == pytest.approx([float(t) for _, t in kept])
    some = votes.stream('in.mp4', small_network(), device='cpu', frames=(3, 6))
    assert [rgb.shape for _, rgb in some] == [(96, 128, 3)] * 3
    with pytest.raises(UserError, match='the output exists'):
        votes.restore('in.mp4', 'out.mkv', weights='w.pth')
    with pytest.raises(AttributeError):
        _ = votes.nothing
