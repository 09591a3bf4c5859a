"""Clips degraded by several recipes, packed, for training that draws one of them for each sample."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from votes import checkpoint
from votes.data.degrading import degrade_source
from votes.data.tools.pack import pack
from votes.data.versions_source import MANIFEST
from votes.errors import UserError
from votes.video.recipe import read_recipe

Say = Callable[[str], None]


def make_versions(source: Path, target: Path, recipes: list[str], say: Say = print, workers: int = 1) -> None:
    """Writes target/RECIPE (a packed store) for each recipe, and target/versions.json when all are there.

    Raises:
        UserError: recipes of different grids, or two of one name.
    """
    read = [read_recipe(path) for path in recipes]
    names = [recipe.name for recipe in read]
    if len(set(names)) < len(names) or len({recipe.grid for recipe in read}) > 1:
        raise UserError('recipes of one version each, on one grid', value=', '.join(names))
    for recipe in read:
        store, pictures = target / recipe.name, target / f'.{recipe.name}'
        if store.is_dir():
            continue
        if not (pictures / 'manifest.json').is_file():
            degrade_source(source, pictures, recipe, workers=workers, say=lambda line: None)
        pack(pictures, store, say=say)
        shutil.copyfile(pictures / 'manifest.json', store / 'manifest.json')
        shutil.rmtree(pictures)
    checkpoint.write_record(target / 'manifest.json', {'grid': read[0].grid})
    checkpoint.write_json(target / MANIFEST, {'versions': dict.fromkeys(names, 1)})
