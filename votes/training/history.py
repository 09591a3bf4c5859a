"""history.jsonl of a run folder: a line a start, so that what came from what can be told afterwards."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from votes import checkpoint
from votes.errors import UserError
from votes.options import Options
from votes.options.changes import flat, other_values
from votes.training import contents
from votes.training.position import Position, Setup


def note_start(folder: Path, opt: Options, at: Position, setup: Setup, about: dict[str, Any]) -> None:
    """Appends what this start of a training is made of.

    Args:
        at: where it goes on.
        about: what `run_log.environment` says.
    """
    entry = {
        'time': time.strftime('%Y-%m-%d %H:%M:%S'),
        'from': at.iteration,
        'origin': at.origin,
        'options': opt.resolved(),
        'clips': setup.clips,
        'pictures': setup.pictures,
        'weights': weights_of(opt),
        'environment': {key: value for key, value in about.items() if key != 'packages'},
        'torch': about['packages'].get('torch'),
    }
    line = json.dumps({**entry, 'checksum': checkpoint.checksum(entry)})
    with checkpoint.writing('history.jsonl', folder), open(folder / 'history.jsonl', 'a') as file:
        file.write(line + '\n')


def weights_of(opt: Options) -> dict[str, str]:
    """File -> SHA-256 of the weights that a training starts from."""
    named = [opt.path.pretrain_network_g, opt.path.pretrain_network_d, opt.path.bin_model]
    named += [plan.weights for plan in opt.train.parts.values()] if opt.train else []
    return {str(path): checkpoint.sha256(path) for path in named if path and Path(path).is_file()}


def starts(folder: Path) -> list[dict[str, Any]]:
    """What `note_start` wrote, in order; a damaged line is {'damaged': its number}.

    Raises:
        UserError: there is no such run, or it is older than this file.
    """
    path = folder / 'history.jsonl'
    if not path.is_file():
        raise UserError('no history of a run', where=path, fix='experiments/NAME of a training')
    found = []
    for number, line in enumerate(path.read_text(errors='replace').splitlines(), 1):
        try:
            entry = json.loads(line)
            intact = entry.pop('checksum') == checkpoint.checksum(entry)
        except (ValueError, KeyError, AttributeError, TypeError):
            intact = False
        found.append(entry if intact else {'damaged': number})
    return found


def lineage(folder: Path, depth: int = 0) -> list[str]:
    """Lines on each start of a run, what had changed since the one before, and the runs that its weights come from."""
    margin = '  ' * depth
    lines = [f'{margin}{folder}']
    before: dict[str, Any] | None = None
    for entry in starts(folder):
        if 'damaged' in entry:
            lines.append(f'{margin}  line {entry["damaged"]} of history.jsonl is damaged')
            continue
        where = f'went on after iteration {entry["from"]}' if entry['from'] else 'began'
        origin = f', from {entry["origin"]}' if entry['origin'] else ''
        about = entry['environment']
        commit = str(about.get('commit') or 'unknown')[:12] + (', changed' if about.get('changed_files') else '')
        lines.append(
            f'{margin}  {entry["time"]}  {where}{origin}; torch {entry["torch"]}, '
            f'{about.get("processes")} processes, commit {commit}'
        )
        lines += [f'{margin}    {change}' for change in changed(before, entry)] if before else []
        before = entry
    for path, known in (before or {}).get('weights', {}).items():
        now = checkpoint.sha256(path) if Path(path).is_file() else None
        state = 'as they were' if now == known else 'gone' if now is None else 'CHANGED since'
        lines.append(f'{margin}  weights {path} ({known[:12]}, {state})')
        source = Path(path).parents[1] if len(Path(path).parents) > 1 else None
        if source and source.resolve() != folder.resolve() and (source / 'history.jsonl').is_file() and depth < 8:
            lines += lineage(source, depth + 2)
    return lines


def changed(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What differs between two starts: options, clips, pictures, weights, versions; a line each."""
    was, is_now = ({**flat(entry['options']), 'torch': entry['torch']} for entry in (before, now))
    for entry, values in ((before, was), (now, is_now)):
        values |= {name: entry['environment'].get(name) for name in ('commit', 'processes', 'python')}
        values |= {f'weights {path}': digest[:12] for path, digest in entry['weights'].items()}
    rows = other_values(was, is_now)
    if before['clips'] != now['clips']:
        rows.append('the training clips or their lengths are others')
    return rows + [line.strip() for line in contents.differences(before['pictures'], now['pictures'])]
