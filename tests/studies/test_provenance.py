"""What a study has done counts for as long as what it was made from is the same."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from conftest import tiny_options

from votes.checkpoint import without_infinity
from votes.cli import main
from votes.errors import UserError
from votes.processes.lease import Lease
from votes.studies import reproduce
from votes.studies.claims import NOT_REPRODUCED, NOT_RUN, REPRODUCED
from votes.studies.outcome import NoPair, Result, check_trainings, results_of
from votes.studies.render import as_json, latex, markdown
from votes.studies.runner import Outcome, Runner
from votes.studies.study import Row, Study, find_study, read_study


@pytest.fixture
def study(place):
    """small.yml: a training and its test, on the clips of `place`; returns the option file of the training."""
    train, test = tiny_options('EDVRModel'), tiny_options('EDVRModel')
    del train['datasets']['val']
    Path('train.yml').write_text(yaml.safe_dump(train))
    test['datasets'] = {'test': test['datasets']['val']}
    del test['train']
    Path('test.yml').write_text(yaml.safe_dump(test))
    jobs = {'good': {'train': 'train.yml'}, 'test_good': {'test': 'test.yml', 'weights': 'good'}}
    rows = [{'label': 'x', 'results': ['test_good'], 'published': {'psnr': 30}}]
    Path('small.yml').write_text(yaml.safe_dump({'name': 'small', 'title': 'Small', 'jobs': jobs, 'rows': rows}))
    return train


@pytest.fixture
def ran(monkeypatch):
    """Jobs that are executed, with whether they were told that something had changed; each makes its file."""
    names = []

    def execute(self, name, job, device, changed):
        self.command(name, job, changed)
        names.append((name, changed))
        self.product(name, job).parent.mkdir(parents=True, exist_ok=True)
        self.product(name, job).write_text(f'made the {len(names)}th time')
        return Outcome('done')

    monkeypatch.setattr(Runner, '_execute', execute)
    return names


def run(said=None):
    return Runner(read_study('small.yml'), Path('out'), None, [], [].append if said is None else said.append).run()


def test_what_changed_runs_again_and_says_why(study, ran):
    run()
    assert ran == [('good', False), ('test_good', False)]
    run()
    assert len(ran) == 2, 'nothing has changed: nothing runs'

    study['train']['optim_g']['lr'] = 1e-4
    Path('train.yml').write_text(yaml.safe_dump(study))
    said = []
    run(said)
    assert ran[2:] == [('good', True), ('test_good', True)], 'an edited option file, and what was made from it'
    assert any('good: STALE: train.optim_g.lr: was 0.001, is 0.0001' in line for line in said)
    assert any('test_good: STALE' in line and 'made from another: good' in line for line in said)
    outcome = json.loads(Path('out/jobs/good.json').read_text())
    assert [len(entry['why']) for entry in outcome['history']] == [0, 1]

    picture = np.full((32, 40, 3), 7, np.uint8)
    for i in range(6):
        cv2.imwrite(f'gt/000/{i:08d}.png', picture)
    said = []
    run(said)
    assert ran[4:] == [('good', True), ('test_good', True)], 'other pictures under the same names'
    assert any('datasets.train.dataroot_gt: clips hold other frames: 000' in line for line in said)

    Path('out/experiments/good/models/net_g_latest.pth').write_text('of somewhere else')
    run()
    assert ran[6:] == [('good', True), ('test_good', True)], 'weights that are not those that were trained'
    run()
    assert len(ran) == 8


def test_data_of_another_command_are_made_anew(study, monkeypatch):
    """A verb goes on with what it finds: of another command that would be other data."""
    there = []

    def run_verb(self, name, command, device):
        made, videos = Path('out/data/clips'), Path('out/data/videos/8')
        there.append(sorted(path.name for place in (made, videos) for path in place.glob('*')))
        for place in (made, videos):
            place.mkdir(parents=True, exist_ok=True)
        (made / 'names.json').write_text(command[-1])
        (videos / f'{command[-1]}.mkv').write_text('')
        return Outcome('done')

    monkeypatch.setattr(Runner, '_run', run_verb)
    content = yaml.safe_load(Path('small.yml').read_text())
    for frames in ('8', '8', '16'):
        made = {'verb': ['prepare', 'ldv-like', 'a', 'b', '--frames', frames], 'makes': '{out}/data/clips/names.json'}
        made['beside'] = ['{out}/data/videos/8']
        content |= {'jobs': {'clips': made}, 'rows': [{'label': 'x', 'results': ['clips']}]}
        Path('small.yml').write_text(yaml.safe_dump(content))
        run()
    assert there == [[], []], 'not twice, and not upon the first'


def test_only_what_matters_is_stale(study, ran):
    run()
    Path('gt').rename('elsewhere')
    study['datasets']['train']['dataroot_gt'] = 'elsewhere/'
    study['logger']['print_freq'] = 50
    test = yaml.safe_load(Path('test.yml').read_text())
    test['datasets']['test']['dataroot_gt'] = './elsewhere'
    for name, content in (('train', study), ('test', test)):
        Path(f'{name}.yml').write_text(yaml.safe_dump(content))
    before = len(ran)
    run()
    assert len(ran) == before, 'moved data are the same data, and what is printed changes nothing'


def test_weights_of_ones_own(study, ran, capsys):
    Path('own.pth').write_text('mine')
    runner = Runner(read_study('small.yml'), Path('out'), None, [], str, {'good': Path('own.pth')})
    outcomes = runner.run()
    assert ran == [('test_good', False)]
    assert outcomes['good'].reason == 'weights given: own.pth'
    assert 'path.pretrain_network_g=own.pth' in runner.command('test_good', runner.study.jobs['test_good'])
    Path('own.pth').write_text('others')
    Runner(read_study('small.yml'), Path('out'), None, [], str, {'good': Path('own.pth')}).run()
    assert ran[1:] == [('test_good', True)]
    assert main(['reproduce', 'small.yml', '-o', 'out', '--weights', 'bad=own.pth']) == 2
    assert "no training job 'bad'" in capsys.readouterr().err
    with pytest.raises(UserError, match='weights not found'):
        Runner(read_study('small.yml'), Path('out'), None, [], str, {'good': Path('none.pth')})


def test_nothing_is_trained_where_only_evaluation_is_asked_for(study, ran, capsys):
    """Weights of one's own are measured; a job of several seeds is named without its seed."""
    Path('own.pth').write_text('mine')
    content = yaml.safe_load(Path('small.yml').read_text())
    content['seeds'] = [0, 1]
    content['jobs'] = {
        'good_{seed}': {'train': 'train.yml'},
        'test_{seed}': {'test': 'test.yml', 'weights': 'good_{seed}'},
    }
    content['rows'][0]['results'] = ['test_{seed}']
    Path('small.yml').write_text(yaml.safe_dump(content))
    small = read_study('small.yml')
    assert small.rows[0].results == ['test_0', 'test_1']
    runner = Runner(small, Path('out'), None, [], str, {'good': Path('own.pth')}, train=False)
    outcomes = runner.run()
    assert ran == [('test_0', False)]
    assert runner.own == {'good_0': Path('own.pth')}
    assert 'nothing is to be trained' in outcomes['test_1'].reason
    (row,) = results_of(small, runner)
    assert row.verdict == NOT_RUN


