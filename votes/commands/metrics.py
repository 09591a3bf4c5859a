"""`votes metrics A B`: two videos, folders of frames or frame sources compared, with the protocol written beside."""

from __future__ import annotations

import argparse
import hashlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from votes import checkpoint
from votes.archs.parts.blocks import enlarged
from votes.commands import metrics_planes
from votes.commands.metrics_planes import add_vmaf, cut_by_rgb
from votes.data.raw_video import SUFFIXES as RAW_SUFFIXES
from votes.data.raw_video import format_of
from votes.data.sources import SUFFIXES, Frame, FrameSource, OneFolder, open_source
from votes.data.transforms import to_tensor
from votes.errors import UserError
from votes.metrics import temporal
from votes.metrics.bd_rate import METHOD, bd_rate
from votes.metrics.perceptual import DISTS, LPIPS
from votes.metrics.psnr_ssim import Channel, ms_ssim, planes, psnr, ssim
from votes.metrics.vmaf import vmaf
from votes.processes.devices import pick_device
from votes.reports.compare import clip_means, comparison, means, results_file
from votes.reports.protocol import lower_is_better, shown
from votes.video.read import Reading, VideoReader

PLANE = {'psnr': psnr, 'ssim': ssim, 'ms_ssim': ms_ssim}
PAIRS = ('warping_error', 'tof')
LEARNED = ('lpips', 'dists')
LOWER = (*PAIRS, *LEARNED)  # distances
NAMES = (*PLANE, *PAIRS, 'vmaf', *LEARNED)
BATCH = 8


@dataclass
class Protocol:
    """How frames are compared."""

    metrics: list[str]
    channel: Channel = 'y'
    crop_border: int = 2

    def described(self) -> dict[str, Any]:
        """For a results file, in the form of `votes test`."""
        how = {'crop_border': self.crop_border, 'test_y_channel': self.channel == 'y'}
        metrics: dict[str, dict[str, Any]] = {}
        for name in sorted(self.metrics, key=lambda name: name not in PLANE):
            distance = {'better': 'lower'} if name in LOWER else {}
            metrics[name] = {'type': f'calculate_{name}', **how} if name in PLANE else {'type': name, **distance}
        return {
            'metrics': metrics,
            'channel': self.channel,
            'crop_border': self.crop_border,
            'range': 'RGB 0 to 255, peak 255; Y 16 to 235',
            'rounding': 'frames as decoded, 8 bit',
            'luma': 'BT.601 studio range, Y = 16 + 65.481 R + 128.553 G + 24.966 B, where channel is y',
            'aggregation': 'mean over the frames of a clip, then over clips',
            'window_padding': 'none',
            'flow': temporal.FLOW if set(self.metrics) & set(PAIRS) else None,
            'fluctuation': 'standard deviation of PSNR over the frames of a clip, mean over clips',
        }


Frames = Callable[[], Iterator[Frame]]
Clips = dict[str, Frames]
Learned = dict[str, Callable[[Tensor, Tensor], Tensor]]


def clips_at(path: Path, raw: str | None = None) -> Clips:
    """What lies at a path: a video file, a raw file (described by `raw`, or by its name), a folder of pictures, or any
    frame source of clips.
    """
    if path.is_file():
        described = str(format_of(path, raw)) if path.suffix.lower() in RAW_SUFFIXES else None
        return {path.stem: lambda: (frame.rgb for frame in VideoReader(path, reading=Reading(raw=described)))}
    alone = path.is_dir() and any(p.suffix.lower() in SUFFIXES for p in path.iterdir())
    source: FrameSource = OneFolder(path) if alone else open_source(path)

    def frames(clip: str) -> Iterator[Frame]:
        return (source.read(clip, i) for i in range(source.length(clip)))

    return {name: partial(frames, name) for name in source.clips()}


def matched(first: Clips, second: Clips) -> list[tuple[str, Frames, Frames]]:
    """Pairs of clips: the only one of each, or those of one name.

    Raises:
        UserError: names that are only on one side.
    """
    if len(first) == len(second) == 1:
        return [(next(iter(second)), next(iter(first.values())), next(iter(second.values())))]
    apart = sorted(first.keys() ^ second.keys())
    if apart:
        raise UserError(f'{len(apart)} clips are only on one side', value=', '.join(apart[:8]))
    return [(name, first[name], second[name]) for name in sorted(first)]


