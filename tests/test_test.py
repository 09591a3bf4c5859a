"""The evaluation program, and the tables and pictures made of its results."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from votes.checkpoint import read_record, write_record
from votes.cli import main
from votes.options import load_options
from votes.reports.protocol import described, lower_is_better
from votes.test import write_results


@pytest.fixture
def tested(place):
    """A tiny run, trained and tested; returns the folder of results."""
    assert main(['train', '-opt', place()]) == 0
    options = {'path__pretrain_network_g': 'experiments/tiny/models/net_g_latest.pth', 'path__bin_model': None}
    file = place(file='test.yml', train=None, datasets__train=None, val={'save_img': True, 'suffix': 'tiny'}, **options)
    assert main(['test', '-opt', file]) == 0
    return Path('results/tiny')


def test_results_carry_their_protocol(tested):
    content = json.loads((tested / 'results.json').read_text())
    assert content['protocol']['metrics']['psnr'] == {
        'type': 'calculate_psnr',
        'crop_border': 2,
        'test_y_channel': True,
    }
    assert 'mean over the frames of a clip, then over clips' in content['protocol']['aggregation']
    assert content['protocol']['channel']['psnr'] == 'Y'
    ((_, data),) = content['protocol']['data'].items()
    assert (data['clips'], data['frames'], len(data['sha256'])) == (3, 21, 64)
    assert len(set(data['of_clips'].values())) == len(data['of_clips']) == 3
    assert len(content['weights']['sha256']) == 64
    result = content['results']['val']
    assert len(result['frames']) == 21
    for row in ('bilinear', 'bicubic', 'restored'):
        clips = {}
        for frame in result['frames']:
            clips.setdefault(frame['clip'], []).append(frame[row]['psnr'])
        means = [np.mean(values) for values in clips.values()]
        assert result['mean'][row]['psnr'] == pytest.approx(np.mean(means))


def test_results_say_where_lower_is_better(place):
    metrics = {'niqe': {'type': 'calculate_psnr', 'crop_border': 0, 'better': 'lower'}}
    opt = load_options(place(val={'val_freq': 4, 'metrics': metrics}), check_paths=False)
    opt.path.pretrain_network_g = None
    write_results(Path('r.json'), opt, {}, {})
    protocol = json.loads(Path('r.json').read_text())['protocol']
    assert lower_is_better(protocol) == {'niqe', 'fluctuation'}
    assert described(protocol).startswith('niqe: RGB, 0 pixels cropped, lower is better; ')


def test_earlier_results_are_put_aside(tested):
    before = (tested / 'results.json').read_text()
    assert main(['test', '-opt', 'test.yml']) == 0
    (old,) = Path('results').glob('tiny_archived_*')
    assert (old / 'results.json').read_text() == before
    assert main(['test', '-opt', 'test.yml', '--overwrite']) == 0
    assert len(list(Path('results').iterdir())) == 2


def test_images_are_what_was_measured(tested):
    from votes.metrics.psnr_ssim import calculate_psnr

    frame = json.loads((tested / 'results.json').read_text())['results']['val']['frames'][8]
    name = f'{frame["clip"]}/{frame["index"]:08d}'
    image = cv2.imread(str(tested / 'visualization' / 'val' / f'{name}_tiny.png'))[..., ::-1]
    gt = cv2.imread(f'gt/{name}.png')[..., ::-1]
    assert calculate_psnr(image, gt, 2, test_y_channel=True) == pytest.approx(frame['restored']['psnr'], abs=1e-6)


def test_sheet(tested):
    assert main(['sheet', '-opt', 'test.yml', '-o', 'sheet.png', '--frames', '3']) == 0
    image = cv2.imread('sheet.png')
    assert image.shape[1] == 5 * 40, 'LQ, DFM, restored, GT, error of the first clip, which is 40 wide'


def test_compare(tested, capsys):
    content = read_record(tested / 'results.json')
    other = {**content, 'name': 'other'}
    Path('other.json').write_text(json.dumps(other))  # as a version before wrote it
    capsys.readouterr()
    assert main(['compare', str(tested / 'results.json'), 'other.json']) == 0
    table = capsys.readouterr().out
    for row in ('LQ bilinear', 'LQ bicubic', 'tiny', 'other', '21 frames of 3 clips'):
        assert row in table
    other['protocol']['metrics']['psnr']['crop_border'] = 0
    write_record('other.json', other)
    assert main(['compare', str(tested / 'results.json'), 'other.json']) == 2
    assert 'cannot be compared' in capsys.readouterr().err
