"""Where the pixels of LQ lie on GT. Networks learn it: on data of the other grid they lose decibels, all in a shift.

'centre': at the centres of S x S pixels of GT, as after bicubic or area shrinking and in what platforms show.
'origin': LQ pixel j lies on GT pixel S*j, as where every S-th pixel is taken after a blur (BD).
The difference is (S - 1) / 2 pixels of GT in both directions.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from votes.checkpoint import read_record
from votes.data.degrading import OnTheFly
from votes.data.pairs import ClipPairs
from votes.errors import UserError, explained

MANIFEST = 'manifest.json'


def stored_grid(root: str | Path) -> str | None:
    """What the manifest beside frames says (`votes degrade`, `votes prepare`); None where nothing is said."""
    path = Path(root) / MANIFEST
    if not path.is_file():
        return None
    with explained('a manifest cannot be read', ValueError, where=path, fix='make the frames again'):
        return read_record(path, unsigned=True).get('grid')


def grid_of(dataset: Any) -> str | None:
    """The grid of a dataset of pairs; None where it is not known.

    Raises:
        UserError: recipes of different grids are drawn from.
    """
    pairs = getattr(dataset, 'pairs', None)
    if not isinstance(pairs, ClipPairs):
        return None
    if not isinstance(pairs.lq, OnTheFly):
        root = getattr(pairs.lq, 'root', None)
        return None if root is None else stored_grid(root)
    grids = {recipe.grid for recipe in pairs.lq.recipes}
    if len(grids) > 1:
        raise UserError('recipes of different grids', where=pairs.lq.root, fix='recipes of one grid')
    return grids.pop()


def check_grid(learnt: str | None, who: str, dataset: Any, name: str, allowed: bool = False) -> None:
    """Compares the grid that a network was trained on with that of data it is tested on, where both are known.

    Raises:
        UserError: they differ and it is not `allowed`.
    """
    shown = grid_of(dataset)
    if allowed or learnt is None or shown is None or learnt == shown:
        return
    raise UserError(
        f'{who} was trained on LQ of the grid {learnt!r}, {name} is of {shown!r}: restored frames would be shifted',
        where=dataset.pairs.lq.root,
        fix='LQ frames of the same degradation (BI or BD), or val.any_grid: true',
    )
