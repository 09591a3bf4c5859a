"""Measurements of a study that are programs of their own: an option file in, a JSON file out."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from votes import checkpoint
from votes.options import Options, load_options


def run_as_program(
    argv: list[str] | None,
    about: str,
    measure: Callable[[Options, Path], dict[str, Any]],
    said: Callable[[dict[str, Any]], str],
) -> int:
    """``-opt TEST.yml -o OUT.json [--set KEY=VALUE ...]``: writes what `measure` finds.

    Args:
        said: the line that is printed of it.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument('-opt', required=True)
    parser.add_argument('-o', '--output', type=Path, required=True)
    parser.add_argument('--set', nargs='+', action='extend', default=[], dest='overrides')
    args = parser.parse_args(argv)
    found = measure(load_options(args.opt, 'test', args.overrides), args.output.parent)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.write_json(args.output, found)
    print(said(found))
    return 0
