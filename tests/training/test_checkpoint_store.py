"""Promises P2, P3, P14, P17: a checkpoint is whole or absent, and the newest good one is found."""

import contextlib
import errno
import math
import threading
import time
from collections import namedtuple
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from conftest import VDSR
from faults import damages

from votes import checkpoint
from votes.cli import main
from votes.errors import UserError
from votes.reports.compare import read_results
from votes.studies.runner import Outcome, Runner
from votes.studies.study import Row, Study
from votes.training.checkpoint_store import Saves

RUN = Path('experiments/tiny')
QUICK = {'model_type': 'EDVRModel', 'network_g': VDSR, 'datasets__train__center_gt': False}


def fill(folder, *iterations, **options):
    saves = Saves(folder, **options)
    for n in iterations:
        saves.write(n, {'net_g': {'params': {'w': torch.full((50,), float(n))}}}, {'iter': n, 'optimizers': []})
    saves.finish()
    return saves


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path):
    path.write_bytes(path.read_bytes()[:-9])


def manifest(folder):
    return folder / 'training_states/6.json'


DAMAGE = {
    'weights cut': lambda f: (f / 'models/net_g_6.pth').write_bytes((f / 'models/net_g_6.pth').read_bytes()[:-9]),
    'weights flipped': lambda f: flip(f / 'models/net_g_6.pth'),
    'weights missing': lambda f: (f / 'models/net_g_6.pth').unlink(),
    'state flipped': lambda f: flip(f / 'training_states/6.state'),
    'state missing': lambda f: (f / 'training_states/6.state').unlink(),
    'state and manifest missing': lambda f: [p.unlink() for p in (f / 'training_states').glob('6.*')],
    'manifest missing, state cut': lambda f: (cut(f / 'training_states/6.state'), manifest(f).unlink()),
    'manifest missing, weights flipped': lambda f: (flip(f / 'models/net_g_6.pth'), manifest(f).unlink()),
    'manifest empty': lambda f: (flip(f / 'models/net_g_6.pth'), manifest(f).write_text('{"iter": 6, "files": {}}')),
}


@pytest.mark.parametrize('damage', DAMAGE)
def test_damage_is_reported_and_the_previous_one_taken(tmp_path, damage):
    saves = fill(tmp_path, 2, 4, 6)
    assert saves.newest_good() == (6, [])
    DAMAGE[damage](tmp_path)
    newest, problems = saves.newest_good()
    assert newest == 4
    assert len(problems) == (damage != 'state and manifest missing')
    assert all('checkpoint 6' in problem for problem in problems)


def test_a_pointer_that_is_gone_or_garbled_is_no_loss(tmp_path):
    saves = fill(tmp_path, 2, 4)
    (tmp_path / 'training_states/latest.json').write_text('nonsense')
    assert saves.newest_good() == (4, [])
    (tmp_path / 'training_states/latest.json').unlink()
    assert saves.newest_good() == (4, [])


@pytest.mark.parametrize('content', ['{"iter": 2}', '{"iter": 0}', '{"iter": 1e400}', '{"iter": null}', '[]', ''])
def test_a_pointer_decides_nothing(tmp_path, content):
    """An old one would make a run begin earlier, and prune what it passes."""
    saves = fill(tmp_path, 2, 4, 6)
    (tmp_path / 'training_states/latest.json').write_text(content)
    assert saves.newest_good() == (6, [])


def test_names_that_only_look_like_numbers(tmp_path):
    saves = fill(tmp_path, 2)
    for name in ('²', '٣', '007', '-5', '1e3', '9' * 40):
        (tmp_path / 'training_states' / f'{name}.json').write_text('{}')
    assert saves.newest_good() == (2, [])


def test_a_lost_manifest_is_proven_by_the_state(tmp_path):
    saves = fill(tmp_path, 4, 6)
    manifest(tmp_path).unlink()
    assert saves.newest_good() == (6, [])
    manifest(tmp_path).write_text('{"iter": 6, "fi')
    assert saves.newest_good() == (6, [])
    (tmp_path / 'training_states/4.state').replace(tmp_path / 'training_states/6.state')
    assert saves.newest_good() == (None, saves.newest_good()[1]), 'a state of another checkpoint proves nothing'


