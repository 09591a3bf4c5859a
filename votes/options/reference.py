"""The reference of option keys, made of the schema and of the docstrings of what option files name."""

from __future__ import annotations

import argparse
import difflib
import inspect
import types
import typing
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from votes import registry
from votes.errors import UserError
from votes.options.habits import NO_EFFECT
from votes.options.schema import Options, Spec, sections_in

INTRO = """# Options

For who writes an option file. Every key of a file, its default, and what it does; a key that is not here is an error
with its line. `votes explain KEY` prints the same on the terminal, `votes explain NAME` what a network, dataset, loss,
metric, schedule or optimiser takes. This page is made of the schema:
`python -m votes.options.reference > docs/options.md`.

Taken and without effect here are NO_EFFECT of BasicSR and the release.

A file may begin with `base: OTHER.yml`: what it does not say comes from there. `--set KEY=VALUE` changes single keys,
for every program. Sections that have a `type` take the arguments of what it names beside the keys below, such as
`num_feat` of `network_g` or `dataroot_gt` of a dataset; `votes list` has the names, and `my_package.my_module:MyClass`
is one too.

| section | who reads it |
|---|---|
| top, `network_g`, `path` | `votes train`, `votes test`, `votes sense`, `votes sheet` |
| `datasets.train`, `train`, `network_d` | `votes train`; `votes check-data` and `votes bench-data` read the datasets |
| `datasets.val`, `datasets.test`, `val` | `votes train` validates on `val`, `votes test` evaluates all but `train` |
| `logger`, `dist_params` | `votes train`, under any launcher |
"""


class Key(typing.NamedTuple):
    """A key: dotted, its type in words, its default, its meaning."""

    name: str
    kind: str
    default: str
    meaning: str


def _kind(hint: Any) -> str:
    """A type in the words of an option file."""
    if hint is type(None):
        return '~'
    if typing.get_origin(hint) is typing.Annotated:
        return _kind(typing.get_args(hint)[0])
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return ' or '.join(dict.fromkeys(_kind(arg) for arg in typing.get_args(hint) if arg is not type(None)))
    if typing.get_origin(hint) is typing.Literal:
        return ' or '.join(map(str, typing.get_args(hint)))
    if typing.get_origin(hint) is dict:
        return f'name: {_kind(typing.get_args(hint)[1])}'
    if isinstance(hint, type) and issubclass(hint, Spec):
        return 'type and arguments'
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return 'section'
    return {str: 'text', int: 'whole number', float: 'number', bool: 'true or false'}.get(hint, str(hint))


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return 'needed'
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel) or value in ({}, None):
        return '~'
    if isinstance(value, dict):
        return ', '.join(value)
    return {True: 'true', False: 'false'}.get(value, str(value)) if isinstance(value, bool) else str(value)


def keys(section: type[BaseModel] = Options, prefix: str = '') -> Iterator[Key]:
    """Every key of a section and of those below it, in the order of the schema."""
    for name, field in section.model_fields.items():
        if section is not Options and issubclass(section, Spec) and name == 'type':
            continue
        yield Key(prefix + name, _kind(field.annotation), _default(field), field.description or '')
        named = typing.get_origin(field.annotation) is dict
        for part in sections_in(field.annotation):
            if part is not Spec:
                yield from keys(part, f'{prefix}{name}.NAME.' if named else f'{prefix}{name}.')


def document() -> str:
    """docs/options.md."""
    sections: dict[str, list[Key]] = {}
    for key in keys():
        sections.setdefault(key.name.rpartition('.')[0] or 'top', []).append(key)
    idle = sorted({f'`{name}`' for names in NO_EFFECT.values() for name in names} | {'`wandb`'})
    lines = [INTRO.replace('NO_EFFECT', ', '.join(idle))]
    for section, own in sections.items():
        lines.append(f'\n## {section}\n\n| key | takes | default | what |\n|---|---|---|---|\n')
        for key in own:
            meaning = key.meaning.replace('|', '\\|')
            lines.append(f'| `{key.name.rpartition(".")[2]}` | {key.kind} | {key.default} | {meaning} |\n')
    return ''.join(lines)


def explain(word: str) -> str:
    """What an option key or a registered name means.

    Raises:
        UserError: there is neither.
    """
    known = list(keys())
    found = [key for key in known if key.name == word or key.name.rpartition('.')[2] == word]
    lines = [
        f'{key.name}: {key.meaning or "see docs/options.md"}\n  takes {key.kind}; default {key.default}'
        for key in found
    ]
    lines += [f'{word}: no effect here'] if any(word in names for names in NO_EFFECT.values()) else []
    for kind in registry.registries():
        if word in kind.table or (':' in word and kind is registry.NETWORKS):
            target = kind.get(word)
            lines.append(f'{kind.kind} {word}{inspect.signature(target)}\n\n{inspect.getdoc(target) or ""}')
    if not lines:
        names = [key.name for key in known] + [name for kind in registry.registries() for name in kind.table]
        near = difflib.get_close_matches(word, names, n=3)
        raise UserError(
            'there is no such key or name', value=word, fix=f'did you mean {", ".join(near)}?' if near else 'votes list'
        )
    return '\n\n'.join(lines)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('word', metavar='KEY|NAME', help='an option key, or a name that option files may use')


def run(args: argparse.Namespace) -> None:
    print(explain(args.word))


if __name__ == '__main__':
    print(document(), end='')
