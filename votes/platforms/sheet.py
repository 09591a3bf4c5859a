"""A platform's recipe and sheet as files, and as a page of text."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from votes.checkpoint import read_record, write_record, write_text
from votes.errors import UserError
from votes.options.shipped import shipped
from votes.options.yaml_file import dotted
from votes.platforms.calibrate import Calibration
from votes.platforms.values import Measured
from votes.platforms.verify import as_table
from votes.video.draws import places
from votes.video.recipe import Recipe, read_recipe

SUFFIX = '.platform.json'


def write_platform(path: Path, found: Calibration, verification: dict[str, Any] | None) -> Path:
    """Writes the recipe, and beside it the sheet: where each value comes from, and how it did. Returns the sheet."""
    write_text(path, yaml.safe_dump(found.data, sort_keys=False, width=120))
    sheet = path.with_suffix(SUFFIX)
    content = {
        'name': found.data['name'],
        'measured': {place: asdict(value) for place, value in found.measured.items()},
        'facts': {name: asdict(value) for name, value in found.facts.items()},
        'kernels': found.kernels,
        'notes': found.notes,
        'verification': verification,
    }
    write_record(sheet, content)
    return sheet


def recipe_file(name: str) -> Path:
    """The recipe that a person means: a file, or the name of one here or of those that come with this project.

    Raises:
        UserError: there is none.
    """
    folder = shipped() / 'degrade'
    tried = [Path(name), Path(f'{name}.yml'), folder / f'{name}.yml']
    found = next((path for path in tried if path.is_file()), None)
    if found is None:
        known = ', '.join(sorted(path.stem for path in folder.glob('*_like.yml')))
        raise UserError('no such platform', value=name, fix=f'a recipe file, or one of {known}')
    return found


def shown(path: Path) -> str:
    """The sheet of a recipe, as text.

    Raises:
        UserError: the recipe is wrong.
    """
    recipe = read_recipe(path)
    lines = [f'{recipe.name}: {recipe.about}', '']
    sheet = path.with_suffix(SUFFIX)
    if not sheet.is_file():
        status = 'measured elsewhere' if recipe.confidence else 'an assumption, or made by definition: not measured'
        return '\n'.join([*lines, status, '', *_values(recipe)])
    try:
        content = read_record(sheet)
    except ValueError as error:
        raise UserError('the sheet cannot be read', where=sheet, value=error, fix='calibrate again') from error
    lines += ['in the recipe', *_rows(content['measured']), '', 'beside it', *_rows(content['facts'])]
    if content['kernels']:
        others = ', '.join(f'{name} {times:.2f}' for name, times in content['kernels'].items())
        lines += ['', f'difference that each kernel leaves, times the best one: {others}']
    lines += ['', *content['notes']] if content['notes'] else []
    if content['verification']:
        lines += ['', f'{content["verification"]["frames"]} frames of each original through it, against the downloads']
        lines += ['', as_table(content['verification'])]
    return '\n'.join(lines)


def _values(recipe: Recipe) -> list[str]:
    """What a recipe that was not measured says."""
    data = recipe.drawn_from or recipe.model_dump(mode='json', exclude_none=True, exclude_defaults=True)
    drawn = {dotted(key): str(draw) for key, draw in places(data)}
    plain = {key: value for key, value in data.items() if key not in ('name', 'about', 'confidence')}
    return [f'  {name:28} {value}' for name, value in {**plain, **drawn}.items()]


def _rows(values: dict[str, dict[str, Any]]) -> list[str]:
    return [row(name, Measured(**value)) for name, value in values.items()]


def row(name: str, value: Measured) -> str:
    """A line: what, its value, how sure, why."""
    name = 'not known' if name.startswith('not known') else name
    text = '-' if value.value is None else str(value.value)
    return f'  {name:26} {text:30} {value.confidence:4.0%}  {value.why}'
