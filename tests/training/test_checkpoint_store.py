"""Promises P2, P3, P14, P17: a checkpoint is whole or absent, and the newest good one is found."""

import errno
import threading
import time
from collections import namedtuple
from pathlib import Path

import pytest
import torch

from votes import checkpoint
from votes.cli import main
from votes.errors import UserError
from votes.training.checkpoint_store import Saves

RUN = Path('experiments/tiny')


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


DAMAGE = {
    'weights cut': lambda f: (f / 'models/net_g_6.pth').write_bytes((f / 'models/net_g_6.pth').read_bytes()[:-9]),
    'weights flipped': lambda f: flip(f / 'models/net_g_6.pth'),
    'weights missing': lambda f: (f / 'models/net_g_6.pth').unlink(),
    'state flipped': lambda f: flip(f / 'training_states/6.state'),
    'state missing': lambda f: (f / 'training_states/6.state').unlink(),
    'manifest missing': lambda f: (f / 'training_states/6.json').unlink(),
    'manifest garbled': lambda f: (f / 'training_states/6.json').write_text('{"files": {"models/net'),
}


@pytest.mark.parametrize('damage', DAMAGE)
def test_damage_is_reported_and_the_previous_one_taken(tmp_path, damage):
    saves = fill(tmp_path, 2, 4, 6)
    assert saves.newest_good() == (6, [])
    DAMAGE[damage](tmp_path)
    newest, problems = saves.newest_good()
    assert newest == 4
    assert len(problems) == 1
    assert 'checkpoint 6' in problems[0]


def test_a_pointer_that_is_gone_or_garbled_is_no_loss(tmp_path):
    saves = fill(tmp_path, 2, 4)
    (tmp_path / 'training_states/latest.json').write_text('nonsense')
    assert saves.newest_good() == (4, [])
    (tmp_path / 'training_states/latest.json').unlink()
    assert saves.newest_good() == (4, [])


def test_the_pointer_counts_after_going_back(tmp_path):
    """After a roll-back from 6 to 2, checkpoint 3 is the newest, not 6."""
    saves = fill(tmp_path, 2, 6)
    fill(tmp_path, 3)
    assert saves.newest_good() == (3, [])


def test_keep_last(tmp_path):
    saves = fill(tmp_path, 1, 2, 3, 4, keep_last=2)
    assert saves.iterations() == [4, 3]
    assert sorted(p.name for p in (tmp_path / 'models').iterdir()) == ['net_g_3.pth', 'net_g_4.pth']


def test_states_of_other_programs_have_no_manifest(tmp_path):
    saves = fill(tmp_path, 5)
    for path in (tmp_path / 'training_states').glob('*.json'):
        path.unlink()
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
    file = place(logger__save_checkpoint_freq=2)
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
    assert main(['train', '-opt', place()]) == 2
    assert 'too little room for checkpoints' in capsys.readouterr().err
    assert not (RUN / 'metrics.jsonl').exists()


def test_a_folder_that_cannot_be_written_is_found_before_the_first_step(place, capsys):
    """P14. (A file stands where the folder should be: to root, no folder is forbidden.)"""
    RUN.mkdir(parents=True)
    (RUN / 'training_states').write_text('in the way')
    assert main(['train', '-opt', place()]) == 2
    assert 'the run folder cannot be written to' in capsys.readouterr().err


def test_best_weights_are_kept(place):
    assert main(['train', '-opt', place(val__val_freq=1)]) == 0
    best = checkpoint.load(RUN / 'training_states/4.state')['position']['best']['val']['psnr']
    rows = [line for line in (RUN / 'metrics.jsonl').read_text().splitlines() if 'restored_psnr' in line]
    assert len(rows) == 4
    assert any(f'"restored_psnr": {best}' in row for row in rows)
    assert checkpoint.read_weights(RUN / 'models/net_g_best.pth')


def test_resuming_after_damage(place, caplog):
    """P2, P3: the run goes on from the previous checkpoint and ends as if nothing had happened."""
    file = place(logger__save_checkpoint_freq=1)
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
    assert main(['train', '-opt', place()]) == 0
    left = [RUN / 'models/.net_g_5.77.tmp.pth', RUN / 'training_states/.5.77.tmp.state']
    for path in left:
        path.write_bytes(b'half')
    assert main(['train', '-opt', 'opt.yml']) == 0
    assert not any(path.exists() for path in left)


def test_nothing_good_is_no_reason_to_start_over(place, capsys):
    file = place()
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
