"""Random faults in training, and whether it ends as if nothing had happened.

    python benchmarks/fault_fuzz.py --events 300 -o benchmarks/results/fault_fuzz.json

A small run is hit once at a random moment: a signal, a kill, a full disk, a kill and then one flipped bit or a cut in
one of its files, or a second start in its folder. Then the same command runs again until it is done, and everything
that the run leaves is compared with an uninterrupted one: weights, moving average, optimiser, position, lines of
metrics.jsonl, best weights and their record, previews. Runs have one or two processes (gloo) and save in the background
or not. Processes are forked from this one, which has loaded everything: a run takes a second, and there can be many.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import machine
import numpy as np
import torch
import yaml

import votes.train
from votes import checkpoint
from votes.cli import main as votes_main
from votes.models.restoration_model import RestorationModel
from votes.processes.signals import SIGNALS
from votes.training import validation
from votes.training.checkpoint_store import Saves

EVENTS = ('signal', 'kill', 'full disk', 'bit flip', 'cut file', 'second start')
MOMENTS = ('start', 'step', 'validation', 'save', 'end')
ITERATIONS = 8
TIMES = {'seconds', 'data', 'eta'}
RUN = Path('experiments/fuzz')
PATIENCE = 240  # seconds for one run


def make_job() -> None:
    """Clips of noise and the option file, in this folder."""
    for root, side in (('gt', 32), ('lq', 16)):
        for clip in range(4):
            Path(root, f'{clip:03d}').mkdir(parents=True)
            for i in range(2):
                frame = np.random.default_rng((clip, i)).integers(0, 256, (side, side, 3), np.uint8)
                cv2.imwrite(f'{root}/{clip:03d}/{i:08d}.png', frame)
    roots = {'dataroot_gt': 'gt', 'dataroot_lq': 'lq'}
    loader = {'batch_size_per_gpu': 1, 'num_worker_per_gpu': 0, 'gt_size': 16, 'center_gt': False}
    options = {
        'name': 'fuzz',
        'model_type': 'EDVRModel',
        'scale': 2,
        'num_gpu': 0,
        'datasets': {
            'train': {'type': 'UVSSMDataset', **roots, **loader},
            'val': {'type': 'VideoUVSSMTestDataset', **roots},
        },
        'network_g': {'type': 'VDSR', 'num_feat': 4, 'num_layer': 2, 'upscale': 2},
        'train': {
            'optim_g': {'type': 'Adam', 'lr': 1e-2},
            'total_iter': ITERATIONS,
            'ema_decay': 0.5,
            'pixel_opt': {'type': 'CharbonnierLoss'},
        },
        'val': {'val_freq': 4, 'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 2}}},
        'logger': {'print_freq': 3, 'save_checkpoint_freq': 2, 'keep_last': 3, 'use_tb_logger': False},
        'dist_params': {'first_timeout': 60, 'timeout': 60},
    }
    Path('job.yml').write_text(yaml.safe_dump(options))


def fork(work: Callable[[], int], log: str) -> int:
    """A process that does `work` and ends with what it returns; what it prints goes to a file."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        code = work()
    except BaseException as error:
        print(f'crashed: {type(error).__name__}: {error}', file=sys.stderr)
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def command(ranks: int, background: bool, *more: str) -> list[str]:
    launcher = ['--launcher', 'pytorch'] if ranks > 1 else []
    return ['train', '-opt', 'job.yml', '--set', f'logger.background_save={str(background).lower()}', *launcher, *more]


def run(ranks: int, background: bool, fault: dict[str, Any] | None = None, *more: str) -> list[int]:
    """Trains on so many processes; returns their exit codes, negative where a signal ended them."""
    with socket.socket() as probe:
        probe.bind(('localhost', 0))
        port = probe.getsockname()[1]

    def work(rank: int) -> int:
        if ranks > 1:
            here = {'RANK': rank, 'LOCAL_RANK': rank, 'WORLD_SIZE': ranks, 'LOCAL_WORLD_SIZE': ranks}
            os.environ.update(
                {k: str(v) for k, v in here.items()} | {'MASTER_ADDR': 'localhost', 'MASTER_PORT': str(port)}
            )
        if fault and rank == fault['rank']:
            plant(fault, background)
        return votes_main(command(ranks, background, *more))

    pids = [fork(lambda rank=rank: work(rank), 'log.txt') for rank in range(ranks)]  # type: ignore[misc]
    if fault and fault['event'] in ('bit flip', 'cut file'):
        fault['all'] = pids
    until, codes = time.monotonic() + PATIENCE, dict.fromkeys(pids, None)
    while None in codes.values():
        for pid in [pid for pid, code in codes.items() if code is None]:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                codes[pid] = os.waitstatus_to_exitcode(status)  # type: ignore[assignment]
                if codes[pid] == -signal.SIGKILL and ranks > 1:  # a launcher would end the others
                    for other in [p for p in pids if codes[p] is None]:
                        os.kill(other, signal.SIGTERM)
        if time.monotonic() > until:
            for pid in [pid for pid, code in codes.items() if code is None]:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                codes[pid] = 124  # type: ignore[assignment]
        time.sleep(0.01)
    return [code for code in codes.values() if code is not None]


