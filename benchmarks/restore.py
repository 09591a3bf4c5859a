"""Restoring a video: the streaming engine against evaluating the same network window by window.

'plain' computes each window as EDVR and the release do, 'window' is this project's `forward`, 'stream' its restoration.

    python benchmarks/restore.py -o benchmarks/results/restore_cpu.json

The network of the release's size (VOTES, C = 128). Its weights are random, scaled so that the output is as far from the
enlarged input as that of a trained network: what is compared is speed, memory, arithmetic and how far the outputs are
apart, not how good they are. Frames are made here of a photograph and compressed by x264 at QP 33. Peak memory is that
of a process of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import machine
import numpy as np
import torch
from published import as_published
from skimage import data as photographs
from torch.utils.flop_counter import FlopCounterMode

from votes.archs.contract import AMP, promise
from votes.archs.parts.blocks import compile_blocks
from votes.archs.votes_arch import VOTES
from votes.inference.stream import Stream
from votes.inference.tiles import Limits
from votes.inference.views import Views
from votes.restore.progress import peak_memory
from votes.video.encoding import Encoding
from votes.video.recipe import Recipe, degrade

CHANGE = 0.02  # of the range of values
WAYS = (
    'plain float32',
    'window float32',
    'stream float32',
    'window bf16',
    'stream bf16',
    'stream float32 compiled',
    'stream bf16 compiled',
)


def network(num_feat: int) -> VOTES:
    torch.manual_seed(0)
    net = VOTES(num_feat=num_feat, init='kaiming').eval()
    torch.nn.init.normal_(net.conv_last.weight, 0, 1e-3)
    with torch.inference_mode():  # an output that is as far from the enlarged input as that of a trained network
        x = torch.from_numpy(np.stack(clip(5, 32, 48)[0])).permute(0, 3, 1, 2)[None].float() / 255
        residual = net(x) - torch.nn.functional.interpolate(x[:, 2], scale_factor=2, mode='bilinear')
    net.conv_last.weight.data.mul_(CHANGE / float(residual.std()))
    return net


def clip(count: int, height: int, width: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Compressed frames of this size and the originals of twice the size."""
    picture = cv2.resize(photographs.astronaut(), None, fx=height / 200, fy=height / 200, interpolation=cv2.INTER_AREA)
    if width * 2 + 2 * count > picture.shape[1] or height * 2 > picture.shape[0]:
        picture = cv2.resize(picture, (2 * width + 2 * count, 2 * height), interpolation=cv2.INTER_CUBIC)
    gt = [np.ascontiguousarray(picture[: 2 * height, 2 * i : 2 * i + 2 * width]) for i in range(count)]
    return degrade(gt, Recipe(name='qp33', scale=2, generations=[Encoding(qp=33)]))[0], gt


class Way:
    """One way of restoring a clip's frames."""

    def __init__(self, way: str, args: argparse.Namespace, lq: list[np.ndarray]):
        self.how, precision, *more = way.split()
        self.amp = {'float32': 'none', 'bf16': 'bf16'}[precision]
        self.device = torch.device(args.device)
        self.net = network(args.num_feat).to(self.device)
        self.frames = {
            i: {'lq': torch.from_numpy(f).to(self.device).permute(2, 0, 1)[None].float() / 255}
            for i, f in enumerate(lq)
        }
        self.windows = list(Views(promise(self.net)).of(range(len(lq))))
        if more:
            compile_blocks(self.net)
        self.stream = Stream(self.net, self.device, self.amp, Limits()) if self.how == 'stream' else None

    @torch.inference_mode()
    def restore(self, number: int) -> torch.Tensor:
        window = self.windows[number]
        if self.stream is not None:
            output = self.stream.restore([window], self.frames)
        else:
            stack = torch.cat([self.frames[i]['lq'] for i in window.indices]).unsqueeze(0)
            dtype = AMP[self.amp]
            published = as_published() if self.how == 'plain' else contextlib.nullcontext()
            with published, torch.autocast(self.device.type, dtype or torch.bfloat16, enabled=dtype is not None):
                output = self.net(stack).float()
        if self.device.type == 'cuda':
            torch.cuda.synchronize()
        return output


