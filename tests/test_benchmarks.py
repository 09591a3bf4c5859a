"""The programs in benchmarks/ run, and what they work out is right. What they measure is not tested."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from votes.archs import build_network
from votes.cli import main

FOLDER = Path(__file__).resolve().parents[1] / 'benchmarks'


@pytest.fixture
def scaling(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import scaling

    yield scaling
    for name in ('machine', 'published', 'scaling', 'train_step'):
        sys.modules.pop(name, None)


def test_pairings_are_counted(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import pairing

    from votes.platforms.match import Match
    from votes.platforms.pairing import Outcome

    for seed in range(20):
        platform = pairing.drawn(np.random.default_rng(seed))
        assert len(platform.frames) == len(platform.times)
        assert sorted(platform.frames) == platform.frames
        clip = [np.zeros((*pairing.SIZE, 3), np.uint8)] * pairing.FRAMES
        height, width = pairing.through(clip, platform)[-1].shape[:2]
        assert (height, width) == (platform.size[0] + 2 * platform.borders[0], platform.size[1])
        assert height % 2 == width % 2 == 0
    truth = {name: (original, platform) for name, original in (('a', 'x'), ('b', 'y'), ('c', None), ('d', None))}
    unsure = {'relation': None, 'why': 'no original is like it'}
    matches = {'a': Match('a', **unsure), 'b': Match('b', 'x', relation=True), 'c': Match('c', **unsure)}
    matches |= {'d': Match('d', 'x', relation=True)}
    found = pairing.judged(Outcome({}, matches, []), truth)
    assert (found['right'], found['missed'], found['wrong'], found['rightly_unpaired']) == (0, 1, 2, 1)
    for name in ('machine', 'pairing'):
        sys.modules.pop(name, None)


def test_bench_lists_and_refuses(capsys):
    assert main(['bench']) == 0
    assert {'deform_conv', 'restore', 'scaling', 'train_step'} <= set(capsys.readouterr().out.split())
    assert main(['bench', 'machine']) == 2


@pytest.mark.long
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


def test_a_network_against_its_plain_formulation(tmp_path):
    result = tmp_path / 'result.json'
    how = ['--side', '16', '--frames', '3', '--repeats', '2']
    assert main(['bench', 'zoo', 'RSDN', '-o', str(result), *how]) == 0
    found = json.loads(result.read_text())['results']['RSDN']
    assert found['step']['difference'] < 1e-4
    assert found['stream']['difference'] < 1e-5
    assert found['stream']['times_as_fast'] > 0


def test_results_of_networks_are_merged_where_the_machine_is_the_same(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import machine
    import zoo

    before = {'machine': zoo.described(''), 'results': {'RSDN': {}}}
    machine.write(tmp_path / 'same.json', before)
    assert zoo.kept(tmp_path / 'same.json') == {'RSDN': {}}
    before['machine']['torch'] = 'another'
    machine.write(tmp_path / 'other.json', before)
    with pytest.raises(SystemExit, match='another torch'):
        zoo.kept(tmp_path / 'other.json')


def test_parity_of_a_case(tmp_path):
    """A case of our own: right numbers pass, wrong ones fail, and a network that is not there hides no other."""
    network = {'type': 'ARCNN', 'mid_channels': [4, 4, 4], 'input_skip': False}
    shapes = {key: list(value.shape) for key, value in build_network(network).state_dict().items()}
    about = {'source': 'owner/name@commit', 'licence': 'MIT', 'tolerance': {'mean': 1e-6, 'max': 1e-5}}
    # weights of nothing give nothing, plus the last bias
    about |= {'network': network, 'state_dict': shapes, 'fills': [['layers.6.bias', 0.5, 0.0], ['', 0.0, 0.0]]}
    about |= {'inputs': {'x': {'kind': 'frame', 'frames': 2, 'frame': 1, 'shape': [1, 3, 12, 16], 'seed': 3}}}
    about |= {'checkpoint_form': {'wrapper': None, 'prefix': 'module.'}}
    result = tmp_path / 'result.json'
    cases = {'right': (about, 0.5), 'wrong': (about, 1), 'absent': ({**about, 'network': {'type': 'Nothing'}}, 0)}
    folder = tmp_path / 'cases'
    folder.mkdir()
    for name, (case, value) in cases.items():
        (folder / f'{name}.json').write_text(json.dumps(case))
        np.savez(folder / f'{name}.npz', out=np.full((1, 3, 12, 16), value, np.float32))
    assert main(['bench', 'parity', str(folder), '-o', str(result)]) == 1
    found = {case['case']: case for case in json.loads(result.read_text())['cases']}
    assert [found[name]['passed'] for name in ('right', 'wrong', 'absent')] == [True, False, False]
    assert found['absent']['problem'].startswith('UserError: unknown network')
    assert str(tmp_path) not in json.dumps(found)


def test_scaling_on_paper(scaling):
    """A ring of 8 moves 7/4 of the gradients: 100 MB at 12.5 GB/s in 14 ms; two thirds of a step may hide it."""
    rows = {(r['link'], r['processes'], r['assumed_step_milliseconds']): r for r in scaling.on_paper(100_000_000)}
    row = rows['100 Gbit/s', 8, 100]
    assert row['all_reduce_milliseconds'] == pytest.approx(14)
    assert row['efficiency'] == [pytest.approx(100 / 114, abs=1e-4), 1]
    slow = rows['10 Gbit/s', 8, 50]['efficiency']
    assert slow == [pytest.approx(50 / 190, abs=1e-4), pytest.approx(50 / (50 + 140 - 100 / 3), abs=1e-4)]
    assert 80e6 < scaling.gradient_bytes('L') < 100e6


def test_weights_are_measured_as_the_metrics_have_it(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    from weights import measured

    from votes.metrics.psnr_ssim import calculate_psnr
    from votes.metrics.temporal import warping_error

    rng = np.random.default_rng(0)
    originals = [rng.integers(0, 256, (32, 48, 3), np.uint8)]
    originals += [np.roll(originals[0], n, 1) for n in (1, 2)]
    rows = {
        name: [np.clip(o + rng.integers(-9, 9, o.shape), 0, 255).astype(np.uint8) for o in originals] for name in 'ab'
    }
    found = measured(rows, originals)
    for row, frames in rows.items():
        steady = [warping_error(frames[i - 1], frames[i], (originals[i - 1], originals[i])) for i in (1, 2)]
        assert found[row]['warping'] == pytest.approx(1e4 * np.mean(steady), rel=1e-4)
        psnr = [calculate_psnr(a, b, 2, True) for a, b in zip(frames, originals, strict=True)]
        assert found[row]['psnr'] == pytest.approx(np.mean(psnr), abs=1e-3)
    sys.modules.pop('weights', None)
    sys.modules.pop('machine', None)
