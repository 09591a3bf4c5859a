"""Tables of several columns: the grid, lines of a figure by method, parameters and training time."""

import json
from pathlib import Path

import pytest

from votes.checkpoint import write_record
from votes.studies.claims import NOT_RUN, REPRODUCED
from votes.studies.outcome import Result, _cost, _video_costs
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
    """Parameters of the network that was tested, seconds of every training behind it, steps that minutes became; verbs
    and tests take none, and seeds that were not run count nothing.
    """
    whole = study()
    whole.jobs['second'].minutes, whole.jobs['lost'] = 1, whole.jobs['test']
    whole.rows[0].results.insert(0, 'lost')
    runner = Runner(whole, tmp_path, None, [], say=str)
    runner.outcomes = {
        name: Outcome('done', '', seconds) for name, seconds in (('first', 10), ('second', 5), ('test', 99))
    }
    runner.outcomes['lost'] = Outcome('stopped')
    write_record(tmp_path / 'jobs' / 'second.json', {'record': {'options': {'train.total_iter': 77}}})
    folder = Path(tmp_path, 'results', 'test')
    folder.mkdir(parents=True)
    network = {'type': 'EDSR', 'num_feat': 4, 'num_block': 1, 'upscale': 2}
    content = {'name': 'test', 'protocol': {'metrics': {}}, 'results': {}, 'network_g': network}
    write_record(folder / 'results.json', content)
    cost = _cost(runner.study.rows[0], runner)
    assert (cost['train_s'], cost['steps']) == (15, 77)
    assert 500 < cost['parameters'] < 5000


def test_warping_errors_of_several_runs(tmp_path):
    """Means of what was measured; the error over the interpolated frames', in pairs, with its interval."""
    row = {'label': 'a', 'results': ['test'], 'minus': 'bicubic', 'costs': ['costs_0', 'costs_1', 'gone']}
    jobs = {name: {'video_costs': 'c.yml', 'weights': 'first'} for name in row['costs']}
    costly = study(rows=[row], jobs={'first': {'train': 'a.yml'}, 'test': {'test': 'c.yml'}, **jobs}, versions=True)
    runner = Runner(costly, tmp_path, None, [], say=str)
    runner.outcomes = {name: Outcome('failed' if name == 'gone' else 'done') for name in costly.jobs}
    for seed, rate in ((0, 4.0), (1, 8.0)):
        clips = {
            f'{qp}/{clip}': {'warping_error': (1 + seed + shift) / 1000, 'warping_error_bicubic': 0.002}
            for qp, shift in (('qp28', 0), ('qp33', 2))
            for clip in 'ab'
        }
        content = {'clips': clips, 'mean': {'frames_per_second': rate}}
        write_record(tmp_path / 'results' / f'costs_{seed}' / 'video_costs.json', content)
    found = Result(costly.rows[0], REPRODUCED)
    _video_costs(costly, found, runner)
    assert found.cost == {'frames_per_second': 6}
    one = found.interval['warping_error']
    assert (one.seeds, one.clips) == (2, 2), 'both quantisers of a clip are one video'
    assert one.value == pytest.approx(0.0005)
    assert one.low == pytest.approx(0.0005 - 2**-0.5 / 1000), 'two seeds, enlarged'
    text = write_all(costly, [found], runner.outcomes, tmp_path, 'votes reproduce s')
    assert '| +0.500 [-0.207, +1.207] |' in text


def test_steps_of_a_training_that_was_given_minutes(tmp_path):
    """Timed once for all seeds, by the processor's time of the later steps, whatever else the machine did."""
    train = {'train': 'a.yml', 'minutes': 2}
    jobs = {'net_0': train, 'net_1': train, 'other_7': train, 'test': {'test': 'c.yml', 'weights': 'net_1'}}
    runner = Runner(study(jobs=jobs, seeds=[0, 1]), tmp_path, None, [], say=str)
    asked = []

    def trial(name, command, device):
        asked.append(name)
        rows = [
            {'kind': 'train', 'iter': 10, 'seconds': 9.0, 'cpu_seconds': 0.5},
            {'kind': 'train', 'iter': 20, 'seconds': 9.0, 'cpu_seconds': 0.35},
            {'kind': 'val', 'iter': 20},
        ]
        lines = tmp_path / 'experiments' / name / 'metrics.jsonl'
        lines.parent.mkdir(parents=True)
        lines.write_text(''.join(f'{json.dumps(row)}\n' for row in rows))
        return Outcome('done')

    runner._run, runner._options = trial, lambda name, job: ('train', Path('a.yml'), [])
    with pytest.MonkeyPatch.context() as m:
        m.setattr('votes.studies.runner.load_options', lambda *_: None)
        for name in ('net_0', 'net_1', 'other_7'):
            runner._take_pace(name, runner.study.jobs[name], '')
    assert asked == ['net_0_pace', 'other_7_pace'], 'a name that ends with no seed is its own'
    assert runner._pace('net_1') == runner._pace('net_0') == {'minutes': 2, 'seconds': pytest.approx(0.2), 'steps': 600}


def test_data_of_settings(tmp_path):
    """A path below ./datasets in `set` is looked for where the data are, others are left."""
    runner = Runner(study(), tmp_path, Path('/data'), [], say=str)
    assert runner._placed('./datasets/REDS/LQ') == '/data/REDS/LQ'
    assert runner._placed('{out}/x') == f'{tmp_path}/x'
    assert runner._placed('./other/x') == './other/x'
    assert Runner(study(), tmp_path, None, [], say=str)._placed('./datasets/x') == './datasets/x'
