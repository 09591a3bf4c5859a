"""`votes dfm`: the degradation map of a video."""

from __future__ import annotations

import argparse
from pathlib import Path

from votes.archs import load_pretrained
from votes.commands import arguments
from votes.commands.restore import tell, until_stopped
from votes.processes.devices import pick_device
from votes.restore.compare import HeatMap
from votes.restore.settings import check_paths
from votes.restore.video import restore_video


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('input', type=Path, help='video, or folder of pictures')
    parser.add_argument('output', type=Path, help='video to write')
    parser.add_argument('--weights', type=Path, required=True, metavar='W.pth', help='a VOTES, or a DSM (stage 1)')
    arguments.add_running(parser)
    arguments.add_encoding(parser)
    arguments.add_reading(parser)


def run(args: argparse.Namespace) -> int:
    device = pick_device(args.device)
    check_paths(args.input, args.output, args.overwrite)
    net = HeatMap(load_pretrained(str(args.weights), device))

    def work() -> int:
        summary = restore_video(
            net,
            args.input,
            args.output,
            device=device,
            settings=arguments.settings(args),
            overwrite=args.overwrite,
            progress=args.progress,
            restart=args.restart,
        )
        tell(summary, args.progress)
        return 0

    return until_stopped(work)
