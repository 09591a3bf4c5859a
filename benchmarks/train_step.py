"""How long a training step takes, by precision, compiled or not, and what it spends its time on.

    python benchmarks/train_step.py -o benchmarks/results/train_step_cpu.json
    python benchmarks/train_step.py --sizes L --device cuda --batch 16 --tflops 990 -o ...

Sizes are option files: the demo's, the paper's network (C = 64), the release's (L, C = 128). 'plain' is a port of the
release as one would write it: float32, torchvision's operator where it works, frames aligned in a loop. Steps take
turns, so that a busy machine slows them alike; ratios are of steps next to each other. Frames are random: speed does
not depend on them. The arithmetic of a step is three times that of the forward pass, once for the DSM, which is not
trained; the deformable convolution counts as its matrix product. Utilisation is relative to one large matrix product
in the same precision in the same run, and to --tflops where that is given.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import machine
import torch
from published import as_published
from torch.utils.flop_counter import FlopCounterMode

from votes.archs.votes_arch import VOTES
from votes.models import RestorationModel, build_model
from votes.ops import BACKENDS, backend_problem
from votes.ops.deform_conv import choose_backend
from votes.options import Options, load_options

SIZES = {
    'demo': 'options/train/VOTES/train_VOTES_demo.yml',
    'paper': 'options/train/VOTES/train_VOTES_x2_UVSSMWeChat.yml',
    'L': 'options/train/VOTES/train_VOTES_L_x2_SR_UVSSMWeChat.yml',
}
CPU_BATCH = {'demo': 4, 'paper': 2, 'L': 1}
WAYS = {  # options
    'plain': ['train.channels_last=false'],
    'float32': [],
    'tf32': [],
    'bf16': ['train.amp=bf16'],
    'bf16, stored DFM': ['train.amp=bf16'],
    'float32 compiled': ['train.compile=true'],
    'bf16 compiled': ['train.amp=bf16', 'train.compile=true'],
}


class Way:
    """A model that takes one kind of steps."""

    def __init__(self, name: str, size: str, batch: int, device: torch.device):
        self.name, self.device = name, device
        self.opt = load_options(SIZES[size], overrides=WAYS[name], check_paths=False)
        self.opt.path.bin_model = self.opt.path.pretrain_network_g = None
        self.opt.datasets['train'].batch_size_per_gpu = batch
        torch.manual_seed(0)
        with self.surroundings():
            self.model = build_model(self.opt, device)
        self.batch = random_batch(self.opt, batch, 'stored' in name)

    @contextlib.contextmanager
    def surroundings(self) -> Iterator[None]:
        """'plain' computes as others do."""
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = self.name != 'plain' and (
            'tf32' in self.name or 'bf16' in self.name
        )
        if self.name != 'plain':
            yield
            return
        before = os.environ.get('VOTES_DEFORM_CONV')
        os.environ['VOTES_DEFORM_CONV'] = plain_backend(self.device)
        try:
            with as_published(loop=True):
                yield
        finally:
            del os.environ['VOTES_DEFORM_CONV']
            if before is not None:
                os.environ['VOTES_DEFORM_CONV'] = before

    def step(self) -> None:
        with self.surroundings():
            self.model.step(self.batch, 1)
        if self.device.type == 'cuda':
            torch.cuda.synchronize()


def plain_backend(device: torch.device) -> str:
    return 'torch' if backend_problem('torchvision', device.type) else 'torchvision'


def random_batch(opt: Options, count: int, stored: bool = False) -> dict[str, Any]:
    size, frames = int(opt.datasets['train'].args.get('gt_size', 128)), 5
    side = size // opt.scale
    shapes: dict[str, tuple[int, ...]] = {'lq': (count, frames, 3, side, side), 'gt': (count, 3, size, size)}
    if stored:
        shapes['difference'] = (count, 1, side, side)
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator) for name, shape in shapes.items()
    }


def seconds(work: Callable[[], Any], device: torch.device) -> float:
    started = time.perf_counter()
    work()
    if device.type == 'cuda':
        torch.cuda.synchronize()
    return time.perf_counter() - started


def milliseconds(times: list[float]) -> dict[str, Any]:
    low, middle, high = statistics.quantiles(times, n=4)
    return {'median': round(1e3 * middle, 2), 'quartiles': [round(1e3 * low, 2), round(1e3 * high, 2)]}


def arithmetic(opt: Options, size: str) -> dict[str, float]:
    """TFLOP of a sample, counted where the operator's matrix products are seen: on the CPU."""
    model = Way('float32', size, 1, torch.device('cpu')).model
    lq = model.sample_of(random_batch(opt, 1))['lq']
    counts = {}
    with torch.no_grad():
        parts: dict[str, Callable[..., Any]] = {'forward': model.net, 'DSM': cast(VOTES, model.net).degradation_map}
        for name, part in parts.items():
            with FlopCounterMode(display=False) as counted:
                part(lq)
            counts[name] = counted.get_total_flops() / 1e12
    return {**counts, 'step': 3 * (counts['forward'] - counts['DSM']) + counts['DSM']}


def matrix_rate(dtype: torch.dtype, device: torch.device) -> float:
    """TFLOP/s of one large matrix product, the best of five."""
    n = 8192 if device.type == 'cuda' else 3072
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    a @ b
    return 2 * n**3 / min(seconds(lambda: a @ b, device) for _ in range(5)) / 1e12


