"""Option files as data that knows where each key was written. The only place that knows YAML."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from votes.errors import UserError
from votes.options.shipped import option_file

Key = tuple[str | int, ...]
DEEPEST = 20  # an alias inside its own anchor has no end


class _Core(yaml.SafeLoader):
    """YAML 1.2's core schema: 1e-4 is a float, `no` and `on` are strings, 012 is twelve, 12:30 is a string."""


_INT, _BASES = r'[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+', {'0o': 8, '0x': 16}
_FLOAT = r'[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)'
_SCALARS: dict[str, tuple[str, str, Callable[[str], Any]]] = {  # tag -> how it is written, begins, and is read
    'null': (r'~|null|Null|NULL|', '~nN', lambda text: None),
    'bool': (r'true|True|TRUE|false|False|FALSE', 'tTfF', lambda text: text.lower() == 'true'),
    'int': (_INT, '-+0123456789', lambda text: int(text, _BASES.get(text[:2], 10))),
    'float': (_FLOAT, '-+.0123456789', lambda text: float(text.lower().replace('.inf', 'inf').replace('.nan', 'nan'))),
}
_Core.yaml_implicit_resolvers = {}
for _tag, (_pattern, _first, _) in _SCALARS.items():
    _Core.add_implicit_resolver(f'tag:yaml.org,2002:{_tag}', re.compile(f'^(?:{_pattern})$'), [*_first, ''])


class _Fast(getattr(yaml, 'CSafeLoader', yaml.SafeLoader)):  # type: ignore[misc]
    """The same, by libyaml where it is there."""

    yaml_implicit_resolvers = _Core.yaml_implicit_resolvers


@dataclass
class OptionFile:
    """The content of an option file and of the files it is based on.

    Attributes:
        data: plain dictionaries, lists and scalars.
        places: key path -> 'FILE:LINE'.
        problems: what is wrong with the file as YAML.
    """

    data: dict[str, Any] = field(default_factory=dict)
    places: dict[Key, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def place(self, key: Key) -> str:
        """Where a key, or the nearest key around it, was written."""
        while key and key not in self.places:
            key = key[:-1]
        return self.places.get(key, '')


def dotted(key: Key) -> str:
    """('train', 'optim_g', 'lr') -> 'train.optim_g.lr'."""
    return '.'.join(map(str, key))


def _value(node: yaml.Node, key: Key, file: OptionFile, name: str) -> Any:
    if len(key) > DEEPEST:
        raise UserError('option file is nested without end', where=f'{name}:{node.start_mark.line + 1}')
    if isinstance(node, yaml.ScalarNode):
        read = _SCALARS.get(node.tag.rpartition(':')[2], ('', '', str))[2]
        try:
            return read(node.value)
        except ValueError:
            file.problems.append(f'{name}:{node.start_mark.line + 1}: {dotted(key)}: not a number: {node.value!r}')
            return None
    if isinstance(node, yaml.SequenceNode):
        return [_value(child, (*key, i), file, name) for i, child in enumerate(node.value)]
    assert isinstance(node, yaml.MappingNode)
    found: dict[Any, Any] = {}
    merged = [child for name_node, child in node.value if getattr(name_node, 'value', None) == '<<']
    for name_node, child in node.value:
        part = str(getattr(name_node, 'value', name_node))
        if part == '<<':
            continue
        place = f'{name}:{name_node.start_mark.line + 1}'
        if part in found:
            file.problems.append(f'{place}: {dotted((*key, part))}: written twice, first at {file.places[*key, part]}')
            continue
        file.places[*key, part] = place
        found[part] = _value(child, (*key, part), file, name)
    for child in merged:  # YAML's merge key: what is written here wins
        for other in child.value if isinstance(child, yaml.SequenceNode) else [child]:
            below = _value(other, key, OptionFile(), name)
            found = {**below, **found} if isinstance(below, dict) else found
    return found


def _compose(text: str, where: object) -> yaml.Node | None:
    with contextlib.suppress(yaml.YAMLError, UnicodeError):  # the other one says better where it is wrong
        return yaml.compose(text, Loader=_Fast)
    try:
        return yaml.compose(text, Loader=_Core)
    except yaml.YAMLError as error:
        mark = getattr(error, 'problem_mark', None)
        place = f'{where}:{mark.line + 1}:{mark.column + 1}' if mark else where
        what = getattr(error, 'problem', None) or getattr(error, 'reason', None) or error
        raise UserError('not valid YAML', where=place, value=what) from error


def _read_one(path: Path) -> OptionFile:
    if path.suffix == '.py':
        fix = '`votes migrate` writes it as an option file of this project; nothing of it is executed'
        raise UserError('this is a configuration in Python, as mmagic has them', where=path, fix=fix)
    try:
        text = path.read_text(encoding='utf-8-sig')
    except (OSError, UnicodeDecodeError) as error:
        near = ', '.join(sorted(p.name for p in path.parent.glob('*.yml'))[:6])
        beside = f'beside it: {near}' if near else None
        raise UserError('option file cannot be read', where=path, value=error, fix=beside) from error
    node = _compose(text, path)
    if not isinstance(node, yaml.MappingNode):
        raise UserError('option file holds no keys', where=path)
    file = OptionFile()
    file.data = _value(node, (), file, str(path))
    return file


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """`above` wins; mappings are merged, unless they name different types."""
    merged = below | above
    for key in below.keys() & above.keys():
        old, new = below[key], above[key]
        if isinstance(old, dict) and isinstance(new, dict) and new.get('type', old.get('type')) == old.get('type'):
            merged[key] = _merge(old, new)
    return merged


def read_option_file(path: str | Path, seen: tuple[Path, ...] = ()) -> OptionFile:
    """Reads an option file and, under it, the file that its `base` names (relative to itself).

    A path that begins with options/ may be that of a file that comes with this project, in any working folder.

    Raises:
        UserError: a file is missing or no YAML, or files are based on each other in a circle.
    """
    path = option_file(path)
    if path.resolve() in seen:
        raise UserError('option files are based on each other in a circle', where=path)
    file = _read_one(path)
    base = file.data.pop('base', None)
    if base is None:
        return file
    below = read_option_file(Path(os.path.normpath(path.parent / str(base))), (*seen, path.resolve()))
    return OptionFile(_merge(below.data, file.data), below.places | file.places, below.problems + file.problems)


def apply_overrides(file: OptionFile, overrides: list[str]) -> None:
    """Changes keys as the command line says: 'train.total_iter=100' (BasicSR's 'train:total_iter=100' as well)."""
    for override in overrides:
        name, equals, text = override.partition('=')
        parts = [part for part in re.split(r'[.:]', name) if part]
        if not equals or not parts:
            raise UserError('cannot read an override', value=override, fix='KEY=VALUE, such as train.total_iter=100')
        node = _compose(text, f'command line ({override})')
        target = section_at(file.data, parts[:-1])
        target[parts[-1]] = None if node is None else _value(node, tuple(parts), file, 'command line')
        file.places[tuple(parts)] = 'command line'


def section_at(data: dict[str, Any], key: Iterable[Any]) -> dict[str, Any]:
    """The mapping at a key of nested data, made where there is none."""
    for part in key:
        if not isinstance(data.get(part), dict):
            data[part] = {}
        data = data[part]
    return data


def walk(data: Any, key: Key = ()) -> Iterator[tuple[Key, dict[str, Any]]]:
    """Every mapping in nested data with its key path."""
    if isinstance(data, dict):
        yield key, data
        for name, child in data.items():
            yield from walk(child, (*key, name))
