"""`votes zoo`: every registered network, what it sees and reads, and what it costs. docs/zoo.md is made of it."""

from __future__ import annotations

import argparse
import contextlib
import functools
import inspect
import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import votes
from votes.archs.contract import Causal, Clip, Frame, Promise, Window, promise
from votes.checkpoint import write_text
from votes.commands import leaderboard
from votes.commands.counting import CLIP, SIZE, SMALL, Cost, cost_of
from votes.errors import UserError
from votes.options.habits import accept_habits
from votes.options.outline import shapes_only
from votes.options.shipped import shipped
from votes.options.yaml_file import read_option_file
from votes.registry import NETWORKS

ROOT = Path(votes.__file__).resolve().parents[1]  # a checkout; an installed package has no results of tests
PARITY = Path('benchmarks/results/parity.json')


@dataclass
class Entry:
    """What is known of a registered network.

    Attributes:
        arguments: of the constructor, with which it is counted: those of its first option file, else the defaults.
        said: None of what is no network of videos by itself.
        scales: S for which it can be built.
        files: option files under options/ that name it, those for training first.
        parity: cases of the results file, see benchmarks/parity.py.
        cost: None until it is counted.
        chosen: of a network that was never published: what is specified, and what was chosen.
    """

    name: str
    paper: str
    arguments: dict[str, Any]
    parameters: int
    said: Promise | None
    scales: list[int]
    files: list[str]
    parity: list[dict[str, Any]] = field(default_factory=list)
    cost: Cost | None = None
    chosen: str = ''

    def as_json(self) -> dict[str, Any]:
        content = {key: value for key, value in asdict(self).items() if key not in ('said', 'cost')}
        if self.said is not None:
            content |= {'sees': repr(self.said.sees), 'channels': self.said.channels, 'counted_scale': self.said.scale}
            content |= {'inputs': list(self.said.inputs), 'optional': list(self.said.optional)}
        return content | ({'cost': asdict(self.cost)} if self.cost else {})


@functools.cache
def _files() -> dict[str, list[tuple[str, dict[str, Any]]]]:
    """Network -> (option file, its network_g), those for training first."""
    found: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for kind in ('train', 'finetune', 'test'):
        paths = (shipped() / kind).rglob('*.yml')
        for path in sorted(paths, key=lambda path: ('demo' in path.stem, path)):  # small networks last
            file = read_option_file(path)
            accept_habits(file)
            network = dict(file.data.get('network_g') or {})
            found.setdefault(network.pop('type', ''), []).append(
                (Path('options', path.relative_to(shipped())).as_posix(), network)
            )
    return found


@functools.cache
def _parity() -> dict[str, list[dict[str, Any]]]:
    """Network -> cases whose results are kept with the source."""
    if not (ROOT / PARITY).is_file():
        return {}
    found: dict[str, list[dict[str, Any]]] = {}
    for case in json.loads((ROOT / PARITY).read_text())['cases']:
        found.setdefault(case['network'], []).append(case)
    return found


def describe(name: str) -> Entry:
    """All about a network that does not have to be counted frame by frame.

    Raises:
        UserError: there is no such network.
    """
    cls = NETWORKS.get(name)
    files = _files().get(name, [])
    needed = any(p.default is p.empty for p in inspect.signature(cls).parameters.values())
    arguments = files[0][1] if files else dict(getattr(cls, 'small', {})) if needed else {}
    with shapes_only():
        net = cls(**arguments)
    whole = getattr(net, 'sees', None) is not None
    module = sys.modules[cls.__module__].__doc__ or ''
    return Entry(
        name,
        ' '.join(module.strip().split('\n\n')[0].split()),
        arguments,
        sum(p.numel() for p in net.parameters()),
        promise(net) if whole else None,
        _scales(cls, net) if whole else [],
        [path for path, _ in files],
        _parity().get(name, []),
        chosen=_chosen(cls),
    )


def _chosen(cls: Any) -> str:
    """The paragraph of a class's docstring that says what the report of the challenge specifies."""
    paragraphs = inspect.cleandoc(cls.__doc__ or '').split('\n\n')
    found = [text for text in paragraphs if text.startswith('The report of the challenge specifies')]
    return ' '.join(found[0].split()) if found else ''


