"""Memory and time of a training step on a long clip: activations kept, computed again, or moved to the CPU's memory.

python benchmarks/clip_memory.py -o OUT.json [--network BasicVSR] [--frames 30] [--side 64]
Each way runs in a process of its own; its peak is what the system counts for the whole process, Python included.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import machine
import torch

from votes.archs import build_network
from votes.archs.contract import promise
from votes.models.learner import Learner
from votes.options import PartOptions, Spec, TrainOptions

WAYS = {'kept': PartOptions(), 'computed again': PartOptions(recompute=True), 'moved': PartOptions(offload=True)}


def step(args: argparse.Namespace) -> dict[str, Any]:
    """One forward, backward and update of the network as published, with Charbonnier's loss on noise."""
    device = torch.device(args.device)
    torch.manual_seed(0)
    net = build_network({'type': args.network}).to(device).train()
    said = promise(net)
    plans = dict.fromkeys(said.parts, WAYS[args.way])
    train = TrainOptions(optim_g=Spec(type='Adam'), total_iter=1, amp=args.amp)
    learner = Learner(net, train, Spec.model_validate({'type': 'Adam', 'lr': 1e-4}), parts=plans)
    clip = torch.rand(args.batch, args.frames, 3, args.side, args.side, device=device)
    started = time.perf_counter()
    learner.begin(1, 1.0)
    found = learner.gradients(
        [{'lq': clip}], lambda piece: {'l_pix': (learner.forward(piece)['out'].square() + 1e-6).sqrt().mean()}
    )
    bad, overflow = learner.judge(found.values())
    assert not bad
    learner.update(overflow)
    if device.type == 'cuda':
        torch.cuda.synchronize()
        peak = torch.cuda.max_memory_allocated()
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {'seconds': round(time.perf_counter() - started, 2), 'peak_bytes': peak, 'loss': float(found['l_pix'])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('-o', '--output', type=Path)
    parser.add_argument('--network', default='BasicVSR')
    parser.add_argument('--frames', type=int, default=30)
    parser.add_argument('--side', type=int, default=64, help='of the LQ frames')
    parser.add_argument('--batch', type=int, default=1)
    parser.add_argument('--amp', choices=('none', 'bf16'), default='none')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--ways', nargs='+', choices=WAYS, default=list(WAYS))
    parser.add_argument('--way', choices=WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.way:
        print(json.dumps(step(args)))
        return
    results = {}
    for way in args.ways:
        command = [sys.executable, __file__, '--way', way]
        for name in ('network', 'frames', 'side', 'batch', 'amp', 'device'):
            command += [f'--{name}', str(getattr(args, name))]
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        results[way] = json.loads(said.splitlines()[-1])
        print(way, results[way], flush=True)
    if args.output:
        about = machine.describe(args.device) | {
            k: getattr(args, k) for k in ('network', 'frames', 'side', 'batch', 'amp')
        }
        machine.write(args.output, {'machine': about, 'results': results})


if __name__ == '__main__':
    main()
