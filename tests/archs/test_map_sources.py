"""Where a degradation map comes from: each source, its stream, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from restore.clips import small_network

from votes.archs.contract import Promise, Window, apply, promise
from votes.archs.parts.dfm import luma_difference, map_of_difference
from votes.archs.votes_arch import VOTES
from votes.cli import main
from votes.commands.sense import shuffled
from votes.data.sources import FolderSource
from votes.inference.stream import Stream
from votes.inference.views import Views
from votes.losses.targets import gt_small

CPU = torch.device('cpu')
STORED = {'network_g__map_source': 'stored', 'path__bin_model': None}


def shown(length, height=16, width=20):
    """Frames with quantisers and stored differences, as data sets show them."""
    generator = torch.Generator().manual_seed(3)
    return {
        i: {
            'lq': torch.rand(1, 3, height, width, generator=generator),
            'qp': torch.full((1, 1, height, width), 20.0 + i),
            'difference': torch.randint(0, 256, (1, 1, height, width), generator=generator, dtype=torch.uint8),
        }
        for i in range(length)
    }


@pytest.mark.parametrize('norm', ['sample', 'fixed'])
@pytest.mark.parametrize('source', ['neighbours', 'qp', 'stored'])
@torch.inference_mode()
def test_streams_are_what_apply_gives(source, norm):
    """18 x 20 pixels are padded to 20 x 20, and the map with them."""
    net, frames = small_network(map_source=source, dfm_norm=norm), shown(7, 18)
    said, outputs = promise(net), []
    stream = Stream(net, CPU)
    for view in Views(Promise('net', Window(5))).of(range(7)):
        sample = {name: torch.cat([frames[i][name] for i in view.indices])[None] for name in frames[0]}
        expected = apply(net, {k: v for k, v in sample.items() if k in ('lq', *said.inputs)})['out'][0]
        output = stream.restore([view], frames)
        assert torch.equal(output, expected)
        outputs.append(output)
    zeros = small_network(dfm=False)
    plain = Stream(zeros, CPU).restore([view], frames)
    assert not torch.equal(outputs[-1], plain), 'the map matters'


def test_maps_by_hand():
    x = torch.zeros(1, 5, 3, 4, 4)
    x[:, 1], x[:, 2], x[:, 3] = 40 / 255, 50 / 255, 90 / 255
    x[:, 2, :, 0, 0] = 40 / 255
    neighbours = VOTES(**VOTES.small, map_source='neighbours', dfm_norm='fixed').degradation_map(x)
    assert neighbours[0, 0, 1, 1] == pytest.approx(np.rint(np.log2(26) / 8 * 255) / 255), '(10 + 40) / 2'
    assert neighbours[0, 0, 0, 0] == pytest.approx(np.rint(np.log2(26) / 8 * 255) / 255), '(0 + 50) / 2'
    qp = torch.full((1, 5, 1, 4, 4), 28.0)
    qp[:, 2, :, 0, 0] = -1
    found = VOTES(**VOTES.small, map_source='qp').degradation_map(x, qp)[0, 0]
    assert found[1, 1] == pytest.approx(28 / 51)
    assert found[0, 0] == 0, 'unknown'


def test_fixed_maps_mean_the_same_in_a_crop():
    difference = torch.randint(0, 60, (1, 1, 16, 16))
    difference[..., :8, :8] //= 4
    for norm, same in (('fixed', True), ('sample', False)):
        whole, crop = (map_of_difference(part, norm) for part in (difference, difference[..., :8, :8]))
        assert torch.equal(whole[..., :8, :8], crop) is same


def test_shuffled_maps_leave_none_in_its_place():
    maps = [np.full((2, 2), i, np.uint8) for i in range(9)]
    order = [int(m[0, 0]) for m in shuffled('clip', maps)]
    assert sorted(order) == list(range(9))
    assert all(i != j for i, j in enumerate(order))
    assert order == [int(m[0, 0]) for m in shuffled('clip', maps)]


@pytest.mark.parametrize('kind', ['error', 'shuffled', 'neighbours'])
def test_stored_maps_train_and_test(place, kind):
    """`votes sense --map`, then training and evaluation with what it stored."""
    assert main(['sense', '-opt', place(), '-o', 'maps', '--map', kind]) == 0
    assert json.loads(Path('maps/sensed.json').read_text())['map'] == kind
    if kind == 'error':
        gt, lq = (
            torch.from_numpy(FolderSource(root).read('001', 2).copy()).permute(2, 0, 1)[None] / 255
            for root in ('gt', 'lq')
        )
        expected = luma_difference(gt_small(gt, 2), lq)[0, 0].numpy()
        assert np.array_equal(FolderSource('maps').read('001', 2)[..., 0], expected)
    maps = {'datasets__train__dataroot_dfm': 'maps', 'datasets__val__dataroot_dfm': 'maps'}
    assert main(['train', '-opt', place(**STORED, **maps)]) == 0


def test_what_is_missing_is_said(place, capsys):
    assert main(['train', '-opt', place(**STORED)]) == 2
    assert 'dataroot_dfm is needed: VOTES reads difference' in capsys.readouterr().err
    assert main(['sense', '-opt', place(), '-o', 'maps', '--map', 'error']) == 0
    assert main(['train', '-opt', 'opt.yml', '--set', 'datasets.train.dataroot_dfm=maps']) == 2
    assert 'no degradation maps of a DSM' in capsys.readouterr().err
    with pytest.raises(ValueError, match='map_source'):
        VOTES(**VOTES.small, map_source='error')
