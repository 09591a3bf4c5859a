"""`votes pack`: frames into a store."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from votes.data.tools.pack import pack, verify
from votes.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('source', type=Path, help='folders of pictures, videos, raw YUV, an LMDB or a packed store')
    parser.add_argument('output', type=Path, nargs='?', help='store to make')
    parser.add_argument('--to', choices=('packed', 'lmdb'), default='packed', help='raw frames, or PNG as BasicSR does')
    parser.add_argument('--workers', type=int, default=os.cpu_count() or 1, help='threads that decode')
    parser.add_argument(
        '--verify', action='store_true', help='read SOURCE through instead; exit code 1 if it is damaged'
    )


def run(args: argparse.Namespace) -> int:
    if args.verify:
        problems = verify(args.source)
        print('\n'.join(problems) or f'{args.source}: good')
        return 1 if problems else 0
    if args.output is None:
        raise UserError('where to?', fix='votes pack SOURCE OUTPUT')
    pack(args.source, args.output, args.to, args.workers)
    return 0
