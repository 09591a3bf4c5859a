"""`votes new network`: a network that already trains, to start from: its file, row, option file and test."""

from __future__ import annotations

import argparse
import difflib
import re
from pathlib import Path

from votes.checkpoint import write_text
from votes.errors import UserError
from votes.registry import NETWORKS

TEMPLATES = Path(__file__).with_name('templates')
KINDS = ('frame', 'window', 'clip', 'causal')
FRAMES = {'frame': ('1', '[0]'), 'window': ('3', '[1]'), 'clip': ('3', '[0, 1, 2]'), 'causal': ('3', '[0, 1, 2]')}


def template(name: str, **words: str) -> str:
    """A template with words in capitals replaced."""
    text = (TEMPLATES / f'{name}.txt').read_text()
    for word, value in words.items():
        text = re.sub(rf'\b{word}(?=\b|_)', value, text)
    return text


def module_of(name: str) -> str:
    """'MyNet2X' -> 'my_net2x'."""
    return re.sub(r'(?<=[a-z0-9])(?=[A-Z])', '_', name).lower()


def with_row(registry: str, name: str, target: str) -> str:
    """The text of registry.py with one more row among the networks."""
    lines = registry.splitlines()
    start = lines.index('NETWORKS = Registry(')
    end = next(i for i in range(start, len(lines)) if lines[i] == ')')
    rows = [i for i in range(start, end) if re.match(r"\s+'\w+': 'votes\.archs\.", lines[i])]
    place = next((i for i in rows if lines[i].split("'")[1] > name), rows[-1] + 1)
    return '\n'.join([*lines[:place], f"        '{name}': '{target}',", *lines[place:], ''])


def files_of(name: str, kind: str, folder: Path) -> dict[Path, str]:
    """What is written: path -> text."""
    module = module_of(name)
    count, shown = FRAMES[kind]
    inside = (folder / 'votes' / 'registry.py').is_file()
    named = name if inside else f'{module}:{name}'
    network = template(f'{kind}.py', NETWORK=name)
    options = template('train.yml', NETWORK=name, TYPE=named)
    test = template('test.py', TYPE=named, COUNT=count, SHOWN=shown)
    if not inside:
        return {
            folder / f'{module}.py': network,
            folder / f'train_{name}_demo.yml': options,
            folder / f'test_{module}.py': test,
        }
    registry = folder / 'votes' / 'registry.py'
    return {
        folder / 'votes' / 'archs' / f'{module}_arch.py': network,
        folder / 'options' / 'train' / name / f'train_{name}_demo.yml': options,
        folder / 'tests' / 'archs' / f'test_{module}.py': test,
        registry: with_row(registry.read_text(), name, f'votes.archs.{module}_arch:{name}'),
    }


def new_network(name: str, kind: str, folder: Path) -> list[Path]:
    """Writes the files of a new network, the row of the registry last.

    Raises:
        UserError: `name` is no name of a class, or taken, or a file is there already.
    """
    if not re.fullmatch(r'[A-Z][A-Za-z0-9_]*', name):
        near = difflib.get_close_matches(name.capitalize(), [name[:1].upper() + re.sub(r'\W', '', name[1:])], 1, 0.1)
        raise UserError('a network is called like a class', value=name, fix=f'such as {near[0]}' if near else None)
    if name in NETWORKS.table:
        raise UserError('there is a network of this name', value=name, fix='choose another name')
    files = files_of(name, kind, folder)
    for path in files:
        if path.exists() and path.name != 'registry.py':
            raise UserError('the output exists', where=path, fix='choose another name')
    for path, text in files.items():
        write_text(path, text)
    return list(files)


def document() -> str:
    """docs/add-a-network.md, with the four templates as they are written."""
    parts = [template('add-a-network.md')]
    for kind in KINDS:
        parts.append(f'\n## {kind.capitalize()}\n\n`votes new network MyNet --sees {kind}` writes:\n')
        parts.append('\n```python\n' + template(f'{kind}.py', NETWORK='MyNet') + '```\n')
    return ''.join(parts)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    things = parser.add_subparsers(dest='thing', required=True, metavar='WHAT')
    network = things.add_parser('network', help='a network of a kind that already trains, its option file and test')
    network.add_argument('name', metavar='NAME', help='of the class, such as MyNet')
    network.add_argument('--sees', choices=KINDS, required=True, help='how it sees a video, see docs/add-a-network.md')


def run(args: argparse.Namespace) -> int:
    written = new_network(args.name, args.sees, Path.cwd())
    print('\n'.join(f'wrote {path.relative_to(Path.cwd())}' for path in written))
    options = next(path for path in written if path.suffix == '.yml').relative_to(Path.cwd())
    inside = any(path.name == 'registry.py' for path in written)
    named = args.name if inside else f'{module_of(args.name)}:{args.name}'
    path = '' if inside else 'PYTHONPATH=. '
    steps = f'{path}votes check-network {named}', 'votes demo-data datasets/demo', f'{path}votes train -opt {options}'
    print('\n  '.join(['next:', *steps]))
    return 0


if __name__ == '__main__':
    print(document(), end='')
