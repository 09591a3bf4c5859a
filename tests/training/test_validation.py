"""Validation: after the checkpoint of its iteration, told once; best weights and record always of one iteration."""

import json
import os
import signal
from pathlib import Path

import cv2
import pytest
import torch
from conftest import VDSR

from votes import checkpoint
from votes.cli import main
from votes.training import validation
from votes.training.checkpoint_store import Saves

RUN = Path('experiments/tiny')
QUICK = {'model_type': 'EDVRModel', 'network_g': VDSR, 'datasets__train__center_gt': False}
QUICK |= {'val__val_freq': 2, 'logger__save_checkpoint_freq': 2, 'train__optim_g__lr': 0.01}


def rows(kind='val_val'):
    found = [json.loads(line) for line in (RUN / 'metrics.jsonl').read_text().splitlines()]
    return [row for row in found if row['kind'] == kind]


def record():
    return checkpoint.read_record(RUN / 'training_states' / 'validated.json')


def agree():
    """The best weights are of the iteration that the record names, and those of its checkpoint."""
    content = checkpoint.load(RUN / 'models' / 'net_g_best.pth')
    assert content['best']['iter'] == record()['best_iter']
    then = checkpoint.read_weights(RUN / 'models' / f'net_g_{content["best"]["iter"]}.pth', 'params')
    assert all(torch.equal(then[k], v) for k, v in content['params'].items())
    measured = {row['iter']: row[f'restored_{content["best"]["metric"]}'] for row in rows()}
    assert measured[content['best']['iter']] == content['best']['value']


def test_the_checkpoint_comes_first(place, monkeypatch):
    """A validation that fails costs nothing."""

    def fail(*args):
        raise RuntimeError('out of luck')

    monkeypatch.setattr(validation, 'evaluate', fail)
    with pytest.raises(RuntimeError, match='out of luck'):
        main(['train', '-opt', place(**QUICK)])
    assert Saves(RUN).newest_good() == (2, [])


@pytest.mark.parametrize('background', [False, True])
@pytest.mark.parametrize('point', ['evaluate', 'draw_rows', 'draw_curves', 'weights', 'note'])
def test_stopped_or_killed_at_any_point_of_a_validation(place, monkeypatch, point, background):
    """The next start validates again where it has to, tells it once, and best weights and record agree."""
    file = place(**QUICK, logger__background_save=background)
    with monkeypatch.context() as broken:

        def fail(*args, **more):
            if point == 'evaluate':
                os.kill(os.getpid(), signal.SIGTERM)
                return None
            raise KeyboardInterrupt

        where = {'weights': (Saves, 'write_weights'), 'note': (Saves, 'write_note')}.get(point, (validation, point))
        broken.setattr(*where, fail)
        if point == 'evaluate':
            assert main(['train', '-opt', file]) == 75
        else:
            with pytest.raises(KeyboardInterrupt):
                main(['train', '-opt', file])
    assert main(['train', '-opt', file]) == 0
    assert [row['iter'] for row in rows()] == [2, 4]
    agree()


def test_a_rerun_repeats_nothing(place):
    file = place(**QUICK)
    for _ in range(3):
        assert main(['train', '-opt', file]) == 0
    assert [row['iter'] for row in rows()] == [2, 4]
    agree()


def test_an_older_checkpoint_is_gone_on_from(place):
    """The best weights may then be of an iteration that comes again; what is saved before it knows nothing of it."""
    file = place(**QUICK)
    assert main(['train', '-opt', file]) == 0
    before = record()
    state = checkpoint.load(RUN / 'training_states' / '4.state')['position']
    for path in RUN.glob('*/*4.*'):
        path.unlink()
    assert main(['train', '-opt', file]) == 0
    assert [row['iter'] for row in rows()] == [2, 4]
    assert record() == before
    assert checkpoint.load(RUN / 'training_states' / '4.state')['position'] == state
    agree()


@pytest.mark.parametrize('damage', ['best', 'record'])
def test_a_damaged_record_or_best_is_made_again(place, damage):
    file = place(**QUICK)
    assert main(['train', '-opt', file]) == 0
    before = record()
    path = {'best': RUN / 'models/net_g_best.pth', 'record': RUN / 'training_states/validated.json'}[damage]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    assert main(['train', '-opt', file]) == 0
    assert record() == before
    assert [row['iter'] for row in rows()] == [2, 4]
    agree()


def test_lower_is_better_where_options_say_so(place, caplog):
    error = {'type': 'test_validation:mean_error', 'better': 'lower'}
    file = place(**QUICK, train__total_iter=6, train__scheduler=None, val__metrics={'error': error})
    assert main(['train', '-opt', file]) == 0
    values = {row['iter']: row['restored_error'] for row in rows()}
    assert record()['best']['val']['error'] == min(values.values())
    assert values[record()['best_iter']] == min(values.values())
    tables = [r.message for r in caplog.records if 'now - bicubic' in r.message]
    assert float(tables[-1].splitlines()[1].split()[4]) == pytest.approx(min(values.values()), abs=1e-4)


def mean_error(img, img2):
    return float(abs(img.astype(float) - img2).mean())


def test_another_way_of_measuring_forgets_the_best(place, caplog):
    assert main(['train', '-opt', place(**QUICK, train__total_iter=2)]) == 0
    metrics = {'psnr': {'type': 'calculate_psnr', 'crop_border': 4}}
    assert main(['train', '-opt', place(**QUICK, val__metrics=metrics)]) == 0
    assert 'validation measures otherwise now' in caplog.text
    assert 'metrics.psnr.crop_border: was 2, is 4' in caplog.text
    assert (RUN / 'models/net_g_best_until_2.pth').exists()
    assert record()['best_iter'] == 4
    agree()


def test_other_pictures_under_the_same_names(place, capsys, caplog):
    file = place(**QUICK, train__total_iter=2)
    assert main(['train', '-opt', file]) == 0
    for path in Path('gt/001').glob('*.png'):
        cv2.imwrite(str(path), 255 - cv2.imread(str(path)))
    capsys.readouterr()
    file = place(**QUICK)
    assert main(['train', '-opt', file]) == 2
    assert 'the pictures of the training clips are not the same under the same names: 001' in capsys.readouterr().err
    assert main(['train', '-opt', file, '--allow_changes']) == 0
    assert 'changed:  the pictures of the training clips' in caplog.text
    assert 'data.val.001' in caplog.text, 'the clips of validation are these, too'


def test_a_metric_that_cannot_be_measured_is_found_before_the_first_step(place, capsys):
    metrics = {'psnr': {'type': 'calculate_psnr', 'crop_border': 5000}}
    assert main(['train', '-opt', place(**QUICK, val__metrics=metrics)]) == 2
    error = capsys.readouterr().err
    assert 'crop_border 5000 leaves nothing of 32x32 pixels' in error
    assert 'val.metrics.psnr' in error
    assert not (RUN / 'metrics.jsonl').exists()