def _scales(cls: Any, net: Any) -> list[int]:
    """Of `net`, and of small networks of its class with another value for each argument about scale, and each flag."""
    small = dict(getattr(cls, 'small', {}))
    tried = []
    for key, parameter in inspect.signature(cls).parameters.items():
        if 'scale' in key or 'factor' in key:
            tried += [{key: value} for value in range(1, 5)]
        elif isinstance(parameter.default, bool):
            tried.append({key: not small.get(key, parameter.default)})
    found = {int(getattr(net, 'scale', 1))}
    for change in tried:
        with contextlib.suppress(UserError, ValueError, TypeError, ZeroDivisionError, RuntimeError), shapes_only():
            found.add(int(getattr(cls(**{**small, **change}), 'scale', 1)))
    return sorted(found)


def described(names: list[str], count: bool = True) -> list[Entry]:
    """Networks in the order of their kinds, then of their names."""
    order = [Frame, Window, Clip, Causal]
    entries = [describe(name) for name in names]
    for entry in entries if count else ():
        if entry.said is not None:
            entry.cost = cost_of({'type': entry.name, **entry.arguments})
    return sorted(entries, key=lambda e: (order.index(type(e.said.sees)) if e.said else len(order), e.name))


NEAR = {'next': '', 'peaks': ' of peak quality', 'intra': ', I frames', 'anchors': ', I and P frames'}


