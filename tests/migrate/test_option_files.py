"""Option files of other programs become ours: what they say is kept, what means something else is said."""

from pathlib import Path

import pytest
import yaml

from votes.cli import main
from votes.errors import UserError
from votes.migrate import migrate_file, written
from votes.migrate.python_config import read_config
from votes.options import OptionError, load_options

HERE = Path(__file__).parent
BASICSR = HERE.parent / 'options' / 'basicsr'
SUPPORTED = sorted(path for path in BASICSR.glob('*.yml') if path.stem != 'RealESRGAN_x4')


def again(source, tmp_path):
    """The options that the written file gives, and what was said."""
    found = migrate_file(source)
    path = tmp_path / 'opt.yml'
    path.write_text(written(found, source))
    return load_options(path, found.mode, check_paths=False), found


@pytest.mark.parametrize('path', SUPPORTED, ids=lambda path: path.stem)
def test_files_of_basicsr(path, tmp_path):
    opt, found = again(path, tmp_path)
    before = load_options(path, check_paths=False)
    assert opt.network_g == before.network_g
    assert opt.training.scheduler == before.training.scheduler
    assert opt.training.pixel_opt == before.training.pixel_opt
    assert all('the list that comes' in notice for notice in opt.notices), 'nothing is left that needs a word'
    first = [
        (plan.freeze, opt.training.parts[name].freeze) for name, plan in before.training.parts.items() if plan.freeze
    ]
    assert all(now == was - 1 for was, now in first), 'iteration N of BasicSR trains already'
    assert len(found.lines()) <= 7


def test_a_configuration_of_mmagic_for_windows(tmp_path):
    opt, _ = again(HERE / 'mmagic' / 'edvrm_reds.py', tmp_path)
    assert opt.network_g.model_dump() == {
        'type': 'EDVR',
        'scale': 4,
        'num_in_ch': 3,
        'num_out_ch': 3,
        'num_feat': 64,
        'num_frame': 5,
        'deformable_groups': 8,
        'num_extract_block': 5,
        'num_reconstruct_block': 10,
        'center_frame_idx': 2,
        'with_tsa': True,
    }
    train = opt.training
    assert (train.tsa_iter, train.total_iter, train.optim_g.args) == (5000, 600000, {'lr': 2e-4, 'betas': (0.9, 0.999)})
    assert train.scheduler.args['periods'] == [50000, 100000, 150000, 150000, 150000]
    data = opt.datasets['train']
    assert (data.batch_size_per_gpu, data.args['gt_size'], data.args['val_partition']) == (4, 256, 'REDS4')
    assert (data.args['use_flip'], data.args['use_rot'], data.args['random_reverse']) == (True, True, False)
    assert opt.val.metrics['psnr'].args == {'crop_border': 0, 'test_y_channel': False}


def test_a_configuration_of_mmagic_for_clips(tmp_path):
    opt, found = again(HERE / 'mmagic' / 'basicvsrpp_reds.py', tmp_path)
    flow = opt.training.parts['flow']
    assert (flow.freeze, flow.lr_mul) == (5000, 0.25)
    assert flow.weights == 'experiments/pretrained_models/spynet_20210409.pth'
    assert any('download https://example.org/spynet_20210409.pth' in line for line in found.changed)
    assert opt.training.ema_decay == pytest.approx(0.999)
    assert (opt.datasets['train'].args['num_frame'], opt.datasets['train'].args['center_gt']) == (30, False)
    assert opt.datasets['val'].args['num_frame'] == -1
    assert opt.val.metrics['psnr'].args == {'crop_border': 2, 'test_y_channel': True}, '_delete_ and _base_'


