"""Kills training with SIGKILL at random moments and sees whether it ends as if nothing had happened.

    python benchmarks/kill_test.py --kills 24 -o benchmarks/results/kill_test.json

A small run that saves at every iteration is started again and again and killed after a random time, which often falls
into the writing of a checkpoint, until it is done; then the next run begins, until there were so many kills. After
every kill each checkpoint that claims to be whole is read back. Every run must end with the weights and the training
state of a run that was never killed. With --processes 2 the ranks of a torchrun job are killed together.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import machine
import numpy as np
import torch
import yaml

from votes import checkpoint
from votes.training.checkpoint_store import Saves, state_path, weights_path

ROOT = Path(__file__).resolve().parents[1]
ITERATIONS = 30


def make_job(folder: Path, background: bool) -> None:
    """Clips of noise and an option file whose checkpoints are large beside its steps."""
    for root, side in (('gt', 32), ('lq', 16)):
        for clip in range(5):
            (folder / root / f'{clip:03d}').mkdir(parents=True)
            for i in range(5):
                frame = np.random.default_rng((clip, i)).integers(0, 256, (side, side, 3), np.uint8)
                cv2.imwrite(str(folder / root / f'{clip:03d}' / f'{i:08d}.png'), frame)
    roots = {'dataroot_gt': 'gt', 'dataroot_lq': 'lq'}
    loader = {'batch_size_per_gpu': 1, 'num_worker_per_gpu': 0, 'gt_size': 16}
    options = {
        'name': 'killed',
        'model_type': 'EDVRModel',
        'scale': 2,
        'num_gpu': 0,
        'datasets': {'train': {'type': 'UVSSMDataset', **roots, **loader}},
        'network_g': {'type': 'EDVR', 'num_feat': 64, 'num_reconstruct_block': 4, 'scale': 2},
        'train': {
            'optim_g': {'type': 'Adam', 'lr': 1e-4},
            'total_iter': ITERATIONS,
            'ema_decay': 0.99,
            'pixel_opt': {'type': 'CharbonnierLoss'},
        },
        'logger': {'print_freq': 10, 'save_checkpoint_freq': 1, 'keep_last': 4, 'background_save': background},
    }
    (folder / 'job.yml').write_text(yaml.safe_dump(options))


def start(folder: Path, processes: int) -> subprocess.Popen[bytes]:
    launcher = ['launch', '--nproc', str(processes)] if processes > 1 else []
    return subprocess.Popen(
        [sys.executable, '-m', 'votes.cli', *launcher, 'train', '-opt', 'job.yml', '--set', 'name=killed'],
        cwd=folder,
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def kill(process: subprocess.Popen[bytes], folder: Path) -> None:
    """SIGKILL to every process that works in `folder`: launcher, agent, ranks."""
    for _ in range(3):  # a parent may have started another one in between
        for entry in Path('/proc').glob('[0-9]*'):
            try:
                if (entry / 'cwd').resolve() == folder.resolve():
                    os.kill(int(entry.name), signal.SIGKILL)
            except OSError:
                continue
    process.wait()


def digest(run: Path) -> str:
    """Of every tensor and number of the last checkpoint, not of the file's bytes."""
    total = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            total.update(value.contiguous().numpy().tobytes())
        elif isinstance(value, dict):
            for key in value:
                total.update(str(key).encode())
                add(value[key])
        elif isinstance(value, list | tuple):
            for item in value:
                add(item)
        else:
            total.update(repr(value).encode())

    add(checkpoint.load(weights_path(run, ITERATIONS)))
    add(checkpoint.load(state_path(run, ITERATIONS)))
    return total.hexdigest()


def wait_for_a_save(process: subprocess.Popen[bytes], run: Path) -> None:
    """Until the process has started to write checkpoints, or has ended."""
    pointer = run / 'training_states' / 'latest.json'
    before = pointer.stat().st_mtime_ns if pointer.exists() else None
    while process.poll() is None and (not pointer.exists() or pointer.stat().st_mtime_ns == before):
        time.sleep(0.001)


