"""How long a training step takes and what it spends its time on.

    python benchmarks/training_step.py -opt options/train/VOTES/train_VOTES_demo.yml -o benchmarks/results/NAME.json

Random frames of the option file's batch and crop; the network, loss and optimiser of the option file. Weights do not
matter for speed, so none are loaded.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import machine
import torch

from votes.archs.votes_arch import VOTES
from votes.models import RestorationModel, build_model
from votes.options import Options, load_options


def random_batch(opt: Options) -> dict[str, Any]:
    data = opt.datasets['train']
    size, frames = int(data.args.get('gt_size', 128)), int(data.args.get('num_frame', 5))
    count = data.batch_size_per_gpu * (opt.train.accumulate if opt.train else 1)
    gt = (count, 3, size, size) if data.args.get('center_gt', True) else (count, frames, 3, size, size)
    lq = (count, frames, 3, size // opt.scale, size // opt.scale)
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        for name, shape in (('lq', lq), ('gt', gt))
    }


def milliseconds(work: Callable[[], Any], device: torch.device, repeats: int) -> dict[str, float]:
    """Median and quartiles of `repeats` calls after two that do not count."""
    times = []
    for i in range(repeats + 2):
        if device.type == 'cuda':
            torch.cuda.synchronize()
        started = time.perf_counter()
        work()
        if device.type == 'cuda':
            torch.cuda.synchronize()
        if i > 1:
            times.append(1e3 * (time.perf_counter() - started))
    low, middle, high = statistics.quantiles(times, n=4)
    return {'median': round(middle, 2), 'lower_quartile': round(low, 2), 'upper_quartile': round(high, 2)}


def forward_parts(model: RestorationModel, lq: torch.Tensor, repeats: int) -> dict[str, dict[str, float]]:
    """Each named part of a VOTES network on its own, forward only."""
    net = model.net
    if not isinstance(net, VOTES):
        return {}
    with torch.no_grad():
        pyramid = net.features(lq.flatten(0, 1))
        aligned = net.align(pyramid, lq.shape[0])
        dfm = net.degradation_map(lq)
        fused = net.fusion(aligned, dfm)
        parts = {
            'DSM and DFM': lambda: net.degradation_map(lq),
            'features': lambda: net.features(lq.flatten(0, 1)),
            'align (PCD)': lambda: net.align(pyramid, lq.shape[0]),
            'modulate (DMM)': lambda: net.fusion(aligned, dfm),
            'reconstruct': lambda: net.reconstruct(fused, lq[:, net.centre]),
        }
        return {name: milliseconds(part, model.device, repeats) for name, part in parts.items()}


def operators(step: Callable[[], Any], device: torch.device, count: int = 12) -> dict[str, float]:
    """Share of a step (0 to 1) by operator: time in the operator itself, of the profiler."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    if device.type == 'cuda':
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profile:
        for _ in range(3):
            step()
        if device.type == 'cuda':
            torch.cuda.synchronize()

    def own(event: Any) -> float:
        return float(event.self_device_time_total if device.type == 'cuda' else event.self_cpu_time_total)

    events = sorted(profile.key_averages(), key=own, reverse=True)
    total = sum(map(own, events))
    return {event.key: round(own(event) / total, 3) for event in events[:count]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('-opt', default='options/train/VOTES/train_VOTES_demo.yml')
    parser.add_argument('-o', '--output', type=Path, required=True)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--repeats', type=int, default=20)
    parser.add_argument('--set', nargs='+', default=[], metavar='KEY=VALUE', help='such as train.amp=bf16')
    args = parser.parse_args()

    opt = load_options(args.opt, overrides=args.set, check_paths=False)
    opt.path.bin_model = opt.path.pretrain_network_g = None
    device = torch.device(args.device)
    torch.manual_seed(0)
    model = build_model(opt, device)
    batch = random_batch(opt)
    lq, gt = model.to_float(batch['lq']), model.to_float(batch['gt'])

    def losses() -> torch.Tensor:
        return torch.stack(list(model.losses(lq, gt)[0].values())).sum()

    def step() -> None:
        model.step(batch, opt.train.total_iter if opt.train else 1)

    def update() -> None:
        model.optimisation.optimizer.step()

    step()
    step_time = milliseconds(step, device, args.repeats)
    content = {
        'what': f'training step of {opt.name}, LQ {tuple(batch["lq"].shape)}, times in milliseconds',
        'machine': machine.describe(args.device),
        'step': step_time,
        'forward and loss': milliseconds(losses, device, args.repeats),
        'forward, loss and backward': milliseconds(lambda: losses().backward(), device, args.repeats),
        'optimiser': milliseconds(update, device, args.repeats),
        'forward parts': forward_parts(model, lq, args.repeats),
        'operators': operators(step, device),
    }
    machine.write(args.output, content)
    print(f'{opt.name}: {step_time["median"]} ms a step')


if __name__ == '__main__':
    main()
