"""What a run came from, what it was resumed with, and that a resumed run is told equal to one that was not stopped."""

import shutil
from pathlib import Path

import pytest
import torch
from conftest import VDSR

from votes import checkpoint
from votes.cli import main

QUICK = {'model_type': 'EDVRModel', 'network_g': VDSR, 'datasets__train__center_gt': False, 'train__scheduler': None}
RUN = Path('experiments/tiny')


def train(file, *more):
    assert main(['train', '-opt', file, *more]) == 0


def test_lineage(place, capsys):
    train(place(**QUICK, name='first'))
    weights = 'experiments/first/models/net_g_latest.pth'
    train(place(**QUICK, train__total_iter=2, path__pretrain_network_g=weights))
    train(place(**QUICK, train__optim_g__lr=5e-4, path__pretrain_network_g=weights), '--allow_changes')
    capsys.readouterr()
    assert main(['lineage', str(RUN)]) == 0
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert ' began; torch ' in lines[1]
    assert 'went on after iteration 2' in text
    assert 'train.optim_g.lr: was 0.001, is 0.0005' in text
    assert f'weights {weights} (' in text
    assert 'as they were' in text
    assert any(line.strip() == 'experiments/first' for line in lines), 'the run that the weights come from'
    checkpoint.save({'params': {}}, weights)
    path = RUN / 'history.jsonl'
    path.write_text(path.read_text().replace('"from": 2', '"from": 3'))
    assert main(['lineage', str(RUN)]) == 0
    assert 'line 2 of history.jsonl is damaged' in capsys.readouterr().out
    assert main(['lineage', 'nowhere']) == 2


def test_checkpoints_and_starts_name_their_versions(place, capsys):
    train(place(**QUICK))
    train('opt.yml')
    assert f'torch {torch.__version__}' in checkpoint.load(RUN / 'training_states/4.state')['environment']
    assert len((RUN / 'history.jsonl').read_text().splitlines()) == 2, 'the first is not overwritten'
    assert main(['checkpoint', 'inspect', str(RUN / 'training_states/4.state')]) == 0
    assert f'torch {torch.__version__}' in capsys.readouterr().out


@pytest.mark.parametrize('changes', [{}, {'train__ema_decay': 0.9}])
def test_a_resumed_run_is_equal_to_one_that_was_not_stopped(place, capsys, changes):
    """Lines average the steps since the last line, also those before the resume."""
    for name in ('whole', 'resumed'):
        train(place(**QUICK, **changes, name=name, train__total_iter=8, logger__print_freq=3))
    folder = Path('experiments/resumed')
    for path in [*folder.glob('models/*'), *folder.glob('training_states/*')]:
        if path.stem.removeprefix('net_g_') not in ('2', '4'):
            path.unlink()
    train('opt.yml')
    capsys.readouterr()
    assert main(['compare-runs', 'experiments/whole', 'experiments/resumed']) == 0, capsys.readouterr().out
    assert 'equal: 4 logged rows and the weights of 4 checkpoints' in capsys.readouterr().out


def test_compare_runs_survives_damaged_manifests(place, capsys):
    train(place(**QUICK))
    shutil.copytree(RUN, 'experiments/copy')
    Path('experiments/copy/training_states/2.json').write_text('{"iter": 2, "files": {}}')
    assert main(['compare-runs', str(RUN), 'experiments/copy']) == 0
    assert 'the weights of 1 checkpoint' in capsys.readouterr().out


def test_a_line_of_progress_before_print_freq(place, capsys):
    train(place(**QUICK, logger__print_freq=100))
    text = capsys.readouterr().out
    assert 'it 1/4 (this step alone) loss' in text
    assert ' s/it, ETA' in text


def test_a_temporary_curve_is_cleared_away(place):
    train(place(**QUICK))
    left = RUN / '.curves.77.tmp.svg'
    left.write_text('half')
    train('opt.yml')
    assert not left.exists()