def test_the_root_cause_is_named_and_the_command_is_whole(study, capsys):
    study['datasets']['train']['dataroot_gt'] = 'no/where'
    Path('train.yml').write_text(yaml.safe_dump(study))
    assert main(['reproduce', 'small.yml', '-o', 'out', '--data', 'lq', '--gpus', '']) == 3
    content = json.loads(Path('out/small.json').read_text())
    assert content['rows'][0]['reason'] == 'data missing: no/where'
    assert content['jobs']['test_good']['reason'] == 'data missing: no/where'
    assert content['command'] == "votes reproduce small.yml --data lq -o out --gpus ''"


def test_a_study_has_one_owner(study, capsys):
    with Lease(Path('out'), 'a study'):
        assert main(['reproduce', 'small.yml', '-o', 'out']) == 2
    assert 'another process owns this folder: a study' in capsys.readouterr().err


def test_lineage_of_a_study(study, ran, capsys):
    run()
    study['train']['optim_g']['lr'] = 1e-4
    Path('train.yml').write_text(yaml.safe_dump(study))
    run()
    assert main(['lineage', 'out']) == 0
    said = capsys.readouterr().out
    assert 'test_good: done' in said
    assert 'from good' in said
    assert 'train.optim_g.lr: was 0.001, is 0.0001' in said
    assert 'datasets.train.dataroot_gt: 3 clips' in said


