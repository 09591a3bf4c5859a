"""Results of several evaluations next to each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from votes.errors import UserError


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(
            'results file cannot be read', where=path, value=error, fix='written by `votes test`'
        ) from error
    if not isinstance(content, dict) or not (
        {'name', 'protocol', 'results'} <= content.keys() and 'metrics' in content['protocol']
    ):
        raise UserError('not a results file of `votes test`', where=path)
    return content


def comparison(paths: list[Path]) -> str:
    """A table for each test set: the baselines once, then each evaluation and its gain over the last baseline.

    Raises:
        UserError: a file is no results file, or two were measured under different protocols.
    """
    runs = [_read(path) for path in paths]
    for path, run in zip(paths, runs, strict=True):
        if run['protocol']['metrics'] != runs[0]['protocol']['metrics']:
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
        base = first['mean'][baselines[-1]]
        width = max(map(len, rows)) + 2
        lines.append(f'{name}, {len(first["frames"])} frames of {len(first["clips"]["restored"][metrics[0]])} clips')
        lines.append(' ' * width + ''.join(f'{m:>10}{"gain":>10}' for m in metrics))
        lines += [
            f'{row:<{width}}' + ''.join(f'{values[m]:10.4f}{values[m] - base[m]:+10.4f}' for m in metrics)
            for row, values in rows.items()
        ]
    return '\n'.join(lines)
