"""An option file of another program as one of this project, with a sentence for each thing that is not as it was."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from votes.migrate import basicsr, mmagic, redux
from votes.options import OptionError, Options, examine
from votes.options.check import key_in
from votes.options.foreign import is_redux, refusals
from votes.options.habits import LISTS, SHIPPED_LISTS
from votes.options.yaml_file import Key, OptionFile, dotted, read_option_file

# an argument of these changes what is computed: none is left out
NEEDED = ('network_g', 'network_d')
NAMED = {'type', 'base'}


@dataclass
class Migrated:
    """What came of a file.

    Attributes:
        program: whose file it was.
        mode: 'train' or 'test'.
        options: plain data of an option file of this project.
        changed: what now means something else, a sentence each.
        left_out: what is not supported, a sentence each.
    """

    program: str
    mode: str
    options: dict[str, Any]
    changed: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        return [*(f'changed: {text}' for text in self.changed), *(f'not supported: {text}' for text in self.left_out)]


def migrate_file(path: str | Path) -> Migrated:
    """Reads an option file of BasicSR, of the VOTES release or of traiNNer-redux (.yml), or a configuration of mmagic 1
    (.py, which is read and not executed).

    Raises:
        OptionError: what it needs is not here, a sentence for each such thing.
        UserError: it cannot be read.
    """
    path = Path(path)
    if path.suffix == '.py':
        found = Migrated('mmagic', *mmagic.converted(path))
    else:
        file = read_option_file(path)
        if file.problems:
            raise OptionError(path, file.problems)
        if is_redux(file.data):
            found = Migrated('traiNNer-redux', *redux.converted(file.data))
        else:
            found = Migrated('BasicSR or the release', *basicsr.converted(file.data))
    refused = refusals(found.options, migrated=True)
    if refused:
        raise OptionError(path, [f'{dotted(key)}: {text}' for key, text in refused])
    _complete(found, path)
    return found


def _complete(found: Migrated, path: Path) -> None:
    """In the words of the schema, without keys that it does not know.

    Raises:
        OptionError: what is left is no option file that this project can run.
    """
    for _ in range(3):  # keys of a section that was the wrong one show themselves only then
        file = OptionFile(found.options)
        opt, problems = examine(file, found.mode)
        found.options = file.data
        unknown = [(key, text) for key, text in problems if text.startswith('unknown key') and _spare(key, file.data)]
        if not unknown:
            break
        for key, _text in unknown:
            _section(found.options, key).pop(str(key[-1]))
        names = ', '.join(dotted(key) for key, _text in unknown)
        found.left_out.append(f'{names}: there {"is no such key" if len(unknown) == 1 else "are no such keys"} here')
    if problems:
        raise OptionError(path, [f'{dotted(key)}: {text}' for key, text in problems])
    idle = 'keys that have no effect here: '
    found.left_out += [f'{n.removeprefix(idle)}: no effect here' for n in opt.notices if n.startswith(idle)]
    shipped = 'the list that comes with this package is used'  # so it is for the new file
    found.changed += [notice for notice in opt.notices if not notice.startswith(idle) and shipped not in notice]
    found.options = _ordered(_without_empty(found.options))


def _spare(key: Key, data: dict[str, Any]) -> bool:
    """Whether a key may be left out: it is there, and nothing that is computed with stands in it."""
    losses = key[0] == 'train' and len(key) > 2 and str(key[1]) not in ('parts', 'nonfinite')
    return key_in(data, key) == key and key[0] not in NEEDED and not losses and key[-1] not in NAMED


def _section(data: Any, key: Key) -> dict[str, Any]:
    for part in key[:-1]:
        data = data[part]
    section: dict[str, Any] = data
    return section


def _ordered(options: dict[str, Any]) -> dict[str, Any]:
    """Sections in the order of the schema, and lists that come with this project as they are named everywhere."""
    for data in options['datasets'].values():
        for key in LISTS:
            if str(data.get(key, '')).startswith(str(SHIPPED_LISTS)):
                data[key] = f'./data/meta_info/{Path(data[key]).name}'
    return {key: options[key] for key in Options.model_fields if key in options}


def _without_empty(options: dict[str, Any]) -> dict[str, Any]:
    """Without empty sections."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            kept = {str(key): plain(item) for key, item in value.items()}
            return {key: item for key, item in kept.items() if item != {}}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        return value

    found: dict[str, Any] = plain(options)
    return found


class _Plain(yaml.SafeDumper):
    """Short lists in a line, sections in blocks; rates as 2e-4 and not as 0.0002."""


def _list(dumper: yaml.SafeDumper, value: list[Any]) -> yaml.Node:
    return dumper.represent_sequence('tag:yaml.org,2002:seq', value, flow_style=True)


def _float(dumper: yaml.SafeDumper, value: float) -> yaml.Node:
    text = repr(value)
    if value and abs(value) < 1e-3:
        digits, _, power = f'{value:.12e}'.partition('e')
        digits = digits.rstrip('0')
        text = f'{digits}0e{int(power)}' if digits.endswith('.') else f'{digits}e{int(power)}'
    return dumper.represent_scalar('tag:yaml.org,2002:float', text)


_Plain.add_representer(list, _list)
_Plain.add_representer(float, _float)


def written(found: Migrated, source: str | Path) -> str:
    """The text of the option file."""
    head = [f'# Made by `votes migrate` of {Path(source).name}, a file of {found.program}.']
    head += [f'# {line}' for line in found.lines()]
    # 1e-4 is a number of this project's YAML, a word of PyYAML's
    body = yaml.dump(found.options, Dumper=_Plain, sort_keys=False, width=118, allow_unicode=True)
    return '\n'.join([*head, '', body])
