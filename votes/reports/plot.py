"""`votes plot RUN...`: what several runs logged, in one figure for a paper."""

from __future__ import annotations

import argparse
from pathlib import Path

from votes.errors import UserError
from votes.reports.curves import read_rows, save_figure

FORMATS = ('.svg', '.png', '.pdf')
WIDTH, HEIGHT = 3.5, 2.4  # inches: a column of a paper


def series(folder: Path, key: str) -> dict[str, list[tuple[int, float]]]:
    """Where a run logged `key`: 'train' or a validation set -> (iteration, value).

    Raises:
        UserError: the folder is no run, or never logged it; the keys that it has are named.
    """
    rows = read_rows(folder)
    found: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        if key in row:
            found.setdefault(row['kind'], []).append((row['iter'], row[key]))
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
    parser.add_argument('runs', type=Path, nargs='+', metavar='experiments/NAME', help='run folders, a curve each')
    parser.add_argument(
        '--key', default='restored_psnr', help='what is drawn of metrics.jsonl (default: restored_psnr)'
    )
    parser.add_argument('-o', '--output', type=Path, default=Path('plot.svg'), help='.svg, .png or .pdf')
    parser.add_argument('--smooth', type=int, default=1, help='points that are averaged')
    parser.add_argument('--log', action='store_true', help='a logarithmic axis')


def run(args: argparse.Namespace) -> int:
    if args.output.suffix not in FORMATS or args.smooth < 1:
        raise UserError('a plot is .svg, .png or .pdf', value=f'{args.output}, smooth {args.smooth}')
    print(plot(args.runs, args.key, args.output, args.smooth, args.log))
    return 0
