"""`votes compare`: results side by side."""

from __future__ import annotations

import argparse
from pathlib import Path

from votes.reports.compare import comparison


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('results', type=Path, nargs='+', metavar='results.json', help='files that `votes test` wrote')


def run(args: argparse.Namespace) -> int:
    print(comparison(args.results))
    return 0