def finished(process: subprocess.Popen[bytes]) -> None:
    _, error = process.communicate(timeout=600)
    if process.returncode:
        raise SystemExit(f'training failed with {process.returncode}:\n{error.decode()}')


def trusted_but_broken(run: Path) -> int:
    """Checkpoints that pass for whole and cannot be read."""
    saves, broken = Saves(run), 0
    for iteration in saves.iterations():
        if saves.problem(iteration) is None:
            try:
                checkpoint.load(weights_path(run, iteration))
                checkpoint.load(state_path(run, iteration))
            except Exception:
                broken += 1
    return broken


def unfinished(saves: Saves) -> list[str]:
    """What a kill in the middle of a checkpoint leaves: temporary files, and files without their manifest."""
    manifests = {path.stem for path in saves.states.glob('[0-9]*.json')}
    lone = [path.name for path in saves.states.glob('[0-9]*.state') if path.stem not in manifests]
    weights = [path.name for path in saves.folder.glob('models/net_g_[0-9]*.pth')]
    lone += [name for name in weights if name.removeprefix('net_g_').removesuffix('.pth') not in manifests]
    return [path.name for path in saves.left_over()] + lone


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--kills', type=int, default=24)
    parser.add_argument('--processes', type=int, default=1)
    parser.add_argument('--background', action='store_true', help='checkpoints are written by a thread')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('-o', '--output', type=Path)
    args = parser.parse_args()
    random.seed(args.seed)

    with tempfile.TemporaryDirectory(prefix='votes_kill_') as name:
        folder, run = Path(name), Path(name, 'experiments', 'killed')
        make_job(folder, args.background)
        finished(start(folder, args.processes))
        expected = digest(run)
        stamps = [p.stat().st_mtime for p in (run / 'training_states').glob('[0-9]*.json')]  # the last four
        save_seconds = (max(stamps) - min(stamps)) / (len(stamps) - 1) * ITERATIONS

        kills: list[dict[str, Any]] = []
        equal = runs = broken = 0
        while len(kills) < args.kills:
            os.rename(folder / 'experiments', folder / f'done_{runs}')
            runs += 1
            done = False
            while not done:
                process = start(folder, args.processes)
                if len(kills) >= args.kills:
                    finished(process)
                    break
                until = random.uniform(0, save_seconds / 2)
                wait_for_a_save(process, run)
                try:
                    process.wait(until)
                    done = process.returncode == 0
                    if not done:
                        finished(process)
                except subprocess.TimeoutExpired:
                    kill(process, folder)
                    saves = Saves(run)
                    newest, problems = saves.newest_good()
                    broken += trusted_but_broken(run)
                    half = unfinished(saves)
                    kills.append({'after_s': round(until, 2), 'newest': newest, 'passed_over': problems, 'half': half})
                    print(f'kill {len(kills)}: newest good checkpoint {newest}', *problems, *half, flush=True)
            equal += digest(run) == expected
            print(f'run {runs}: {"equal" if digest(run) == expected else "DIFFERENT"}', flush=True)

    content = {
        'what': f'{args.kills} kills with SIGKILL, {args.processes} processes, {ITERATIONS} iterations, one save each',
        'machine': machine.describe(),
        'kills': len(kills),
        'kills in the middle of a checkpoint': sum(bool(k['half']) for k in kills),
        'runs': runs,
        'runs with the result of the undisturbed run': equal,
        'checkpoints that passed for whole and were not': broken,
        'each kill': kills,
    }
    if args.output:
        machine.write(args.output, content)
    ok = equal == runs and not broken
    verdict = 'good' if ok else 'BAD'
    print(f'{len(kills)} kills, {equal} of {runs} runs equal, {broken} broken checkpoints trusted: {verdict}')
    raise SystemExit(0 if ok else 1)


if __name__ == '__main__':
    main()
