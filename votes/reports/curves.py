"""curves.svg of a run: loss, learning rate, gain while training and at each validation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from votes import checkpoint
from votes.errors import UserError

PANELS = (
    ('loss', 'loss', 'log'),
    ('gain_db', 'PSNR over bicubic LQ, dB (training batches)', 'linear'),
    ('lr', 'lr', 'linear'),
)


def read_rows(run: Path) -> list[dict[str, Any]]:
    """What a run logged, numbers that JSON does not have among it; a line that was cut off is left out.

    Raises:
        UserError: the folder is no run.
    """
    rows, path = [], run / 'metrics.jsonl'
    if not path.is_file():
        raise UserError('not a run folder: no metrics.jsonl', where=run, fix='experiments/NAME')
    for line in path.read_text().splitlines():
        try:
            rows.append(checkpoint.with_infinity(json.loads(line)))
        except ValueError:
            continue
    return rows


def validations(run: Path) -> list[tuple[int, float]]:
    """Iteration and PSNR of each validation of a run."""
    return [(row['iter'], row['restored_psnr']) for row in read_rows(run) if 'restored_psnr' in row]


def draw_curves(folder: Path) -> Path:
    """Draws folder/curves.svg from folder/metrics.jsonl and returns its path."""
    from matplotlib.figure import Figure

    rows = read_rows(folder)
    training = [row for row in rows if row['kind'] == 'train']
    sets = sorted({row['kind'] for row in rows} - {'train'})
    metrics = sorted({key for row in rows for key in row if key.startswith('restored_')})
    figure = Figure(figsize=(7, 2.4 * (len(PANELS) + len(metrics))), layout='constrained')
    axes = figure.subplots(len(PANELS) + len(metrics), 1, squeeze=False)[:, 0]
    for axis, (key, title, scale) in zip(axes, PANELS, strict=False):
        points = [(row['iter'], row[key]) for row in training if key in row]
        axis.plot(*zip(*points, strict=True) if points else ([], []), lw=1)
        axis.set(title=title, yscale=scale if points else 'linear')
    for axis, metric in zip(axes[len(PANELS) :], metrics, strict=True):
        for name in sets:
            own = [row for row in rows if row['kind'] == name and metric in row]
            axis.plot([row['iter'] for row in own], [row[metric] for row in own], 'o-', ms=3, label=name)
            baseline = metric.replace('restored_', 'bicubic_')
            if own and baseline in own[-1]:
                axis.axhline(own[-1][baseline], ls=':', c='gray', lw=1, label=f'{name}: LQ bicubic')
        axis.set(title=metric.removeprefix('restored_'))
        axis.legend(fontsize=7)
    axes[-1].set(xlabel='iteration')
    return save_figure(figure, folder / 'curves.svg')


def save_figure(figure: Any, path: Path, dpi: int = 100) -> Path:
    """Writes a figure in the format of the suffix, whole or not at all, and without the time; returns its path."""
    kind = path.suffix.removeprefix('.')
    with checkpoint.atomic_write(path) as temporary:
        figure.savefig(temporary, format=kind, dpi=dpi, metadata={'Date': None} if kind == 'svg' else None)
    return path
