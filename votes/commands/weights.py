"""`votes weights`: the weights that ship with the package, and their cards."""

from __future__ import annotations

import argparse
from pathlib import Path

from votes.checkpoint import write_text
from votes.errors import UserError
from votes.weights import DEFAULT, Card, cards, shipped

HEAD = """# Weights that ship

For who restores a video without training anything: what the weights in the package are made of, reach, and do not.

Made by `votes weights --write docs/weights.md` from the cards in the package; a test fails where it is out of date. The
numbers come from `benchmarks/results/weights_cpu.json` and `weights_x1_cpu.json` (`votes bench weights`).

    votes restore IN.mp4 OUT.mp4                   # x2: steady from frame to frame
    votes restore IN.mp4 OUT.mp4 --weights x2_sharp
    votes restore IN.mp4 OUT.mp4 --weights x1      # the same size
    votes weights                                  # what there is
    votes weights x2                               # its card
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('name', nargs='?', help='whose card is shown')
    parser.add_argument('--write', type=Path, metavar='FILE.md', help='write all cards')


def run(args: argparse.Namespace) -> int:
    known = cards()
    if args.write:
        write_text(args.write, page(known))
        print(args.write)
        return 0
    if args.name:
        if args.name not in known:
            raise UserError('no weights of this name ship with votes', value=args.name, fix=', '.join(known))
        print('\n'.join(known[args.name].lines()))
        return 0
    for card in known.values():
        path = shipped(card.name)
        default = ' (unless --weights says otherwise)' if card.name == DEFAULT else ''
        print(f'{card.name:8} {card.what}{default}\n         {path}, {card.bytes:,} bytes, as its card says')
    return 0


def page(known: dict[str, Card]) -> str:
    """docs/weights.md."""
    return HEAD + '\n' + '\n\n'.join('\n'.join(card.lines()) for card in known.values()) + '\n'
