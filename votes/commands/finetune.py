"""`votes finetune`: a trained network adapted to the videos of another platform, in one command."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import yaml

from votes import checkpoint, test, train
from votes.archs import stored_options
from votes.data.clip_lists import read_meta_info
from votes.data.tools.check import check_option_file, may_train
from votes.data.tools.prepare import Wish, prepare
from votes.errors import UserError
from votes.reports.compare import comparison
from votes.reports.curves import read_rows

HQ, LQ = ('hq', 'gt', 'original'), ('lq', 'compressed', 'shared')  # how such folders begin
MODELS = {'VOTES': 'VOTESModel', 'EDVR': 'EDVRModel'}
METRICS = {name: {'type': f'calculate_{name}', 'crop_border': 2, 'test_y_channel': True} for name in ('psnr', 'ssim')}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--weights', type=Path, required=True, metavar='W.pth', help='the network to start from')
    parser.add_argument(
        '--data', type=Path, required=True, help='folder with HQ... and LQ..., each of videos or of clips of pictures'
    )
    parser.add_argument('--platform', required=True, metavar='NAME', help='the run becomes finetune_NAME')
    parser.add_argument('--recipe', metavar='R.yml', help='makes LQ where there are only originals')
    parser.add_argument('--test', type=int, help='clips for testing (default: a fifth)')
    parser.add_argument('--val', type=int, help='clips for validation (default: a tenth, at least one)')
    parser.add_argument('--seed', type=int, default=0, help='of the split')
    parser.add_argument('--epochs', type=int, default=20, help='at most so many; an epoch sees every frame once')
    parser.add_argument('--patience', type=int, default=3, help='epochs without gain after which it ends')
    parser.add_argument('--lr', type=float, default=5e-5)
    parser.add_argument('--batch', type=int, default=16, help='samples of a step')
    parser.add_argument('--gt-size', type=int, default=128, help='side of the crops')
    parser.add_argument(
        '--set', nargs='+', action='extend', default=[], metavar='KEY=VALUE', dest='overrides', help='training options'
    )
    parser.add_argument('--restart', action='store_true', help='put an earlier run of this name aside')


def run(args: argparse.Namespace) -> int:
    """Splits and checks the pairs, trains until nothing is gained, tests before and after."""
    network = stored_options(args.weights)
    if network['type'] not in MODELS:
        raise UserError(f'{network["type"]} cannot be fine-tuned', where=args.weights, fix='weights of VOTES or EDVR')
    name = f'finetune_{args.platform}'
    data = pairs_of(args, Path('datasets') / name)
    options = write_options(args, network, data, Path('experiments') / f'{name}.yml')
    found = check_option_file(options)
    print('\n'.join(map(str, found)))
    if not may_train(found):
        raise UserError('these pairs are not fit for training', where=args.data, fix='see the findings above')
    code = train.run(
        argparse.Namespace(
            opt=str(options),
            launcher='none',
            overrides=args.overrides,
            local_rank=0,
            restart=args.restart,
            allow_changes=False,
            auto_resume=True,
        )
    )
    if code:
        return code
    best = Path('experiments') / name / 'models' / 'net_g_best.pth'
    results = []
    for run_name, weights in ((f'{name}_before', args.weights), (name, best)):
        tests = write_test_options(run_name, weights, network, data)
        code = test.run(argparse.Namespace(opt=str(tests), launcher='none', overrides=[], local_rank=0, overwrite=True))
        if code:
            return code
        results.append(Path('results') / run_name / 'results.json')
    print(f'\n{curve(best.parents[1])}\n\non clips that were not trained on:\n{comparison(results)}')
    print(f'\nrestore a video with it:\n  votes restore IN.mp4 OUT.mp4 --weights {best}')
    return 0


def pairs_of(args: argparse.Namespace, target: Path) -> Path:
    """Clips, lists and the split, made by `votes prepare`; returns their folder."""
    folders = [p for p in sorted(args.data.iterdir()) if p.is_dir()] if args.data.is_dir() else []
    hq, lq = (next((p for p in folders if p.name.lower().startswith(names)), None) for names in (HQ, LQ))
    if hq is None and args.recipe:
        hq = args.data
    if hq is None or (lq is None) == (args.recipe is None):
        raise UserError(
            'pairs of compressed and original videos are needed',
            where=args.data.absolute(),
            value=f'it holds {", ".join(p.name for p in folders[:8]) or "no folders"}',
            fix='DATA/HQ and DATA/LQ with the same names in both, or originals alone and --recipe R.yml',
        )
    wish = Wish(lq=lq, recipes=[args.recipe] if args.recipe else [], test=args.test, val=args.val, seed=args.seed)
    if args.test is None or args.val is None:
        from votes.data.open_source import open_source

        count = len(open_source(hq).clips())
        if count < 3:
            raise UserError('too few clips to train, validate and test', where=hq, value=count, fix='3 or more')
        wish.test = max(1, count // 5) if args.test is None else args.test
        wish.val = max(1, count // 10) if args.val is None else args.val
    prepare('videos', hq, target, wish)
    return target


def sections(data: Path, part: str) -> dict[str, Any]:
    """What a dataset of one part of the split says."""
    lq = next(p for p in sorted(data.iterdir()) if p.name.startswith('LQ_frames'))
    return {
        'name': data.name,
        'dataroot_gt': str(data / 'HQ_frames'),
        'dataroot_lq': str(lq),
        'meta_info_file': str(data / f'meta_info_{part}.txt'),
    }


def common(name: str, network: dict[str, Any]) -> dict[str, Any]:
    scale = network.get('sr_factor', network.get('scale', 2))
    return {'name': name, 'model_type': MODELS[network['type']], 'scale': scale, 'network_g': network}


def write_options(args: argparse.Namespace, network: dict[str, Any], data: Path, path: Path) -> Path:
    """The option file of the training: all parameters, a validation each epoch."""
    frames = sum(read_meta_info(data / 'meta_info_train.txt').values())
    clips = len(read_meta_info(data / 'meta_info_train.txt'))
    epoch = max(1, frames // args.batch)
    total = args.epochs * epoch
    content = {
        **common(f'finetune_{args.platform}', network),
        'datasets': {
            'train': {
                'type': 'UVSSMDataset',
                **sections(data, 'train'),
                'num_frame': network.get('num_frame', 5),
                'gt_size': args.gt_size,
                'batch_size_per_gpu': args.batch,
                'num_worker_per_gpu': 2,
                'dataset_enlarge_ratio': max(1, frames // clips),
            },
            'val': {'type': 'VideoUVSSMTestDataset', **sections(data, 'val'), 'num_frame': network.get('num_frame', 5)},
        },
        'path': {'pretrain_network_g': str(args.weights)},
        'train': {
            'optim_g': {'type': 'Adam', 'lr': args.lr, 'betas': [0.9, 0.99]},
            'scheduler': {'type': 'CosineAnnealingRestartLR', 'periods': [total], 'eta_min': 1e-7},
            'total_iter': total,
            'pixel_opt': {'type': 'CharbonnierLoss'},
        },
        'val': {'val_freq': epoch, 'patience': args.patience, 'metrics': METRICS},
        'logger': {'print_freq': max(1, epoch // 4), 'save_checkpoint_freq': epoch, 'keep_last': 2},
    }
    return _write(path, content)


def write_test_options(name: str, weights: Path, network: dict[str, Any], data: Path) -> Path:
    content = {
        **common(name, network),
        'datasets': {
            'test': {
                'type': 'VideoUVSSMTestDataset',
                **sections(data, 'test'),
                'num_frame': network.get('num_frame', 5),
            }
        },
        'path': {'pretrain_network_g': str(weights)},
        'val': {'save_img': True, 'metrics': METRICS},
    }
    return _write(Path('experiments') / f'test_{name}.yml', content)


def _write(path: Path, content: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with checkpoint.atomic_write(path) as temporary:
        temporary.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def curve(run: Path) -> str:
    """PSNR at each validation, as a text with bars; the drawing is curves.svg."""
    rows = [row for row in read_rows(run / 'metrics.jsonl') if 'restored_psnr' in row]
    values = [row['restored_psnr'] for row in rows]
    low, high = min(values), max(values)
    lines = [f'PSNR on the validation clips ({run / "curves.svg"}):']
    for number, (row, value) in enumerate(zip(rows, values, strict=True), 1):
        bar = '#' * round(1 + 39 * (value - low) / (high - low or 1))
        lines.append(f'  epoch {number:3d}, iteration {row["iter"]:6d}  {value:8.4f}  {bar}')
    return '\n'.join(lines)
