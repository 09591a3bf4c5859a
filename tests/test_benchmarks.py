"""The programs in benchmarks/ run, and what they work out is right. What they measure is not tested."""

import json
import sys
from pathlib import Path

import pytest

from votes.cli import main

FOLDER = Path(__file__).resolve().parents[1] / 'benchmarks'


@pytest.fixture
def scaling(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import scaling

    yield scaling
    for name in ('machine', 'published', 'scaling', 'train_step'):
        sys.modules.pop(name, None)


def test_bench_lists_and_refuses(capsys):
    assert main(['bench']) == 0
    assert {'deform_conv', 'restore', 'scaling', 'train_step'} <= set(capsys.readouterr().out.split())
    assert main(['bench', 'machine']) == 2


def test_a_training_step_is_measured(tmp_path):
    result = tmp_path / 'result.json'
    small = ['--sizes', 'demo', '--batch', '1', '--repeats', '2', '--ways', 'plain', 'float32', '--device', 'cpu']
    assert main(['bench', 'train_step', '-o', str(result), *small]) == 0
    content = json.loads(result.read_text())
    demo = content['results']['demo']
    assert demo['ways']['float32']['step']['median'] > 0
    assert demo['tflop_per_sample']['forward'] * 2 < demo['tflop_per_sample']['step']
    assert set(demo['parts']) >= {'DSM and DFM', 'align (PCD)', 'reconstruct'}
    assert content['machine']['command'].startswith('python')


def test_scaling_on_paper(scaling):
    """A ring of 8 moves 7/4 of the gradients: 100 MB at 12.5 GB/s in 14 ms; two thirds of a step may hide it."""
    rows = {(r['link'], r['processes'], r['assumed_step_milliseconds']): r for r in scaling.on_paper(100_000_000)}
    row = rows['100 Gbit/s', 8, 100]
    assert row['all_reduce_milliseconds'] == pytest.approx(14)
    assert row['efficiency'] == [pytest.approx(100 / 114, abs=1e-4), 1]
    slow = rows['10 Gbit/s', 8, 50]['efficiency']
    assert slow == [pytest.approx(50 / 190, abs=1e-4), pytest.approx(50 / (50 + 140 - 100 / 3), abs=1e-4)]
    assert 80e6 < scaling.gradient_bytes('L') < 100e6
