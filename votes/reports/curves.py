"""What runs logged: curves.svg of one (loss, learning rate, gain while training and at each validation), and
`votes plot RUN...`: what several logged, in one figure for a paper.
"""

from __future__ import annotations

import argparse
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
FORMATS = ('.svg', '.png', '.pdf')
WIDTH, HEIGHT = 3.5, 2.4  # inches: a column of a paper


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


def _by_kind(rows: list[dict[str, Any]], key: str) -> dict[str, list[tuple[int, float]]]:
    """'train' or a validation set -> (iteration, value) of what was logged as `key`."""
    found: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        if key in row:
            found.setdefault(row['kind'], []).append((row['iter'], row[key]))
    return found


def draw_curves(folder: Path) -> Path:
    """Draws folder/curves.svg from folder/metrics.jsonl and returns its path."""
    from matplotlib.figure import Figure

    rows = read_rows(folder)
    logged = {key: _by_kind(rows, key) for key in sorted({key for row in rows for key in row})}
    panels = [panel for panel in PANELS if 'train' in logged.get(panel[0], {})]
    metrics = [key for key in logged if key.startswith('restored_')]
    count = max(1, len(panels) + len(metrics))
    figure = Figure(figsize=(7, 2.4 * count), layout='constrained')
    axes = figure.subplots(count, 1, squeeze=False)[:, 0]
    for axis, (key, title, scale) in zip(axes, panels, strict=False):
        axis.plot(*zip(*logged[key]['train'], strict=True), lw=1)
        axis.set(title=title, yscale=scale)
    for axis, metric in zip(axes[len(panels) :], metrics, strict=False):
        baseline = logged.get(metric.replace('restored_', 'bicubic_'), {})
        for name, points in sorted(logged[metric].items()):
            axis.plot(*zip(*points, strict=True), 'o-', ms=3, label=name)
            if name in baseline:
                axis.axhline(baseline[name][-1][1], ls=':', c='gray', lw=1, label=f'{name}: LQ bicubic')
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


def series(folder: Path, key: str) -> dict[str, list[tuple[int, float]]]:
    """Where a run logged `key`: 'train' or a validation set -> (iteration, value).

    Raises:
        UserError: the folder is no run, or never logged it; the keys that it has are named.
    """
    rows = read_rows(folder)
    found = _by_kind(rows, key)
    if not found:
        keys = sorted({name for row in rows for name in row} - {'iter', 'kind'})
        raise UserError(f'{key!r} was never logged', where=folder, fix=f'one of {", ".join(keys)}')
    return found


def plot(runs: list[Path], key: str, output: Path, smooth: int = 1, log: bool = False) -> Path:
    """Draws `key` of every run against the iteration; the format is the suffix of `output`.

    Args:
        smooth: points that are averaged.
        log: a logarithmic axis.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, HEIGHT), layout='constrained')
    axis = figure.subplots()
    for folder in runs:
        kinds = series(folder, key)
        for kind, points in kinds.items():
            label = folder.name if len(kinds) == 1 else f'{folder.name}, {kind.removeprefix("val_")}'
            steps, values = zip(*points, strict=True)
            windows = [values[max(0, i + 1 - smooth) : i + 1] for i in range(len(values))]
            axis.plot(
                steps, [sum(w) / len(w) for w in windows], lw=1.2, marker='.' if len(points) < 30 else '', label=label
            )
    axis.set(xlabel='iteration', ylabel=key.removeprefix('restored_').replace('_', ' '))
    axis.set_yscale('log' if log else 'linear')
    axis.grid(alpha=0.3)
    axis.legend(fontsize=6)
    return save_figure(figure, output, dpi=300)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('runs', type=Path, nargs='+', metavar='experiments/NAME', help='run folders, a curve each')
    add('--key', default='restored_psnr', help='what is drawn of metrics.jsonl (default: restored_psnr)')
    add('-o', '--output', type=Path, default=Path('plot.svg'), help='.svg, .png or .pdf')
    add('--smooth', type=int, default=1, help='points that are averaged')
    add('--log', action='store_true', help='a logarithmic axis')


def run(args: argparse.Namespace) -> None:
    if args.output.suffix not in FORMATS or args.smooth < 1:
        raise UserError('a plot is .svg, .png or .pdf', value=f'{args.output}, smooth {args.smooth}')
    print(plot(args.runs, args.key, args.output, args.smooth, args.log))