def plant(fault: dict[str, Any], background: bool) -> None:
    """In the process that is to be hit: what happens at the moment of the fault."""
    left, full = fault['count'], False

    def now() -> None:
        nonlocal left, full
        left -= 1
        if left != 0:
            return
        Path('happened').touch()
        event = fault['event']
        if event == 'signal':
            os.kill(os.getpid(), fault['signal'])
        elif event in ('kill', 'bit flip', 'cut file'):
            os.kill(os.getpid(), signal.SIGKILL)
        elif event == 'full disk':
            full = True
        else:
            for name in ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'LOCAL_WORLD_SIZE'):
                os.environ.pop(name, None)
            more = random.choice([[], ['--restart']])
            script = [sys.executable, '-m', 'votes.cli', *command(1, background, *more)]
            Path('second').write_text(str(os.waitstatus_to_exitcode(os.spawnvp(os.P_WAIT, script[0], script) << 8)))

    def before(owner: Any, name: str, when: Callable[..., bool] = lambda *a, **k: True) -> None:
        original = getattr(owner, name)

        def replaced(*args: Any, **named: Any) -> Any:
            if when(*args, **named):
                now()
            return original(*args, **named)

        setattr(owner, name, replaced)

    write = checkpoint.atomic_write

    @contextlib.contextmanager
    def atomic_write(path: Any) -> Any:
        with write(path) as temporary:
            yield temporary
            if fault['moment'] == 'save' and str(Path(path).parent.name) in ('models', 'training_states'):
                now()
            if full:
                raise OSError(errno.ENOSPC, 'No space left on device')

    checkpoint.atomic_write = atomic_write
    if fault['moment'] == 'start':
        before(votes.train, 'build_model')
    elif fault['moment'] == 'step':
        before(RestorationModel, 'step')
    elif fault['moment'] == 'validation':
        before(
            *random.choice(
                [(validation, 'evaluate'), (validation.Validation, '_compare'), (RestorationModel, 'target')]
            )
        )
    elif fault['moment'] == 'end':
        before(Saves, 'write_weights', lambda saves, name, weights: name == 'latest')


def damage(event: str, rng: random.Random) -> str:
    """Flips a bit of, or cuts, one file that a training relies on; returns which."""
    files = [p for folder in ('models', 'training_states') for p in sorted((RUN / folder).glob('[!.]*'))]
    files = [p for p in files if p.stat().st_size]
    if not files:
        return 'no file yet'
    path = rng.choice(files)
    data = bytearray(path.read_bytes())
    place = rng.randrange(len(data))
    if event == 'bit flip':
        data[place] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
    else:
        path.write_bytes(data[:place])
    return path.name


def flat(value: Any, key: str = '') -> dict[str, Any]:
    if isinstance(value, dict):
        return {k: v for name, item in value.items() for k, v in flat(item, f'{key}.{name}').items()}
    if isinstance(value, list | tuple):
        return flat(dict(enumerate(value)), key)
    return {key: value.numpy().tobytes() if isinstance(value, torch.Tensor) else value}


def artefacts() -> dict[str, Any]:
    """Everything that a finished run leaves, less what tells the time."""
    found: dict[str, Any] = {}
    for name in (f'models/net_g_{ITERATIONS}.pth', 'models/net_g_latest.pth', 'models/net_g_best.pth'):
        found[name] = flat(checkpoint.load(RUN / name))
    state = checkpoint.load(RUN / f'training_states/{ITERATIONS}.state')
    found['state'] = flat({key: state[key] for key in ('iter', 'optimizers', 'scalers', 'position')})
    found['record'] = checkpoint.read_record(RUN / 'training_states/validated.json')
    rows = [json.loads(line) for line in (RUN / 'metrics.jsonl').read_text().splitlines()]
    found['metrics'] = [{k: v for k, v in row.items() if k not in TIMES} for row in rows]
    found['previews'] = {p.name: p.read_bytes() for p in sorted((RUN / 'previews').iterdir())}
    found['checkpoints'] = [n for n in Saves(RUN).iterations() if Saves(RUN).problem(n) is None][:1]
    found['left over'] = [p.name for p in Saves(RUN).left_over() if not p.name.startswith('.probe')]
    found['owners'] = [p.name for p in RUN.parent.glob('.*owner*')]
    found['marker'] = (RUN / 'PREEMPTED.json').exists()
    return found


