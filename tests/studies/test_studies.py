"""Studies: their files, the runner, verdicts and what is written."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from conftest import tiny_options

from votes.checkpoint import write_record
from votes.cli import VERBS, main
from votes.errors import UserError
from votes.options import load_options
from votes.studies.claims import BETTER, INCONCLUSIVE, MEASURED, NOT_REPRODUCED, NOT_RUN, REPRODUCED, SEEDS
from votes.studies.dfm_error import correlation, regions
from votes.studies.outcome import Measured
from votes.studies.render import latex
from votes.studies.runner import Outcome, Runner
from votes.studies.study import PROGRAMS, SOURCE, find_study, read_study

FILES = sorted((SOURCE / 'options' / 'studies').rglob('*.yml'))


ONCE = ('calibrated', 'dfm', 'twice', 'zoo')  # studies of our own, without a quick version


@pytest.mark.parametrize(
    ('path', 'quick'),
    [
        pytest.param(path, quick, marks=() if quick else pytest.mark.long)
        for path in FILES
        for quick in (False, True)
        if not (quick and path.stem in ONCE)
    ],
    ids=lambda value: value.stem if isinstance(value, Path) else 'quick' if value else 'full',
)
def test_every_study(path, quick, tmp_path):
    """Its option files load with the overrides; it measures every row; nothing of the paper is in a quick one."""
    study = read_study(path, quick)
    runner = Runner(study, tmp_path, Path('/elsewhere'), [], say=str)
    for name, job in study.jobs.items():
        runner.outcomes[name] = Outcome('done')
        if job.verb is not None:
            assert job.verb[0] in VERBS
            continue
        kind = next(k for k in PROGRAMS if getattr(job, k))
        given = ' '.join(runner._options(name, job)[2])
        assert not [text for text in ('{out}', './datasets/') if text in given], 'also inside of lists'
        with pytest.raises(UserError) as caught:  # neither data nor weights are here
            runner.command(name, job)
        lines = str(caught.value).splitlines()[1:]
        assert all('no such f' in line for line in lines), lines
        made = ('/elsewhere', str(tmp_path))  # what the study's own jobs make lies in its folder
        assert quick or all(any(p in line for p in made) for line in lines if 'no such folder' in line)
        mode = 'train' if kind == 'train' else 'test'
        load_options(SOURCE / getattr(job, kind), mode, [], check_paths=False)
    assert all(row.jobs for row in study.rows)
    assert not quick or ('in small' in study.title and not any(row.published for row in study.rows))
    claims = [row for row in study.rows if row.minus or row.measure]
    assert all(len(row.results or row.measure) >= SEEDS for row in claims)


def test_studies_in_small_share_their_trainings():
    """In one folder, as the notes say."""
    table, figure, peaks, challenge = (
        read_study(find_study(name), quick=True).jobs for name in ('table2', 'figure8', 'mfqe', 'ntire21')
    )
    assert {name: figure[name] for name in table} == table
    trained = {name: job for name, job in challenge.items() if not job.test}
    assert trained == {name: peaks[name] for name in trained}


def small_study(place, **changes):
    """Two tests of a network that is trained, one of weights that fail to come about."""
    train, test = tiny_options('VOTESModel'), tiny_options('VOTESModel')
    Path('train.yml').write_text(yaml.safe_dump(train))
    test['datasets'] = {'test': test['datasets']['val']}
    test['path'] = {'pretrain_network_g': 'none.pth'}
    del test['train']
    Path('test.yml').write_text(yaml.safe_dump(test))
    content = {
        'name': 'small',
        'title': 'Small',
        'tolerance': {'psnr': 60, 'ssim': 3},
        'jobs': {
            'dsm': {'verb': ['checkpoint', 'inspect', 'dsm.pth']},
            'good': {'train': 'train.yml', 'after': ['dsm']},
            'bad': {'train': 'train.yml', 'set': {'train.total_iter': 4, 'datasets.train.gt_size': 4000}},
            'test_good': {'test': 'test.yml', 'weights': 'good'},
            'test_bad': {'test': 'test.yml', 'weights': 'bad'},
            'maps': {'dfm_error': 'test.yml', 'weights': 'good'},
            'no_data': {'test': 'test.yml', 'weights': 'good', 'set': {'datasets.test.dataroot_gt': 'nowhere'}},
        },
        'rows': [
            {'label': 'easy', 'results': ['test_good'], 'published': {'psnr': 1.0, 'ssim': -1.0}},
            {'label': 'hard', 'results': ['test_good', 'test_good'], 'published': {'psnr': 99.0}},
            {'label': 'far above', 'results': ['test_good'], 'published': {'psnr': -99.0}},
            {'label': 'shown', 'results': ['test_good']},
            {'label': 'one map', 'measure': ['maps']},
            {'label': 'from a failure', 'results': ['test_bad'], 'published': {'psnr': 1.0}},
            {'label': 'no data', 'results': ['no_data'], 'minus': ['test_good']},
            {'label': 'itself', 'results': ['test_good'] * 3, 'minus': ['test_good'] * 3, 'curve': ['good']},
            {
                'label': 'the order of two',
                'order': {'1': ['test_good'] * 3, '2': ['test_good'] * 3},
                'published': {'1': 30, '2': 31},
            },
        ],
        **changes,
    }
    Path('small.yml').write_text(yaml.safe_dump(content))


def test_a_study_from_start_to_end(place, capsys):
    small_study(place)
    assert main(['reproduce', 'small.yml', '-o', 'out']) == 1
    said = capsys.readouterr().out
    content = json.loads(Path('out/small.json').read_text())
    rows = {row['row']['label']: row for row in content['rows']}
    assert {label: row['verdict'] for label, row in rows.items()} == {
        'easy': REPRODUCED,
        'hard': NOT_REPRODUCED,
        'far above': BETTER,
        'shown': MEASURED,
        'one map': INCONCLUSIVE,
        'from a failure': NOT_RUN,
        'no data': NOT_RUN,
        'itself': NOT_REPRODUCED,
        'the order of two': NOT_REPRODUCED,
    }
    assert 'bad is failed' in rows['from a failure']['reason'], 'a job that failed is named, and others went on'
    assert 'data missing' in rows['no data']['reason']
    assert rows['hard']['spread']['psnr'] == 0
    assert content['jobs']['bad']['state'] == 'failed'
    assert 'exit code 2: error: ' in content['jobs']['bad']['reason']
    measured = json.loads(Path('out/results/test_good/results.json').read_text())['results']
    mean = next(iter(measured.values()))['mean']['restored']['psnr']
    assert rows['easy']['ours']['psnr'] == mean
    assert rows['easy']['difference']['psnr'] == mean - 1
    gain = rows['itself']
    assert gain['interval']['psnr'] == {'value': 0, 'low': 0, 'high': 0, 'seeds': 3, 'clips': 3}
    assert gain['sides']['with'] == gain['sides']['without'] == {'psnr': pytest.approx(mean)}
    assert [iteration for iteration, _ in gain['curve']['good']] == [4]
    assert '1 seed, a claim takes 3' in rows['one map']['reason']
    assert rows['the order of two']['ours']['order'] == 0
    for suffix in ('md', 'tex', 'csv', 'svg', 'png'):
        assert Path(f'out/small.{suffix}').stat().st_size > 100
    assert '| from a failure |' in said
    assert '9 rows: 1 REPRODUCED, 1 BETTER, 3 NOT REPRODUCED, 1 INCONCLUSIVE, 2 NOT RUN, 1 MEASURED' in said
    assert 'gt_size' in Path('out/logs/bad.log').read_text()

    # once more: what is done is skipped, what failed is tried again
    before = Path('out/experiments/good/models/net_g_latest.pth').stat().st_mtime_ns
    small_study(place, rows=[{'label': 'easy', 'results': ['test_good'], 'published': {'psnr': 1.0}}])
    assert main(['reproduce', 'small.yml', '-o', 'out']) == 1
    assert 'good: train' not in capsys.readouterr().out
    assert Path('out/experiments/good/models/net_g_latest.pth').stat().st_mtime_ns == before


@pytest.mark.parametrize(('versions', 'expected'), [(False, [1, 2, 3, 6]), (True, [2, 4])])
def test_versions_of_a_clip_count_as_one_video(tmp_path, versions, expected):
    clips = {'restored': {'psnr': {'qp28/a': 1, 'qp28/b': 2, 'qp33/a': 3, 'qp33/b': 6}}}
    results = {'x': {'mean': {}, 'clips': clips, 'frames': []}}
    content = {'name': 'x', 'protocol': {'metrics': {}}, 'results': results}
    write_record(tmp_path / 'results/job/results.json', content)
    runner = SimpleNamespace(folder=tmp_path, study=SimpleNamespace(versions=versions))
    assert Measured(runner, 'job').of('psnr') == expected


def test_an_interrupted_study_goes_on(place, capsys, monkeypatch):
    """Asked to stop during a job: the job saves, the rest is not started, and the same command continues."""
    small_study(place, rows=[{'label': 'x', 'results': ['test_good'], 'published': {'psnr': 1.0}}])
    content = yaml.safe_load(Path('small.yml').read_text())
    content['jobs'] = {k: v for k, v in content['jobs'].items() if k in ('dsm', 'good', 'test_good')}
    content['jobs']['good']['set'] = {'train.total_iter': 3000, 'train.scheduler.periods': [3000]}
    Path('small.yml').write_text(yaml.safe_dump(content))
    from votes.processes.signals import StopRequests

    def asked(self):
        return Path('out/logs/good.log').is_file() and 'it 3/' in Path('out/logs/good.log').read_text()

    with monkeypatch.context() as m:
        m.setattr(StopRequests, 'asked', asked)
        assert main(['reproduce', 'small.yml', '-o', 'out']) == 75
    states = {p.stem: json.loads(p.read_text())['state'] for p in Path('out/jobs').glob('*.json')}
    assert states == {'dsm': 'done', 'good': 'stopped'}
    assert json.loads(Path('out/small.json').read_text())['rows'][0]['verdict'] == NOT_RUN
    reached = json.loads(Path('out/experiments/good/PREEMPTED.json').read_text())['iter']
    assert 3 <= reached < 3000
    runner = Runner(read_study('small.yml'), Path('out'), None, [], say=str)
    runner.outcomes['dsm'] = Outcome('done')
    assert runner.command('good', runner.study.jobs['good'])[-1] != '--restart', 'the same command continues'


def test_verbs_in_another_folder_and_networks_that_they_adapt(place):
    """Paths of the caller are absolute there; an exit code may be a result; weights are those of a training."""
    inspect = {'verb': ['checkpoint', 'inspect', './dsm.pth'], 'inside': '{out}'}
    other = {'verb': ['checkpoint', 'inspect', 'dsm.pth'], 'inside': '{out}', 'codes': [2]}
    small_study(place, jobs={'here': inspect, 'there': other}, rows=[{'label': 'a', 'results': ['here']}])
    outcomes = Runner(read_study('small.yml'), Path('out'), None, [], say=str).run()
    assert [outcome.state for outcome in outcomes.values()] == ['done', 'done']
    assert 'error: ' in Path('out/logs/there.log').read_text(), 'there is none in that folder'
    study = read_study(find_study('platforms'), quick=True)
    runner = Runner(study, Path('out'), None, [], say=str, weights={'on_wechat': Path('dsm.pth')})
    command = runner.command('finetune_twitter', study.jobs['finetune_twitter'], changed=True)
    assert command[3] == str(Path('dsm.pth').absolute())
    assert command[-1] == '--restart'
    test = runner._options('test_tuned_twitter', study.jobs['test_tuned_twitter'])[2]
    assert 'path.pretrain_network_g=out/experiments/finetune_twitter/models/net_g_best.pth' in test


def test_what_is_wrong_in_a_study(tmp_path, capsys):
    assert main(['reproduce', 'table9']) == 2
    assert 'table3' in capsys.readouterr().err
    for text, words in (
        ('name: x\ntitle: x\njobs: {a: {}}\nrows: [{label: x}]', 'exactly one of'),
        ('name: x\ntitle: x\njobs: {}\nrows: [{label: x, results: [a]}]', 'unknown jobs: a'),
        ('name: x\ntitle: x\njobs: {}\nrows: [{lable: x}]', 'lable'),
        ('name: x\ntitle: x\njobs: {}\nrows: [{label: x}]', 'exactly one of results, order and measure'),
        ('name: x\ntitle: x\njobs: {}\nrows: [{label: x, results: [a], minus: [b, c]}]', '1 results minus 2'),
        ('name: x\ntitle: x\njobs: {}\nrows: []', 'rows'),
    ):
        (tmp_path / 's.yml').write_text(text)
        assert main(['reproduce', str(tmp_path / 's.yml')]) == 2
        assert words in capsys.readouterr().err
    (tmp_path / 's.yml').write_text('name: x\ntitle: x\njobs: {a: {verb: [list]}}\nrows: [{label: x, results: [a]}]')
    assert main(['reproduce', str(tmp_path / 's.yml'), '--quick']) == 2
    assert main(['reproduce', 'table3', '--data', str(tmp_path / 'none')]) == 2


def test_everything_missing_is_not_a_pass(place, capsys):
    """Without any data the whole table is NOT RUN, and the exit code says so; a dry run writes nothing."""
    assert main(['reproduce', 'table3', '--quick', '-o', 'out', '--dry-run']) == 0
    assert 'with_0: after dsm\n' in capsys.readouterr().out
    assert not Path('out').exists()
    assert main(['reproduce', 'table3', '-o', 'out']) == 3
    said = capsys.readouterr().out
    assert '5 rows: 5 NOT RUN' in said
    assert 'data missing' in said
    assert not Path('out/table3.png').exists()


def test_foreach_fills_names_lists_and_numbers(tmp_path):
    (tmp_path / 's.yml').write_text(
        'name: s\ntitle: s\njobs:\n  a{n}_{m}: {foreach: {n: [1, 2], m: [x]}, train: "o_{m}.yml", set: {k: "{n}"}}\n'
        'rows: [{label: "n {n}", foreach: {n: [1, 2]}, results: ["a{n}_x"]}]\n'
    )
    study = read_study(tmp_path / 's.yml')
    assert list(study.jobs) == ['a1_x', 'a2_x']
    assert study.jobs['a2_x'].set == {'k': 2}
    assert [row.results for row in study.rows] == [['a1_x'], ['a2_x']]
    assert find_study(str(tmp_path / 's.yml')) == tmp_path / 's.yml'


def test_foreach_takes_a_table_and_a_study_values(tmp_path):
    """A row's name and its columns, whatever they are; all of the first seed come before the next."""
    (tmp_path / 's.yml').write_text(
        'name: s\ntitle: "{minutes} min"\nseeds: [0, 1]\nvalues: {minutes: 1}\njobs:\n'
        '  "{net}_{seed}": {foreach: &nets {net: {A: {g: {type: EDSR}, c: ~}, B: {g: {type: RCAN}, c: "{out}/m"}}},\n'
        '    train: o.yml, minutes: "{minutes}", set: {network_g: "{net.g}", c: "{net.c}", manual_seed: "{seed}"}}\n'
        'rows: [{label: "{net}", foreach: *nets, results: ["{net}_{seed}"]}]\n'
    )
    study = read_study(tmp_path / 's.yml')
    assert list(study.jobs) == ['A_0', 'B_0', 'A_1', 'B_1']
    assert study.jobs['A_1'].set == {'network_g': {'type': 'EDSR'}, 'c': None, 'manual_seed': 1}
    assert study.jobs['B_0'].set['c'] == '{out}/m'
    assert [(row.label, row.results) for row in study.rows] == [('A', ['A_0', 'A_1']), ('B', ['B_0', 'B_1'])]
    assert (study.title, study.jobs['A_0'].minutes) == ('1 min', 1)
    changed = read_study(tmp_path / 's.yml', overrides=['values.minutes=10', 'seeds=[5]'])
    assert (changed.title, changed.jobs['A_5'].minutes, list(changed.jobs)) == ('10 min', 10, ['A_5', 'B_5'])


def test_correlation_by_hand():
    a = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert correlation(a, 2 * a + 7) == pytest.approx(1)
    assert correlation(a, -a) == pytest.approx(-1)
    assert correlation(a, torch.ones(2, 2)) == 0
    assert regions(torch.arange(32.0).repeat(16, 1)[None, None]).flatten().tolist() == [7.5, 23.5]


def test_tables_escape_what_latex_would_misread(place):
    small_study(place, rows=[{'label': 'a_b & 5 %', 'results': ['test_good']}], jobs={'test_good': {'verb': ['list']}})
    study = read_study('small.yml')
    text = latex(study, [['', 'x', 'verdict'], ['a_b & 5 %', '1 ± 2', 'PASS']])
    assert r'a\_b \& 5 \% & 1 $\pm$ 2 & PASS \\' in text
