"""`votes pair`: downloads to the originals they came of."""

from __future__ import annotations

import argparse
from pathlib import Path

from votes.data.tools.prepare import Wish
from votes.platforms.pairing import pair_folders
from votes.platforms.pairs_page import PAGE, write_pairs_page


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('originals', type=Path, help='folder of videos (or of folders of frames) as they were uploaded')
    parser.add_argument('downloads', type=Path, help='folder of what came back, under any names')
    parser.add_argument('output', type=Path, help='folder to make; the same command goes on where it stopped')
    parser.add_argument('--scale', type=int, help='size of GT for that of LQ (default: the commonest)')
    parser.add_argument('--workers', type=int, default=2, help='files that are decoded together (default 2)')
    parser.add_argument('--frames', type=int, help='at most so many frames of each pair')
    parser.add_argument('--test', type=int, help='pairs for testing, drawn with the seed')
    parser.add_argument('--val', type=int, help='pairs for validation, drawn with the seed')
    parser.add_argument('--seed', type=int, default=0, help='of what is drawn (default 0)')


def run(args: argparse.Namespace) -> int:
    """Exit code 1 where nothing could be paired."""
    wish = Wish(frames=args.frames, test=args.test, val=args.val, seed=args.seed)
    outcome = pair_folders(
        args.originals,
        args.downloads,
        args.output,
        scale=args.scale,
        workers=args.workers,
        wish=wish,
        page=write_pairs_page,
    )
    unsure = sum(not match.sure or bool(match.left_out) for match in outcome.matches.values()) + len(outcome.unreadable)
    print(f'{len(outcome.pairs)} pairs, {unsure} downloads not paired, {len(outcome.unused)} originals without one')
    print(f'look at them: {args.output / PAGE}')
    return 0 if outcome.pairs else 1
