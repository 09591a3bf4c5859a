"""`votes bench-data`: how fast samples are read."""

from __future__ import annotations

import argparse

from votes.data.tools.speed import measure_option_file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('-opt', required=True, metavar='FILE.yml', help='training option file')
    parser.add_argument('--seconds', type=float, default=5, help='how long to read samples')


def run(args: argparse.Namespace) -> int:
    print(measure_option_file(args.opt, args.seconds))
    return 0
