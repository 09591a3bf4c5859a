"""`votes demo-data`: small compressed clips from photographs."""

from __future__ import annotations

import argparse
from pathlib import Path

from votes.data.tools.demo import make_demo_data


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('output', type=Path, metavar='OUT', help='folder to make')
    parser.add_argument('--seed', type=int, default=0, help='of what is drawn (default 0)')
    parser.add_argument('--qp', type=int, default=28, help='H.264 quantiser of the compressed clips (0 to 51)')
    parser.add_argument('--overwrite', action='store_true', help='replace a folder that exists')


def run(args: argparse.Namespace) -> int:
    make_demo_data(args.output, seed=args.seed, qp=args.qp, overwrite=args.overwrite)
    return 0
