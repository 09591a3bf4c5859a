"""`votes check-data`: what is wrong with the data of an option file."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from votes.data.tools.check import SAMPLED, as_json, check_option_file, may_train


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('-opt', required=True, metavar='FILE.yml', help='option file whose datasets are looked through')
    parser.add_argument('--all', action='store_true', help='read every frame, not the first 24 of each clip')
    parser.add_argument('--json', action='store_true', help='findings as JSON')
    parser.add_argument('--write-list', type=Path, metavar='GOOD.txt', help='meta_info list of training clips that fit')


def run(args: argparse.Namespace) -> int:
    found = check_option_file(args.opt, args.all, args.write_list)
    if args.json:
        print(json.dumps(as_json(found), indent=1))
    else:
        print('\n'.join(map(str, found)) or 'nothing found')
        if not args.all:
            print(f'(the first {SAMPLED} frames of each clip were read; --all reads all)')
    return 0 if may_train(found) else 1