def differing(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    names = []
    for key in expected:
        if found[key] != expected[key]:
            inner = expected[key] if isinstance(expected[key], dict) else {}
            names += [f'{key}{part}' for part in inner if found[key].get(part) != inner[part]][:3] or [key]
    return names


def one_event(number: int, rng: random.Random, expected: dict[int, dict[str, Any]]) -> dict[str, Any]:
    ranks, background = rng.choice((1, 2)), rng.random() < 0.5
    event, moment = EVENTS[number % len(EVENTS)], MOMENTS[number // len(EVENTS) % len(MOMENTS)]
    count = rng.randint(1, {'start': 1, 'step': ITERATIONS, 'validation': 4, 'save': 16, 'end': 1}[moment])
    rank = 0 if moment in ('save', 'end') else rng.randrange(ranks)
    chosen = rng.choice(SIGNALS)
    fault = {'event': event, 'moment': moment, 'count': count, 'rank': rank, 'signal': chosen}
    about: dict[str, Any] = {**fault, 'signal': chosen.name, 'ranks': ranks, 'background': background}
    for name in ('experiments', 'happened', 'second', 'log.txt'):
        path = Path(name)
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    about['codes'] = run(ranks, background, fault)
    about['happened'] = Path('happened').exists()
    problems = []
    if event == 'second start' and about['happened']:
        about['second'] = Path('second').read_text()
        problems += [f'the second start ended with {about["second"]}'] * (about['second'] != '2')
    if event == 'signal' and about['happened'] and any(code not in (0, 75) for code in about['codes']):
        problems.append(f'ended with {about["codes"]}')
    if event in ('bit flip', 'cut file') and RUN.exists():
        about['file'] = damage(event, rng)
    for _ in range(3):
        before = Path('log.txt').stat().st_size
        again = run(ranks, background)
        about.setdefault('again', []).append(again)
        if not any(again):
            break
        text = Path('log.txt').read_text()[before:]
        if 'no checkpoint of this run is whole' in text and event in ('bit flip', 'cut file'):
            about['refused'] = True
            again = run(ranks, background, None, '--restart')
            break
    if any(again):
        problems.append(f'the same command ended with {about["again"]}: {Path("log.txt").read_text()[-600:]}')
    else:
        problems += [f'{name} differs' for name in differing(artefacts(), expected[ranks])]
    return {**about, 'problems': problems}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--events', type=int, default=300)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('-o', '--output', type=Path)
    args = parser.parse_args()
    output = args.output and args.output.absolute()
    os.environ['OMP_NUM_THREADS'] = '1'
    os.environ['PYTHONPATH'] = str(Path(__file__).resolve().parents[1])
    torch.set_num_threads(1)
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory(prefix='votes_fuzz_') as name, contextlib.chdir(name):
        make_job()
        votes_main(command(1, False))  # what is loaded at the first use is loaded now, for all that will be forked
        shutil.rmtree('experiments')
        expected = {}
        for ranks in (1, 2):
            if any(run(ranks, False)):
                raise SystemExit(Path('log.txt').read_text())
            expected[ranks] = artefacts()
            shutil.rmtree('experiments')
        events: list[dict[str, Any]] = []
        overtaken = 0
        for number in range(args.events):
            random.seed(rng.random())
            event = one_event(number, rng, expected)
            while event.get('second') == '0' and any(event['codes']):
                # on a busy machine the first run gave up (its ranks wait a minute for each other) while the second one
                # started: nobody owned the folder any more
                overtaken += 1
                event = one_event(number, rng, expected)
            events.append(event)
            told = {k: v for k, v in events[-1].items() if k not in ('signal', 'count')}
            print(f'{number + 1}: {told}', flush=True)
            if output and (number % 25 == 24 or number == args.events - 1):
                machine.write(output, {**summary(events), 'repeated, for the first run had ended': overtaken})
    bad = [event for event in events if event['problems']]
    print(f'{len(events)} events, {len(bad)} with a problem')
    raise SystemExit(1 if bad else 0)


def summary(events: list[dict[str, Any]]) -> dict[str, Any]:
    hit = [event for event in events if event['happened']]
    return {
        'what': 'random faults in training, everything it leaves compared with an uninterrupted run',
        'machine': machine.describe(),
        'events': len(events),
        'events that happened before the run was done': len(hit),
        'by event and moment': dict(sorted(Counter(f'{e["event"]}, {e["moment"]}' for e in hit).items())),
        'by processes and background saving': dict(Counter(f'{e["ranks"]}, {e["background"]}' for e in hit)),
        'refused, for no checkpoint was whole': sum(bool(e.get('refused')) for e in events),
        'runs that differ from the uninterrupted one': sum(bool(e['problems']) for e in events),
        'problems': [event for event in events if event['problems']],
    }


if __name__ == '__main__':
    main()
