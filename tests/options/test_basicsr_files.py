"""Option files with the keys that BasicSR's have, in basicsr/: each trains two steps as it is, on a tiny network."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from votes import checkpoint
from votes.archs import build_network
from votes.cli import main
from votes.options import OptionError, load_options
from votes.registry import NETWORKS

FOLDER = Path(__file__).parent / 'basicsr'
TRAINED = sorted(path for path in FOLDER.glob('*.yml') if path.stem != 'RealESRGAN_x4')
SIDE = 64


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A folder with clips 000 and 011 of REDS, of one picture each, a septuplet, and test clips."""
    root = tmp_path_factory.mktemp('basicsr')
    gt, lq = root / 'gt.png', root / 'lq.png'
    for path, side in ((gt, SIDE), (lq, SIDE // 4)):
        cv2.imwrite(str(path), np.random.default_rng(side).integers(0, 256, (side, side, 3), np.uint8))
    reds = {'GT': root / 'datasets/REDS/train_sharp', 'LQ': root / 'datasets/REDS/train_sharp_bicubic'}
    for kind, picture in (('GT', gt), ('LQ', lq)):
        clips = {reds[kind] / name: 100 for name in ('000', '001', '011')}
        clips |= {root / f'datasets/{name}/{kind}/000': 6 for name in ('REDS4', 'UDM10')}
        for folder, count in clips.items():
            folder.mkdir(parents=True)
            for i in range(count):
                os.link(picture, folder / f'{i:08d}.png')
        sequences = {'GT': 'vimeo90k/vimeo_septuplet/sequences', 'LQ': 'vimeo90k/BDx4'}[kind]
        septuplet = root / 'datasets' / sequences / '00001' / '0001'
        septuplet.mkdir(parents=True)
        for i in range(1, 8):
            os.link(picture, septuplet / f'im{i}.png')
    (root / 'reds.txt').write_text('000 100 (64,64,3)\n001 100 (64,64,3)\n011 100 (64,64,3)\n')
    (root / 'few.txt').write_text('011 6 (64,64,3)\n')
    (root / 'vimeo.txt').write_text('00001/0001 7 (64,64,3)\n')
    return root


def tiny(opt):
    """What is changed so that it is over in a second: sizes, nothing that the file says of how it is trained."""
    network = {**NETWORKS.get(opt.network_g.type).small, 'scale': 4}
    network.pop('num_frame', None)
    changes = {f'network_g.{key}': value for key, value in network.items()}
    changes |= {'num_gpu': 0, 'train.total_iter': 2, 'datasets.train.batch_size_per_gpu': 1, 'logger.print_freq': 1}
    changes |= {'datasets.train.num_worker_per_gpu': 0, 'datasets.train.gt_size': SIDE, 'val.val_freq': 2}
    changes |= {'datasets.train.dataset_enlarge_ratio': 1}
    vimeo = opt.datasets['train'].type.startswith('Vimeo')
    changes['datasets.train.meta_info_file'] = 'vimeo.txt' if vimeo else 'reds.txt'
    if (opt.datasets['train'].args['num_frame'] or 0) > 5:
        changes['datasets.train.num_frame'] = 5
    if 'meta_info_file' in opt.datasets['val'].args:
        changes['datasets.val.meta_info_file'] = 'few.txt'
    if opt.network_d is not None:
        changes |= {'network_d.num_feat': 2, 'network_d.input_size': 128, 'datasets.train.gt_size': 128}
        changes |= {'train.perceptual_opt.layer_weights': {'conv1_2': 1}, 'datasets.train.num_frame': 2}
    return changes


def write_weights(opt):
    """What the file starts from, untrained."""
    options = {'type': opt.network_g.type, **opt.network_g.args}
    if opt.path.pretrain_network_g:
        before = {**options, 'with_tsa': False} if 'with_tsa' in options else options
        checkpoint.save({'params': build_network(before).state_dict()}, opt.path.pretrain_network_g)
    for name, plan in opt.train.parts.items():
        if plan.weights:
            net = build_network(options)
            part = net.get_submodule(net.parts[name][0].rstrip('.'))
            checkpoint.save({'params': part.state_dict()}, plan.weights)
    if opt.train.perceptual_opt:
        layers = list(opt.train.perceptual_opt.args['layer_weights'])
        vgg = build_network({'type': 'VGGFeatureExtractor', 'layer_name_list': layers})
        checkpoint.save(vgg.state_dict(), 'experiments/pretrained_models/vgg19-dcbb9e9d.pth')


@pytest.mark.parametrize('path', TRAINED, ids=lambda path: path.stem)
def test_trains(path, place, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.setattr('votes.training.validation.draw_rows', lambda *args, **how: None)  # tested elsewhere
    as_given = load_options(path, check_paths=False)
    if as_given.network_d is not None:  # crops of 128 need larger pictures
        for name, side in (('gt', 128), ('lq', 32)):
            cv2.imwrite(str(place / f'{name}.png'), np.full((side, side, 3), 99, np.uint8))
    overrides = [f'{key}={json.dumps(value)}' for key, value in tiny(as_given).items()]
    write_weights(load_options(path, overrides=overrides, check_paths=False))
    assert main(['train', '-opt', str(path), '--set', *overrides]) == 0
    folder = Path('experiments', as_given.name)
    assert checkpoint.load(folder / 'training_states' / '2.state')['iter'] == 2
    assert (folder / 'metrics.jsonl').read_text().count('"kind": "train"') == 2


def test_keys_mean_what_they_mean_there():
    opt = load_options(FOLDER / 'BasicVSR_REDS.yml', check_paths=False)
    flow = opt.train.parts['flow']
    assert (flow.freeze, flow.lr_mul, opt.train.ema_decay) == (5000, 0.125, 0.999)
    assert [notice for notice in opt.notices if 'no effect' in notice] == [
        'keys that have no effect here: find_unused_parameters'
    ]
    older = load_options(FOLDER / 'BasicVSR_Vimeo90K_BDx4.yml', check_paths=False)
    assert (older.train.parts['flow'].freeze, older.datasets['train'].args['num_frame']) == (5000, -1)
    icon = load_options(FOLDER / 'IconVSR_REDS.yml', check_paths=False)
    assert icon.train.parts['keyframes'].freeze == 5000
    gan = load_options(FOLDER / 'BasicVSR_GAN_REDS.yml', check_paths=False)
    assert (gan.train.ema_decay, gan.train.parts['flow'].lr_mul) == (0.999, 0)
    assert load_options(FOLDER / 'EDVR_L_REDS.yml', check_paths=False).train.tsa_iter == 50000


def test_what_is_not_supported_is_said_in_a_sentence_each():
    with pytest.raises(OptionError) as found:
        load_options(FOLDER / 'RealESRGAN_x4.yml', check_paths=False)
    assert len(found.value.problems) == 2
    text = str(found.value)
    assert 'model_type: RealESRGANModel damages pictures while it trains, which is not supported' in text
    assert 'datasets.train.type: RealESRGANDataset is not supported' in text


def test_averaging_in_two_places_that_differ(tmp_path):
    text = (FOLDER / 'BasicVSR_REDS.yml').read_text()
    (tmp_path / 'opt.yml').write_text(f'ema_decay: 0.9\n{text}')
    with pytest.raises(OptionError, match='ema_decay is another'):
        load_options(tmp_path / 'opt.yml', check_paths=False)


@pytest.mark.parametrize(
    ('said', 'told'),
    [
        ('', 'the network enlarges 4 times, scale is 2: say network_g.scale: 2, which is 4 where it is not said'),
        (
            '\n  scale: 3',
            'network_g.scale: the network enlarges 3 times, scale is 2: network_g.scale and scale have to be',
        ),
    ],
)
def test_a_scale_that_the_network_is_not_told_says_which_key(tmp_path, said, told):
    """BasicSR's EDVR enlarges four times whatever `scale` says."""
    text = (FOLDER / 'EDVR_L_REDS.yml').read_text()
    path = tmp_path / 'opt.yml'
    path.write_text(text.replace('scale: 4', 'scale: 2').replace('  type: EDVR\n', f'  type: EDVR{said}\n'))
    with pytest.raises(OptionError) as error:
        load_options(path, 'train')
    assert any(told in problem for problem in str(error.value).splitlines())
