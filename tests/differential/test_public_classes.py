"""The recorded numbers against BasicSR's own classes, where $VOTES_BASICSR names its unpacked source, see README.md.

Its packages are entered without their ``__init__``, which import all that they hold.
"""

import json
import logging
import os
import random
import sys
import types
from importlib import import_module
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest
import torch

from .record import BASE, PATH, SCHEDULE, SCHEDULES, TRAINING, UPDATES, WARM_UPS, batch, initial, pictures, told
from .test_against_basicsr import DRAWS, fits

SOURCE = Path(os.environ.get('VOTES_BASICSR', ''), 'basicsr')
RECORDED = json.loads(PATH.read_text())
pytestmark = pytest.mark.skipif(not (SOURCE / 'models').is_dir(), reason='$VOTES_BASICSR names no source of BasicSR')


@pytest.fixture
def basicsr(monkeypatch):
    """Imports a module of it; what none of these classes calls is nothing."""
    for name in ('', '.archs', '.data', '.losses', '.metrics', '.models'):
        package = types.ModuleType(f'basicsr{name}')
        package.__path__ = [str(SOURCE.joinpath(*name.split('.')))]
        monkeypatch.setitem(sys.modules, package.__name__, package)
    absent = {
        'torchvision': (),
        'tqdm': ('tqdm',),
        'basicsr.ops.dcn': ('ModulatedDeformConvPack', 'modulated_deform_conv'),
        'basicsr.archs.vgg_arch': ('VGGFeatureExtractor',),
        'basicsr.utils.flow_util': ('dequantize_flow',),
        'basicsr.utils': ('imwrite', 'tensor2img', 'FileClient', 'imfrombytes', 'img2tensor'),
    }
    for name, attributes in absent.items():
        module = types.ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)
        module.__dict__.update({key: torch.nn.Module if key[0].isupper() else None for key in attributes})
        monkeypatch.setitem(sys.modules, name, module)
    utils = sys.modules['basicsr.utils']
    utils.get_root_logger = logging.getLogger
    utils.__path__ = [str(SOURCE / 'utils')]
    utils.bgr2ycbcr = import_module('basicsr.utils.color_util').bgr2ycbcr
    yield lambda name: import_module(f'basicsr.{name}')
    for name in [name for name in sys.modules if name.startswith('basicsr')]:
        del sys.modules[name]


def trained(basicsr, train):
    """A model of one image network, as its options file says."""
    sys.modules['basicsr.archs'].build_network = lambda about: basicsr('archs.edsr_arch').EDSR(3, 3, 4, 1, 2)
    sys.modules['basicsr.losses'].build_loss = lambda about: basicsr('losses.basic_loss').CharbonnierLoss(1.0, 'sum')
    sys.modules['basicsr.metrics'].calculate_metric = None
    model = basicsr('models.sr_model').SRModel
    model.print_network = lambda self, net: None
    options = {'num_gpu': 0, 'is_train': True, 'dist': False, 'network_g': {}, 'path': {}, 'train': train}
    torch.set_default_dtype(torch.float64)
    try:
        return model(options)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize('name', SCHEDULES)
@pytest.mark.parametrize('warmup', WARM_UPS)
def test_rates(basicsr, name, warmup):
    train = {'optim_g': {'type': 'Adam', 'lr': BASE}, 'scheduler': dict(SCHEDULES[name]), 'pixel_opt': {'type': ''}}
    model = trained(basicsr, train)
    rates = []
    for iteration in range(1, UPDATES + 1):
        model.update_learning_rate(iteration, warmup_iter=warmup)
        model.optimizer_g.step()
        rates += model.get_current_learning_rate()
    assert rates == pytest.approx(RECORDED['rates'][f'{name}, warm-up {warmup}'], rel=1e-9)


