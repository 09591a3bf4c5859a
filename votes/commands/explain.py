"""`votes explain`: what a word of an option file means."""

from __future__ import annotations

import argparse

from votes.options.reference import explain


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('word', metavar='KEY|NAME', help='an option key, or a name that option files may use')


def run(args: argparse.Namespace) -> int:
    print(explain(args.word))
    return 0