def test_a_configuration_of_mmagic_for_pictures(tmp_path):
    source = tmp_path / 'edsr.py'
    source.write_text("""
scale = 2
model = dict(
    type='BaseEditModel',
    generator=dict(type='EDSRNet', in_channels=3, out_channels=3, upscale_factor=scale, rgb_std=[1.0, 1.0, 1.0]),
    pixel_loss=dict(type='L1Loss'))
data = dict(type='BasicImageDataset', data_root='data' + '/DIV2K', data_prefix=dict(img='X2_sub', gt='HR_sub'))
train_dataloader = dict(batch_size=16, dataset=dict(pipeline=[dict(type='PairedRandomCrop', gt_patch_size=96)], **data))
val_dataloader = dict(dataset=dict(pipeline=[], **data))
optim_wrapper = dict(optimizer=dict(type='Adam', lr=1e-4))
train_cfg = dict(max_iters=300_000, val_interval=5000)
""")
    opt, _ = again(source, tmp_path)
    data = opt.datasets['train']
    assert (data.args['dataroot_lq'], data.args['io_backend']) == ('data/DIV2K/X2_sub', {'type': 'pictures'})
    assert (opt.network_g.type, opt.scale, data.args['gt_size']) == ('EDSR', 2, 96)


def test_a_file_of_redux(tmp_path):
    opt, found = again(HERE / 'redux' / 'ESRGAN.yml', tmp_path)
    assert (opt.network_g.type, opt.network_g.args) == ('RRDBNet', {'scale': 4})
    train = opt.training
    assert (train.amp, train.accumulate, train.grad_clip, train.ema_decay) == ('bf16', 2, 1.0, 0.999)
    assert {name: loss.type for name, loss in train.losses.items()} == {
        'l_charbonnier': 'CharbonnierLoss',
        'l_gan': 'GANLoss',
    }
    assert opt.datasets['train'].args['gt_size'] == 256, '64 pixels of LQ'
    assert found.left_out == [
        'datasets.train.dataroot_gt: the first of 2 folders is read; link the others into it',
        'datasets.train.dataroot_lq: the first of 2 folders is read; link the others into it',
        'train.losses: mssimloss is not here',
        'network_d: dunet is not here, UNetDiscriminatorSN is in its place',
    ]


def test_a_network_that_is_not_here_is_no_misspelling_of_one(tmp_path):
    text = (HERE / 'redux' / 'ESRGAN.yml').read_text()
    (tmp_path / 'opt.yml').write_text(text.replace('type: esrgan', 'type: span'))  # SAN is here
    with pytest.raises(OptionError, match='span is a network that is not here'):
        migrate_file(tmp_path / 'opt.yml')


FOREIGN = {
    'SwinIR': {'model_type': 'SwinIRModel', 'network_g': {'type': 'SwinIR', 'img_size': 48, 'window_size': 8}},
    'HAT': {'model_type': 'HATModel', 'network_g': {'type': 'HAT', 'embed_dim': 180, 'depths': [6, 6]}},
    'StyleGAN2': {'model_type': 'StyleGAN2Model', 'network_g': {'type': 'StyleGAN2Generator', 'out_size': 256}},
    'ECBSR': {'model_type': 'SRModel', 'network_g': {'type': 'ECBSR', 'num_block': 4, 'act_type': 'prelu'}},
}


