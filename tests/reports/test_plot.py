import json
import math
from pathlib import Path

import pytest

from votes.cli import main
from votes.reports.curves import series
from votes.training.run_log import RunLog


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, offset in (('a', 0), ('b', 1)):
        Path(name).mkdir()
        rows = [{'iter': i, 'kind': 'train', 'loss': 1 / i} for i in range(1, 9)]
        rows += [{'iter': i, 'kind': f'val_{s}', 'restored_psnr': 30 + i + offset} for i in (4, 8) for s in 'xy']
        Path(name, 'metrics.jsonl').write_text('\n'.join(map(json.dumps, rows)) + '\n{"iter": 9, "ki')
    return ['a', 'b']


@pytest.mark.parametrize('suffix', ['svg', 'png', 'pdf'])
def test_formats(runs, suffix):
    assert main(['plot', *runs, '-o', f'p.{suffix}']) == 0
    head = Path(f'p.{suffix}').read_bytes()[:200]
    assert {'svg': b'<svg', 'png': b'\x89PNG', 'pdf': b'%PDF'}[suffix] in head + Path(f'p.{suffix}').read_bytes()[:2000]


def test_what_is_drawn(runs):
    assert series(Path('b'), 'restored_psnr') == {'val_x': [(4, 35), (8, 39)], 'val_y': [(4, 35), (8, 39)]}
    assert main(['plot', *runs, '--key', 'loss', '--log', '--smooth', '3']) == 0
    text = Path('plot.svg').read_text()
    assert text.count('id="line2d_') > 4


def test_what_is_refused(runs, capsys):
    assert main(['plot', 'a', '--key', 'psnr']) == 2
    assert 'restored_psnr' in capsys.readouterr().err
    assert main(['plot', 'nowhere']) == 2
    assert main(['plot', 'a', '-o', 'p.txt']) == 2


def test_infinite_values_are_json_and_come_back(tmp_path):
    """A restored frame that equals its original has an infinite PSNR, which JSON does not have."""
    log = RunLog.__new__(RunLog)
    log.folder, log.active, log.lease, log.tensorboard, log.failed = tmp_path, True, None, None, set()
    log.scalars(4, {'restored_psnr': math.inf, 'bicubic_psnr': 30.0}, 'val_x')
    json.loads((tmp_path / 'metrics.jsonl').read_text(), parse_constant=pytest.fail)
    assert series(tmp_path, 'restored_psnr') == {'val_x': [(4, math.inf)]}
