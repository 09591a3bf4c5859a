"""`votes bench`: the programs in benchmarks/, which come with the source."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from votes.errors import UserError

FOLDER = Path(__file__).resolve().parents[2] / 'benchmarks'
NOT_BENCHMARKS = {'machine', 'published', 'published_networks', 'ship_weights', 'tables'}


def names() -> list[str]:
    """Benchmarks that there are, [] where the package was installed without its source."""
    return sorted(p.stem for p in FOLDER.glob('*.py') if p.stem not in NOT_BENCHMARKS)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('name', nargs='?', help='of a benchmark; without it they are listed')
    parser.add_argument('rest', nargs=argparse.REMAINDER, help='arguments of the benchmark, such as -o RESULT.json')


def run(args: argparse.Namespace) -> int:
    if not names():
        raise UserError('benchmarks come with the source', where=FOLDER, fix='run votes from a checkout')
    if args.name is None:
        print('\n'.join(names()))
        return 0
    if args.name not in names():
        raise UserError('no such benchmark', value=args.name, fix=', '.join(names()))
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join([str(FOLDER.parent), os.environ.get('PYTHONPATH', '')]))
    return subprocess.run([sys.executable, str(FOLDER / f'{args.name}.py'), *args.rest], env=environment).returncode
