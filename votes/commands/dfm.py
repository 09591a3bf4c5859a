"""`votes dfm`: the degradation map of a video."""

from __future__ import annotations

import argparse
from pathlib import Path

from votes.archs import load_pretrained
from votes.commands import arguments
from votes.commands.restore import one
from votes.processes.devices import pick_device
from votes.restore.compare import HeatMap
from votes.restore.settings import check_paths


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('input', type=Path, help='video, or folder of pictures')
    parser.add_argument('output', type=Path, help='video to write')
    parser.add_argument('--weights', type=Path, required=True, metavar='W.pth', help='a VOTES, or a DSM (stage 1)')
    arguments.add_running(parser)
    arguments.add_encoding(parser)
    arguments.add_reading(parser)
    parser.set_defaults(frames=None, preview=None, dry_run=False, gpus=1, part=None, compare=[])  # of `votes restore`


def run(args: argparse.Namespace) -> int:
    device = pick_device(args.device)
    check_paths(args.input, args.output, args.overwrite)
    net = HeatMap(load_pretrained(str(args.weights), device))
    return one(args, net, None, device)
