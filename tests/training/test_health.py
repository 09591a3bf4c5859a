"""Promises P8, P10, P15, P19 on one process; with several, see test_launch.py."""

import json
import re
from pathlib import Path

import pytest
import torch

from votes import checkpoint
from votes.cli import main
from votes.options import load_options
from votes.reports.curves import draw_curves
from votes.training.health import Guard

RUN = Path('experiments/tiny')


def faulty(place, kind, at, **changes):
    loss = {'type': f'faults:{kind}', 'at': at}
    once = {'train__pixel_opt': loss, 'train__total_iter': 8, 'train__scheduler': None, 'val__val_freq': 100}
    return place(**{**once, 'logger__save_checkpoint_freq': 1, **changes})


def weights(n):
    return checkpoint.read_weights(RUN / 'models' / f'net_g_{n}.pth')


def test_a_nan_is_skipped_and_named(place, caplog):
    assert main(['train', '-opt', faulty(place, 'NanLoss', [3])]) == 0
    assert all(torch.equal(v, weights(3)[k]) for k, v in weights(2).items()), 'nothing was updated'
    assert any(not torch.equal(v, weights(4)[k]) for k, v in weights(3).items()), 'and then it went on'
    assert 'NaN or Inf at iteration 3 (1 in a row)' in caplog.text
    assert re.search(r'rank 0: l_pix = nan; samples \[.00\d/0000000\d', caplog.text)
    assert re.search(r'worst gradients: [a-z_0-9.]+ \(\d+ of \d+\)', caplog.text)
    dump = checkpoint.load(RUN / 'bad_batches' / '3_rank0.pth')
    assert dump['lq'].shape[0] == 2
    assert len(dump['key']) == 2
    assert all('NaN' not in line for line in (RUN / 'metrics.jsonl').read_text().splitlines())


def test_many_in_a_row_go_back_with_a_lower_rate(place, caplog):
    file = faulty(place, 'NanLoss', [4, 5], train__nonfinite={'patience': 2, 'lr_factor': 0.25})
    assert main(['train', '-opt', file]) == 0
    assert 'back to checkpoint 4, with 0.25 times the learning rate' in caplog.text
    state = checkpoint.load(RUN / 'training_states' / '8.state')
    assert state['position']['lr_scale'] == 0.25
    assert state['position']['rollbacks'] == 1
    assert state['position']['consumed'] == 2 * 9, 'the samples of iteration 5 were seen twice, so to speak'
    assert state['optimizers'][0]['param_groups'][0]['lr'] == pytest.approx(0.25e-3)
    rows = [json.loads(line) for line in (RUN / 'metrics.jsonl').read_text().splitlines()]
    iterations = [r['iter'] for r in rows if r['kind'] == 'train']
    assert iterations == sorted(set(iterations)), 'each iteration once'


@pytest.mark.parametrize('plan', [{'patience': 2, 'then': 'stop'}, {'patience': 2, 'rollbacks': 1}])
def test_giving_up(place, capsys, plan):
    """P15: exit code 1, which is neither done, nor refused, nor stopped."""
    file = faulty(place, 'NanLoss', [3, 4, 5, 6, 7, 8, 9, 10], train__nonfinite=plan)
    assert main(['train', '-opt', file]) == 1
    assert 'error: 2 steps in a row with NaN or Inf' in capsys.readouterr().err


def test_nothing_to_go_back_to(place, capsys):
    file = faulty(place, 'NanLoss', [1, 2], train__nonfinite={'patience': 2}, logger__save_checkpoint_freq=8)
    assert main(['train', '-opt', file]) == 1
    assert 'no checkpoint to go back to' in capsys.readouterr().err


def test_broken_weights_are_not_saved(place, monkeypatch, caplog):
    """A finite gradient can still make an infinite weight."""
    from votes.models import RestorationModel

    original = RestorationModel.step

    def step(self, batch, iteration, **how):
        outcome = original(self, batch, iteration, **how)
        if iteration == 3:
            next(iter(self.generator.named.values())).data.fill_(torch.inf)
        return outcome

    monkeypatch.setattr(RestorationModel, 'step', step)
    file = faulty(place, 'NanLoss', [], train__nonfinite={'patience': 1})
    assert main(['train', '-opt', file]) == 1, 'it breaks again and again'
    assert 'no checkpoint at iteration 3: the weights hold NaN or Inf' in caplog.text
    assert 'back to checkpoint 2' in caplog.text
    assert not (RUN / 'models/net_g_3.pth').exists()


def test_a_crash_tells_where_it_was(place):
    """P10: samples, iteration, last checkpoint, how to go on. Python then ends with exit code 1."""
    with pytest.raises(RuntimeError, match='out of luck') as caught:
        main(['train', '-opt', faulty(place, 'RaisingLoss', [3])])
    (note,) = caught.value.__notes__
    for part in ('iteration  3', 'rank       0', 'checkpoint 2', 'with the same command', 'samples    00'):
        assert part in note


def test_offsets_that_run_away_are_told_once(place, caplog):
    guard = Guard(load_options(place()), RUN)
    for _ in range(3):
        guard.check_offsets({'pcd_align.dcn_pack.l1': 51.0, 'pcd_align.dcn_pack.l2': 3.0})
    assert caplog.text.count('mean |offset| of pcd_align.dcn_pack.l1 is 51 pixels') == 1
    assert 'l2' not in caplog.text


def test_logging_cannot_stop_a_run(place, monkeypatch, caplog):
    """P19."""
    from torch.utils.tensorboard import SummaryWriter

    def fail(*args, **kwargs):
        raise ConnectionError('the server is gone')

    monkeypatch.setattr(SummaryWriter, 'add_scalar', fail)
    monkeypatch.setattr('votes.training.validation.draw_curves', fail)
    monkeypatch.setattr('votes.training.validation.draw_rows', fail)
    RUN.mkdir(parents=True)
    (RUN / 'metrics.jsonl').mkdir()
    assert main(['train', '-opt', place(logger__use_tb_logger=True)]) == 0
    for what in ('TensorBoard', 'metrics.jsonl', 'curves.svg', 'previews'):
        assert caplog.text.count(f'{what} cannot be written') == 1


def test_a_run_folder_explains_itself(place, monkeypatch):
    monkeypatch.setattr('votes.training.validation.draw_curves', draw_curves)
    assert main(['train', '-opt', place(val__val_freq=2)]) == 0
    about = json.loads((RUN / 'environment.json').read_text())
    assert about['packages']['torch'] == torch.__version__
    assert {'command', 'commit', 'python', 'gpus', 'processes'} <= about.keys()
    assert json.loads((RUN / 'data.json').read_text())['clips'] == {'000': 6, '001': 8, '002': 7}
    assert sorted(p.name for p in (RUN / 'previews').iterdir()) == ['00000002.png', '00000004.png']
    assert '</svg>' in (RUN / 'curves.svg').read_text()
    assert main(['train', '-opt', str(RUN / 'options.yml'), '--set', 'name=again']) == 0
    assert weights(4).keys() == checkpoint.read_weights('experiments/again/models/net_g_4.pth').keys()
