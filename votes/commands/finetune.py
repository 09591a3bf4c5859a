"""`votes finetune`: a trained network adapted to the videos of another platform, in one command."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import yaml

from votes import checkpoint, test, train
from votes.archs import build_network, stored_options
from votes.archs.contract import Promise, promise
from votes.data.clip_lists import read_meta_info
from votes.data.codec_metadata import extract_metadata
from votes.data.sources import open_source
from votes.data.tools.check import Check, may_train
from votes.data.tools.prepare import Wish, prepare
from votes.data.video_source import VIDEO_SUFFIXES as VIDEOS
from votes.errors import UserError
from votes.platforms.joined import earlier_platform, join_earlier, join_made, label_of, lq_folder
from votes.processes.lease import Lease
from votes.processes.program import add_overrides, called
from votes.reports.compare import comparison, read_results
from votes.reports.curves import validations
from votes.training.provenance import Record, changes, record
from votes.training.run_log import put_aside

HQ, LQ = ('hq', 'gt', 'original'), ('lq', 'compressed', 'shared')  # how such folders begin
NOTHING_GAINED = 3  # exit code


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('--weights', type=Path, required=True, metavar='W.pth', help='the network to start from')
    add('--data', type=Path, required=True, help='folder with HQ... and LQ..., each of videos or of clips of pictures')
    add('--platform', required=True, metavar='NAME', help='the run becomes finetune_NAME')
    add('--recipe', metavar='R.yml', help='makes LQ where there are only originals, or see --originals')
    add('--originals', type=Path, help='more clips for training beside the pairs: their LQ is made by the recipe')
    replay = 'platform adapted to before, or a folder of pairs: trained on too, and reported'
    add('--replay', action='append', default=[], metavar='NAME', help=replay)
    add('--test', type=int, help='clips for testing (default: a fifth)')
    add('--val', type=int, help='clips for validation (default: a tenth, at least one)')
    add('--seed', type=int, default=0, help='of the split')
    add('--epochs', type=int, default=20, help='at most so many; an epoch sees every frame once')
    add('--patience', type=int, default=3, help='epochs without gain after which it ends')
    add('--lr', type=float, default=5e-5, help='learning rate (default 5e-05)')
    add('--batch', type=int, default=16, help='samples of a step')
    add('--gt-size', type=int, default=128, help='side of the crops')
    add_overrides(parser, 'training options')
    add('--restart', action='store_true', help='put an earlier run of this name aside, and its data where they changed')
    add('--allow_changes', action='store_true', help='go on although training options have changed')


class Ended(Exception):
    """A program that was run inside has failed, or was stopped, with an exit code, and has said why."""


def run(args: argparse.Namespace) -> int:
    """Splits and checks the pairs, trains until nothing is gained, tests before and after.

    Returns:
        Exit code: 0 the adapted weights are better on validation and test clips, 3 they are not; 1 the evaluation
        failed; those of training.
    """
    network = stored_options(args.weights)
    said = promise(build_network(network))
    if not said.restores:
        raise UserError(f'{said.name} restores nothing: it cannot be fine-tuned', where=args.weights)
    with Lease(Path('datasets') / f'finetune_{args.platform}', 'fine-tuning'):
        try:
            return adapt(args, f'finetune_{args.platform}', network, said)
        except Ended as error:
            return int(error.args[0])


def adapt(args: argparse.Namespace, name: str, network: dict[str, Any], said: Promise) -> int:
    """All of `run` once the folders are owned."""
    data, folder = pairs_of(args, Path('datasets') / name, said), Path('experiments') / name
    key = checkpoint.read_record(data / 'made_of.json')['key']
    made_of = record({'weights': str(args.weights.absolute()), 'network': network}, {'data': key})
    known = Path('experiments') / f'{name}.made_of.json'
    if folder.is_dir() and not args.restart:
        refuse_changes(known, made_of, args.platform)
    common = {'model_type': 'RestorationModel', 'scale': said.scale, 'network_g': network}
    options = write_options(args, common, data, Path('experiments') / f'{name}.yml')
    alone = lq_folder(data) != data / 'LQ_frames'  # no pairs but those of the recipe, which fit
    found = Check(made=lambda clip: alone or clip.startswith('made__')).option_file(options)
    print('\n'.join(map(str, found)))
    if not may_train(found):
        raise UserError('these pairs are not fit for training', where=args.data, fix='see the findings above')
    start = mean_psnr(evaluated(f'{name}_start', args.weights, common, data, 'val'))
    checkpoint.write_record(known, made_of)
    asked = [f'--{name}' for name in ('restart', 'allow_changes') if getattr(args, name)]
    code = called(train, ['-opt', str(options), *asked, *(['--set', *args.overrides] if args.overrides else [])])
    if code:
        raise Ended(code)
    weights = {f'{name}_before': args.weights, name: folder / 'models' / 'net_g_best.pth'}
    results = [evaluated(run, file, common, data, 'test') for run, file in weights.items()]
    print(f'\n{curve(folder, start)}\n\non clips that were not trained on:\n{comparison(results)}')
    for old in args.replay:
        report_earlier(weights, common, data, old)
    gains = max(psnr for _, psnr in validations(folder)) - start, gained(results)
    if min(gains) <= 0:
        where = 'validation' if gains[0] <= 0 else 'test'
        print(f'\nnothing was gained: on the {where} clips the best epoch is {-min(gains):.2f} dB below the start')
        print(f'keep {args.weights}; another --lr, more clips or more --epochs may do better')
        return NOTHING_GAINED
    print(f'\nrestore a video with it:\n  votes restore IN.mp4 OUT.mp4 --weights {weights[name]}')
    return 0


def report_earlier(weights: dict[str, Path], common: dict[str, Any], data: Path, old: str) -> None:
    """Says what became of an earlier platform, on its own test clips."""
    label = label_of(earlier_platform(old))
    if not (data / f'meta_info_test_{label}.txt').is_file():
        print(f'\n{label} has no test clips: what became of it is not known')
        return
    part = f'test_{label}'
    results = [evaluated(f'{run}_on_{label}', file, common, data, part) for run, file in weights.items()]
    print(f'\non {label}, which was replayed ({gained(results):+.2f} dB):\n{comparison(results)}')


def refuse_changes(path: Path, now: Record, platform: str) -> None:
    """
    Raises:
        UserError: what lies there under this name was made from something else, or it is not known from what.
    """
    try:
        changed = changes(checkpoint.read_record(path), now)
    except ValueError:
        changed = ['what it was made from is not recorded']
    if changed:
        raise UserError(
            '\n'.join(['this platform was adapted from something else before:', *(f'  {line}' for line in changed)]),
            where=path,
            value=f'--platform {platform}',
            fix='--restart puts that aside and starts anew, or another --platform',
        )


def pairs_of(args: argparse.Namespace, target: Path, said: Promise) -> Path:
    """Clips, lists and the split, made by `votes prepare`, and the codec's metadata for networks that read them;
    returns their folder. Data that were prepared under this name from something else are refused, or put aside.
    """
    folders = [p for p in sorted(args.data.iterdir()) if p.is_dir()] if args.data.is_dir() else []
    hq, lq = (next((p for p in folders if p.name.lower().startswith(names)), None) for names in (HQ, LQ))
    hq = args.data if hq is None and args.recipe else hq
    both = lq is not None and bool(args.recipe)
    if hq is None or (lq is None and args.recipe is None) or both != (args.originals is not None):
        raise UserError(
            'pairs of compressed and original videos are needed',
            where=args.data.absolute(),
            value=f'it holds {", ".join(p.name for p in folders[:8]) or "no folders"}',
            fix='DATA/HQ and DATA/LQ with the same names in both, or originals alone and --recipe R.yml; for both, '
            'DATA/HQ and DATA/LQ with --recipe R.yml and --originals FOLDER',
        )
    recipes = [args.recipe] if args.recipe and not both else []
    wish = Wish(lq=lq, recipes=recipes, test=args.test, val=args.val, seed=args.seed)
    if args.test is None or args.val is None:
        count = len(open_source(hq).clips())
        if count < 3:
            raise UserError('too few clips to train, validate and test', where=hq, value=count, fix='3 or more')
        wish.test = max(1, count // 5) if args.test is None else args.test
        wish.val = max(1, count // 10) if args.val is None else args.val
    earlier = [earlier_platform(name) for name in args.replay]
    check_codec(said, lq, args)
    made: dict[str, Any] = {'dataroot_hq': str(hq), 'dataroot_lq': str(lq or ''), 'recipe': args.recipe or ''}
    made |= {'test': wish.test, 'val': wish.val, 'seed': wish.seed}
    made |= {f'dataroot_replay{i}': str(folder) for i, folder in enumerate(earlier)}
    claim(target, record(made | ({'dataroot_originals': str(args.originals)} if both else {})), args)
    prepare('videos', hq, target, wish)
    if said.reads_codec and lq is not None:
        extract_metadata(lq, target / 'metadata')
    if both:
        join_made(target, args.originals, args.recipe, args.seed)
    for folder in earlier:
        join_earlier(target, folder, args.seed)
    return target


def check_codec(said: Promise, lq: Path | None, args: argparse.Namespace) -> None:
    """
    Raises:
        UserError: the network reads what only compressed videos themselves say, and there are none.
    """
    if said.reads_codec and (lq is None or not any(path.suffix.lower() in VIDEOS for path in lq.iterdir())):
        raise UserError(
            f'{said.name} reads what the codec says of its videos',
            where=lq or args.recipe,
            value=', '.join(said.inputs) or 'frames of peak quality',
            fix='DATA/LQ has to hold the compressed videos themselves',
        )


def claim(target: Path, made_of: Record, args: argparse.Namespace) -> None:
    """Notes what a folder of data is made of. One that was made of something else is put aside where that is asked for.

    Raises:
        UserError: it is not asked for, see refuse_changes.
    """
    if target.is_dir():
        try:
            refuse_changes(target / 'made_of.json', made_of, args.platform)
        except UserError:
            if not args.restart:
                raise
            put_aside(target)
    checkpoint.write_record(target / 'made_of.json', made_of)


def sections(data: Path, part: str) -> dict[str, Any]:
    """What a dataset of one part of the split says. How many frames, and which, it is told by the network."""
    return {
        'name': data.name,
        'dataroot_gt': str(data / 'HQ_frames'),
        'dataroot_lq': str(lq_folder(data)),
        'meta_info_file': str(data / f'meta_info_{part}.txt'),
        **({'codec_metadata': str(data / 'metadata')} if (data / 'metadata').is_dir() else {}),
    }


def write_options(args: argparse.Namespace, common: dict[str, Any], data: Path, path: Path) -> Path:
    """The option file of the training: all parameters, a validation each epoch."""
    lengths = read_meta_info(data / 'meta_info_train.txt').values()
    epoch = max(1, sum(lengths) // args.batch)
    total = args.epochs * epoch
    content = {
        'name': f'finetune_{args.platform}',
        **common,
        'datasets': {
            'train': {
                'type': 'UVSSMDataset',
                **sections(data, 'train'),
                'gt_size': args.gt_size,
                'batch_size_per_gpu': args.batch,
                'num_worker_per_gpu': 2,
                'dataset_enlarge_ratio': max(1, sum(lengths) // len(lengths)),
            },
            'val': {'type': 'VideoUVSSMTestDataset', **sections(data, 'val')},
        },
        'path': {'pretrain_network_g': str(args.weights)},
        'train': {
            'optim_g': {'type': 'Adam', 'lr': args.lr, 'betas': [0.9, 0.99]},
            'scheduler': {'type': 'CosineAnnealingRestartLR', 'periods': [total], 'eta_min': 1e-7},
            'total_iter': total,
            'pixel_opt': {'type': 'CharbonnierLoss'},
        },
        'val': {'val_freq': epoch, 'patience': args.patience},
        'logger': {'print_freq': max(1, epoch // 4), 'save_checkpoint_freq': epoch, 'keep_last': 2},
    }
    return _write(path, content)


def evaluated(name: str, weights: Path, common: dict[str, Any], data: Path, part: str) -> Path:
    """The results file of weights on a part of the split; raises Ended where the evaluation failed."""
    content = {
        'name': name,
        **common,
        'datasets': {'test': {'type': 'VideoUVSSMTestDataset', **sections(data, part)}},
        'path': {'pretrain_network_g': str(weights)},
        'val': {'save_img': part.startswith('test')},
    }
    options = _write(Path('experiments') / f'test_{name}.yml', content)
    if called(test, ['-opt', str(options), '--overwrite']):
        raise Ended(1)
    return Path('results') / name / 'results.json'


def mean_psnr(path: Path) -> float:
    (result,) = read_results(path)['results'].values()
    return float(result['mean']['restored']['psnr'])


def gained(results: list[Path]) -> float:
    """PSNR of the second less that of the first."""
    return mean_psnr(results[1]) - mean_psnr(results[0])


def _write(path: Path, content: dict[str, Any]) -> Path:
    checkpoint.write_text(path, yaml.safe_dump(content, sort_keys=False))
    return path


def curve(run: Path, start: float) -> str:
    """PSNR of the starting weights and at each validation, as a text with bars; the drawing is curves.svg."""
    points = [(0, start), *validations(run)]
    values = [value for _, value in points]
    low, high = min(values), max(values)
    lines = [f'PSNR on the validation clips ({run / "curves.svg"}):']
    for number, (iteration, value) in enumerate(points):
        bar = '#' * round(1 + 39 * (value - low) / (high - low or 1))
        lines.append(f'  epoch {number:3d}, iteration {iteration:6d}  {value:8.4f}  {bar}')
    return '\n'.join(lines)
