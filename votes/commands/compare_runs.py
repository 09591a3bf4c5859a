"""Two runs next to each other: the first step at which they differ."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from votes.errors import UserError
from votes.reports.curves import read_rows
from votes.training.checkpoint_store import Saves, weights_path

WEIGHTS = 'weights'
MEASURED_TIME = {'seconds', 'cpu_seconds', 'data', 'eta'}  # differ between any two runs


def _known(folder: Path) -> dict[tuple[int, str], dict[str, Any]]:
    """Iteration and kind -> what was logged there, and checksums of the weights of checkpoints with a manifest."""
    rows = {(row['iter'], row['kind']): row for row in read_rows(folder)}
    found = {key: {k: v for k, v in row.items() if k not in MEASURED_TIME} for key, row in rows.items()}
    saves = Saves(folder)
    for n in saves.iterations():
        files, _ = saves.manifest(n)
        if files:
            found[n, WEIGHTS] = files[str(weights_path(folder, n).relative_to(folder))]
    return found


def compare_runs(first: Path, second: Path) -> tuple[bool, str]:
    """Compares what two runs logged and saved at the iterations that both have.

    Returns:
        Whether they are equal, and a sentence on where they first differ.

    Raises:
        UserError: a folder is no run, or they have nothing in common.
    """
    one, two = _known(first), _known(second)
    common = sorted(one.keys() & two.keys(), key=lambda key: (key[0], key[1] == WEIGHTS, key[1]))
    if not common:
        raise UserError('the runs have no iteration in common', where=f'{first}, {second}')
    rows = [key for key in common if key[1] != WEIGHTS]
    at = next((key for key in common if one[key] != two[key]), None)
    if at is None:
        return True, f'equal: {len(rows)} logged rows and the weights of {len(common) - len(rows)} checkpoints'
    if at[1] == WEIGHTS:
        return False, f'the weights differ first at checkpoint {at[0]}'
    a, b = one[at], two[at]
    values = ', '.join(f'{k}: {a.get(k)} and {b.get(k)}' for k in sorted(a.keys() | b.keys()) if a.get(k) != b.get(k))
    equal = [key[0] for key in rows if key < at]
    last = f'; the last equal row is that of iteration {equal[-1]}' if equal else ''
    return False, f'the runs differ first at iteration {at[0]} ({at[1]}): {values}{last}'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('first', type=Path, metavar='experiments/A', help='folder of a training run')
    parser.add_argument('second', type=Path, metavar='experiments/B', help='folder of another one')


def run(args: argparse.Namespace) -> int:
    equal, text = compare_runs(args.first, args.second)
    print(text)
    return 0 if equal else 1
