"""`votes platform show`: what is known of a platform."""

from __future__ import annotations

import argparse

from votes.platforms.sheet import recipe_file, shown


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest='action', required=True)
    show = verbs.add_parser('show', help='a recipe with what each value rests on, and how it did against downloads')
    show.add_argument('name', metavar='NAME', help='a recipe file, or the name of one that comes with this project')


def run(args: argparse.Namespace) -> int:
    print(shown(recipe_file(args.name)))
    return 0
