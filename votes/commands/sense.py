"""`votes sense`: what the DSM finds in a data set, stored, so that stage 2 trains without running it.

Stored is the difference of luma that the degradation feature map is made of, in whole numbers 0 to 255. The map of a
crop is made of the crop's part of it and divided by the largest value there, as it is without `votes sense`. What
changes: the DSM has seen beyond the borders of the crop, and the frame as it stands, not mirrored, turned or reversed.

`--map` stores other maps in the same way, for networks with `map_source: stored`, which ask what a map is good for:
the DSM's at the wrong time, or what a perfect DSM would find.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from votes.archs.contract import Promise, Window, padding_of, promise
from votes.archs.fields import padded
from votes.archs.parts.dfm import luma_difference
from votes.archs.parts.window_memory import NeighbourDifferences, PairEstimates
from votes.checkpoint import begin, digest, write_record
from votes.data.degrading import write_clip
from votes.data.pairs import ClipPairs
from votes.data.sensed import MANIFEST
from votes.data.sources import FrameSource, open_source
from votes.data.transforms import to_tensor
from votes.errors import UserError
from votes.inference.frames import to_float
from votes.inference.views import Views
from votes.losses.targets import gt_small
from votes.models import build_model
from votes.options import Options, load_options
from votes.processes.devices import device_of
from votes.processes.program import add_overrides

MAPS = ('dsm', 'shuffled', 'neighbours', 'error')
NEIGHBOURS = Promise('neighbours', Window(5))
Made = Callable[[str], Iterable[NDArray[np.uint8]]]  # a clip -> a map (h, w) of each frame
Pairs = PairEstimates | NeighbourDifferences


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('-opt', required=True, metavar='FILE.yml', help='option file of stage 2: frames and bin_model')
    parser.add_argument('-o', '--output', type=Path, metavar='DFM_frames', help='default: dataroot_dfm, or beside LQ')
    kinds = 'dsm (default); shuffled: the same at other frames of the clip; neighbours: how far a frame is from those '
    kinds += 'beside it; error: how far it is from GT at its size, which no method can know'
    parser.add_argument('--map', choices=MAPS, default='dsm', help=kinds)
    add_overrides(parser, 'change options')


def run(args: argparse.Namespace) -> None:
    named = load_options(args.opt, overrides=args.overrides, check_paths=False).datasets['train'].args
    opt = load_options(args.opt, overrides=[*args.overrides, 'datasets.train.dataroot_dfm=~'])
    data = opt.datasets['train'].args
    if not data.get('dataroot_lq'):
        raise UserError('dataroot_lq is needed', where=args.opt, fix='frames that are made when they are drawn differ')
    lq = Path(data['dataroot_lq'])
    default = named.get('dataroot_dfm') or lq.with_name(lq.name.replace('LQ', 'DFM') if 'LQ' in lq.name else 'DFM')
    target = args.output or Path(default)
    frames = open_source(lq, data.get('io_backend'))
    made, about = maker(args.map, opt, frames, str(args.opt))
    sense(made, frames, target, about)
    print(f'# for the option file:\ndatasets:\n  train:\n    dataroot_dfm: {target}')


def maker(kind: str, opt: Options, frames: FrameSource, where: str) -> tuple[Made, dict[str, str]]:
    """What makes the maps of a clip, and what they are recognised by.

    Raises:
        UserError: the options name no DSM, or no originals.
    """
    about, cpu = {'map': kind}, torch.device('cpu')
    if kind == 'error':
        return errors_of(opt, frames), about
    if kind == 'neighbours':
        return lambda clip: differences(NeighbourDifferences(), NEIGHBOURS, cpu, frames, clip), about
    weights = opt.path.bin_model or opt.path.pretrain_network_g
    if not weights:
        raise UserError('no weights of a DSM', where=where, fix='path.bin_model')
    opt.train = None
    device = device_of(opt)
    model = build_model(opt, device)
    print('\n'.join([*opt.notices, *model.messages]))
    if not hasattr(model.net, 'sensor'):
        raise UserError('this network has no DSM', where=where, value=opt.network_g.type)
    dsm = model.net.sensor
    about |= {'dsm': digest(dsm), 'weights': str(weights)}  # type: ignore[arg-type]

    def sensed(clip: str) -> Iterator[NDArray[np.uint8]]:
        pairs: Pairs = dsm.pair_estimates()  # type: ignore[operator, union-attr]
        return differences(pairs, promise(model.net), device, frames, clip)

    return (lambda clip: shuffled(clip, sensed(clip))) if kind == 'shuffled' else sensed, about


def sense(made: Made, frames: FrameSource, target: Path, about: dict[str, str]) -> None:
    """Writes target/CLIP/00000000.png of all clips and, last, target/sensed.json; goes on with what a stopped one left.

    Raises:
        UserError: `target` is complete, or was begun with another DSM or map.
    """
    begun = target / '.begun.json'
    if (target / MANIFEST).exists() or (target.exists() and not begun.exists()):
        raise UserError('the output exists', where=target, fix='choose another name with -o, or remove it')
    begin(begun, about, 'another map, or one of another DSM,')
    for number, clip in enumerate(frames.clips(), 1):
        if not (target / clip).is_dir():
            write_clip(target / clip, made(clip))
        print(f'{target / clip}: {frames.length(clip)} frames ({number}/{len(frames.clips())})')
    write_record(target / MANIFEST, about)
    begun.unlink()


@torch.inference_mode()
def differences(
    pairs: Pairs, said: Promise, device: torch.device, frames: FrameSource, clip: str
) -> Iterator[NDArray[np.uint8]]:
    """Of each frame (h, w), windows at the ends padded as in evaluation."""
    height, width = frames.size(clip)
    more = padding_of(said, height, width)
    shown = (to_float(to_tensor([frames.read(clip, i)]), device) for i in range(frames.length(clip)))
    for view in Views(said).of(padded('lq', frame, *more) for frame in shown):
        found = pairs.difference(view.indices, view.frames)[0, 0, :height, :width]
        yield found.round().byte().cpu().numpy()
        pairs.forget(view.centres[0] - len(view.indices) + 2)


def shuffled(clip: str, maps: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
    """The maps of a clip in an order, drawn by its name, that leaves none in its place."""
    there = list(maps)
    order = np.random.default_rng(list(clip.encode())).permutation(len(there))
    following = dict(zip(order, np.roll(order, 1), strict=True))  # along one circle through all of them
    return (there[following[i]] for i in range(len(there)))


def errors_of(opt: Options, frames: FrameSource) -> Made:
    """Clip -> by how much the luma of each LQ frame is apart from GT at its size, which stage 1 is trained towards."""
    data = opt.datasets['train'].args
    pairs = ClipPairs(data['dataroot_gt'], data['dataroot_lq'], opt.scale, io_backend=data.get('io_backend'))

    def made(clip: str) -> Iterator[NDArray[np.uint8]]:
        for number in range(frames.length(clip)):
            lq, gt = (
                to_float(to_tensor([picture]), torch.device('cpu'))
                for picture in (frames.read(clip, number), pairs.read_gt(clip, number))
            )
            yield luma_difference(gt_small(gt, opt.scale), lq)[0, 0].byte().numpy()

    return made
