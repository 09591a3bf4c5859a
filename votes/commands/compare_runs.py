"""Two runs next to each other: the first step at which they differ."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from votes.errors import UserError
from votes.reports.curves import read_rows
from votes.training.checkpoint_store import Saves, weights_path

MEASURED_TIME = {'seconds', 'data', 'eta'}  # differ between any two runs


def _rows(folder: Path) -> dict[tuple[int, str], dict[str, Any]]:
    rows = {(row['iter'], row['kind']): row for row in read_rows(folder)}
    return {key: {k: v for k, v in row.items() if k not in MEASURED_TIME} for key, row in rows.items()}


def _weights(folder: Path) -> dict[int, str]:
    """Iteration -> checksum of the weights, of checkpoints with a manifest."""
    saves = Saves(folder)
    found = {n: saves.manifest(n)[0] for n in saves.iterations()}
    names = {n: str(weights_path(folder, n).relative_to(folder)) for n in found}
    return {n: files[names[n]]['sha256'] for n, files in found.items() if files}


def compare_runs(first: Path, second: Path) -> tuple[bool, str]:
    """Compares what two runs logged and saved at the iterations that both have.

    Returns:
        Whether they are equal, and a sentence on where they first differ.

    Raises:
        UserError: a folder is no run, or they have nothing in common.
    """
    one, two = _rows(first), _rows(second)
    sums = _weights(first), _weights(second)
    common = sorted(one.keys() & two.keys())
    saved = sorted(sums[0].keys() & sums[1].keys())
    if not common and not saved:
        raise UserError('the runs have no iteration in common', where=f'{first}, {second}')
    differing = next((key for key in common if one[key] != two[key]), None)
    unequal = next((n for n in saved if sums[0][n] != sums[1][n]), None)
    if differing is None and unequal is None:
        return True, f'equal: {len(common)} logged rows and the weights of {len(saved)} checkpoints'
    if differing is None or (unequal is not None and unequal < differing[0]):
        return False, f'the weights differ first at checkpoint {unequal}'
    a, b = one[differing], two[differing]
    values = ', '.join(f'{k}: {a.get(k)} and {b.get(k)}' for k in sorted(a.keys() | b.keys()) if a.get(k) != b.get(k))
    equal = [key[0] for key in common if key < differing]
    return False, (
        f'the runs differ first at iteration {differing[0]} ({differing[1]}): {values}'
        + (f'; the last equal row is that of iteration {equal[-1]}' if equal else '')
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('first', type=Path, metavar='experiments/A', help='folder of a training run')
    parser.add_argument('second', type=Path, metavar='experiments/B', help='folder of another one')


def run(args: argparse.Namespace) -> int:
    equal, text = compare_runs(args.first, args.second)
    print(text)
    return 0 if equal else 1
