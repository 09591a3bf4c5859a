"""What `votes reproduce zoo` found, as the section of docs/zoo.md that compares networks at equal compute."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean
from typing import Any

from votes.studies.claims import LEVEL

RESULTS = Path('benchmarks/results/study_zoo.json')
HEAD = (
    'network',
    'gain over bicubic, PSNR-Y dB',
    'PSNR-Y dB',
    'SSIM',
    'warping error less that of bicubic, x 1000',
    'frames a second (slowest to fastest run)',
    'MiB',
    'million parameters',
    'steps',
    'seeds x clips',
)


def section(study: dict[str, Any]) -> str:
    """Title, words and table, the largest gain first.

    Args:
        study: as benchmarks/tables.py keeps it.
    """
    measured = sorted((row for row in study['rows'] if row['ours']), key=lambda row: -row['ours']['psnr'])
    missing = [f'{row["label"]} ({row["reason"]})' for row in study['rows'] if not row['ours']]
    about, spent = study['machine'], _spent(study['runs'])
    lines = [
        '## At equal compute',
        '',
        f'{study["title"]}. `{study["command"]}` on {about["cpu"]}, {about["threads"]} thread, PyTorch '
        f'{about["torch"]}; everything is in [{RESULTS.name}](../{RESULTS}).',
        '',
        f'Brackets are where {100 * LEVEL:g} % of draws of seeds and clips lie (see [studies](studies.md)): networks '
        'whose brackets overlap are not told apart here. A training took '
        f'{min(spent):.0f} to {max(spent):.0f} seconds of the processor.',
        '',
        *(f'- {note}' for note in study['notes']),
        *([f'- Not run: {"; ".join(missing)}.'] if missing else []),
        '',
        f'| {" | ".join(HEAD)} |',
        '|' + '---|' * len(HEAD),
        *(board_row(row, study['runs']) for row in measured),
        _bicubic(measured),
    ]
    return '\n'.join(lines) + '\n'


def board_row(row: dict[str, Any], runs: dict[str, Any]) -> str:
    """The line of a network; `runs` have what was measured of each."""
    gain, cost, sides = row['interval']['psnr'], row['cost'], row['sides']['with']
    cells = [
        row['label'],
        _bracketed(gain),
        f'{sides["psnr"]:.2f}',
        f'{sides["ssim"]:.4f}',
        _bracketed(row['interval'].get('warping_error'), 1000),
        _speed(row, runs),
        f'{cost["peak_bytes"] / 2**20:.0f}' if 'peak_bytes' in cost else '-',
        f'{cost["parameters"] / 1e6:.3f}',
        f'{cost["steps"]:,}',
        f'{gain["seeds"]} x {gain["clips"]}',
    ]
    return f'| {" | ".join(cells)} |'


def _bicubic(rows: list[dict[str, Any]]) -> str:
    """The line of interpolated frames, with their warping error."""
    sides = rows[0]['sides']['without']
    errors = [row['cost']['warping_error_bicubic'] for row in rows if 'warping_error_bicubic' in row['cost']]
    of = f'0 ({1000 * errors[0]:.3f})' if errors else '0'
    cells = ['bicubic interpolation', '0', f'{sides["psnr"]:.2f}', f'{sides["ssim"]:.4f}', of, '-', '-', '0', '0', '-']
    return f'| {" | ".join(cells)} |'


def _speed(row: dict[str, Any], runs: dict[str, Any]) -> str:
    """Frames a second: the mean of all runs, and those of the slowest and of the fastest."""
    clips = [run['costs'].values() for job in row['row'].get('costs', ()) if 'costs' in (run := runs.get(job, {}))]
    each = [fmean(clip['frames_per_second'] for clip in found) for found in clips]
    return f'{fmean(each):.1f} ({min(each):.1f} to {max(each):.1f})' if each else '-'


def _bracketed(found: dict[str, Any] | None, times: float = 1) -> str:
    if found is None:
        return '-'
    value, low, high = (f'{times * found[key]:+.3f}' for key in ('value', 'low', 'high'))
    return f'{value} [{low}, {high}]'


def _spent(runs: dict[str, Any]) -> list[float]:
    """Of each training, seconds of the processor a thread: the last mean of a step, times the steps."""
    trained = [run for run in runs.values() if run.get('training') and run['state'] == 'done']
    return [run['training'][-1]['cpu_seconds'] * run['options']['train.total_iter'] for run in trained]


def kept(root: Path) -> dict[str, Any] | None:
    """The results that are kept with the source; None where there are none."""
    path = root / RESULTS
    return json.loads(path.read_text()) if path.is_file() else None