def _sees(said: Promise) -> str:
    sees = said.sees
    if isinstance(sees, Frame):
        text = 'a frame'
    elif isinstance(sees, Window):
        near = NEAR[sees.pick] + (' and adjacent' if sees.adjacent else '')
        text = f'{sees.frames} frames{near}' + ('' if sees.centre == sees.frames // 2 else f', the {sees.centre + 1}th')
    elif isinstance(sees, Clip):
        text = 'a clip' + (f' of at least {sees.least}' if sees.least > 1 else '')
    else:
        text = 'frame by frame' + (f', {sees.look_ahead} ahead' if sees.look_ahead else '')
    return text + (', Y' if said.channels == 'luma' else '')


def _arguments(arguments: dict[str, Any]) -> str:
    return ', '.join(f'{key}={json.dumps(value)}' for key, value in arguments.items()) or 'defaults'


def _parity_cell(entry: Entry) -> str:
    passed = [case for case in entry.parity if case['passed']]
    if not entry.parity:
        return '-'
    worst = max((case['difference']['max'] for case in passed), default=None)
    return f'{len(passed)} of {len(entry.parity)}' + (f', max {worst:.1e}' if worst is not None else '')


def _code(values: list[str] | tuple[str, ...]) -> str:
    return ', '.join(f'`{value}`' for value in values) or '-'


def seen_row(entry: Entry) -> str:
    """The line of docs/zoo.md on what a network sees; cheap, so that a test compares it."""
    assert entry.said is not None
    scales = ', '.join(f'x{s}' for s in entry.scales)
    reads = [*entry.said.inputs, *(f'{name}?' for name in entry.said.optional)]
    cells = [entry.name, _sees(entry.said), scales, _code(reads), _parity_cell(entry), entry.paper]
    return f'| {" | ".join(cells)} |'


def counted_row(entry: Entry) -> str:
    """The line of docs/zoo.md on what a network costs; its beginning, `counted_start`, is cheap."""
    assert entry.cost is not None
    mark = '†' if entry.cost.scaled else ''
    numbers = [f'{entry.cost.flops / 1e9:,.1f}{mark}', f'{entry.cost.peak_bytes / 2**30:.2f}{mark}', entry.cost.of]
    return f'{counted_start(entry)} {" | ".join(numbers)} |'


def counted_start(entry: Entry) -> str:
    assert entry.said is not None
    return f'| {entry.name} | x{entry.said.scale} | {entry.parameters / 1e6:.3f} |'


def made_with_row(entry: Entry) -> str:
    """The line of docs/zoo.md on option files and on what was counted."""
    made_with = _code(entry.files[:1]) if entry.files else _arguments(entry.arguments)
    return f'| {entry.name} | {made_with} | {max(0, len(entry.files) - 1) or "-"} |'


def part_row(entry: Entry) -> str:
    """The line of docs/zoo.md on what is no network of videos by itself."""
    cells = [entry.name, f'{entry.parameters / 1e6:.3f}', _arguments(entry.arguments), _parity_cell(entry), entry.paper]
    return f'| {" | ".join(cells)} |'


INTRO = """# Networks

For who chooses a network: what each sees, reads, costs, and how it compares with public code.

Made by `votes zoo --write docs/zoo.md`: everything here is read from the classes, from the option files and from
committed results, or counted. Nothing is typed; a test fails where it is out of date.

`votes zoo NAME --json` says all about one network, `votes check-network NAME` whether it keeps what it promises.
"""
SEEN = """
## What they see

Scales are those that the class can be built for. Besides frames it reads the fields of votes/archs/fields.py, those
with a question mark where a sample has them. Parity is with the outputs of the public implementation for the same
weights and inputs, by [benchmarks/parity.py](../benchmarks/parity.py): cases that pass, and the largest difference.

| network | sees | scales | reads | parity | paper |
|---|---|---|---|---|---|
"""
COUNTED = f"""
## What they cost

At {SIZE[1]}x{SIZE[0]} pixels of the input, with the arguments below. GFLOP are of one restored frame; a multiplication
and an addition are two, convolutions (deformable ones too) and matrix products are counted, nothing else. Memory is the
most that lives at once besides weights and input, in float32 without gradients, of what the last column says: networks
of clips hold a clip (here {CLIP} frames), and grow with it. `votes restore` needs less where it cuts frames into tiles
or shares what windows have in common.

† The network looks at values: counted on random frames of {SMALL[1]}x{SMALL[0]} and scaled by area.

| network | scale | million parameters | GFLOP a frame | peak memory GiB | of |
|---|---|---|---|---|---|
"""
MADE_WITH = """
## Option files

The first one has the arguments that were counted; further ones are counted here only.

| network | counted with | further files |
|---|---|---|
"""
CHOSEN = """
## Systems that were never published

What the report of the NTIRE 2021 challenge (Yang et al., CVPR Workshops 2021) specifies of them, and what had to be
chosen.

| network | specified and chosen |
|---|---|
"""
PARTS = """
## Parts of networks

What losses, discriminators and other networks are made of.

| network | million parameters | counted with | parity | paper |
|---|---|---|---|---|
"""


def page(entries: list[Entry]) -> str:
    """docs/zoo.md."""
    whole = [entry for entry in entries if entry.said is not None]
    parts = [part_row(entry) for entry in entries if entry.said is None]
    text = INTRO
    for title, rows in (
        (SEEN, map(seen_row, whole)),
        (COUNTED, map(counted_row, whole)),
        (MADE_WITH, map(made_with_row, whole)),
        (CHOSEN, [f'| {entry.name} | {entry.chosen} |' for entry in whole if entry.chosen]),
        (PARTS, parts),
    ):
        text += title + '\n'.join(rows) + '\n'
        if title is SEEN and (study := leaderboard.kept(ROOT)):
            text += '\n' + leaderboard.section(study)
    return text


def _card(entry: Entry) -> str:
    """A network in lines for the terminal."""
    lines = [f'{entry.name}: {entry.paper}']
    if entry.said is not None:
        reads = [*entry.said.inputs, *(f'{name}?' for name in entry.said.optional)]
        lines.append(
            f'  sees {_sees(entry.said)}; x{", x".join(map(str, entry.scales))}; reads {", ".join(["lq", *reads])}'
        )
    cost = f'  {entry.parameters / 1e6:.3f} M parameters'
    if entry.cost is not None and entry.said is not None:
        about = ', scaled from small frames' if entry.cost.scaled else ''
        cost += f'; at {SIZE[1]}x{SIZE[0]}, x{entry.said.scale}: {entry.cost.flops / 1e9:,.1f} GFLOP a frame, '
        cost += f'{entry.cost.peak_bytes / 2**30:.2f} GiB of {entry.cost.of}{about}'
    return '\n'.join([*lines, cost, f'  parity {_parity_cell(entry)}; {", ".join(entry.files) or "no option file"}'])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('names', nargs='*', metavar='NAME', help='networks (default: all that are registered)')
    parser.add_argument('--json', action='store_true', help='as JSON')
    parser.add_argument('--write', type=Path, metavar='docs/zoo.md', help='writes the page of all networks')


def run(args: argparse.Namespace) -> int:
    if args.write and args.names:
        raise UserError('the page is of all networks', value=', '.join(args.names), fix='--write without names')
    entries = described(args.names or NETWORKS.names())
    if args.write:
        write_text(args.write, page(entries))
        print(args.write)
    elif args.json:
        print(json.dumps([entry.as_json() for entry in entries], indent=1))
    else:
        print('\n\n'.join(map(_card, entries)))
    return 0
