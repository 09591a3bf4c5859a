"""How training scales over processes: measured on what is there, and for other machines worked out on paper.

    python benchmarks/scaling.py -o benchmarks/results/scaling_cpu.json
    python benchmarks/scaling.py --device cuda --size L --processes 1 2 4 8 -o ...

Each process computes as many samples on as many threads whatever the number of processes is; efficiency is the step
time of one process over that of N. The step is that of `votes train`: gradients are averaged by DistributedDataParallel
while they are computed, and all ranks agree on whether the update is taken. On paper, a ring moves 2 (N - 1) / N of the
gradients through each link; steps and links are assumptions that stand beside the result, and the truth lies between
nothing and everything of it being hidden behind the backward pass, which is two thirds of a step.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import machine
import torch
import torch.distributed as dist
from train_step import CPU_BATCH, SIZES, Way

from votes.archs import build_network
from votes.options import load_options
from votes.processes import distributed

LINKS = {'10 Gbit/s': 1.25, '100 Gbit/s': 12.5, '400 Gbit/s': 50.0, 'NVLink, 450 GB/s': 450.0}  # GB/s each way
STEPS = (50, 100, 200)  # milliseconds
COUNTS = (8, 64)
BACKWARD = 2 / 3  # of a step


def gradient_bytes(size: str) -> int:
    """What each process contributes to the average."""
    opt = load_options(SIZES[size], check_paths=False)
    with torch.device('meta'):
        net = build_network({'type': opt.network_g.type, **opt.network_g.args})
    return sum(4 * p.numel() for p in net.parameters() if p.requires_grad)


def on_paper(volume: int) -> list[dict[str, Any]]:
    """Efficiency by link, step time and number of processes: nothing hidden, everything hidden that can be."""
    rows = []
    for link, rate in LINKS.items():
        for count in COUNTS:
            moved = 2 * (count - 1) / count * volume / (rate * 1e9) * 1e3
            for step in STEPS:
                low, high = step / (step + moved), step / (step + max(0, moved - BACKWARD * step))
                rows.append(
                    {
                        'link': link,
                        'processes': count,
                        'assumed_step_milliseconds': step,
                        'all_reduce_milliseconds': round(moved, 3),
                        'efficiency': [round(low, 4), round(high, 4)],
                    }
                )
    return rows


def work(args: argparse.Namespace) -> None:
    """One process: prints what rank 0 measured."""
    distributed.start('pytorch', 'nccl' if args.device == 'cuda' else 'gloo', 600, gpu=args.device == 'cuda')
    device = torch.device(args.device, *([torch.cuda.current_device()] if args.device == 'cuda' else []))
    way = Way('bf16' if args.device == 'cuda' else 'float32', args.size, args.batch, device)
    volume = torch.zeros(gradient_bytes(args.size) // 4, device=device)

    def timed(what: Any) -> float:
        distributed.barrier()
        started = time.perf_counter()
        what()
        if device.type == 'cuda':
            torch.cuda.synchronize()
        return time.perf_counter() - started

    steps = [timed(way.step) for _ in range(args.repeats + 2)][2:]
    alone = [timed(lambda: dist.all_reduce(volume)) for _ in range(args.repeats + 2)][2:]
    if distributed.rank() == 0:
        quartiles = [q * 1e3 for q in statistics.quantiles(steps)]
        print(json.dumps({'step_milliseconds': quartiles, 'all_reduce_milliseconds': statistics.median(alone) * 1e3}))
    distributed.stop()


def measure(count: int, args: argparse.Namespace, threads: int) -> dict[str, Any]:
    """`count` processes on this machine."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    command = [sys.executable, __file__, '--worker', '--device', args.device, '--size', args.size]
    command += ['--batch', str(args.batch), '--repeats', str(args.repeats)]
    shared = {'WORLD_SIZE': str(count), 'LOCAL_WORLD_SIZE': str(count), 'MASTER_ADDR': '127.0.0.1'}
    shared |= {'MASTER_PORT': str(port), 'OMP_NUM_THREADS': str(threads)}
    ranks = [{**os.environ, **shared, 'RANK': str(i), 'LOCAL_RANK': str(i)} for i in range(count)]
    started = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) for env in ranks]
    said = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        raise SystemExit(f'{count} processes: a process failed')
    found: dict[str, Any] = json.loads(said[0].splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('-o', '--output', type=Path, help='result file')
    parser.add_argument('--size', choices=SIZES, help='default: demo on a CPU, L on a GPU')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--processes', type=int, nargs='+', help='default: powers of two up to the cores or GPUs')
    parser.add_argument('--batch', type=int, help='samples of a process; default: 16 on a GPU, less on a CPU')
    parser.add_argument('--repeats', type=int, default=20)
    parser.add_argument('--worker', action='store_true', help=argparse.SUPPRESS)
    args = parser.parse_args()
    on_gpu = args.device == 'cuda'
    args.size = args.size or ('L' if on_gpu else 'demo')
    args.batch = args.batch or (16 if on_gpu else CPU_BATCH[args.size])
    if args.worker:
        work(args)
        return
    there = torch.cuda.device_count() if on_gpu else os.cpu_count() or 1
    counts = args.processes or [2**i for i in range(there.bit_length())]
    threads = max(1, (os.cpu_count() or 1) // max(counts))
    measured: dict[str, Any] = {}
    for count in counts:
        found = measured[str(count)] = measure(count, args, threads)
        first = measured[str(counts[0])]['step_milliseconds'][1]
        found['efficiency'] = first / found['step_milliseconds'][1]
        print(count, found, flush=True)
    paper = {size: {'gradient_bytes': gradient_bytes(size)} for size in ('paper', 'L')}
    for about in paper.values():
        about['rows'] = on_paper(about['gradient_bytes'])  # type: ignore[assignment]
    if args.output:
        about = machine.describe(args.device) | {'threads': threads}
        own = {'size': args.size, 'batch': args.batch, 'gradient_bytes': gradient_bytes(args.size)}
        machine.write(args.output, {'machine': about, 'measured': own | measured, 'on paper': paper})


if __name__ == '__main__':
    main()
