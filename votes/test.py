"""Evaluation from an option file: `votes test -opt FILE.yml`. Writes pictures and results with their protocol."""

from __future__ import annotations

import argparse
import hashlib
import platform
import runpy
import shutil
import sys
from pathlib import Path
from typing import Any

if __name__ == '__main__':  # started as a file, see votes/train.py
    if not __package__:
        sys.path[0] = str(Path(__file__).resolve().parents[1])
    sys.argv.insert(1, 'test')
    runpy.run_module('votes.cli', run_name='__main__', alter_sys=True)

import torch

import votes
from votes import checkpoint
from votes.data import VideoUVSSMTestDataset, build_test_set
from votes.data.grid import check_grid
from votes.inference.evaluation import evaluate
from votes.models import build_model
from votes.options import Options
from votes.processes import distributed
from votes.processes.devices import device_of
from votes.processes.program import add_program_arguments, run_program
from votes.reports.protocol import rounding_of
from votes.training.run_log import RunLog, logger, put_aside


def test(opt: Options, args: argparse.Namespace) -> None:
    """Evaluates every test set of the options."""
    device = device_of(opt)
    folder = Path(opt.path.results_root) / opt.name
    start_folder(folder, args.overwrite)
    with RunLog(folder, opt):
        model = build_model(opt, device)
        sets = {
            key: build_test_set(data, opt.scale, model.said) for key, data in opt.datasets.items() if key != 'train'
        }
        weights = opt.path.pretrain_network_g
        learnt = checkpoint.load(weights).get('grid') if weights else None
        for name, shown in sets.items():
            check_grid(learnt, str(weights), shown, name, opt.validation.any_grid)
        for message in model.messages:
            logger.info('%s', message)
        results = {}
        for key, dataset in sets.items():
            name = opt.datasets[key].name or key
            images = folder / 'visualization' / name if opt.validation.save_img else None
            suffix = f'_{opt.validation.suffix}' if opt.validation.suffix else ''
            result = evaluate(model, dataset, name, opt.validation.metrics, images, suffix)
            assert result is not None
            logger.info('%s', '\n'.join([result.table(), *result.notes]))
            results[name] = result.as_dict()
        if distributed.rank() == 0:
            write_results(folder / 'results.json', opt, sets, results)
            logger.info('results: %s', folder / 'results.json')


def start_folder(folder: Path, overwrite: bool) -> None:
    """Puts earlier results of this name aside, or with `overwrite` removes them."""
    if distributed.rank() == 0 and folder.is_dir():
        if overwrite:
            shutil.rmtree(folder / 'visualization', ignore_errors=True)
            (folder / 'results.json').unlink(missing_ok=True)
        else:
            put_aside(folder)
    distributed.barrier()


test.__test__ = False  # type: ignore[attr-defined]  # pytest: not a test


def recognised(dataset: VideoUVSSMTestDataset) -> dict[str, Any]:
    """What test data are recognised by: the hash of names, lengths, and both pictures of each clip's middle frame; and
    of each clip that of both pictures of its first frame, which stays the same where more frames of it are measured.
    """
    digest, lengths = hashlib.sha256(), dataset.pairs.lengths
    of_clips = {}
    for clip, length in lengths.items():
        first = hashlib.sha256()
        digest.update(f'{clip} {length}'.encode())
        for source in (dataset.pairs.lq, dataset.pairs.gt):
            for index, total in ((length // 2, digest), (0, first)):
                frame = source.read(clip, index)
                total.update(str(frame.shape).encode() + frame.tobytes())
        of_clips[clip] = first.hexdigest()[:16]
    known = {'clips': len(lengths), 'frames': sum(lengths.values()), 'sha256': digest.hexdigest()}
    return {**known, 'of_clips': of_clips}


def write_results(path: Path, opt: Options, sets: dict[str, VideoUVSSMTestDataset], results: dict[str, Any]) -> None:
    """The numbers together with what is needed to compare them: protocol, weights, versions."""
    weights = opt.path.pretrain_network_g
    metrics = {name: {'type': spec.type, **spec.args} for name, spec in opt.validation.metrics.items()}
    for name, spec in opt.validation.metrics.items():
        metrics[name] |= {'better': 'lower'} if spec.better == 'lower' else {}
    content = {
        'name': opt.name,
        'scale': opt.scale,
        'protocol': {
            'metrics': metrics,
            'channel': {name: 'Y' if how.get('test_y_channel') else 'RGB' for name, how in metrics.items()},
            'range': '0 to 255',
            'rounding': rounding_of(metrics),
            'data': {opt.datasets[key].name or key: recognised(dataset) for key, dataset in sets.items()},
            'luma': 'BT.601 studio range, Y = 16 + 65.481 R + 128.553 G + 24.966 B, where test_y_channel is true',
            'aggregation': 'mean over the frames of a clip, then over clips',
            'window_padding': {name: opt.datasets[name].args.get('padding', 'reflection_circle') for name in sets},
            'baselines': 'the LQ frame enlarged by bilinear and bicubic (a = -0.5) interpolation; LQ itself in stage 1',
        },
        'network_g': {'type': opt.network_g.type, **opt.network_g.args},
        'weights': {'path': str(weights), 'sha256': checkpoint.sha256(weights)} if weights else None,
        'versions': {'votes': votes.__version__, 'torch': torch.__version__, 'python': platform.python_version()},
        'results': results,
    }
    checkpoint.write_record(path, content)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_program_arguments(parser)
    parser.add_argument(
        '--overwrite', action='store_true', help='replace earlier results instead of putting them aside'
    )


def run(args: argparse.Namespace) -> int:
    return run_program(test, 'test', args)
