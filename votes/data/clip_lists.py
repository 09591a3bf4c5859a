"""Which clips of a dataset belong to a part of it: meta_info lists, named partitions, seeded splits."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from typing_extensions import TypedDict

from votes.errors import UserError, explained

PARTITIONS = {'REDS4': ['000', '011', '015', '020'], 'official': [str(i) for i in range(240, 270)]}

LISTS = ('meta_info_file', 'meta_val_file', 'meta_test_file')  # arguments of data sets that name lists
CHOSEN = (*LISTS, 'val_partition', 'split', 'io_backend', 'test_mode')  # that choose clips, see ClipPairs


class Split(TypedDict):
    """A seeded random split of all clips: `test` and `val` clips are drawn, the others are for training."""

    seed: int
    test: int
    val: int
    part: Literal['train', 'val', 'test']


def read_meta_info(path: str | Path) -> dict[str, int]:
    """A meta_info list, ``NAME FRAMES`` a line (more columns are passed over) -> name -> frames.

    Raises:
        UserError: with the number of the line that is not of that form.
    """
    counts: dict[str, int] = {}
    with explained('meta_info list cannot be read', OSError, UnicodeDecodeError, where=path):
        lines = Path(path).read_text().splitlines()
    for number, line in enumerate(lines, 1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) < 2 or not fields[1].isdigit() or fields[0] in counts:
            fix = 'each line is NAME FRAMES, each name once, such as: 001 100'
            raise UserError('bad line in a meta_info list', where=f'{path}:{number}', value=line, fix=fix)
        counts[fields[0]] = int(fields[1])
    if not counts:
        raise UserError('empty meta_info list', where=path)
    return counts


def folds(clips: list[str], number: int, test: int, val: int, seed: int) -> list[dict[str, list[str]]]:
    """Seeded splits into 'train', 'val' and 'test' whose test clips do not overlap (the paper: 5, of 10 and 4).

    Raises:
        UserError: there are too few clips.
    """
    if number and (number * test > len(clips) or test + val >= len(clips)):
        value = f'{len(clips)} clips, {number} times {test} test, {val} val'
        raise UserError('too few clips for this split', value=value)
    order = [clips[i] for i in np.random.default_rng(seed).permutation(len(clips))]
    found = []
    for k in range(number):
        first, last = k * test, (k + 1) * test
        rest = order[last:] + order[:first]  # other clips for validation in each
        found.append({'train': sorted(rest[val:]), 'val': sorted(rest[:val]), 'test': sorted(order[first:last])})
    return found


def split_clips(clips: list[str], split: Split) -> list[str]:
    """The clips of one part of a seeded split."""
    return folds(clips, 1, split['test'], split['val'], split['seed'])[0][split['part']]


def partition(val_partition: str | list[str] | None) -> list[str]:
    """The clips that BasicSR's `val_partition` names."""
    if not isinstance(val_partition, str):
        return val_partition or []
    if val_partition not in PARTITIONS:
        names = ', '.join(PARTITIONS)
        raise UserError(f'unknown val_partition {val_partition!r}', fix=f'{names}, or a list of clip names')
    return PARTITIONS[val_partition]
