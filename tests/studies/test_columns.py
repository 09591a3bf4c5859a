"""Tables of several columns: the grid, lines of a figure by method, parameters and training time."""

from pathlib import Path

from votes.checkpoint import write_record
from votes.studies.claims import NOT_RUN, REPRODUCED
from votes.studies.outcome import Result, _cost
from votes.studies.render import draw, write_all
from votes.studies.runner import Outcome, Runner
from votes.studies.study import Row, Study


def study(**changes):
    rows = [
        Row(label=f'{method} {qp}', place=(f'QP {qp}', method), x=qp, results=['test'], published={'psnr': 30.0})
        for method in ('A', 'B')
        for qp in (28, 33)
    ]
    jobs = {
        'first': {'train': 'a.yml'},
        'second': {'train': 'b.yml', 'after': ['first']},
        'test': {'test': 'c.yml', 'weights': 'second'},
    }
    return Study.model_validate({'name': 's', 'title': 'S', 'jobs': jobs, 'rows': rows, 'costs': True, **changes})


def test_the_grid(tmp_path):
    """Rows by columns as in the paper; what was not run says so; costs are columns of the list below."""
    matrix = study(figure={'kind': 'matrix', 'rows': 'data', 'columns': 'method'})
    cost = {'parameters': 1234567, 'train_s': 61.4}
    results = [Result(r, REPRODUCED, ours={'psnr': 30.126, 'ssim': 0.9}, cost=cost) for r in matrix.rows[:3]]
    results.append(Result(matrix.rows[3], NOT_RUN, 'no data'))
    text = write_all(matrix, results, {'test': Outcome('done')}, tmp_path, 'votes reproduce s')
    lines = text.splitlines()
    assert lines[2] == '|  | A | B |'
    assert lines[4] == '| QP 28 | 30.13 / 0.9000 (paper 30.00) | 30.13 / 0.9000 (paper 30.00) |'
    assert lines[5] == '| QP 33 | 30.13 / 0.9000 (paper 30.00) | not run (paper 30.00) |'
    assert '| 1,234,567 | 61 | REPRODUCED |' in text
    assert '| - | - | NOT RUN |' in text


def test_lines_by_method(tmp_path):
    line = study(figure={'kind': 'line', 'x': 'QP'})
    for row in line.rows:
        row.place = (row.place[1], row.place[0])
    results = [Result(r, REPRODUCED, ours={'psnr': 40 - r.x / 4}, baseline={'bicubic': 29.0}) for r in line.rows]
    draw(line, results, tmp_path)
    drawn = (tmp_path / 's.svg').read_text()
    assert all(f'<!-- {name} -->' in drawn for name in ('A', 'B', 'A, paper', 'B, paper', 'LQ bicubic'))


def test_costs(tmp_path):
    """Parameters of the network that was tested, seconds of every training behind it; verbs and tests take none."""
    runner = Runner(study(), tmp_path, None, [], say=str)
    runner.outcomes = {
        name: Outcome('done', '', seconds) for name, seconds in (('first', 10), ('second', 5), ('test', 99))
    }
    folder = Path(tmp_path, 'results', 'test')
    folder.mkdir(parents=True)
    network = {'type': 'EDSR', 'num_feat': 4, 'num_block': 1, 'upscale': 2}
    content = {'name': 'test', 'protocol': {'metrics': {}}, 'results': {}, 'network_g': network}
    write_record(folder / 'results.json', content)
    cost = _cost(runner.study.rows[0], runner)
    assert cost['train_s'] == 15
    assert 500 < cost['parameters'] < 5000


def test_data_of_settings(tmp_path):
    """A path below ./datasets in `set` is looked for where the data are, others are left."""
    runner = Runner(study(), tmp_path, Path('/data'), [], say=str)
    assert runner._placed('./datasets/REDS/LQ') == '/data/REDS/LQ'
    assert runner._placed('{out}/x') == f'{tmp_path}/x'
    assert runner._placed('./other/x') == './other/x'
    assert Runner(study(), tmp_path, None, [], say=str)._placed('./datasets/x') == './datasets/x'
