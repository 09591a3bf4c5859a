"""`votes sense`: what the DSM finds in a data set, stored, so that stage 2 trains without running it.

Stored is the difference of luma that the degradation feature map is made of, in whole numbers 0 to 255. The map of a
crop is made of the crop's part of it and divided by the largest value there, as it is without `votes sense`. What
changes: the DSM has seen beyond the borders of the crop, and the frame as it stands, not mirrored, turned or reversed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from votes.archs.contract import padding_of, promise
from votes.archs.fields import padded
from votes.archs.parts.window_memory import PairEstimates
from votes.checkpoint import write_json
from votes.data.degrading import write_clip
from votes.data.open_source import open_source
from votes.data.sensed import MANIFEST, digest
from votes.data.sources import FrameSource
from votes.errors import UserError
from votes.inference.views import Views
from votes.models import build_model
from votes.options import load_options
from votes.processes.devices import device_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('-opt', required=True, metavar='FILE.yml', help='option file of stage 2: frames and bin_model')
    parser.add_argument('-o', '--output', type=Path, metavar='DFM_frames', help='default: dataroot_dfm, or beside LQ')
    parser.add_argument(
        '--set', nargs='+', action='extend', default=[], metavar='KEY=VALUE', dest='overrides', help='change options'
    )


def run(args: argparse.Namespace) -> int:
    named = load_options(args.opt, overrides=args.overrides, check_paths=False).datasets['train'].args
    opt = load_options(args.opt, overrides=[*args.overrides, 'datasets.train.dataroot_dfm=~'])
    data = opt.datasets['train'].args
    if not data.get('dataroot_lq'):
        raise UserError('dataroot_lq is needed', where=args.opt, fix='frames that are made when they are drawn differ')
    if not (opt.path.bin_model or opt.path.pretrain_network_g):
        raise UserError('no weights of a DSM', where=args.opt, fix='path.bin_model')
    lq = Path(data['dataroot_lq'])
    default = named.get('dataroot_dfm') or lq.with_name(lq.name.replace('LQ', 'DFM') if 'LQ' in lq.name else 'DFM')
    target = args.output or Path(default)
    opt.train = None
    device = device_of(opt)
    model = build_model(opt, device)
    print('\n'.join([*opt.notices, *model.messages]))
    if not model.said.senses:
        raise UserError('this network has no DSM', where=args.opt, value=opt.network_g.type)
    frames = open_source(lq, data.get('io_backend'))
    sense(model.net, device, frames, target, str(opt.path.bin_model or opt.path.pretrain_network_g))
    print(f'# for the option file:\ndatasets:\n  train:\n    dataroot_dfm: {target}')
    return 0


def sense(net: nn.Module, device: torch.device, frames: FrameSource, target: Path, weights: str) -> None:
    """Writes target/CLIP/00000000.png of all clips and, last, target/sensed.json; goes on with what a stopped one left.

    Raises:
        UserError: `target` is complete, or was begun with another DSM.
    """
    about = {'dsm': digest(net.sensor), 'weights': weights}  # type: ignore[arg-type]
    begun = target / '.begun.json'
    if (target / MANIFEST).exists() or (target.exists() and not begun.exists()):
        raise UserError('the output exists', where=target, fix='choose another name with -o, or remove it')
    target.mkdir(parents=True, exist_ok=True)
    if begun.exists() and json.loads(begun.read_text())['dsm'] != about['dsm']:
        raise UserError('this folder was begun with another DSM', where=target, fix='remove it')
    write_json(begun, about)
    for number, clip in enumerate(frames.clips(), 1):
        if not (target / clip).is_dir():
            write_clip(target / clip, differences(net, device, frames, clip))
        print(f'{target / clip}: {frames.length(clip)} frames ({number}/{len(frames.clips())})')
    write_json(target / MANIFEST, about)
    begun.unlink()


@torch.inference_mode()
def differences(net: nn.Module, device: torch.device, frames: FrameSource, clip: str) -> Iterator[NDArray[np.uint8]]:
    """Of each frame (h, w), windows at the ends padded as in evaluation."""
    said, (height, width) = promise(net), frames.size(clip)
    more = padding_of(said, height, width)
    pairs: PairEstimates = net.pair_estimates()  # type: ignore[operator]
    ready: dict[int, torch.Tensor] = {}
    for view in Views(said).of(range(frames.length(clip))):
        for number in set(view.indices) - ready.keys():
            rgb = torch.from_numpy(frames.read(clip, number)).to(device).permute(2, 0, 1)
            ready[number] = padded('lq', rgb[None].float() / 255, *more)
        found = pairs.difference(view.indices, ready)[0, 0, :height, :width]
        yield found.round().byte().cpu().numpy()
        pairs.forget(view.centres[0] - len(view.indices) + 2)
        for number in ready.keys() - set(view.indices):
            del ready[number]
