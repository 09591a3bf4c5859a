"""Every option file under options/ trains two steps, or evaluates, on clips of the size of a stamp."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from votes import checkpoint
from votes.archs import build_network
from votes.cli import main
from votes.options import load_options
from votes.options.check import blueprint
from votes.options.yaml_file import read_option_file
from votes.registry import NETWORKS

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(p for kind in ('train', 'test', 'finetune') for p in (ROOT / 'options' / kind).rglob('*.yml'))
CLIPS = [f'{i:03d}' for i in range(270)]
FRAMES = 100  # the published lists say so
FEW = 9  # as many as the widest window sees
# arguments of networks that say what their data are like
FIXED = ('scale', 'vsr_scale', 'sr_factor', 'upscale', 'upscale_factor', 'num_frame', 'radius')


def write_dataset(folder: Path, size: int) -> None:
    """`CLIPS` with the same 100 frames each; they are links to a single picture."""
    first = folder / CLIPS[0]
    first.mkdir(parents=True)
    cv2.imwrite(str(first / '00000000.png'), np.random.default_rng(size).integers(0, 256, (size, size, 3), np.uint8))
    for i in range(1, FRAMES):
        os.link(first / '00000000.png', first / f'{i:08d}.png')
    for name in CLIPS[1:]:
        (folder / name).symlink_to(first, target_is_directory=True)


def write_codec_metadata(folder: Path, size: int) -> None:
    """Picture types and peaks of `CLIPS`; no motion vectors."""
    first = folder / CLIPS[0]
    first.mkdir(parents=True)
    types = ['IPBP'[i % 4] for i in range(FRAMES)]
    about = {'size': [size, size], 'types': types, 'bytes': [1] * FRAMES, 'pqf': [kind != 'B' for kind in types]}
    (first / 'frames.json').write_text(json.dumps(about))
    for name in CLIPS[1:]:
        (folder / name).symlink_to(first, target_is_directory=True)


@pytest.fixture(scope='session')
def workplace(tmp_path_factory):
    """A folder for the datasets that the option files name; each file makes those that it is the first to need."""
    root = tmp_path_factory.mktemp('workplace')
    (root / 'few.txt').write_text(f'003 {FEW}\n')
    return root


def provide_data(root, opt):
    """The datasets that an option file names."""
    for data in opt.datasets.values():
        versions = data.args.get('versions', [])
        side = 64 if 'REDS' in str(data.args) else 32  # SSIM needs 11 pixels, stage 1 sees a quarter
        small = side // opt.scale
        roots = [
            (data.args.get('dataroot_gt'), side),
            *((data.args.get(f'dataroot_{k}'), small) for k in ('lq', 'once')),
            *((version['dataroot'], side // 2) for version in versions),
        ]
        for folder, size in roots:
            if folder and not (root / folder).is_dir():
                write_dataset(root / folder, size)
        for folder in (data.args.get('codec_metadata'), *(version['codec_metadata'] for version in versions)):
            if folder and not (root / folder).is_dir():
                write_codec_metadata(root / folder, side // 2 if versions else small)
        for key in ('meta_info_file', 'meta_val_file', 'meta_test_file'):
            if any(word in str(data.args.get(key)) for word in ('demo', 'open_clips')):
                (root / data.args[key]).parent.mkdir(exist_ok=True, parents=True)
                clip = 3 + ('val' in data.args[key]) + 2 * ('test' in data.args[key])
                (root / data.args[key]).write_text(
                    f'{clip:03d} {FRAMES}\n000 {FEW}\n' if clip == 3 else f'{clip:03d} {FEW}\n'
                )


def provide_weights(opt):
    """What the option file starts from: a run of another option file, here untrained."""
    if opt.path.pretrain_network_g and not Path(opt.path.pretrain_network_g).exists():
        net = build_network(opt.network_g.args.get('network') or {'type': opt.network_g.type, **opt.network_g.args})
        checkpoint.save({'params': net.state_dict()}, opt.path.pretrain_network_g)
    if opt.path.bin_model and not Path(opt.path.bin_model).exists():
        sizes = {k.removeprefix('dsm_'): v for k, v in opt.network_g.args.items() if k.startswith('dsm_')}
        checkpoint.save({'params': build_network({'type': 'BIN', **sizes}).state_dict()}, opt.path.bin_model)
    trained = {name: plan.weights for name, plan in opt.train.parts.items()} if opt.train else {}
    for name, file in {**opt.path.parts, **trained}.items():
        if file and not Path(file).exists():
            net = build_network({'type': opt.network_g.type, **opt.network_g.args})
            begins = net.parts[name]
            alone = len(begins) == 1 and begins[0].endswith('.')  # else it comes out of a whole network
            made = net.get_submodule(begins[0].rstrip('.')) if alone else net
            checkpoint.save({'params': made.state_dict()}, file)
    for spec in opt.train.losses.values() if opt.train else ():
        vgg = Path(spec.args.get('vgg_weights', '.'))
        if spec.type == 'PerceptualLoss' and not vgg.exists():
            net = build_network({'type': 'VGGFeatureExtractor', 'layer_name_list': list(spec.args['layer_weights'])})
            checkpoint.save({key: value.half() for key, value in net.state_dict().items()}, vgg)


def small_network(network, key='network_g'):
    """Overrides that make a network, and those inside it, of a size with which it runs in a second."""
    inside = {name: value for name, value in network.items() if isinstance(value, dict) and 'type' in value}
    small = NETWORKS.get(network['type']).small
    sizes = {name: value for name, value in small.items() if name not in (*FIXED, *inside)}
    found = [f'{key}.{name}={json.dumps(value)}' for name, value in sizes.items()]
    return found + [word for name, other in inside.items() for word in small_network(other, f'{key}.{name}')]


def of_a_quick_run():
    """Files that train each network, one that goes on with a trained one, and some that test, a network of a kind."""
    first = {(p.parts[-3], read_option_file(p).data['network_g']['type']): p for p in reversed(FILES)}
    tested = ('ARCNN', 'BasicVSR', 'MFQE', 'Pipeline', 'RSDN', 'VOTES')
    return {p for (kind, name), p in first.items() if kind != 'test' or name in tested}


QUICK = of_a_quick_run()


@pytest.mark.parametrize(
    'path',
    [pytest.param(path, marks=() if path in QUICK else pytest.mark.long) for path in FILES],
    ids=lambda path: path.stem,
)
def test_runs(path, workplace, monkeypatch):
    monkeypatch.chdir(workplace)
    monkeypatch.setattr('votes.training.validation.draw_rows', lambda *args, **how: None)  # tested elsewhere
    mode = 'test' if 'test' in path.parts else 'train'
    overrides = ['num_gpu=0', *small_network(read_option_file(path).data['network_g'])]
    as_given = load_options(path, mode, overrides, check_paths=False)
    for name, data in as_given.datasets.items():
        if (data.args.get('io_backend') or {}).get('type') == 'luma':  # pictures stand for raw YUV
            overrides += [f'datasets.{name}.io_backend=~']
        overrides += [f'datasets.{name}.meta_info_file=few.txt', f'datasets.{name}.split=~'] if name != 'train' else []
    if mode == 'train':
        step = getattr(blueprint(as_given.network_g)[0], 'multiple', 1) * as_given.scale
        side = -(-(16 if 'versions' in as_given.datasets['train'].args else 32) // step) * step
        overrides += [f'datasets.train.gt_size={side}', 'datasets.train.batch_size_per_gpu=1']
        overrides += ['datasets.train.num_worker_per_gpu=0', 'train.total_iter=2', 'train.warmup_iter=-1']
        overrides += ['logger.print_freq=1']
        if as_given.datasets['train'].args.get('num_frame', 5) > 7:  # a clip, not a window
            overrides += ['datasets.train.num_frame=5']
    provide_data(workplace, as_given)
    provide_weights(as_given)
    more = ['--restart'] if mode == 'train' else []
    assert main([mode, '-opt', str(path), *more, '--set', *overrides]) == 0
    if mode == 'train':
        folder = Path('experiments', as_given.name)
        assert checkpoint.load(folder / 'training_states' / '2.state')['iter'] == 2
        assert checkpoint.read_weights(folder / 'models' / 'net_g_latest.pth')
        assert (folder / 'metrics.jsonl').read_text().count('"kind": "train"') == 2
    else:
        assert Path('results', as_given.name, 'results.json').is_file()
        if as_given.val.save_img:
            left_out = 2 * as_given.datasets['test'].args.get('skip_ends', 0)
            assert len(list(Path('results', as_given.name, 'visualization').rglob('*.png'))) == FEW - left_out
