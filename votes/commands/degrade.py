"""`votes degrade`: clips through a recipe."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from votes.data.degrading import degrade_source
from votes.video.recipe import read_recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('-opt', required=True, metavar='RECIPE.yml', help='such as options/degrade/reds_x2_qp28.yml')
    parser.add_argument('source', type=Path, help='folders of pictures, videos, raw YUV, an LMDB or a packed store')
    parser.add_argument('output', type=Path, help='folder to make')
    parser.add_argument('--gt', type=Path, metavar='OUT', help='writes the originals of the frames that are shown here')
    parser.add_argument('--metadata', type=Path, metavar='OUT', help='writes motion vectors and quantisers here')
    parser.add_argument('--videos', type=Path, metavar='OUT', help='writes the compressed files themselves here')
    parser.add_argument('--once', type=Path, metavar='OUT', help='writes what the encoding before the last showed here')
    parser.add_argument('--workers', type=int, default=os.cpu_count() or 1, help='clips at a time')
    parser.add_argument('--seed', type=int, default=0, help='of what the recipe draws for each clip (default 0)')


def run(args: argparse.Namespace) -> int:
    recipe = read_recipe(args.opt)
    given = {
        'originals': args.gt,
        'metadata': args.metadata,
        'videos': args.videos,
        'once': args.once,
        'workers': args.workers,
        'seed': args.seed,
    }
    degrade_source(args.source, args.output, recipe, **given)
    return 0
