"""Exported networks against themselves in PyTorch: seconds of the processor, and how far the pictures are apart.

    python benchmarks/export.py -o benchmarks/results/export_cpu.json

One thread; ways take turns, and the quickest of their repeats counts, in seconds that the processor spent on this
process (other programs on the machine lengthen those of the clock). `torch` is the network's `forward` as everything
here calls it. Weights are random, of the networks' default sizes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import machine
import torch

from votes.archs import build_network
from votes.archs.contract import apply, promise
from votes.export.graphs import exported, inputs_of
from votes.export.onnx import write_onnx
from votes.export.runtime import OnnxNetwork

NETWORKS: dict[str, dict[str, Any]] = {
    'EDSR': {'type': 'EDSR', 'upscale': 2},
    'STDF': {'type': 'STDF'},
    'EDVR': {'type': 'EDVR'},
}


def restored(net: torch.nn.Module, sample: dict[str, torch.Tensor]) -> torch.Tensor:
    return apply(net, sample)['out']


def measured(options: dict[str, Any], size: tuple[int, int], repeats: int, folder: Path) -> dict[str, Any]:
    torch.manual_seed(0)
    net = build_network(options).eval()
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if 'offset' in name:
                parameter.normal_(0, 0.01)
    said = promise(net)
    sample = {'lq': inputs_of(said, said.frames(), size)[0]}
    if sample['lq'].dim() == 4:
        sample['lq'] = sample['lq'][:, None]
    ways: dict[str, torch.nn.Module] = {'torch': net}
    found: dict[str, Any] = {'options': options, 'size': list(size), 'frames': said.frames()}
    for form in ('operator', 'grid'):
        target = folder / f'{options["type"]}_{form}.onnx'
        if not target.exists():  # of an earlier run, with the same weights
            write_onnx(exported(net, options, form), target)  # type: ignore[arg-type]
        ways[form] = OnnxNetwork(target)
        found['megabytes'] = round(target.stat().st_size / 1e6, 2)
    calls: dict[str, Callable[[], torch.Tensor]] = {name: partial(restored, way, sample) for name, way in ways.items()}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    with torch.no_grad():
        wanted = calls['torch']()
        found['difference'] = {
            name: float((call() - wanted).abs().max()) for name, call in calls.items() if name != 'torch'
        }
        for _ in range(repeats):
            for name, call in calls.items():
                begun = time.process_time()
                call()
                seconds[name].append(time.process_time() - begun)
    found['seconds'] = {name: round(min(values), 4) for name, values in seconds.items()}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument('networks', nargs='*', default=list(NETWORKS))
    parser.add_argument('-o', type=Path, required=True, help='result file')
    parser.add_argument('--size', type=int, nargs=2, default=(128, 160), help='height and width')
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument(
        '--folder', type=Path, default=Path('build'), help='where exported files are written, and taken from'
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    results: dict[str, Any] = {}
    for name in args.networks:
        results[name] = measured(NETWORKS[name], tuple(args.size), args.repeats, args.folder)
        machine.write(args.o, {'machine': machine.describe(), 'results': results})


if __name__ == '__main__':
    main()