def result(psnr, **more):
    row = Row(label='#1 of {a}', results=['x'], published={'psnr': 30.0})
    return Result(row, REPRODUCED, ours={'psnr': psnr}, **more)


def measured(place, job, correlations):
    folder = place / 'results' / job
    folder.mkdir(parents=True)
    clips = {str(i): value for i, value in enumerate(correlations)}
    content = {'what': 'w', 'correlation_lq': 0.0, 'clips': {'correlation': clips}}
    (folder / 'dfm_error.json').write_text(json.dumps(content))


@pytest.mark.parametrize('quick', [False, True])
def test_a_map_that_says_nothing_is_not_reproduced(tmp_path, quick):
    """Figure 9's claim is a correlation above 0: that of a constant map is 0."""
    study = read_study(find_study('figure9'), quick)
    row = study.rows[0]
    for place, mean, verdict in (('a', 0.0, NOT_REPRODUCED), ('b', 0.2, REPRODUCED)):
        runner = Runner(study, tmp_path / place, None, [], str)
        runner.outcomes = {name: Outcome('done') for name in study.jobs}
        for job in row.measure:
            measured(tmp_path / place, job, [mean - 0.02, mean, mean + 0.02])
        study.rows = [row]
        (found,) = results_of(study, runner)
        assert (found.verdict, found.interval['correlation'].seeds) == (verdict, 3)
        assert found.ours['correlation'] == pytest.approx(mean)


def test_networks_that_were_trained_differently_are_no_pair(tmp_path):
    jobs = {'a': {'train': 'o.yml'}, 'b': {'train': 'o.yml'}}
    jobs |= {f'test_{name}': {'test': 'o.yml', 'weights': name} for name in 'ab'}
    study = Study(name='s', title='s', jobs=jobs, rows=[Row(label='x', results=['test_a'])])
    runner = Runner(study, tmp_path, None, [], str)
    (tmp_path / 'jobs').mkdir()

    def record(job, **options):
        (tmp_path / 'jobs' / f'{job}.json').write_text(json.dumps({'record': {'options': options, 'data': {}}}))

    record('a', **{'train.total_iter': 200, 'manual_seed': 0, 'network_g.dfm': True})
    record('b', **{'train.total_iter': 200, 'manual_seed': 0, 'network_g.dfm': False})
    check_trainings(runner, 'test_a', 'test_b')
    record('b', **{'train.total_iter': 300, 'manual_seed': 1, 'network_g.dfm': False})
    with pytest.raises(NoPair, match=r'differently: manual_seed, train.total_iter'):
        check_trainings(runner, 'test_a', 'test_b')


def test_what_is_written_of_a_study():
    study = Study(name='s', title='s', jobs={'x': {'verb': ['list']}}, rows=[Row(label='x', results=['x'])])
    found = result(float('inf'), protocol=['psnr: RGB, 0 pixels cropped'])
    text = markdown(study, [['', 'verdict']], [found], {'commit': 'c'}, 'votes')
    assert 'Measured: psnr: RGB, 0 pixels cropped.' in text
    assert 'on Y' not in text
    assert r'\#1 of \{a\} & MEASURED' in latex(study, [['', 'verdict'], ['#1 of {a}', 'MEASURED']])
    assert without_infinity(as_json(study, [found], {}, {}, ''))['rows'][0]['ours'] == {'psnr': 'inf'}
    assert reproduce.SOME_OPEN == 3