class Measurer:
    """Measures clips by a protocol.

    Args:
        learned: name -> network of LPIPS or DISTS, with its weights.
    """

    def __init__(self, protocol: Protocol, device: torch.device, learned: Learned):
        self.protocol, self.device, self.learned = protocol, device, learned
        self.unavailable: dict[str, str] = {}

    def clip(self, name: str, first: Iterator[Frame], second: Iterator[Frame]) -> list[dict[str, float]]:
        """Metrics of every frame: what concerns two frames in a row counts for the later one.

        Raises:
            UserError: the sides differ in size or number of frames.
        """
        rows: list[dict[str, float]] = []
        before: tuple[Frame, Frame] | None = None
        everything: list[tuple[Frame, Frame]] = []
        pairs = itertools.zip_longest(first, second)
        while chunk := list(itertools.islice(pairs, BATCH)):
            for number, (a, b) in enumerate(chunk, len(rows)):
                if a is None or b is None:
                    what, end = 'the sides have different numbers of frames', f'one ends after {number} frames'
                    raise UserError(what, where=name, value=end, fix='cut the longer one')
                if a.shape != b.shape:
                    sizes = ' and '.join(f'{frame.shape[1]}x{frame.shape[0]}' for frame in (a, b))
                    raise UserError('frames of different sizes', where=f'{name}, frame {number}', value=sizes)
            found = self._single([a for a, _ in chunk], [b for _, b in chunk])
            for row, now in zip(found, chunk, strict=True):
                row |= self._in_a_row(before, now) if before else {}
                before = now
            rows += found
            everything += chunk if 'vmaf' in self.protocol.metrics else []
        if not rows:
            raise UserError('no frames', where=name)
        if everything:
            measure = partial(vmaf, (a for a, _ in everything), (b for _, b in everything))
            add_vmaf(rows, measure, self.protocol.metrics, self.unavailable)
        return rows

    def _single(self, first: list[Frame], second: list[Frame]) -> list[dict[str, float]]:
        a, b = (to_tensor(frames).to(self.device) for frames in (first, second))
        pair = [planes(x, self.protocol.crop_border, self.protocol.channel) for x in (a, b)]
        found = {name: measure(*pair) for name, measure in PLANE.items() if name in self.protocol.metrics}
        found |= {name: net(a.float() / 255, b.float() / 255) for name, net in self.learned.items()}
        return [{name: float(values[i]) for name, values in found.items()} for i in range(len(first))]

    def _in_a_row(self, before: tuple[Frame, Frame], now: tuple[Frame, Frame]) -> dict[str, float]:
        measures = {
            'warping_error': lambda: temporal.warping_error(before[0], now[0], (before[1], now[1])),
            'tof': lambda: temporal.tof((before[0], now[0]), (before[1], now[1])),
        }
        return {name: measure() for name, measure in measures.items() if name in self.protocol.metrics}


def hashed(clip: str, frames: Iterator[Frame], total: Any, starts: dict[str, str]) -> Iterator[Frame]:
    """Passes frames on, adds them to a checksum, and notes what the first of them is recognised by."""
    for frame in frames:
        total.update(frame.tobytes())
        if clip not in starts:
            starts[clip] = hashlib.sha256(str(frame.shape).encode() + frame.tobytes()).hexdigest()
        yield frame


def compare_videos(
    first: Path, second: Path, lq: Path | None, measurer: Measurer, raw: str | None = None
) -> dict[str, Any]:
    """A results file: `first` against the reference `second`, and LQ enlarged by bicubic interpolation against it.

    'cuts' says what 8-bit RGB cuts of the videos, 'not_available' which metrics could not be measured and why.
    """
    cuts = [line for path in dict.fromkeys((first, second)) if path.is_file() for line in cut_by_rgb(path, raw)]
    sums = {name: hashlib.sha256() for name in ('restored', 'reference')}
    starts: dict[str, str] = {}
    sides = {**({'LQ bicubic': lq} if lq else {}), 'restored': first}
    values: dict[tuple[str, int], dict[str, dict[str, float]]] = {}
    for row, path in sides.items():
        for clip, get, reference in matched(clips_at(path, raw), clips_at(second, raw)):
            if row == 'restored':
                a, b = hashed(clip, get(), sums['restored'], {}), hashed(clip, reference(), sums['reference'], starts)
            else:
                a, b = enlarge_like(get(), reference()), reference()
            for index, found in enumerate(measurer.clip(clip, a, b)):
                values.setdefault((clip, index), {})[row] = found
    frames = [{'clip': clip, 'index': index, **rows} for (clip, index), rows in values.items()]
    clips = clip_means(frames)
    for row, of_row in clips.items():
        if 'psnr' in of_row:
            psnr_of = {clip: [rows[row]['psnr'] for (c, _), rows in values.items() if c == clip] for clip in starts}
            of_row['fluctuation'] = {clip: temporal.fluctuation(found) for clip, found in psnr_of.items()}
    data = {name: f'sha256 of decoded frames {total.hexdigest()}' for name, total in sums.items()}
    content = {'mean': means(clips), 'clips': clips, 'frames': frames}
    more = {'data': {**data, 'of_clips': starts}, 'cuts': cuts, 'not_available': measurer.unavailable}
    return results_file(first, second, lq, measurer.protocol.described(), content, more)


def enlarge_like(frames: Iterator[Frame], reference: Iterator[Frame]) -> Iterator[Frame]:
    """LQ frames brought to the size of the reference's first frame by bicubic interpolation (a = -0.5)."""
    height, width = next(reference).shape[:2]
    for frame in frames:
        large = enlarged(to_tensor([frame]).float().div(255), (height, width))[0].mul(255).round().byte()
        yield large.permute(1, 2, 0).numpy()


