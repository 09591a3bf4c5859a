"""The training program: what it writes, how it goes on, and that several processes do what one does."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from votes import checkpoint
from votes.cli import main

ROOT = Path(__file__).resolve().parents[1]
RUN = Path('experiments/tiny')


def train(file, *more):
    assert main(['train', '-opt', file, *more]) == 0


def weights(folder=RUN, iteration=4):
    return checkpoint.read_weights(folder / 'models' / f'net_g_{iteration}.pth')


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_what_a_run_leaves(place, capsys):
    train(place(logger__use_tb_logger=True, val__save_img=True, datasets__val__name='clips'))
    printed = capsys.readouterr().out
    assert re.search(r'it 4/4 100.0% loss [\d.]+ lr .* s/it \(data \d+%\) gain [+-][\d.]+ dB offset .* ETA', printed)
    assert re.search(r'clips +LQ bilinear +LQ bicubic +now +best +now - bicubic', printed)
    files = {str(p.relative_to(RUN)) for p in RUN.rglob('*') if p.is_file()}
    assert {'models/net_g_2.pth', 'models/net_g_4.pth', 'models/net_g_latest.pth', 'options.yml'} <= files
    assert {'training_states/2.state', 'training_states/4.state', 'metrics.jsonl'} <= files
    assert 'visualization/clips/001/00000000_4.png' in files
    assert any(name.startswith('tb_logger/events') for name in files)
    assert any(re.fullmatch(r'tiny_\d+_\d+\.log', name) for name in files)
    rows = [json.loads(line) for line in (RUN / 'metrics.jsonl').read_text().splitlines()]
    assert [r['iter'] for r in rows if r['kind'] == 'train'] == [1, 2, 3, 4]
    assert {'loss', 'lr', 'seconds', 'data', 'gain_db', 'offset.pcd_align.cas_dcnpack'} <= rows[0].keys()
    assert {'restored_psnr', 'bicubic_psnr', 'bilinear_ssim'} <= rows[-1].keys()
    content = torch.load(RUN / 'models' / 'net_g_4.pth', weights_only=True)
    assert all(isinstance(v, torch.Tensor) for v in content['params'].values()), "BasicSR's format"


@pytest.mark.parametrize('model_type', ['DSMModel', 'VOTESModel', 'EDVRModel'])
@pytest.mark.parametrize('workers', [0, 2])
def test_resuming_equals_not_stopping(place, model_type, workers):
    if workers and model_type != 'VOTESModel':
        pytest.skip('workers are tried once')
    file = place(model_type, datasets__train__num_worker_per_gpu=workers, train__warmup_iter=3)
    train(file)
    whole = weights()
    state = checkpoint.load(RUN / 'training_states' / '4.state')
    for path in ('models/net_g_4.pth', 'models/net_g_latest.pth', 'training_states/4.state'):
        (RUN / path).unlink()
    train(file, '--auto_resume')
    assert same(whole, weights())
    again = checkpoint.load(RUN / 'training_states' / '4.state')
    first, second = (s['optimizers'][0]['state'] for s in (state, again))
    assert all(torch.equal(first[i]['exp_avg'], second[i]['exp_avg']) for i in first)


def test_a_finished_run_is_left_as_it_is(place):
    file = place()
    train(file)
    before = (RUN / 'models' / 'net_g_4.pth').stat().st_mtime_ns
    train(file)
    assert (RUN / 'models' / 'net_g_4.pth').stat().st_mtime_ns == before


def test_restart_puts_the_old_run_aside(place):
    file = place()
    train(file)
    train(file, '--restart')
    (old,) = Path('experiments').glob('tiny_archived_*')
    assert (old / 'models' / 'net_g_4.pth').is_file()
    assert same(weights(), weights(old))


def test_resume_state_of_another_run(place):
    train(place())
    other = place(file='other.yml', name='other', path__resume_state=str(RUN / 'training_states' / '2.state'))
    train(other)
    assert same(weights(), weights(Path('experiments/other')))


def test_as_a_file(place):
    done = subprocess.run(
        [
            sys.executable,
            str(ROOT / 'votes' / 'train.py'),
            '-opt',
            place(datasets__val=None, val=None),
            '--launcher',
            'none',
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert weights()
