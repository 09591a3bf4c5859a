"""Seconds until a training set of Vimeo-90K's size can be asked for its first sample, and how they grow with clips.

    python benchmarks/startup.py -o benchmarks/results/startup_cpu.json   # some minutes, 900 000 files

Tiny fake clips under Vimeo-90K's names (64 612 septuplets of the training list): seven frames of 8x8 and 4x4 pixels, as
PNG folders (hard links to a few files), as packed stores and as LMDBs. Each start is a process of its own with 256 open
files allowed, which says how long the dataset took (in seconds of the clock and of the processor), what the first
sample took, and how many files it has open after 500 samples; files are in the page cache, the quickest of three starts
counts.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import machine
import numpy as np

from votes.data.manifest import manifest
from votes.data.tools.pack import pack
from votes.data.uvssm_dataset import UVSSMDataset

KINDS = ['folders', 'packed', 'lmdb']
VIMEO, FRAMES, LINKS = 64_612, 7, 30_000  # a file of ext4 has at most 65 000 links


def write_folders(root: Path, count: int) -> None:
    """``root/{gt,lq}/00001_0001/im1.png ... im7.png``."""
    for side, size in (('gt', 8), ('lq', 4)):
        (root / side).mkdir(parents=True)
        for clip in range(count):
            folder = root / side / f'{1 + clip // 1000:05d}_{1 + clip % 1000:04d}'
            folder.mkdir()
            for frame in range(FRAMES):
                original = root / f'{side}_{frame}_{clip // LINKS}.png'
                if not original.exists():
                    pixels = np.random.default_rng(frame).integers(0, 256, (size, size, 3), np.uint8)
                    cv2.imwrite(str(original), pixels)
                os.link(original, folder / f'im{frame + 1}.png')


def start(gt: str, lq: str) -> None:
    """What one process measures, as JSON."""
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (256, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    started, begun = time.perf_counter(), time.process_time()
    dataset = UVSSMDataset(gt, lq, num_frame=FRAMES, gt_size=8, scale=2)
    ready, spent = time.perf_counter(), time.process_time() - begun
    dataset[0, 0]
    first = time.perf_counter()
    for index in range(0, len(dataset), max(1, len(dataset) // 500)):
        dataset[0, index]
    read = time.perf_counter()
    for side in (dataset.pairs.gt, dataset.pairs.lq):
        manifest(side)
    told = time.perf_counter()
    opened = len(os.listdir('/proc/self/fd')) if Path('/proc/self/fd').is_dir() else None
    load = round(os.getloadavg()[0], 1)  # of other programs: what the clock shows grows with it
    seconds = {'dataset': ready - started, 'dataset_cpu': spent, 'first_sample': first - ready, 'manifest': told - read}
    print(
        json.dumps(
            {'clips': len(dataset), **{k: round(v, 3) for k, v in seconds.items()}, 'open_files': opened, 'load': load}
        )
    )


def measured(gt: Path, lq: Path) -> dict[str, Any]:
    """The quickest of three starts."""
    command = [sys.executable, __file__, '--start', str(gt), str(lq)]
    runs = [subprocess.run(command, check=True, capture_output=True, text=True).stdout for _ in range(3)]
    results: list[dict[str, Any]] = [json.loads(run.splitlines()[-1]) for run in runs]
    return min(results, key=lambda result: result['dataset'])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('-o', '--output', type=Path, default=Path('benchmarks/results/startup_cpu.json'))
    parser.add_argument('--clips', type=int, nargs='+', default=[VIMEO // 16, VIMEO // 4, VIMEO])
    parser.add_argument(
        '--kinds', nargs='+', choices=KINDS, default=KINDS, help='the others of OUTPUT stay as they are'
    )
    parser.add_argument('--folder', type=Path, help='where the files are made (default: that of temporary files)')
    parser.add_argument('--start', nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.start:
        start(*args.start)
        return
    results: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
    if args.kinds != KINDS and args.output.is_file():
        results = {**json.loads(args.output.read_text())['seconds'], **{kind: [] for kind in args.kinds}}
    for count in args.clips:
        with tempfile.TemporaryDirectory(prefix='votes_startup_', dir=args.folder) as name:
            root = Path(name)
            write_folders(root, count)
            if 'folders' in args.kinds:
                results['folders'].append(measured(root / 'gt', root / 'lq'))
            for kind in args.kinds:
                if kind == 'folders':
                    continue
                began = time.perf_counter()
                for side in ('gt', 'lq'):
                    pack(root / side, root / f'{side}_{kind}', kind, say=lambda line: None)
                packing = time.perf_counter() - began
                found = measured(root / f'gt_{kind}', root / f'lq_{kind}')
                results[kind].append({**found, 'packing': round(packing, 1)})
            for kind in args.kinds:
                print(kind, results[kind][-1], flush=True)
    machine.write(args.output, {'machine': machine.describe(), 'seconds': results})


if __name__ == '__main__':
    main()