@pytest.mark.parametrize('name', FOREIGN)
@pytest.mark.parametrize('verb', [['train', '-opt'], ['test', '-opt'], ['migrate']], ids=lambda verb: verb[0])
def test_what_is_not_here_is_one_sentence_everywhere(name, verb, tmp_path, capsys):
    data = {'name': 'x', 'scale': 2, **FOREIGN[name], 'datasets': {'train': {'type': 'OtherDataset', 'a': 1, 'b': 2}}}
    data |= {'train': {'total_iter': 10, 'unknown': 1, 'other': 2}, 'mixing': {'use': True}}
    (tmp_path / 'opt.yml').write_text(yaml.safe_dump(data))
    assert main([*verb, str(tmp_path / 'opt.yml')]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 2, said
    assert 'is a network that is not here' in said[1]


def test_files_that_need_migrating_say_so(tmp_path, capsys):
    for path in (HERE / 'redux' / 'ESRGAN.yml', HERE / 'mmagic' / 'edvrm_reds.py'):
        assert main(['train', '-opt', str(path)]) == 2
        said = capsys.readouterr().err
        assert 'votes migrate' in said
        assert len(said.splitlines()) <= 4
    assert main(['migrate', str(BASICSR / 'RealESRGAN_x4.yml'), '-o', str(tmp_path / 'no.yml')]) == 2
    assert not (tmp_path / 'no.yml').exists()


def test_unknown_keys_are_left_out_in_one_sentence(tmp_path):
    data = yaml.safe_load((BASICSR / 'EDVR_M_woTSA_REDS.yml').read_text())
    data |= {'use_magic': True}
    data['logger']['colours'] = 'red'
    (tmp_path / 'fork.yml').write_text(yaml.safe_dump(data))
    _, found = again(tmp_path / 'fork.yml', tmp_path)
    assert 'logger.colours, use_magic: there are no such keys here' in found.left_out
    data['network_g']['attention'] = 'new'  # computed with: not left out
    (tmp_path / 'fork.yml').write_text(yaml.safe_dump(data))
    with pytest.raises(OptionError, match=r'network_g\.attention: unknown key of EDVR'):
        migrate_file(tmp_path / 'fork.yml')


def test_pictures_are_clips_of_one_frame(tmp_path):
    data = yaml.safe_load((BASICSR / 'EDVR_M_woTSA_REDS.yml').read_text())
    data['network_g'] = {'type': 'EDSR', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_block': 1, 'upscale': 4}
    data['train'].pop('tsa_iter', None)
    data['train'].pop('dcn_lr_mul', None)
    pictures = {'type': 'PairedImageDataset', 'dataroot_gt': 'hr', 'dataroot_lq': 'lr', 'filename_tmpl': '{}x4'}
    data['datasets'] = {
        'train': {**pictures, 'gt_size': 96, 'batch_size_per_gpu': 4, 'meta_info_file': 'list.txt'},
        'val': {**pictures, 'filename_tmpl': '{}'},
    }
    (tmp_path / 'opt.yml').write_text(yaml.safe_dump(data))
    with pytest.raises(OptionError, match='PairedImageDataset reads a folder of pictures'):
        load_options(tmp_path / 'opt.yml', check_paths=False)
    opt, found = again(tmp_path / 'opt.yml', tmp_path)
    assert opt.datasets['train'].args['io_backend'] == {'type': 'pictures'}
    assert any('filename_tmpl' in line for line in found.left_out)


@pytest.mark.parametrize(
    'line',
    [
        'import os; os.system("true")',
        'x = __import__("os").getcwd()',
        'x = [i for i in range(3)]',
        'x = open("secret")',
        'x = 10 ** 10 ** 10',
        'x = "a" * 10**9',
        'with read_base():\n    from .other import *',
    ],
)
def test_code_in_a_configuration_is_not_executed(line, tmp_path):
    (tmp_path / 'config.py').write_text(f'a = 1\n{line}\n')
    with pytest.raises(UserError, match=r'holds code|cannot be read'):
        read_config(tmp_path / 'config.py')


def test_what_configurations_consist_of(tmp_path):
    (tmp_path / 'below.py').write_text('scale = 2\nmodel = dict(a=1, b=dict(c=2, d=[1, 2]))\n')
    (tmp_path / 'top.py').write_text(
        "'''text'''\n_base_ = ['./below.py']\n"
        "size = 64 * _base_.scale\nname = f'x{size}'\nagain = '{{_base_.model.b.c}}'\n"
        'model = dict(b=dict(d=[-3.5], e=(1, 2)), **dict(f=None))\nother = {"k": model}\n'
    )
    assert read_config(tmp_path / 'top.py') == {
        'scale': 2,
        'size': 128,
        'name': 'x128',
        'again': 2,
        'model': {'a': 1, 'b': {'c': 2, 'd': [-3.5], 'e': [1, 2]}, 'f': None},
        'other': {'k': {'b': {'d': [-3.5], 'e': [1, 2]}, 'f': None}},
    }
    (tmp_path / 'loop.py').write_text("_base_ = './loop.py'\n")
    with pytest.raises(UserError, match='without end'):
        read_config(tmp_path / 'loop.py')
