"""Seeded splits of clips into those for training, validation and test."""

from __future__ import annotations

import numpy as np

from votes.errors import UserError


def folds(clips: list[str], number: int, test: int, val: int, seed: int) -> list[dict[str, list[str]]]:
    """Seeded splits into 'train', 'val' and 'test' whose test clips do not overlap (the paper: 5, of 10 and 4).

    Raises:
        UserError: there are too few clips.
    """
    if number and (number * test > len(clips) or test + val >= len(clips)):
        raise UserError(
            'too few clips for this split', value=f'{len(clips)} clips, {number} times {test} test, {val} val'
        )
    order = [clips[i] for i in np.random.default_rng(seed).permutation(len(clips))]
    found = []
    for k in range(number):
        tested = order[k * test : (k + 1) * test]
        rest = [clip for clip in order if clip not in set(tested)]
        rest = rest[k * test :] + rest[: k * test]  # other clips for validation in each
        found.append({'train': sorted(rest[val:]), 'val': sorted(rest[:val]), 'test': sorted(tested)})
    return found
