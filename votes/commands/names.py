"""`votes list`: the names that option files may use."""

from __future__ import annotations

import argparse

from votes.registry import registries


def add_arguments(parser: argparse.ArgumentParser) -> None:
    kinds = sorted(kind.kind for kind in registries())
    parser.add_argument('kind', nargs='?', choices=kinds, metavar='KIND', help=f'one of {", ".join(kinds)}; or all')


def run(args: argparse.Namespace) -> None:
    for kind in registries():
        if args.kind in (None, kind.kind):
            print(f'{kind.kind}:')
            print('\n'.join(f'  {name:<28}{kind.describe(name)}'.rstrip() for name in kind.names()))