def small_files(folder):
    return sorted(p for p in folder.rglob('*') if p.suffix in ('.json', '.jsonl'))


@pytest.mark.parametrize('name', ['6.json', 'latest.json', 'validated.json'])
def test_every_bit_and_every_length_of_every_small_file(tmp_path, name):
    """The run goes on from the newest whole checkpoint, and never from the start while there is one."""
    saves = fill(tmp_path, 2, 4, 6)
    saves.write_note('validated.json', {'iter': 6, 'best': {'val': {'psnr': 30.5}}, 'best_iter': 4})
    assert [p.name for p in small_files(tmp_path)] == ['2.json', '4.json', '6.json', 'latest.json', 'validated.json']
    path = tmp_path / 'training_states' / name
    for data in damages(path):
        assert saves.newest_good() == (6, []), data
        if name == 'validated.json':
            with contextlib.suppress(ValueError):
                assert checkpoint.read_record(path) == {'iter': 6, 'best': {'val': {'psnr': 30.5}}, 'best_iter': 4}
    flip(tmp_path / 'models/net_g_6.pth')
    path.write_bytes(path.read_bytes()[:-40])
    assert saves.newest_good()[0] == 4


@pytest.mark.parametrize('name', ['results.json', 'jobs/good.json', 'jobs/pace/good.json'])
def test_every_bit_of_what_evaluations_and_studies_keep(tmp_path, name):
    """Nothing damaged is believed; what a version before wrote, without a checksum, still is."""
    job = {'train': 'x.yml', 'minutes': 2}
    study = Study(name='s', title='s', jobs={'good': job}, rows=[Row(label='x', results=['good'])])
    runner = Runner(study, tmp_path, None, [], str)
    content, read = {
        'results.json': ({'name': 'x', 'protocol': {'metrics': {}}, 'results': {'psnr': math.inf}}, read_results),
        'jobs/good.json': ({**asdict(Outcome('done', key='ab' * 32)), 'record': {}}, lambda _: runner.read('good')),
        'jobs/pace/good.json': ({'minutes': 2, 'seconds': 0.1, 'steps': 1200}, lambda _: runner._pace('good')),
    }[name]
    path = tmp_path / name
    checkpoint.write_json(path, content)
    assert read(path) == content
    checkpoint.write_record(path, content)
    for data in damages(path):
        with contextlib.suppress(UserError):
            assert read(path) in ({}, content), data


def test_repair(tmp_path, capsys):
    saves = fill(tmp_path, 2, 4, 6, 8)
    manifest(tmp_path).write_text('{')
    flip(tmp_path / 'training_states/4.state')
    flip(tmp_path / 'training_states/8.state')
    (tmp_path / 'training_states/latest.json').write_text('')
    assert main(['checkpoint', 'verify', str(tmp_path)]) == 1
    assert 'whole, but 6.json cannot be read' in capsys.readouterr().out
    assert main(['checkpoint', 'verify', '--repair', str(tmp_path)]) == 0
    text = capsys.readouterr().out
    for part in ('6.json is written anew', '4: set aside as *.damaged', '8: set aside'):
        assert part in text
    assert saves.iterations() == [6, 2]
    assert checkpoint.read_record(manifest(tmp_path))['iter'] == 6
    assert (tmp_path / 'models/net_g_8.pth.damaged').exists(), 'nothing is thrown away'
    assert main(['checkpoint', 'verify', '--repair', str(tmp_path)]) == 0
    assert capsys.readouterr().out.split() == ['6', 'good', '2', 'good']


def test_keep_last(tmp_path):
    saves = fill(tmp_path, 1, 2, 3, 4, keep_last=2)
    assert saves.iterations() == [4, 3]
    assert sorted(p.name for p in (tmp_path / 'models').iterdir()) == ['net_g_3.pth', 'net_g_4.pth']


