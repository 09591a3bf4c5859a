"""Which options may differ when a run goes on, as they are declared where the keys are."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from votes.options.check import named
from votes.options.habits import NO_EFFECT
from votes.options.schema import Options, sections_in
from votes.registry import DATASETS


def flat(options: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
    """Nested mappings as one, with dotted keys."""
    found: dict[str, Any] = {}
    for key, value in options.items():
        found |= flat(value, f'{prefix}{key}.') if isinstance(value, dict) else {prefix + key: value}
    return found


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Dotted keys of a run's resolved options that have another value, and may not when it goes on.

    A key that one of them does not have, because a version before did not know it, stands at its default there.
    """
    was, are = flat(before), flat(now)
    different = []
    for key in sorted(was.keys() | are.keys()):
        default = _default(key) if key not in was or key not in are else None
        if was.get(key, default) != are.get(key, default) and not may_change(key, now):
            different.append(f'{key}: was {was.get(key)!r}, is {are.get(key)!r}')
    return different


def other_values(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Keys that have another value, or only one of both has, a line each."""
    different = (key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key))
    return [f'{key}: was {before.get(key)!r}, is {now.get(key)!r}' for key in different]


def may_change(key: str, options: Mapping[str, Any]) -> bool:
    """Whether a dotted key of a run's options may have another value when it goes on.

    Keys of the schema say so by `anytime`, a dataset's arguments in its class: `anytime`. Data sets that are not
    trained on may change as they like.
    """
    words = key.split('.')
    if (words[0] == 'datasets' and words[1:2] != ['train']) or words[-1] in set().union(*NO_EFFECT.values()):
        return True
    for field, _ in _fields(key):
        if isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get('anytime'):
            return True
    # its module may not be there any more
    dataset = named(options['datasets']['train']['type'], DATASETS) if words[:2] == ['datasets', 'train'] else None
    return dataset is not None and words[2] in getattr(dataset, 'anytime', ())


def _fields(key: str) -> Iterator[tuple[FieldInfo, bool]]:
    """The fields of the schema on the way to a dotted key, and whether it is the key's own."""
    section: type[BaseModel] | None = Options
    words = key.split('.')
    while section is not None and words and words[0] in section.model_fields:
        field = section.model_fields[words[0]]
        yield field, len(words) == 1
        named = typing.get_origin(field.annotation) is dict
        section, words = next(iter(sections_in(field.annotation)), None), words[2 if named else 1 :]


def _default(key: str) -> Any:
    """Of a key of the schema; None of arguments of what a type names."""
    return next((field.get_default(call_default_factory=True) for field, own in _fields(key) if own), None)
