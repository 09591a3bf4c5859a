"""Whether this version is as fast as an earlier one: training, evaluation, restoring and reading, in turns.

    python benchmarks/versions.py 305465f --frames 30 -o benchmarks/results/versions_cpu.json

The earlier version is checked out beside the repository's files into a temporary folder. Both run the same commands on
the same clips, in turns and in processes of their own; counted are the CPU seconds of the processes beyond those of
the same command on less data (start-up is not what is compared), so that other work on the machine matters little.
Outputs are compared too: the numbers of the evaluation, and the restored frames.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import machine
import numpy as np
import torch
import yaml
from skimage import data as photographs

from votes.archs import build_network

HERE = Path(__file__).resolve().parents[1]
NETWORK = {'type': 'VOTES', 'num_feat': 64, 'num_reconstruct_block': 10}
SMALL = {'type': 'VOTES', 'num_feat': 32, 'num_reconstruct_block': 2}  # that is trained
UPDATES = 60  # of the longer training


def make_clips(place: Path, frames: int, height: int, width: int) -> None:
    """One clip of a photograph that moves, and its half size."""
    photo = cv2.resize(photographs.astronaut(), (2 * width + 2 * frames, 2 * height + 2 * frames))
    for name, step in (('gt', 1), ('lq', 2)):
        for long, count in (('long', frames), ('short', 5)):
            folder = place / f'{name}_{long}' / '000'
            folder.mkdir(parents=True)
            for i in range(count):
                frame = photo[i : i + 2 * height, 2 * i : 2 * i + 2 * width]
                cv2.imwrite(str(folder / f'{i:08d}.png'), cv2.resize(frame, (width, height)) if step == 2 else frame)


def make_options(place: Path) -> None:
    """Option files of evaluation and training, on the long and on the short clip."""
    torch.manual_seed(0)
    for name, network in (('net', NETWORK), ('small', SMALL)):
        torch.save({'params': build_network(network).state_dict()}, place / f'{name}.pth')
    for long in ('long', 'short'):
        data = {'dataroot_gt': str(place / f'gt_{long}'), 'dataroot_lq': str(place / f'lq_{long}')}
        common = {'model_type': 'EDVRModel', 'scale': 2, 'num_gpu': 0, 'network_g': NETWORK}
        test = {
            'name': f'test_{long}',
            **common,
            'datasets': {'test': {'name': 'made', 'type': 'VideoUVSSMTestDataset', **data}},
            'path': {'pretrain_network_g': str(place / 'net.pth')},
            'val': {'save_img': False, 'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 2}}},
        }
        (place / f'test_{long}.yml').write_text(yaml.safe_dump(test))
        train = {
            'name': f'train_{long}',
            **common,
            'network_g': SMALL,
            'path': {'pretrain_network_g': str(place / 'small.pth')},
            'datasets': {
                'train': {
                    'type': 'UVSSMDataset',
                    **{k: v.replace('short', 'long') for k, v in data.items()},
                    **{'batch_size_per_gpu': 2, 'num_worker_per_gpu': 0, 'gt_size': 64, 'center_gt': True},
                }
            },
            'train': {
                'optim_g': {'type': 'Adam', 'lr': 1e-4},
                'total_iter': UPDATES if long == 'long' else 2,
                'pixel_opt': {'type': 'CharbonnierLoss'},
            },
            'logger': {'print_freq': 100, 'save_checkpoint_freq': 1000, 'use_tb_logger': False},
        }
        (place / f'train_{long}.yml').write_text(yaml.safe_dump(train))


def cpu_seconds(version: Path, arguments: list[str], folder: Path) -> float:
    """User and system time of a command of that version, run in `folder`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, '-m', 'votes.cli', *arguments],
        cwd=folder,
        env={**os.environ, 'PYTHONPATH': str(version), 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f'{version}: {arguments}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}')
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def jobs(place: Path) -> dict[str, Callable[[str], list[str]]]:
    """What is measured: for 'long' and for 'short', the arguments."""
    return {
        'training': lambda long: ['train', '-opt', str(place / f'train_{long}.yml'), '--restart'],
        'evaluation': lambda long: ['test', '-opt', str(place / f'test_{long}.yml'), '--overwrite'],
        'restoring': lambda long: [
            *('restore', str(place / f'lq_{long}' / '000'), f'restored_{long}'),
            *('--weights', str(place / 'net.pth'), '--overwrite', '--device', 'cpu'),
        ],
    }