def test_states_of_other_programs_have_no_manifest(tmp_path):
    saves = fill(tmp_path, 5)
    for path in (tmp_path / 'training_states').glob('*.json'):
        path.unlink()
    checkpoint.save({'iter': 5, 'optimizers': []}, tmp_path / 'training_states/5.state')
    assert saves.newest_good() == (5, [])
    assert Saves(tmp_path / 'none').newest_good() == (None, [])


def test_background_saves_never_overlap_and_do_not_see_later_changes(tmp_path, monkeypatch):
    """P17."""
    running, most, original = 0, 0, checkpoint.save
    lock = threading.Lock()

    def slow(content, path):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.05)
        done = original(content, path)
        with lock:
            running -= 1
        return done

    monkeypatch.setattr(checkpoint, 'save', slow)
    saves = Saves(tmp_path, background=True)
    weights = torch.zeros(3)
    for n in range(1, 4):
        weights += 1
        saves.write(n, {'net_g': {'params': {'w': weights}}}, {'iter': n, 'optimizers': []})
    weights += 100
    saves.finish()
    assert most == 1
    assert [float(checkpoint.read_weights(tmp_path / f'models/net_g_{n}.pth')['w'][0]) for n in (1, 2, 3)] == [1, 2, 3]


def test_an_error_in_the_background_surfaces(tmp_path, monkeypatch):
    """P17."""
    saves = fill(tmp_path, 1, background=True)
    monkeypatch.setattr(checkpoint, 'save', disk_full)
    saves.write(2, {'net_g': {'params': {}}}, {})
    with pytest.raises(UserError, match='cannot be written'):
        saves.write(3, {'net_g': {'params': {}}}, {})
    assert Saves(tmp_path).newest_good()[0] == 1


def disk_full(content, path):
    raise OSError(errno.ENOSPC, 'No space left on device')


def test_disk_full_while_training(place, monkeypatch, capsys):
    """P14: stops cleanly, earlier checkpoints untouched; the same command goes on when there is room."""
    file = place(**QUICK, logger__save_checkpoint_freq=2)
    original = checkpoint.save
    with monkeypatch.context() as full:
        full.setattr(checkpoint, 'save', lambda c, p: (disk_full if '4' in Path(p).stem else original)(c, p))
        assert main(['train', '-opt', file]) == 2
    error = capsys.readouterr().err
    assert 'No space left on device' in error
    assert 'the same command then goes on' in error
    assert Saves(RUN).newest_good()[0] == 2
    assert main(['train', '-opt', file]) == 0


def test_no_room_is_found_before_the_first_step(place, monkeypatch, capsys):
    """P14."""
    usage = namedtuple('usage', 'total used free')
    monkeypatch.setattr('shutil.disk_usage', lambda path: usage(10**9, 10**9, 1000))
    assert main(['train', '-opt', place(**QUICK)]) == 2
    assert 'too little room for checkpoints' in capsys.readouterr().err
    assert not (RUN / 'metrics.jsonl').exists()


def test_a_folder_that_cannot_be_written_is_found_before_the_first_step(place, capsys):
    """P14. (A file stands where the folder should be: to root, no folder is forbidden.)"""
    RUN.mkdir(parents=True)
    (RUN / 'training_states').write_text('in the way')
    assert main(['train', '-opt', place(**QUICK)]) == 2
    assert 'the run folder cannot be written' in capsys.readouterr().err


@pytest.mark.parametrize('name', ['options.yml', 'environment.json', 'data.json', 'PREEMPTED.json'])
def test_a_folder_in_the_place_of_a_file(place, capsys, name):
    (RUN / name).mkdir(parents=True)
    assert main(['train', '-opt', place(**QUICK)]) == 2
    error = capsys.readouterr().err
    assert error.startswith('error: ')
    assert name in error
    assert 'move it away' in error


@pytest.mark.parametrize('name', ['options.yml', 'environment.json', 'data.json', '.json'])
def test_a_disk_that_is_full_from_the_start(place, capsys, monkeypatch, name):
    """Whatever is the first that finds no room."""
    original = checkpoint.atomic_write

    @contextlib.contextmanager
    def full(path):
        with original(path) as temporary:
            yield temporary
            if str(path).endswith(name):
                raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(checkpoint, 'atomic_write', full)
    assert main(['train', '-opt', place(**QUICK)]) == 2
    assert 'No space left on device' in capsys.readouterr().err


