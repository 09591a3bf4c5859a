"""`votes check-data`: what is wrong with the data of an option file."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from votes.data.tools.check import Amount, as_json, check_option_file, may_train


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('-opt', required=True, metavar='FILE.yml', help='option file whose datasets are looked through')
    parser.add_argument('--all', action='store_true', help='read every frame, not some 24 spread over each clip')
    parser.add_argument('--json', action='store_true', help='findings as JSON')
    parser.add_argument('--write-list', type=Path, metavar='GOOD.txt', help='meta_info list of training clips that fit')
    parser.add_argument(
        '--write-fixed', type=Path, metavar='DIR', help='all clips again, repaired where that can be done'
    )


def run(args: argparse.Namespace) -> int:
    amount = Amount()
    found = check_option_file(args.opt, args.all, args.write_list, args.write_fixed, amount)
    if args.json:
        read = {'frames_read': amount.read, 'frames': amount.there}
        print(json.dumps(as_json(found) | read, indent=1))
    else:
        print('\n'.join([*map(str, found), *([] if found else ['nothing found'])]))
        spread = '' if amount.read >= amount.there else ', spread over each clip; --all reads all'
        print(f'({amount}{spread})')
    return 0 if may_train(found) else 1
