"""How fast the deformable convolution is, by backend: forward, and forward with all five gradients.

    python benchmarks/deform_conv.py -o benchmarks/results/deform_conv_cpu.json

Backends take turns call by call, so that a busy machine slows them alike; ratios are of calls next to each other.
Memory is what a process of its own needs beyond its inputs. On a GPU also the share of what the hardware could do at
most, given its peak rates (--tflops, --gigabytes).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import machine
import torch

from votes.ops import BACKENDS, backend_problem, deform_conv2d

# batch, channels, height, width; 8 deformable groups, 3x3
SHAPES = {
    'cpu': [(5, 64, 64, 64), (1, 64, 180, 320), (5, 128, 32, 32)],
    'cuda': [(80, 64, 64, 64), (80, 128, 64, 64), (80, 128, 32, 32), (80, 128, 16, 16), (5, 64, 540, 960),
             (5, 128, 540, 960)],
}  # fmt: skip
GROUPS, TAPS = 8, 9
DTYPES = {'float32': torch.float32, 'bfloat16': torch.bfloat16}


def inputs(shape: tuple[int, ...], device: str, dtype: torch.dtype) -> list[torch.Tensor]:
    batch, channels, height, width = shape
    torch.manual_seed(0)
    made = [
        torch.randn(batch, channels, height, width, device=device, dtype=dtype),
        torch.randn(batch, 2 * TAPS * GROUPS, height, width, device=device) * 2,
        torch.rand(batch, TAPS * GROUPS, height, width, device=device),
        torch.randn(channels, channels, 3, 3, device=device) / 30,
        torch.randn(channels, device=device),
    ]
    if device.startswith('cuda'):
        made[:2] = [t.contiguous(memory_format=torch.channels_last) for t in made[:2]]
    return [t.requires_grad_() for t in made]


def call(tensors: list[torch.Tensor], backend: str, backward: bool) -> None:
    if not backward:
        with torch.no_grad():
            deform_conv2d(*tensors, padding=1, backend=backend)
        return
    out = deform_conv2d(*tensors, padding=1, backend=backend)
    torch.autograd.grad(out, tensors, torch.ones_like(out))


def seconds(tensors: list[torch.Tensor], backend: str, backward: bool) -> float:
    if tensors[0].is_cuda:
        torch.cuda.synchronize()
    started = time.perf_counter()
    call(tensors, backend, backward)
    if tensors[0].is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - started


def compare(shape: tuple[int, ...], device: str, repeats: int) -> dict[str, Any]:
    """Every usable backend, in the types that it takes."""
    usable = [name for name in BACKENDS if name != 'reference' and not backend_problem(name, device)]
    ways = [(name, 'float32') for name in usable]
    if device == 'cuda':
        ways += [(name, 'bfloat16') for name in usable if name in ('triton', 'torch')]
    found: dict[str, Any] = {}
    for backward in (False, True):
        made = {kind: inputs(shape, device, DTYPES[kind]) for kind in {kind for _, kind in ways}}
        times: dict[str, list[float]] = {}
        for turn in range(repeats + 2):
            for name, kind in ways:
                spent = seconds(made[kind], name, backward)
                if turn >= 2:
                    times.setdefault(f'{name} {kind}', []).append(spent)
        base = times.get('torchvision float32') or times[f'{ways[0][0]} float32']
        for way, own in times.items():
            found.setdefault(way, {})['forward and backward' if backward else 'forward'] = {
                'milliseconds': statistics.median(own) * 1e3,
                'quartiles': [q * 1e3 for q in statistics.quantiles(own)[::2]],
                'times_as_fast': statistics.median(a / b for a, b in zip(base, own, strict=True)),
            }
    return found


def memory(shape: tuple[int, ...], device: str, way: str) -> dict[str, float]:
    """MiB beyond the inputs that forward, and forward with backward, need; each in a process of its own."""
    needed = {}
    for what in ('forward', 'forward and backward'):
        command = [sys.executable, __file__, '--memory', way, what, '--device', device, '--shape', *map(str, shape)]
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        needed[what] = json.loads(said.splitlines()[-1])
    return needed


def measure_memory(args: argparse.Namespace) -> None:
    way, what = args.memory
    name, kind = way.split()
    tensors = inputs(tuple(args.shape), args.device, DTYPES[kind])
    if args.device == 'cuda':
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call(tensors, name, what != 'forward')
        print((torch.cuda.max_memory_allocated() - before) / 2**20)
        return
    small = inputs((1, GROUPS, 8, 8), args.device, DTYPES[kind])
    call(small, name, what != 'forward')  # libraries are loaded
    status = Path('/proc/self/status')
    before = next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith('VmRSS'))
    call(tensors, name, what != 'forward')
    after = next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith('VmHWM'))
    print((after - before) / 1024)


def roofline(shape: tuple[int, ...], args: argparse.Namespace) -> float | None:
    """Milliseconds that the forward pass would take at the peak rates, whichever is the slower."""
    if not (args.tflops and args.gigabytes):
        return None
    batch, channels, height, width = shape
    pixels = batch * height * width
    work = 2 * TAPS * channels * channels * pixels / (args.tflops * 1e12)
    moved = pixels * (2 * channels * 2 + 3 * TAPS * GROUPS * 4) / (args.gigabytes * 1e9)
    return max(work, moved) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('-o', '--output', type=Path, help='result file')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--repeats', type=int, default=10)
    parser.add_argument('--shape', type=int, nargs=4, metavar=('B', 'C', 'H', 'W'), help='instead of the usual ones')
    parser.add_argument('--tflops', type=float, help="the GPU's peak in bf16, for the roofline")
    parser.add_argument('--gigabytes', type=float, help="the GPU's memory rate a second, for the roofline")
    parser.add_argument('--memory', nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.memory:
        measure_memory(args)
        return
    results: dict[str, Any] = {}
    for shape in [tuple(args.shape)] if args.shape else SHAPES[args.device]:
        found = compare(shape, args.device, args.repeats)
        floor = roofline(shape, args)
        for way, about in found.items():
            about['MiB'] = memory(shape, args.device, way)
            if floor is not None:
                about['share_of_roofline'] = floor / about['forward']['milliseconds']
            speeds = ', '.join(
                f'{what} {about[what]["milliseconds"]:.2f} ms ({about[what]["times_as_fast"]:.2f} x)'
                for what in ('forward', 'forward and backward')
            )
            print(f'{shape} {way}: {speeds}', flush=True)
        results['x'.join(map(str, shape))] = found
    if args.output:
        problems = {name: backend_problem(name, args.device) for name in BACKENDS}
        about = machine.describe(args.device) | {'groups': GROUPS, 'backends_that_do_not_work': problems}
        for package in ('torchvision', 'mmcv', 'triton'):
            module = sys.modules.get(package)
            about[package] = getattr(module, '__version__', None)
        machine.write(args.output, {'machine': about, 'results': results})


if __name__ == '__main__':
    main()
