"""Training steps, frames of a video and memory of networks, against the plain public formulation of each.

    python benchmarks/zoo.py -o benchmarks/results/zoo_cpu.json
    python benchmarks/zoo.py BasicVSR TGA --side 64 --repeats 9

    python benchmarks/zoo.py PEN TDAN --merge -o benchmarks/results/zoo_cpu.json      # the others stay as they are

Both have the same weights and frames and take turns, the one first that was second before; ratios are medians of turns
next to each other, of the time that the CPU computes for this process (with one thread that is what a clock says on an
idle machine). Weights lie here as training and `votes restore` lay them out, channels of a pixel side by side
(`channels_last`), and on the plain side as public code has them. A step is forward,
the mean squares of all outputs and backward of one sample; seconds a frame are those of a video through
votes.inference.stream.Stream, where the plain side computes each window anew. Networks that are computed here as in
public have no plain side, and only their cost is measured; arguments are those by which they are tested unless SIZES
has others. Networks are small, so that all of it takes minutes: what is compared are formulations, not networks.
Memory is the most bytes of tensors that live at once beside weights and input. The difference is of all gradients, or
of the restored frames, relative to their norm.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import machine
import torch
from published_networks import PLAIN
from torch import Tensor

from votes.archs import build_network
from votes.archs.contract import apply, promise
from votes.archs.parts.blocks import in_layout
from votes.commands.check_network import sample_for
from votes.inference.stream import Stream
from votes.inference.tiles import LiveBytes
from votes.inference.views import Views
from votes.registry import NETWORKS

LAYOUT = 'channels of a pixel side by side here, as in training and `votes restore`; planes in public'
WINDOWS = {'num_feat': 32, 'deformable_groups': 4, 'num_extract_block': 3, 'num_reconstruct_block': 5}
# constructor arguments: widths and depths of a half or a quarter of the published
SIZES: dict[str, dict[str, Any]] = {
    'BasicVSR': {'num_feat': 32, 'num_block': 7},
    'BasicVSRPlusPlus': {'mid_channels': 32, 'num_blocks': 3},
    'CAVSR': {'num_feat': 32, 'num_block': 7, 'num_modulation_block': 3},
    'CDAVSR': {'num_feat': 32, 'num_reconstruct_block_I': 12, 'num_reconstruct_block_P': 6},
    'COMISR': {'num_feat': 32, 'num_resblock': 5},
    'CVQENet': {'nf': 32, 'b1': 3, 'b2': 5},
    'EDVR': WINDOWS,
    'EDVRIntra': WINDOWS,
    'EDVRResUNet': {'num_feat': 32, 'deformable_groups': 4, 'num_extract_block': 3, 'num_level': 2, 'num_block': 2},
    'FRVSR': {'num_feat': 32, 'num_block': 5},
    'FTVSR': {'mid_channels': 32, 'num_blocks': 15, 'd_model': 128, 'freq_channels': 128, 'reuse_flow': True},
    'IconVSR': {'num_feat': 32, 'num_block': 7},
    'PEN': {'stdf': {'nf': 16, 'out_nc': 32}, 'qenet': {'in_nc': 32, 'nf': 24}, 'edvr': {'nf': 32}},
    'RFDA': {'nf': 16, 'fused_nf': 32, 'qe_nf': 24, 'qe_nb': 4},
    'RSDN': {'num_feat': 32, 'num_block': 3},
    'RealBasicVSR': {'mid_channels': 32, 'num_propagation_blocks': 5, 'num_cleaning_blocks': 5},
    'RealViformer': {},
    'TDAN': WINDOWS,
    'TGA': {'num_feat': 32, 'growth': 8},
    'TMP': {'num_feat': 32, 'num_extract_block': 3, 'num_block': 8},
    'TOFlow': {'num_feat': 32},
    'VOTES': WINDOWS,
}


class Compared:
    """A network, here and as published."""

    def __init__(self, name: str, frames: int, side: int):
        torch.manual_seed(0)
        self.arguments = SIZES.get(name, dict(getattr(NETWORKS.get(name), 'small', {})))
        self.net = build_network({'type': name, **self.arguments})
        with torch.no_grad():  # offsets and residuals start at zero, where formulations could not differ
            for parameter in self.net.parameters():
                parameter.add_(0.01 * torch.randn_like(parameter))
        self.said = promise(self.net)
        side = max(side, self.said.smallest)
        count = self.said.frames(frames)
        self.sample = sample_for(self.said, count, (side, side))
        self.clip = self.sample['lq']
        whole = sample_for(self.said, max(frames, count), (side, side), seed=1)
        self.video = {i: {key: value[:, i] for key, value in whole.items()} for i in range(whole['lq'].shape[1])}
        self.contexts: dict[str, Callable[[], Any]] = {'here': contextlib.nullcontext}
        self.nets = {'here': in_layout(self.net, torch.channels_last)}
        if name in PLAIN:
            self.contexts['published'] = PLAIN[name]
            self.nets['published'] = in_layout(copy.deepcopy(self.net), torch.contiguous_format)

    def step(self) -> Tensor:
        """Gradients of all weights in one row."""
        self.net.train().zero_grad(set_to_none=True)
        outputs = apply(self.net, self.sample, said=self.said)
        trained = [value for value in outputs.values() if isinstance(value, Tensor) and value.requires_grad]
        sum((value.square().mean() for value in trained), torch.zeros(())).backward()
        return torch.cat([p.grad.flatten() for p in self.net.parameters() if p.grad is not None])

    def restored(self, plain: bool) -> Tensor:
        stream = Stream(self.net.eval(), torch.device('cpu'))
        if plain:
            stream.memory = None
        views = Views(self.said, peak=lambda number: number % 3 == 0).of(self.video)
        return torch.cat([stream.restore([view], self.video) for view in views])

    def works(self, kind: str) -> Callable[[], Tensor]:
        return self.step if kind == 'step' else lambda: self.restored(self.plain)

    def run(self, way: str, work: str) -> Tensor:
        self.plain, self.net = way == 'published', self.nets[way]
        with self.contexts[way]():
            return self.works(work)()

    def peak(self, way: str, work: str) -> int:
        net = self.nets[way]
        given = [*net.parameters(), *net.buffers(), self.clip, *(f['lq'] for f in self.video.values())]
        with LiveBytes(given) as alive:
            self.run(way, work)
        return alive.most


def measure(name: str, frames: int, side: int, repeats: int) -> dict[str, Any]:
    """Step and stream of a network, both ways."""
    compared = Compared(name, frames, side)
    found: dict[str, Any] = {
        'arguments': compared.arguments,
        'parameters': sum(p.numel() for p in compared.net.parameters()),
        'lq': list(compared.clip.shape),
    }
    for work in ('step', 'stream'):
        for net in compared.nets.values():  # statistics of batch normalisation went on in ways of their own
            net.load_state_dict(compared.nets['here'].state_dict())
        results = {way: compared.run(way, work).double() for way in compared.contexts}
        times: dict[str, list[float]] = {way: [] for way in compared.contexts}
        for number in range(repeats):
            for way in list(times)[:: -1 if number % 2 else 1]:
                started = time.process_time()
                compared.run(way, work)
                times[way].append(time.process_time() - started)
        frames_done = len(compared.video) if work == 'stream' else 1
        found[work] = {
            **against(results, times),
            'seconds': {way: round(statistics.median(own) / frames_done, 4) for way, own in times.items()},
            'peak_MiB': {way: round(compared.peak(way, work) / 2**20, 1) for way in times},
        }
    return found


def against(results: dict[str, Tensor], times: dict[str, list[float]]) -> dict[str, Any]:
    """How a network compares with its plain formulation, where it has one."""
    if 'published' not in results:
        return {}
    ratios = [b / a for a, b in zip(times['here'], times['published'], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    here, published = results['here'], results['published']
    return {
        'times_as_fast': round(middle, 3),
        'quartiles': [round(low, 3), round(high, 3)],
        'difference': float(f'{float((here - published).norm() / published.norm()):.2g}'),
    }


def described(note: str) -> dict[str, Any]:
    """The machine, and how weights lay."""
    return {**machine.describe(), 'layout': LAYOUT, **({'note': note} if note else {})}


def kept(path: Path) -> dict[str, Any]:
    """What was measured before, on this machine with these versions."""
    before, now = json.loads(path.read_text()), described('')
    other = [key for key, value in now.items() if key != 'command' and before['machine'].get(key) != value]
    if other:
        raise SystemExit(f'{path} was measured with another {", ".join(other)}: run all of it')
    return dict(before['results'])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('names', nargs='*', metavar='NAME', help='of the registry (default: all that restore)')
    parser.add_argument('-o', '--output', type=Path)
    parser.add_argument('--frames', type=int, default=7, help='of clips and of the video')
    parser.add_argument('--side', type=int, default=32, help='of the LQ frames')
    parser.add_argument('--repeats', type=int, default=7)
    parser.add_argument('--merge', action='store_true', help='into the results that -o has of this machine')
    parser.add_argument('--note', default='', help='what else the machine did, for the result')
    args = parser.parse_args()
    torch.set_num_threads(1)
    results = kept(args.output) if args.merge else {}
    whole = [name for name in NETWORKS.names() if getattr(NETWORKS.get(name), 'sees', True) is not None]
    for name in args.names or whole:
        results[name] = measure(name, args.frames, args.side, args.repeats)
        for work in ('step', 'stream'):
            about = results[name][work]
            told = [key for key in ('times_as_fast', 'seconds', 'peak_MiB', 'difference') if key in about]
            print(name, work, {key: about[key] for key in told}, flush=True)
        if args.output:  # after each: it takes minutes
            machine.write(args.output, {'machine': described(args.note), 'results': results})


if __name__ == '__main__':
    main()
