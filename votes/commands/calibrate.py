"""`votes calibrate`: a platform's recipe from pairs, or what its videos say without originals."""

from __future__ import annotations

import argparse
from pathlib import Path

from votes.data.video_source import VIDEO_SUFFIXES
from votes.errors import UserError
from votes.platforms.blind import without_originals
from votes.platforms.calibrate import FRAMES, calibrate
from votes.platforms.pairs import open_pairs
from votes.platforms.sheet import row, shown, write_platform
from votes.platforms.verify import verify
from votes.video.recipe import read_recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        'pairs', type=Path, nargs='?', help='folder that `votes pair` wrote, or HQ_frames and LQ_frames'
    )
    parser.add_argument('-o', '--output', type=Path, default=Path('platform.yml'), help='recipe (default platform.yml)')
    parser.add_argument('--name', help='of the platform (default: that of the recipe file)')
    parser.add_argument('--downloads', type=Path, help='folder of the downloaded files, under the names of the clips')
    parser.add_argument('--frames', type=int, default=FRAMES, help=f'of a clip that are encoded (default {FRAMES})')
    parser.add_argument('--generic', metavar='R.yml', help='recipe to compare with (default: bicubic and crf 28)')
    parser.add_argument('--no-verify', action='store_true', help='do not compare the recipe with the downloads')
    parser.add_argument('--blind', type=Path, metavar='LQ', help='a video or a folder of videos, without originals')


def run(args: argparse.Namespace) -> int:
    if (args.blind is None) == (args.pairs is None):
        raise UserError('either pairs or --blind', fix='votes calibrate PAIRS -o recipe.yml')
    if args.frames < 8:
        raise UserError('too few frames to measure anything', value=args.frames, fix='8 or more')
    if args.blind:
        return _blind(args.blind)
    generic = read_recipe(args.generic) if args.generic else None
    pairs = open_pairs(args.pairs, args.downloads)
    found = calibrate(args.name or args.output.stem, pairs, frames=args.frames)
    used = [pair for pair in pairs if pair.stream]
    verification = None if args.no_verify else verify(found.recipe, used, generic, args.frames)
    sheet = write_platform(args.output, found, verification)
    print(f'\n{shown(args.output)}\n\nrecipe: {args.output}, sheet: {sheet}')
    print(f'more pairs with it:\n  votes degrade -opt {args.output} ORIGINALS LQ_FRAMES --gt HQ_FRAMES')
    return 0


def _blind(root: Path) -> int:
    files = sorted(p for p in root.iterdir() if p.suffix.lower() in VIDEO_SUFFIXES) if root.is_dir() else [root]
    if not files or not files[0].is_file():
        raise UserError('no videos', where=root)
    print(f'{len(files)} videos, without originals')
    print('\n'.join(row(name, value) for name, value in without_originals(files).items()))
    return 0
