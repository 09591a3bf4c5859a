"""Which clips of a dataset belong to a part of it: meta_info lists, named partitions, seeded splits."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from typing_extensions import TypedDict

from votes.errors import UserError

PARTITIONS = {'REDS4': ['000', '011', '015', '020'], 'official': [str(i) for i in range(240, 270)]}


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
    try:
        lines = Path(path).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError('meta_info list cannot be read', where=path, value=error) from error
    for number, line in enumerate(lines, 1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) < 2 or not fields[1].isdigit() or fields[0] in counts:
            raise UserError(
                'bad line in a meta_info list',
                where=f'{path}:{number}',
                value=line,
                fix='each line is NAME FRAMES, each name once, such as: 001 100',
            )
        counts[fields[0]] = int(fields[1])
    if not counts:
        raise UserError('empty meta_info list', where=path)
    return counts


def split_clips(clips: list[str], split: Split) -> list[str]:
    """The clips of one part of a seeded split."""
    if split['test'] + split['val'] >= len(clips):
        raise UserError(
            'split leaves no clip for training', value=f'{len(clips)} clips, {split["test"]} test, {split["val"]} val'
        )
    order = [clips[i] for i in np.random.default_rng(split['seed']).permutation(len(clips))]
    ends = split['test'], split['test'] + split['val']
    return sorted({'test': order[: ends[0]], 'val': order[ends[0] : ends[1]], 'train': order[ends[1] :]}[split['part']])


def excluded_by(val_partition: str | list[str] | None) -> list[str]:
    """Clips that BasicSR's `val_partition` keeps out of training."""
    if val_partition is None:
        return []
    if isinstance(val_partition, list):
        return val_partition
    if val_partition not in PARTITIONS:
        raise UserError(
            f'unknown val_partition {val_partition!r}', fix=f'{", ".join(PARTITIONS)}, or a list of clip names'
        )
    return PARTITIONS[val_partition]
