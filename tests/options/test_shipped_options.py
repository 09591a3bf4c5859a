"""The option files and clip lists that come with the project."""

import functools
import re
from pathlib import Path

import pytest

from votes.options import Spec, load_options

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(p for kind in ('train', 'test', 'finetune') for p in (ROOT / 'options' / kind).rglob('*.yml'))
LISTS = ROOT / 'votes' / 'data' / 'meta_info'
RELEASED = {
    './experiments/net_VOTES_UVSSMWeChat.pth',
    './experiments/net_VOTES_REDS28.pth',
    './experiments/net_VOTES_REDS33.pth',
}


pytestmark = pytest.mark.xdist_group('shipped options')  # a process that loads all of them is enough


@functools.cache  # several tests look at all of them
def load(path):
    return load_options(path, 'test' if path.parts[-3] == 'test' else 'train', check_paths=False)


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.stem)
def test_loads(path):
    opt = load(path)
    assert all('that comes with this package' in notice for notice in opt.notices)
    kind = path.parts[-3]
    assert opt.name in (path.stem, path.stem.removeprefix(f'{kind}_'))
    assert (opt.train is None) == (kind == 'test')


def test_weights_come_from_a_run_of_these_files_or_from_the_release():
    options = [load(path) for path in FILES]
    kinds = 'latest', 'best'
    runs = {f'./experiments/{opt.name}/models/net_g_{kind}.pth' for opt in options if opt.train for kind in kinds}
    for opt in options:
        assert {opt.path.pretrain_network_g, opt.path.bin_model} - {None} <= runs | RELEASED, opt.name


def test_networks_of_training_and_test_are_the_same():
    trained = {f'./experiments/{opt.name}/models/net_g_latest.pth': opt for opt in map(load, FILES) if opt.train}
    for opt in map(load, FILES):
        other = trained.get(opt.path.pretrain_network_g)
        if other and opt.path.strict_load_g:
            inside = opt.network_g.args.get('network')  # of one that shows another network patches of a frame
            network_g = Spec.model_validate(inside) if inside and opt.network_g != other.network_g else opt.network_g
            assert (network_g, opt.scale) == (other.network_g, other.scale), opt.name


def test_training_never_sees_the_test_clips():
    for opt in map(load, FILES):
        args = opt.datasets['train'].args if opt.train else {}
        name = args.get('meta_info_file') or ''
        if name.endswith('meta_info_UVSSMWeChat.txt'):
            assert args['meta_test_file'].endswith('_test2.txt')
            assert args['meta_val_file'].endswith('_val.txt')
        elif not name.endswith(('meta_info_REDS.txt', 'meta_info_demo.txt')):
            assert args.get('split', {'part': 'train'})['part'] == 'train'


def clips(name):
    lines = (LISTS / name).read_text().splitlines()
    assert all(re.fullmatch(r'\d{3} 100', line) for line in lines)
    return [line.split()[0] for line in lines]


def test_clip_lists():
    everything, test, val = (clips(f'meta_info_UVSSMWeChat{part}.txt') for part in ('', '_test2', '_val'))
    assert len(everything) == 213
    assert set(range(1, 218)) - set(map(int, everything)) == {25, 89, 90, 128}
    assert len(test) == 10
    assert len(val) == 4
    assert {*test, *val} <= set(everything)
    assert not set(test) & set(val)
    assert clips('meta_info_REDS.txt') == [f'{i:03d}' for i in range(240)]
    assert clips('meta_info_REDS_GT.txt') == [f'{i:03d}' for i in range(270)]
    assert clips('meta_info_REDSofficial_test_GT.txt') == [f'{i:03d}' for i in range(240, 270)]
    assert clips('meta_info_REDS4_test_GT.txt') == ['000', '011', '015', '020']