def outcome(folder: Path) -> dict[str, Any]:
    """What the long jobs have left: the evaluation's values and a hash of the restored frames."""
    results = json.loads((folder / 'results/test_long/results.json').read_text())
    frames = sorted((folder / 'restored_long').glob('*.png'))
    digest = hashlib.sha256(b''.join(np.asarray(cv2.imread(str(p))).tobytes() for p in frames)).hexdigest()
    return {'values of the evaluation': psnr(results), 'restored frames': (len(frames), digest)}


def psnr(results: Any) -> list[float]:
    """All numbers that stand under a key 'psnr', whatever the layout of the version."""
    if isinstance(results, dict):
        return [n for k, v in results.items() for n in (numbers(v) if k == 'psnr' else psnr(v))]
    return [n for v in results for n in psnr(v)] if isinstance(results, list) else []


def numbers(value: Any) -> list[float]:
    if isinstance(value, dict | list):
        return [n for v in (value.values() if isinstance(value, dict) else value) for n in numbers(v)]
    return [float(value)] if isinstance(value, int | float) else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('before', help='commit of the earlier version')
    parser.add_argument('-o', '--output', type=Path)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--frames', type=int, default=14)
    parser.add_argument('--size', type=int, nargs=2, default=(64, 96), metavar=('HEIGHT', 'WIDTH'), help='of LQ frames')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix='votes_versions_') as name:
        place = Path(name)
        git = ['git', '-C', str(HERE), 'worktree']
        subprocess.run([*git, 'add', '-q', '--detach', str(place / 'before'), args.before], check=True)
        try:
            make_clips(place, args.frames, *args.size)
            make_options(place)
            found = measure(place, {'before': place / 'before', 'now': HERE}, args.rounds)
        finally:
            subprocess.run([*git, 'remove', '--force', str(place / 'before')], check=True)
    about = machine.describe() | {'before': args.before, 'rounds': args.rounds, 'frames': args.frames}
    content = {'what': 'CPU seconds of this version and of an earlier one, one thread', 'machine': about, **found}
    print(json.dumps(content, indent=1))
    if args.output:
        machine.write(args.output, content)


def measure(place: Path, versions: dict[str, Path], rounds: int) -> dict[str, Any]:
    """Every job of every version, in turns; seconds are those of the long clip less those of the short one."""
    seconds: dict[str, dict[str, list[float]]] = {job: {v: [] for v in versions} for job in jobs(place)}
    for _ in range(rounds):
        for job, arguments in jobs(place).items():
            for version, code in versions.items():
                folder = place / f'runs_{version}'
                folder.mkdir(exist_ok=True)
                short, long = (cpu_seconds(code, arguments(long), folder) for long in ('short', 'long'))
                seconds[job][version].append(round(long - short, 2))
                print(job, version, seconds[job][version][-1], file=sys.stderr, flush=True)
    before, now = (outcome(place / f'runs_{version}') for version in versions)
    ratios = {
        job: round(float(np.median([b / n for b, n in zip(*(found[v] for v in versions), strict=True)])), 3)
        for job, found in seconds.items()
    }
    return {
        'seconds': seconds,
        'median seconds': {job: {v: statistics.median(s) for v, s in by.items()} for job, by in seconds.items()},
        'times as fast as before (median of the rounds)': ratios,
        'same to the last bit': {what: before[what] == now[what] for what in before},
    }


if __name__ == '__main__':
    main()
