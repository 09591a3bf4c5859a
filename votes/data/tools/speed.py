"""How fast one process makes training samples, and what the time goes into."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import cv2

from votes.data import build_train_set
from votes.data.sources import kind_of
from votes.options import load_options


class DataSpeed(NamedTuple):
    """Samples a second on one core; shares of the time (0 to 1) for reading LQ and GT, the rest is augmentation."""

    samples_per_second: float
    reading_lq: float
    reading_gt: float
    rest: float


def measure(dataset: Any, seconds: float) -> DataSpeed:
    """Reads samples of a UVSSMDataset for about so long, after one round that does not count, on one thread."""
    spent = {'read_lq': 0.0, 'read_gt': 0.0}

    def timed(name: str, function: Callable[..., Any], *args: Any) -> Any:
        started = time.perf_counter()
        result = function(*args)
        spent[name] += time.perf_counter() - started
        return result

    threads = cv2.getNumThreads()
    cv2.setNumThreads(0)
    try:
        for index in range(min(3, len(dataset))):
            dataset[0, index]
        for name in spent:
            setattr(dataset.pairs, name, partial(timed, name, getattr(dataset.pairs, name)))
        started, count = time.perf_counter(), 0
        while time.perf_counter() - started < seconds or count < 3:
            dataset[1 + count // len(dataset), count % len(dataset)]
            count += 1
        elapsed = time.perf_counter() - started
    finally:
        cv2.setNumThreads(threads)
        for name in spent:
            vars(dataset.pairs).pop(name, None)
    lq, gt = (seconds / elapsed for seconds in spent.values())
    return DataSpeed(count / elapsed, lq, gt, 1 - lq - gt)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('-opt', required=True, metavar='FILE.yml', help='training option file')
    parser.add_argument('--seconds', type=float, default=5, help='how long to read samples')


def run(args: argparse.Namespace) -> None:
    """The speed of an option file's training data, and what to make of it."""
    opt = load_options(args.opt, check_paths=True)
    data = opt.datasets['train']
    speed = measure(build_train_set(data, opt.scale, opt.manual_seed), args.seconds)
    kinds = {name: kind_of(data.args[name]) for name in ('dataroot_lq', 'dataroot_gt') if data.args.get(name)}
    workers = max(1, data.num_worker_per_gpu)
    steps = speed.samples_per_second * workers / data.batch_size_per_gpu
    lines = [
        f'LQ {kinds.get("dataroot_lq", "made by a codec on the fly")}, GT {kinds["dataroot_gt"]}: '
        f'{speed.samples_per_second:.1f} samples/s on one core',
        f'  reading and decoding LQ {100 * speed.reading_lq:.0f} %, GT {100 * speed.reading_gt:.0f} %, '
        f'augmentation and the rest {100 * speed.rest:.0f} %',
        f'  {workers} workers feed at most {steps:.1f} steps/s of {data.batch_size_per_gpu} samples: '
        f'training that needs less than {1 / steps:.3f} s a step waits for data',
    ]
    if speed.rest < 0.5 and 'packed' not in kinds.values():
        lines.append('  decoding is what it costs: `votes pack` both folders and point the option file at the stores')
    print('\n'.join(lines))