def forward_parts(model: RestorationModel, batch: dict[str, Any], repeats: int) -> dict[str, Any]:
    """Each named part of a VOTES network on its own: forward, and with the gradients of its inputs and weights."""
    net = model.net
    assert isinstance(net, VOTES)
    lq = model.sample_of(batch)['lq']
    with torch.no_grad():
        pyramid = net.features(lq.flatten(0, 1))
        aligned = net.align(pyramid, lq.shape[0])
        dfm = net.degradation_map(lq)
        fused = net.fuse(aligned, dfm)
    parts: dict[str, tuple[Callable[..., Any], list[torch.Tensor]]] = {
        'DSM and DFM': (net.degradation_map, [lq]),
        'features': (lambda x: torch.cat([t.flatten() for t in net.features(x)]), [lq.flatten(0, 1)]),
        'align (PCD)': (lambda *levels: net.align(list(levels), lq.shape[0]), pyramid),
        'modulate (DMM)': (lambda x: net.fuse(x, dfm), [aligned]),
        'reconstruct': (lambda x: net.reconstruct(x, lq[:, net.centre]), [fused]),
    }
    found = {}
    for name, (part, inputs) in parts.items():
        own = [t.detach().requires_grad_(name != 'features') for t in inputs]

        def both(part: Any = part, own: Any = own) -> None:
            part(*own).sum().backward()

        def forward(part: Any = part, own: Any = own) -> None:
            with torch.no_grad():
                part(*own)

        works = {'forward': forward} if name == 'DSM and DFM' else {'forward': forward, 'forward and backward': both}
        found[name] = {
            kind: milliseconds([seconds(work, model.device) for _ in range(repeats + 2)][2:])
            for kind, work in works.items()
        }
    model.generator.optimizer.zero_grad(set_to_none=True)
    return found


def operators(way: Way, count: int = 12) -> dict[str, float]:
    """Share of a step (0 to 1) by operator: time in the operator itself, of the profiler."""
    on_gpu = way.device.type == 'cuda'
    activities = [torch.profiler.ProfilerActivity.CPU]
    if on_gpu:
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profile:
        way.step()

    def own(event: Any) -> float:
        return float(event.self_device_time_total if on_gpu else event.self_cpu_time_total)

    events = sorted(profile.key_averages(), key=own, reverse=True)
    total = sum(map(own, events))
    return {event.key: round(own(event) / total, 3) for event in events[:count]}


def measure(size: str, args: argparse.Namespace, rates: dict[str, float]) -> dict[str, Any]:
    """All ways of one size."""
    device = torch.device(args.device)
    batch = args.batch or (16 if device.type == 'cuda' else CPU_BATCH[size])
    ways = []
    torch._dynamo.reset()  # other sizes count towards a limit of compilations
    for name in args.ways:
        way = Way(name, size, batch, device)
        if any('does not work' in message for message in way.model.messages):
            print(f'{size}, {name}: {way.model.messages}', file=sys.stderr)
            continue
        ways.append(way)
    times: dict[str, list[float]] = {way.name: [] for way in ways}
    for turn in range(args.repeats + 2):
        for way in ways:
            spent = seconds(way.step, device)
            if turn >= 2:  # the first ones warm up
                times[way.name].append(spent)
    work = arithmetic(ways[0].opt, size)
    found: dict[str, Any] = {}
    for name, own in times.items():
        step = milliseconds(own)
        rate = batch * work['step'] / statistics.median(own)
        found[name] = {
            'step': step,
            'samples_per_second': round(batch / statistics.median(own), 2),
            'times_as_fast': statistics.median(a / b for a, b in zip(times[args.ways[0]], own, strict=True)),
            'tflops': rate,
            'utilisation': rate / rates['bf16' if 'bf16' in name else 'tf32' if 'tf32' in name else 'float32'],
        }
        if args.tflops:
            found[name]['share_of_peak'] = rate / args.tflops
        print(f'{size}, {name}: {found[name]}', flush=True)
    plain, usual = ways[0], next(way for way in ways if way.name == args.parts)
    return {
        'lq': list(usual.batch['lq'].shape),
        'parameters': sum(p.numel() for p in usual.model.net.parameters()),
        'tflop_per_sample': work,
        'operator of plain': plain_backend(device) if plain.name == 'plain' else None,
        'operator of the others': choose_backend(None, device.type),
        'ways': found,
        'parts': forward_parts(usual.model, usual.batch, args.repeats),
        'operators': operators(usual),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('-o', '--output', type=Path, help='result file')
    parser.add_argument('--sizes', nargs='+', choices=SIZES, default=list(SIZES))
    parser.add_argument('--ways', nargs='+', choices=WAYS, help='the first is what the others are compared with')
    parser.add_argument('--parts', choices=WAYS, default='float32', help='the way whose parts are measured')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--batch', type=int, help='default: 16 on a GPU, less on a CPU')
    parser.add_argument('--repeats', type=int, default=8)
    parser.add_argument('--tflops', type=float, help="the GPU's peak in bf16")
    args = parser.parse_args()
    device = torch.device(args.device)
    args.ways = args.ways or [name for name in WAYS if device.type == 'cuda' or name != 'tf32']
    rates = {name: matrix_rate(dtype, device) for name, dtype in (('float32', torch.float32), ('bf16', torch.bfloat16))}
    if device.type == 'cuda':
        torch.backends.cuda.matmul.allow_tf32 = True
        rates['tf32'] = matrix_rate(torch.float32, device)
    results = {size: measure(size, args, rates) for size in args.sizes}
    if args.output:
        backends = {name: backend_problem(name, args.device) for name in BACKENDS}
        about = machine.describe(args.device) | {'matrix product TFLOP/s': rates, 'backend problems': backends}
        machine.write(args.output, {'machine': about, 'results': results})


if __name__ == '__main__':
    main()
