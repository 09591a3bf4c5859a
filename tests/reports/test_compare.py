"""Tables of several evaluations: what may stand beside what, and how."""

import copy
import json
from pathlib import Path
from statistics import fmean

import pytest

from votes.cli import main
from votes.reports import page
from votes.reports.compare import comparison


def results(path, clips, name='run', psnr=30.0, pictures=None, **spec):
    """A results file as `votes test` writes it: `clips` name -> frames; frame i has psnr + i."""
    frames = [
        {'clip': c, 'index': i, 'bicubic': {'psnr': 20.0 + i}, 'restored': {'psnr': psnr + i}}
        for c, n in clips.items()
        for i in range(n)
    ]

    def means(row):
        return {'psnr': fmean(fmean(f[row]['psnr'] for f in frames if f['clip'] == c) for c in clips)}

    mean = {row: means(row) for row in ('bicubic', 'restored')}
    identity = {c: (pictures or {}).get(c, f'{c} as it is') for c in clips}
    content = {
        'name': name,
        'protocol': {
            'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 0, 'test_y_channel': False, **spec}},
            'rounding': 'output rounded to 8 bit',
            'aggregation': 'mean over the frames of a clip, then over clips',
            'data': {'set': {'sha256': json.dumps([clips, identity]), 'of_clips': identity}},
        },
        'results': {'set': {'mean': mean, 'clips': {'restored': {'psnr': dict.fromkeys(clips, 0)}}, 'frames': frames}},
    }
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(content))
    return content


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_other_frames_are_compared_where_both_have_them(capsys):
    results('a.json', {'x': 4}, 'a')
    results('b.json', {'x': 8, 'y': 40, 'z': 8}, 'b')
    for verb in (['compare'], ['metrics', 'compare']):
        assert main([*verb, 'a.json', 'b.json']) == 0
        said = capsys.readouterr().out
        assert '4 common frames of 1 clips' in said
        assert 'a has 4 frames of 1 clips, b has 56 frames of 3 clips' in said
        (a,) = (line.split() for line in said.splitlines() if line.startswith('a '))
        (b,) = (line.split() for line in said.splitlines() if line.startswith('b '))
        assert a[1:] == b[1:] == ['31.5000', '+10.0000'], 'means of the common frames alone'


def test_other_pictures_are_refused(capsys):
    results('a.json', {'x': 4}, 'a')
    results('b.json', {'x': 8}, 'b', pictures={'x': 'others under the same name'})
    results('c.json', {'y': 4}, 'c')
    assert main(['compare', 'a.json', 'b.json']) == 2
    assert 'other pictures' in capsys.readouterr().err
    assert main(['compare', 'a.json', 'c.json']) == 2
    assert 'no common frames' in capsys.readouterr().err
    content = results('d.json', {'x': 4}, 'd')
    content['protocol']['data']['set']['sha256'] = 'the same beginnings, other middles'
    Path('d.json').write_text(json.dumps(content))
    assert main(['compare', 'a.json', 'd.json']) == 2
    del content['protocol']['data']
    Path('d.json').write_text(json.dumps(content))
    capsys.readouterr()
    assert main(['compare', 'a.json', 'd.json']) == 0
    assert 'whether the pictures are the same is not known of d' in capsys.readouterr().out


def test_runs_of_one_name_stay_apart():
    results('one/results.json', {'x': 4}, psnr=30)
    results('two/results.json', {'x': 4}, psnr=33)
    said = comparison([Path('one/results.json'), Path('two/results.json')])
    assert 'run (one)' in said
    assert [v for v in ('31.5000', '34.5000') if v not in said] == []
    assert 'run (two)' in said


def test_a_set_that_only_one_has_is_told():
    first = results('a.json', {'x': 4}, 'a')
    second = copy.deepcopy(first)
    second['name'], second['results'] = 'b', {'other': second['results']['set']}
    Path('b.json').write_text(json.dumps(second))
    said = comparison([Path('a.json'), Path('b.json')])
    assert 'not measured on set: b' in said
    assert 'not measured on other: a' in said


def test_the_footer_is_of_the_file_and_lower_may_be_better():
    results('a.json', {'x': 4}, 'a', better='lower')
    said = comparison([Path('a.json')])
    assert 'psnr: RGB, 0 pixels cropped, lower is better; output rounded to 8 bit; mean over the frames' in said
    assert '-10.0000' in said, 'a larger value is no gain'
    results('a.json', {'x': 4}, 'a', crop_border=2, test_y_channel=True)
    said = comparison([Path('a.json')])
    assert 'psnr: Y, 2 pixels cropped; ' in said
    assert '+10.0000' in said


def test_what_latex_would_misread_and_rules():
    results('a.json', {'x': 4}, 'run #2_b {50 %} ~ $x^2$ & \\more')
    said = comparison([Path('a.json')], 'latex')
    assert r'run \#2\_b \{50 \%\} \textasciitilde{} \$x\textasciicircum{}2\$ \& \textbackslash{}more & ' in said
    rules = [line for line in said.splitlines() if line.startswith((r'\t', r'\m', r'\b'))]
    assert rules == [r'\begin{tabular}{lrr}', r'\toprule', r'\midrule', r'\bottomrule']


def test_csv_is_quoted():
    results('a.json', {'x': 4}, 'a, "b"')
    assert '"a, ""b""",31.5000,+10.0000' in comparison([Path('a.json')], 'csv')


def test_small_values_have_digits():
    content = results('a.json', {'x': 1}, 'a')
    content['results']['set']['mean'] = {'bicubic': {'psnr': 0.00043}, 'restored': {'psnr': 0.00012}}
    Path('a.json').write_text(json.dumps(content))
    said = comparison([Path('a.json')])
    assert '1.200e-04' in said
    assert '-3.100e-04' in said


def test_a_page_of_a_study_of_several_data_sets(monkeypatch):
    """The table of a study is the study's: its evaluations need not be of the same pictures."""
    monkeypatch.setattr(page, 'test_sets', lambda runs, pictures, every: [])
    for name, pictures in (('a', 'one'), ('b', 'another')):
        results(f'out/results/{name}/results.json', {'x': 4}, name, pictures={'x': pictures})
    Path('out/jobs').mkdir()
    Path('out/small.json').write_text(
        json.dumps({'title': 'Small', 'command': 'votes reproduce small.yml', 'environment': {}})
    )
    Path('out/small.md').write_text('the table')
    html = page.write_report([Path('out')]).read_text()
    assert 'the table' in html
    assert 'votes reproduce small.yml' in html
