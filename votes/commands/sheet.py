"""`votes sheet`: a picture of what a network did."""

from __future__ import annotations

import argparse
from pathlib import Path

from votes.errors import UserError
from votes.reports.sheet import make_sheet


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('-opt', required=True, metavar='FILE.yml', help='test option file')
    parser.add_argument('-o', '--output', type=Path, required=True, help='PNG to write')
    parser.add_argument('--frames', type=int, default=3, help='how many frames, spread over the test set')
    parser.add_argument('--overwrite', action='store_true', help='replace an output that exists')


def run(args: argparse.Namespace) -> int:
    if args.frames < 1 or args.output.suffix.lower() not in ('.png', '.jpg'):
        raise UserError('a sheet has frames and is a .png or .jpg', value=f'{args.frames} frames, {args.output}')
    if args.output.exists() and not args.overwrite:
        raise UserError('the output exists', where=args.output, fix='choose another name, or --overwrite')
    make_sheet(args.opt, args.output, args.frames)
    print(args.output)
    return 0