def test_best_weights_are_kept(place):
    assert main(['train', '-opt', place(**QUICK, val__val_freq=1)]) == 0
    best = checkpoint.load(RUN / 'training_states/4.state')['position']['best']['val']['psnr']
    rows = [line for line in (RUN / 'metrics.jsonl').read_text().splitlines() if 'restored_psnr' in line]
    assert len(rows) == 4
    assert any(f'"restored_psnr": {best}' in row for row in rows)
    assert checkpoint.read_weights(RUN / 'models/net_g_best.pth')


def test_resuming_after_damage(place, caplog):
    """P2, P3: the run goes on from the previous checkpoint and ends as if nothing had happened."""
    file = place(**QUICK, logger__save_checkpoint_freq=1)
    assert main(['train', '-opt', file]) == 0
    whole = checkpoint.read_weights(RUN / 'models/net_g_4.pth')
    (RUN / 'models/net_g_latest.pth').unlink()
    flip(RUN / 'models/net_g_4.pth')
    (RUN / 'training_states/3.state').unlink()
    assert main(['train', '-opt', file]) == 0
    assert 'checkpoint 4 is passed over: models/net_g_4.pth does not have the checksum' in caplog.text
    assert 'checkpoint 3 is passed over: training_states/3.state is missing' in caplog.text
    again = checkpoint.read_weights(RUN / 'models/net_g_4.pth')
    assert all(torch.equal(whole[k], again[k]) for k in whole)


def test_what_a_killed_process_left_is_cleared_away(place):
    assert main(['train', '-opt', place(**QUICK)]) == 0
    left = [RUN / 'models/.net_g_5.77.tmp.pth', RUN / 'training_states/.5.77.tmp.state']
    for path in left:
        path.write_bytes(b'half')
    assert main(['train', '-opt', 'opt.yml']) == 0
    assert not any(path.exists() for path in left)


def test_nothing_good_is_no_reason_to_start_over(place, capsys):
    file = place(**QUICK)
    assert main(['train', '-opt', file]) == 0
    for path in RUN.glob('models/*.pth'):
        flip(path)
    assert main(['train', '-opt', file]) == 2
    assert 'no checkpoint of this run is whole' in capsys.readouterr().err


def test_checkpoint_commands(place, capsys):
    assert main(['train', '-opt', place(train__ema_decay=0.9)]) == 0
    weights = str(RUN / 'models/net_g_4.pth')
    capsys.readouterr()
    assert main(['checkpoint', 'verify', str(RUN)]) == 0
    assert main(['checkpoint', 'inspect', weights]) == 0
    assert main(['checkpoint', 'inspect', str(RUN / 'training_states/4.state')]) == 0
    text = capsys.readouterr().out
    for part in (
        '4  good',
        'params_ema: ',
        'type: VOTES',
        'num_feat: 8',
        'training state after iteration 4',
        'consumed',
    ):
        assert part in text
    assert main(['checkpoint', 'convert', weights, 'w.safetensors']) == 0
    assert main(['checkpoint', 'convert', 'w.safetensors', 'back.pth']) == 0
    first, second = checkpoint.read_weights(weights, 'params_ema'), checkpoint.read_weights('back.pth', 'params')
    assert first.keys() == second.keys()
    assert all(torch.equal(first[k], second[k]) for k in first)
    assert main(['checkpoint', 'convert', weights, 'dsm2.pth', '--dsm']) == 0
    dsm = checkpoint.read_weights('dsm.pth')
    assert all(torch.equal(v, dsm[k]) for k, v in checkpoint.read_weights('dsm2.pth').items())
    for refused in (
        ['convert', weights, 'back.pth'],
        ['convert', weights, 'w.onnx'],
        ['convert', 'dsm.pth', 'x.pth', '--dsm'],
    ):
        assert main(['checkpoint', *refused]) == 2
    flip(RUN / 'models/net_g_4.pth')
    assert main(['checkpoint', 'verify', str(RUN)]) == 1
