"""`votes lineage`: what a run came from."""

from __future__ import annotations

import argparse
from pathlib import Path

from votes.training.history import lineage


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('run', type=Path, metavar='experiments/NAME')


def run(args: argparse.Namespace) -> int:
    print('\n'.join(lineage(args.run)))
    return 0