def read_curve(path: Path) -> list[tuple[float, float]]:
    """Lines of ``rate,quality``; a first line of words is passed over.

    Raises:
        UserError: not found, or a line that is not two numbers.
    """
    if not path.is_file():
        raise UserError('not found', where=path)
    points = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        cells = line.replace(';', ',').split(',')
        try:
            rate, quality = (float(cell) for cell in cells)
            points.append((rate, quality))
        except ValueError as error:
            if number > 1 and line.strip():
                raise UserError('a curve has lines of RATE,QUALITY', where=f'{path}:{number}', value=line) from error
    return points


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    inputs = 'restored and reference; or compare RESULTS.json ...; or bd-rate A.csv B.csv'
    add('inputs', nargs='+', metavar='A B', help=inputs)
    add('--lq', type=Path, help='the compressed video: gain over it')
    add('--metrics', default='psnr,ssim', help=f'of {", ".join(NAMES)} (default psnr,ssim)')
    add('--channel', choices=('y', 'rgb'), default='y', help='of PSNR, SSIM and MS-SSIM (default y)')
    add('--crop', type=int, help='pixels left out at each edge (default 2; 0 of planes)')
    add('--planes', action='store_true', help='Y, U and V as the files hold them, at their depth, instead of RGB')
    add('--raw', metavar='WxH:FORMAT[:RATE]', help='of raw YUV, such as 832x480:yuv420p10le:50')
    add('--device', default='auto', help='auto, cpu, cuda ... of what needs a network')
    add('--json', type=Path, metavar='OUT.json', help='writes everything, frame by frame')
    add('--format', choices=('text', 'markdown', 'latex', 'csv'), default='text', help='of compare')
    add('--any-protocol', action='store_true', help='compare although the protocols differ')
    add('--features', type=Path, help="LPIPS, DISTS: torchvision's weights of AlexNet or VGG16")
    add('--lpips', type=Path, help='weights of LPIPS v0.1, alex.pth or vgg.pth')
    add('--dists', type=Path, help='weights of DISTS, weights.pt')


def run(args: argparse.Namespace) -> int:
    if args.inputs[0] == 'compare':
        print(comparison([Path(p) for p in args.inputs[1:]], args.format, args.any_protocol))
        return 0
    if args.inputs[0] == 'bd-rate':
        if len(args.inputs) != 3:
            raise UserError('two curves are compared', fix='votes metrics bd-rate ANCHOR.csv TEST.csv')
        value = bd_rate(*(read_curve(Path(p)) for p in args.inputs[1:]))
        print(f'{value:+.2f} % bits for the same quality ({METHOD})')
        return 0
    names = args.metrics.split(',')
    unknown = [f'unknown metric {name!r}' for name in names if name not in NAMES]
    if unknown or len(args.inputs) != 2:
        fix = f'votes metrics RESTORED REFERENCE --metrics {",".join(NAMES[:3])}'
        raise UserError(unknown[0] if unknown else 'two inputs are compared', value=args.inputs, fix=fix)
    first, second = (Path(p) for p in args.inputs)
    for path in (first, second, args.lq):
        if path is not None and not path.exists():
            raise UserError('not found', where=path)
    content = metrics_planes.run(args, names) if args.planes else _through_rgb(first, second, names, args)
    for line in content['cuts']:
        print(f'note: {line}; --planes measures what the files hold')
    for name, reason in content['not_available'].items():
        print(f'{name}: NOT AVAILABLE: {reason}')
    if args.json:
        checkpoint.write_record(args.json, content)
    return 0


def _through_rgb(first: Path, second: Path, names: list[str], args: argparse.Namespace) -> dict[str, Any]:
    protocol = Protocol(names, args.channel, 2 if args.crop is None else args.crop)
    measurer = Measurer(protocol, pick_device(args.device), _learned(names, args))
    content = compare_videos(first, second, args.lq, measurer, args.raw)
    rows = content['results'][second.stem]['mean']
    for row, values in rows.items():
        print(f'{row:<12}' + '  '.join(f'{name} {shown(value)}' for name, value in values.items()))
    if args.lq:
        lower = lower_is_better(content['protocol'])
        gains = {n: (-1 if n in lower else 1) * (v - rows['LQ bicubic'][n]) for n, v in rows['restored'].items()}
        print(f'{"gain":<12}' + '  '.join(f'{name} {shown(value, "+")}' for name, value in gains.items()))
    return content


def _learned(names: list[str], args: argparse.Namespace) -> Learned:
    found: Learned = {}
    for name, weights in (('lpips', args.lpips), ('dists', args.dists)):
        if name not in names:
            continue
        if weights is None or args.features is None:
            fix = f'--features VGG16.pth --{name} WEIGHTS'
            raise UserError(f'{name} needs weights, which are not distributed here', fix=fix)
        if name == 'dists':
            found[name] = DISTS(args.features, weights)
        else:
            found[name] = LPIPS(args.features, weights, 'vgg' if 'vgg' in weights.name else 'alex')
    return found
