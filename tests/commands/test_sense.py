"""`votes sense`: degradation maps stored once are those that the network makes itself."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from votes import checkpoint
from votes.archs import build_network
from votes.archs.parts.dfm import degradation_feature_map, map_of_difference
from votes.cli import main
from votes.data import build_train_set
from votes.data.sensed import SensedClips
from votes.data.sources import FolderSource
from votes.data.tools.pack import pack
from votes.errors import UserError
from votes.models import build_model
from votes.options import load_options

DFM = 'datasets.train.dataroot_dfm=dfm'


def sense(place, *more):
    return main(['sense', '-opt', place(), '-o', 'dfm', *more])


def test_stored_maps_are_those_of_whole_frames(place):
    assert sense(place) == 0
    net = build_network({'type': 'BIN', 'num_feat': 4, 'num_block': 1, 'num_layer': 1, 'num_grow_ch': 2})
    checkpoint.load_network(net, 'dsm.pth')
    source, stored = FolderSource('lq'), FolderSource('dfm')
    for clip in source.clips():
        assert stored.length(clip) == source.length(clip)
        assert stored.size(clip) == source.size(clip)
        frames = torch.stack([torch.from_numpy(source.read(clip, i)) for i in range(1, 6)]).permute(0, 3, 1, 2)
        window = frames[None].float() / 255
        with torch.no_grad():
            expected = degradation_feature_map(net(window)['out'], window[:, 2])
        difference = torch.from_numpy(stored.read(clip, 3))[None, None, ..., 0]
        assert torch.equal(map_of_difference(difference), expected)
        assert expected.unique().numel() > 10


def test_training_takes_them_and_does_not_run_the_dsm(place):
    assert sense(place) == 0
    opt = load_options('opt.yml', overrides=[DFM])
    dataset = build_train_set(opt.datasets['train'], opt.scale, 0)
    sample = dataset[0, 1]
    whole = dataset.differences.read('001', int(sample['key'][-8:]))
    assert sample['difference'].shape == (1, 8, 8)
    # turned as the frame is: the crop is found again in one of its eight orientations
    views = [torch.rot90(v, k, (1, 2)) for k in range(4) for v in (whole, whole.flip(2))]
    places = [v[:, y : y + 8, x : x + 8] for v in views for y in range(9) for x in range(9)]
    assert any(torch.equal(sample['difference'], p) for p in places)

    model = build_model(opt, torch.device('cpu'))
    model.net.bin.forward = None  # would raise
    batch = {name: torch.stack([dataset[0, i][name] for i in range(2)]) for name in ('lq', 'gt', 'difference')}
    assert model.step(batch, 1).finite
    piece = model.sample_of(batch)
    others = {**piece, 'difference': 255 - piece['difference']}
    outputs = [model.generator.forward(sample)['out'] for sample in (piece, others)]
    assert not torch.equal(*outputs), 'the map matters'
    assert main(['train', '-opt', 'opt.yml', '--set', DFM]) == 0


def test_packed_maps_are_the_same(place):
    assert sense(place) == 0
    pack(Path('dfm'), Path('packed'))
    sets = [
        build_train_set(load_options('opt.yml', overrides=[f'{DFM[:-3]}{name}']).datasets['train'], 2, 0)
        for name in ('dfm', 'packed')
    ]
    assert torch.equal(*(dataset[0, 2]['difference'] for dataset in sets))


def test_a_stopped_one_goes_on_and_a_whole_one_stays(place, capsys):
    assert sense(place) == 0
    manifest = Path('dfm/sensed.json').read_text()
    Path('dfm/.begun.json').write_text(json.dumps(checkpoint.read_record('dfm/sensed.json')))
    Path('dfm/sensed.json').unlink()
    cv2.imwrite('dfm/000/00000000.png', np.zeros((16, 20), np.uint8))  # not made again
    for path in Path('dfm/002').iterdir():
        path.unlink()
    Path('dfm/002').rmdir()
    assert sense(place) == 0
    assert not FolderSource('dfm').read('000', 0).any()
    assert FolderSource('dfm').length('002') == 7
    assert Path('dfm/sensed.json').read_text() == manifest
    assert sense(place) == 2
    assert 'the output exists' in capsys.readouterr().err


def test_what_does_not_belong_together_is_refused(place, capsys):
    assert sense(place) == 0
    assert main(['train', '-opt', 'opt.yml', '--set', DFM, 'network_g.dfm=false']) == 2
    assert 'reads no degradation map of its own' in capsys.readouterr().err
    weights = checkpoint.load('dsm.pth')
    weights['params']['model.model1_1.SFENet1.weight'] += 1
    checkpoint.save(weights, 'other.pth')
    assert main(['train', '-opt', 'opt.yml', '--set', DFM, 'path.bin_model=other.pth']) == 2
    assert 'made by another DSM' in capsys.readouterr().err
    said = json.loads(Path('dfm/sensed.json').read_text())
    assert said['weights'] == 'dsm.pth'
    opt = load_options('opt.yml', overrides=[DFM])
    with pytest.raises(UserError, match='neighbouring frames'):
        SensedClips('dfm', build_train_set(opt.datasets['train'], 2, 0).pairs, [1, 2])
    Path('dfm/001/00000007.png').unlink()
    with pytest.raises(UserError, match='do not belong to these frames'):
        build_train_set(opt.datasets['train'], 2, 0)