def test_ten_steps(basicsr):
    optimizer = {'type': 'Adam', **{key: TRAINING[key] for key in ('lr', 'betas', 'weight_decay')}}
    schedule = {'type': 'CosineAnnealingRestartLR', **SCHEDULE}
    model = trained(
        basicsr, {'optim_g': optimizer, 'scheduler': schedule, 'pixel_opt': {'type': ''}, 'ema_decay': TRAINING['ema']}
    )
    for net in (model.net_g, model.net_g_ema):
        net.load_state_dict(initial(), strict=False)
    losses = []
    for step in range(1, TRAINING['steps'] + 1):
        model.update_learning_rate(step, warmup_iter=TRAINING['warmup'])
        model.feed_data(dict(zip(('lq', 'gt'), batch(step), strict=True)))
        model.optimize_parameters(step)
        losses.append(model.log_dict['l_pix'])
    wanted = RECORDED['ten_steps']
    assert losses == pytest.approx(wanted['losses'], rel=1e-6)  # its mean of colours is in single precision
    for key, net in (('params', model.net_g), ('params_ema', model.net_g_ema)):
        for name, numbers in told(dict(net.named_parameters())).items():
            assert numbers == pytest.approx(wanted[key][name], rel=1e-5, abs=1e-6), name


def test_metrics(basicsr):
    measures = basicsr('metrics.psnr_ssim')
    first, second = (picture[..., ::-1] for picture in pictures())  # BGR there
    for name, wanted in RECORDED['metrics'].items():
        channel, border = name.split()
        for metric, value in wanted.items():
            measure = getattr(measures, f'calculate_{metric}')
            assert measure(first, second, int(border), test_y_channel=channel == 'y') == pytest.approx(value, abs=1e-5)


@pytest.mark.parametrize('name', RECORDED['windows'])
def test_windows(basicsr, name, tmp_path, monkeypatch):
    kind, count, interval = name.split()
    module = basicsr('data.reds_dataset')
    (tmp_path / 'list.txt').write_text('001 100 (16,16,3)\n')
    roots = {'dataroot_gt': 'gt', 'dataroot_lq': 'lq', 'meta_info_file': str(tmp_path / 'list.txt')}
    options = {**roots, 'val_partition': 'REDS4', 'io_backend': {'type': 'disk'}, 'gt_size': 16, 'scale': 2}
    options |= {'num_frame': int(count), 'interval_list': [int(interval)], 'use_hflip': False, 'use_rot': False}
    options |= {'dataroot_flow': None, 'test_mode': False, 'random_reverse': False}
    read = []
    files = types.SimpleNamespace(get=lambda path, kind: read.append((kind, int(Path(path).stem))))
    monkeypatch.setattr(module, 'FileClient', lambda *args, **keywords: files)
    monkeypatch.setattr(module, 'imfrombytes', lambda *args, **keywords: np.zeros((8, 8, 3), np.float32))
    monkeypatch.setattr(module, 'paired_random_crop', lambda gt, lq, *args: (gt, lq))
    monkeypatch.setattr(module, 'img2tensor', lambda pictures: [torch.zeros(3, 8, 8)] * len(pictures))
    data = getattr(module, kind)(options)
    random.seed(1)
    starts = []
    for _ in range(DRAWS):
        read.clear()
        data[random.randrange(100)]
        starts.append(min(frame for kind, frame in read if kind == 'lq'))
    assert fits(np.bincount(starts, minlength=100), RECORDED['windows'][name])


def test_crops_and_turns(basicsr):
    module = basicsr('data.transforms')
    rows, columns = np.mgrid[:40, :40]
    place = np.stack((rows, columns, rows), -1).astype(np.float32)
    random.seed(2)
    corners = []
    for _ in range(DRAWS):
        _, lq = module.paired_random_crop(np.zeros((80, 80, 3)), place, 32, 2, '')
        corners.append(lq[0, 0, :2].astype(int))
    for axis in (0, 1):
        assert fits(np.bincount([c[axis] for c in corners], minlength=25), RECORDED['crops'])
    turned = [module.augment(place.copy(), True, True)[[0, 0, -1], [0, -1, 0], :2].tobytes() for _ in range(DRAWS)]
    assert fits([turned.count(kind) for kind in sorted(set(turned))], RECORDED['turns'])