def picture(output: torch.Tensor) -> np.ndarray:
    return output.clamp(0, 1).mul(255).round()[0].permute(1, 2, 0).byte().cpu().numpy()


def peak(way: str, args: argparse.Namespace) -> None:
    """Prints the most memory that this process needs for some frames."""
    one = Way(way, args, clip(args.frames, *args.size)[0])
    for number in range(5):
        one.restore(number)
    print(json.dumps(peak_memory(one.device)))


def compare(args: argparse.Namespace) -> dict[str, Any]:
    """All ways frame by frame in turns, so that a busy machine slows them alike."""
    lq, gt = clip(args.frames, *args.size)
    ways = {name: Way(name, args, lq) for name in WAYS}
    times: dict[str, list[float]] = {name: [] for name in WAYS}
    errors: dict[str, list[float]] = {name: [] for name in WAYS}
    same: dict[str, list[bool]] = {name: [] for name in WAYS}
    for number in range(args.frames):
        first = None
        for name, way in ways.items():
            started = time.perf_counter()
            output = way.restore(number)
            times[name].append(time.perf_counter() - started)
            first = output if first is None else first
            same[name].append(torch.equal(output, first))
            errors[name].append(float(np.mean((picture(output).astype(float) - gt[number]) ** 2)))
    results: dict[str, Any] = {}
    inner = slice(2, args.frames - 2)  # the first frame warms up; at the ends windows are padded
    plain = times[WAYS[0]][inner]
    for name in WAYS:
        own = times[name][inner]
        results[name] = {
            'seconds_per_frame': statistics.median(own),
            'times_as_fast': statistics.median(a / b for a, b in zip(plain, own, strict=True)),
            'quartiles': statistics.quantiles([a / b for a, b in zip(plain, own, strict=True)])[::2],
            'bit_for_bit': all(same[name]),
            'psnr': 10 * math.log10(255**2 / statistics.mean(errors[name])),
        }
        results[name]['psnr_difference'] = results[name]['psnr'] - results[WAYS[0]]['psnr']
    middle = args.frames // 2
    for name in WAYS[:3]:
        way = Way(name, args, lq)
        for number in (middle - 2, middle - 1):  # what a stream remembers
            way.restore(number)
        with FlopCounterMode(display=False) as counted:
            way.restore(middle)
        results[name]['tflop_per_frame'] = counted.get_total_flops() / 1e12
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('-o', '--output', type=Path, help='result file')
    parser.add_argument('--size', type=int, nargs=2, default=(96, 160), metavar=('H', 'W'), help='of the input')
    parser.add_argument('--frames', type=int, default=12)
    parser.add_argument('--num-feat', type=int, default=128)
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--peak', choices=WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peak:
        peak(args.peak, args)
        return
    results = compare(args)
    for name in WAYS:
        command = [sys.executable, __file__, '--peak', name, '--device', args.device, '--num-feat', str(args.num_feat)]
        said = subprocess.run(
            [*command, '--size', *map(str, args.size)], check=True, stdout=subprocess.PIPE, text=True
        ).stdout
        results[name]['peak_bytes'] = json.loads(said.splitlines()[-1])
        print(name, results[name], flush=True)
    work = [results[name]['tflop_per_frame'] for name in WAYS[:3]]
    results['arithmetic'] = {'plain / stream': work[0] / work[2], 'window / stream': work[1] / work[2]}
    print(results['arithmetic'])
    if args.output:
        about = machine.describe(args.device) | {'size': list(args.size), 'num_feat': args.num_feat}
        machine.write(args.output, {'machine': about, 'results': results})


if __name__ == '__main__':
    main()
