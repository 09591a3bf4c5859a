"""How fast one process makes training samples, and what the time goes into."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from votes.data import build_train_set
from votes.data.open_source import kind_of
from votes.options import load_options


@dataclass
class DataSpeed:
    """Samples a second on one core; shares of the time (0 to 1) for reading LQ and GT, the rest is augmentation."""

    samples_per_second: float
    reading_lq: float
    reading_gt: float

    @property
    def rest(self) -> float:
        return 1 - self.reading_lq - self.reading_gt


class _Clock:
    """Wraps a function and adds up the time spent in it."""

    def __init__(self, function: Callable[..., Any]):
        self.function, self.seconds = function, 0.0

    def __call__(self, *args: Any) -> Any:
        started = time.perf_counter()
        try:
            return self.function(*args)
        finally:
            self.seconds += time.perf_counter() - started


def measure(dataset: Any, seconds: float) -> DataSpeed:
    """Reads samples of a UVSSMDataset for about so long, after one round that does not count, on one thread."""
    lq, gt = _Clock(dataset.pairs.read_lq), _Clock(dataset.pairs.read_gt)
    dataset.pairs.read_lq, dataset.pairs.read_gt = lq, gt
    threads = cv2.getNumThreads()
    cv2.setNumThreads(0)
    try:
        for index in range(min(3, len(dataset))):
            dataset[0, index]
        lq.seconds = gt.seconds = 0.0
        started, count = time.perf_counter(), 0
        while time.perf_counter() - started < seconds or count < 3:
            dataset[1 + count // len(dataset), count % len(dataset)]
            count += 1
        elapsed = time.perf_counter() - started
    finally:
        cv2.setNumThreads(threads)
        dataset.pairs.read_lq, dataset.pairs.read_gt = lq.function, gt.function
    return DataSpeed(count / elapsed, lq.seconds / elapsed, gt.seconds / elapsed)


def measure_option_file(path: str | Path, seconds: float) -> str:
    """The speed of an option file's training data, and what to make of it."""
    opt = load_options(path, check_paths=True)
    data = opt.datasets['train']
    dataset = build_train_set(data, opt.scale, opt.manual_seed)
    speed = measure(dataset, seconds)
    kinds = {name: kind_of(data.args[name]) for name in ('dataroot_lq', 'dataroot_gt') if data.args.get(name)}
    lq_kind = kinds.get('dataroot_lq', 'made by a codec on the fly')
    workers = max(1, data.num_worker_per_gpu)
    steps = speed.samples_per_second * workers / data.batch_size_per_gpu
    lines = [
        f'LQ {lq_kind}, GT {kinds["dataroot_gt"]}: {speed.samples_per_second:.1f} samples/s on one core',
        f'  reading and decoding LQ {100 * speed.reading_lq:.0f} %, GT {100 * speed.reading_gt:.0f} %, '
        f'augmentation and the rest {100 * speed.rest:.0f} %',
        f'  {workers} workers feed at most {steps:.1f} steps/s of {data.batch_size_per_gpu} samples: '
        f'training that needs less than {1 / steps:.3f} s a step waits for data',
    ]
    if speed.rest < 0.5 and 'packed' not in kinds.values():
        lines.append('  decoding is what it costs: `votes pack` both folders and point the option file at the stores')
    return '\n'.join(lines)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('-opt', required=True, metavar='FILE.yml', help='training option file')
    parser.add_argument('--seconds', type=float, default=5, help='how long to read samples')


def run(args: argparse.Namespace) -> int:
    print(measure_option_file(args.opt, args.seconds))
    return 0
