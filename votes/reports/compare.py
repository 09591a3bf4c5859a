"""Results of several evaluations next to each other."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from votes.checkpoint import with_infinity
from votes.errors import UserError


def _read(path: Path) -> dict[str, Any]:
    try:
        content = with_infinity(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise UserError(
            'results file cannot be read', where=path, value=error, fix='written by `votes test`'
        ) from error
    if not isinstance(content, dict) or not (
        {'name', 'protocol', 'results'} <= content.keys() and 'metrics' in content['protocol']
    ):
        raise UserError('not a results file of `votes test`', where=path)
    return content


def comparison(paths: list[Path], style: str = 'text', any_protocol: bool = False) -> str:
    """A table for each test set: the baselines once, then each evaluation and its gain over the last baseline.

    Args:
        style: text, markdown, latex or csv.
        any_protocol: also evaluations that were measured differently.

    Raises:
        UserError: a file is no results file, or two were measured under different protocols.
    """
    runs = [_read(path) for path in paths]
    for path, run in zip(paths, runs, strict=True):
        if run['protocol']['metrics'] != runs[0]['protocol']['metrics'] and not any_protocol:
            raise UserError(
                'measured under another protocol: the numbers cannot be compared',
                where=path,
                value=run['protocol']['metrics'],
                fix=f'{paths[0]} has {runs[0]["protocol"]["metrics"]}',
            )
    lines = []
    for name, first in runs[0]['results'].items():
        metrics = list(first['mean']['restored'])
        baselines = [row for row in first['mean'] if row != 'restored']
        rows = {f'LQ {row}' if row != 'LQ' else row: first['mean'][row] for row in baselines}
        rows |= {run['name']: run['results'][name]['mean']['restored'] for run in runs if name in run['results']}
        base = first['mean'][baselines[-1]] if baselines else first['mean']['restored']
        title = f'{name}, {len(first["frames"])} frames of {len(first["clips"]["restored"][metrics[0]])} clips'
        table = [['', *(column for m in metrics for column in (m, 'gain'))]]
        for row, values in rows.items():
            cells = [(values.get(m), base.get(m)) for m in metrics]
            table.append(
                [row] + [text for a, b in cells for text in (f'{a:.4f}' if a is not None else '-', _gain(a, b))]
            )
        lines += [title, *STYLES[style](table)]
    return '\n'.join(lines)


def _gain(value: float | None, base: float | None) -> str:
    both_infinite = value is not None and value == base and math.isinf(value)
    return '-' if value is None or base is None or both_infinite else f'{value - base:+.4f}'


def _text(table: list[list[str]]) -> list[str]:
    width = max(len(line[0]) for line in table) + 2
    return [f'{line[0]:<{width}}' + ''.join(f'{cell:>10}' for cell in line[1:]) for line in table]


def _markdown(table: list[list[str]]) -> list[str]:
    lines = ['| ' + ' | '.join(line) + ' |' for line in table]
    return ['', lines[0], '|' + '---|' * len(table[0]), *lines[1:], '']


def _latex(table: list[list[str]]) -> list[str]:
    rows = [' & '.join(map(_escaped, line)) + r' \\' for line in table]
    begin = f'\\begin{{tabular}}{{l{"r" * (len(table[0]) - 1)}}}'
    return [begin, r'\toprule', rows[0], r'\midrule', *rows[1:], r'\bottomrule', r'\end{tabular}']


def _escaped(text: str) -> str:
    """What LaTeX would read as a command, as text."""
    special = {'\\': r'\textbackslash{}', '~': r'\textasciitilde{}', '^': r'\textasciicircum{}'}
    return ''.join(special.get(c, f'\\{c}' if c in '_#%&${}' else c) for c in text)


STYLES = {'text': _text, 'markdown': _markdown, 'latex': _latex, 'csv': lambda table: [','.join(r) for r in table]}
