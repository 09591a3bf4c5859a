"""A study as Markdown, LaTeX, CSV, JSON and a figure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from votes import checkpoint
from votes.reports import protocol
from votes.reports.curves import save_figure
from votes.studies.claims import NOT_RUN, VERDICTS, Interval
from votes.studies.outcome import Result
from votes.studies.runner import Outcome
from votes.studies.study import Study
from votes.training.run_log import environment

HEADS = {
    'psnr': 'PSNR dB',
    'ssim': 'SSIM',
    'correlation': 'corr(DFM, error)',
    'correlation_lq': 'corr(DFM, LQ error)',
    'order': 'rank correlation with the published order',
}


COSTS: dict[str, tuple[str, Callable[[float], str]]] = {  # name -> head, and a number as it is shown
    'parameters': ('parameters', lambda value: f'{value:,.0f}'),
    'train_s': ('training s', lambda value: f'{value:,.0f}'),
    'steps': ('steps', lambda value: f'{value:,.0f}'),
    'warping_error': ('warping error x 1000', lambda value: f'{1000 * value:.3f}'),
    'warping_error_bicubic': ('of bicubic', lambda value: f'{1000 * value:.3f}'),
    'frames_per_second': ('frames a second', lambda value: f'{value:.2f}'),
    'peak_bytes': ('MiB', lambda value: f'{value / 2**20:.0f}'),
}


def write_all(study: Study, results: list[Result], outcomes: dict[str, Outcome], folder: Path, command: str) -> str:
    """Writes NAME.{md,tex,csv,json,svg,png} into `folder`; returns the Markdown."""
    table = _table(results)
    about = environment()
    text = markdown(study, table, results, about, command)
    contents = {'md': text, 'tex': latex(study, table), 'csv': '\n'.join([*protocol.comma_separated(table), ''])}
    for suffix, content in contents.items():
        checkpoint.write_text(folder / f'{study.name}.{suffix}', content)
    checkpoint.write_record(folder / f'{study.name}.json', as_json(study, results, outcomes, about, command))
    draw(study, results, folder)
    return text


def _digits(metric: str, gain: bool = False) -> int:
    return (3 if gain else 2) if metric.startswith('psnr') else 4 if metric == 'ssim' else 3


def _number(value: float | None, digits: int, sign: str = '') -> str:
    return '-' if value is None else f'{value:{sign}.{digits}f}'


def _ours(metric: str, result: Result) -> str:
    """A number with its interval, or its spread."""
    gain = bool(result.sides)
    digits, sign = _digits(metric, gain), '+' if gain else ''
    text, interval = _number(result.ours.get(metric), digits, sign), result.interval.get(metric)
    if interval is not None:
        return f'{text} [{_number(interval.low, digits, sign)}, {_number(interval.high, digits, sign)}]'
    return text + (f' ± {_number(result.spread[metric], digits)}' if metric in result.spread else '')


def _steadiness(result: Result) -> str:
    """The warping error less that of the interpolated frames, thousandths, with its interval."""
    one = result.interval.get('warping_error')
    return f'{1000 * one.value:+.3f} [{1000 * one.low:+.3f}, {1000 * one.high:+.3f}]' if one else '-'


def _table(results: list[Result]) -> list[list[str]]:
    """Header and rows: for every metric published, ours and the difference; then the verdict."""
    columns = [['', *(r.row.label for r in results)]]
    for metric in dict.fromkeys(m for r in results for m in [*({} if r.row.order else r.row.published), *r.ours]):
        title, ours = HEADS.get(metric, metric.replace('_', ' ')), [_ours(metric, r) for r in results]
        if any(metric in r.row.published for r in results):
            digits = [(r, _digits(metric, bool(r.row.minus)), '+' if r.row.minus else '') for r in results]
            paper = [_number(r.row.published.get(metric), n, sign) for r, n, sign in digits]
            columns += [[f'{title}, paper', *paper], ['ours', *ours]]
            columns.append(['difference', *(_number(r.difference.get(metric), n, '+') for r, n, _ in digits)])
        else:
            columns.append([title, *ours])
    for side, metric in dict.fromkeys((side, m) for r in results for side, values in r.sides.items() for m in values):
        values = [_number(r.sides.get(side, {}).get(metric), _digits(metric, True)) for r in results]
        columns.append([f'{HEADS.get(metric, metric)} {side}', *values])
    for name in dict.fromkeys(name for r in results for name in r.baseline):
        columns.append([f'{name} PSNR dB', *(_number(r.baseline.get(name), 2) for r in results)])
    for name, (head, said) in COSTS.items():
        if any(name in r.cost for r in results):
            columns.append([head, *(said(r.cost[name]) if name in r.cost else '-' for r in results)])
    if any('warping_error' in r.interval for r in results):
        columns.append(['warping error over bicubic x 1000', *map(_steadiness, results)])
    if any(r.interval for r in results):
        amounts = (next(iter(r.interval.values()), None) for r in results)
        columns.append(['seeds x clips', *(f'{one.seeds} x {one.clips}' if one else '-' for one in amounts)])
    columns.append(['verdict', *(r.verdict for r in results)])
    return [list(line) for line in zip(*columns, strict=True)]


def markdown(study: Study, table: list[list[str]], results: list[Result], about: dict[str, Any], command: str) -> str:
    lines = [f'# {study.title}', *_grid(study, results), *protocol.markdown(table)]
    reasons = [f'- {r.row.label}: {r.verdict}: {r.reason}' for r in results if r.reason]
    counts = {verdict: sum(r.verdict == verdict for r in results) for verdict in VERDICTS}
    lines += [f'{len(results)} rows: {", ".join(f"{n} {verdict}" for verdict, n in counts.items() if n)}.', '']
    lines += [*reasons, ''] if reasons else []
    lines += [*(f'- {note}' for note in study.notes), ''] if study.notes else []
    tolerance = ', '.join(f'{m} {v}' for m, v in study.tolerance.items())
    if tolerance and any(r.row.published and not r.row.order for r in results):
        lines += [f'Published values are met within {tolerance}, from above as well.', '']
    if any(r.interval for r in results):
        lines += [
            'Brackets: 95 % of 10,000 draws of seeds and clips with replacement (paired: both sides of a gain have the '
            'same clips, data, steps, order of data and seeds).',
            '',
        ]
    protocols = list(dict.fromkeys(text for result in results for text in result.protocol))
    lines += [*(f'Measured: {text}.' for text in protocols), ''] if protocols else []
    lines += [f'Command: `{command}`; commit {about["commit"]}.', '']
    return '\n'.join(lines)


def _grid(study: Study, results: list[Result]) -> list[str]:
    """Rows by columns as the paper prints them, PSNR / SSIM and the paper's below; nothing where rows have no place."""
    placed = {r.row.place: r for r in results if r.row.place}
    if not placed or study.figure.kind != 'matrix':
        return []
    rows, columns = (list(dict.fromkeys(place[i] for place in placed)) for i in (0, 1))
    cells = [[_cell(placed[row, column]) if (row, column) in placed else '-' for column in columns] for row in rows]
    return protocol.markdown([['', *columns], *([row, *line] for row, line in zip(rows, cells, strict=True))])[:-1]


def _cell(result: Result) -> str:
    ours, paper = (
        ' / '.join(_number(values[m], _digits(m)) for m in ('psnr', 'ssim') if m in values)
        for values in (result.ours, result.row.published)
    )
    return f'{ours or result.verdict.lower()}' + (f' (paper {paper})' if paper else '')


def latex(study: Study, table: list[list[str]]) -> str:
    return '\n'.join([f'% {study.title}', *protocol.latex(table, last='l'), ''])


def as_json(
    study: Study, results: list[Result], outcomes: dict[str, Outcome], about: dict[str, Any], command: str
) -> dict[str, Any]:
    shown = [{'row': r.row.model_dump(exclude_defaults=True), 'difference': r.difference} for r in results]
    rows = [asdict(result) | more for result, more in zip(results, shown, strict=True)]
    jobs = {name: asdict(outcome) for name, outcome in outcomes.items()}
    plan = study.model_dump(include={'title', 'notes', 'tolerance', 'resolution'})
    return {'study': study.name, **plan, 'command': command, 'rows': rows, 'jobs': jobs, 'environment': about}


def draw(study: Study, results: list[Result], folder: Path) -> None:
    """The figure, NAME.svg and NAME.png; none where nothing was measured."""
    from matplotlib.figure import Figure

    measured = [r for r in results if r.verdict != NOT_RUN]
    if not measured:
        return
    figure = Figure(figsize=(6.5, 4), layout='constrained')
    axis = figure.subplots()
    y = study.figure.y
    kinds = {'bars': _bars, 'line': _line, 'curves': _curves, 'matrix': _matrix, 'gains': _gains}
    kinds[study.figure.kind](axis, measured, y)
    axis.set_title(study.title, fontsize=9, wrap=True)
    of_its_own = {'gains': (f'gain in {HEADS.get(y, y)}', ''), 'matrix': (study.figure.columns, study.figure.rows)}
    across, up = of_its_own.get(study.figure.kind, (study.figure.x, HEADS.get(y, y)))
    axis.set(xlabel=across, ylabel=up)
    for suffix in ('svg', 'png'):
        save_figure(figure, folder / f'{study.name}.{suffix}', dpi=150)


def _reach(interval: Interval | None, value: float) -> tuple[float, float]:
    """How far an interval reaches below and above its value."""
    return (0, 0) if interval is None else (max(value - interval.low, 0), max(interval.high - value, 0))


def _gains(axis: Any, results: list[Result], y: str) -> None:
    """A line for each gain, from the first down: its value, its interval, and what was published."""
    shown = [r for r in results if y in r.ours]
    for place, result in enumerate(reversed(shown)):
        value = result.ours[y]
        below, above = _reach(result.interval.get(y), value)
        axis.errorbar(value, place, xerr=[[below], [above]], fmt='o', color='C0', capsize=3, ms=4)
        if y in result.row.published:
            axis.plot(result.row.published[y], place, 'x', color='C1')
    axis.axvline(0, color='grey', lw=0.8)
    axis.set_yticks(range(len(shown)), [r.row.label for r in reversed(shown)], fontsize=7)


def _bars(axis: Any, results: list[Result], y: str) -> None:
    names = [r.row.label for r in results]
    sides = {'ours': [r.ours for r in results], 'paper': [r.row.published for r in results]}
    shown = [values[y] for side in sides.values() for values in side if y in values]
    for offset, (title, side) in zip((-0.2, 0.2), sides.items(), strict=True):
        bars = {place + offset: values[y] for place, values in enumerate(side) if y in values}
        axis.bar(bars.keys(), bars.values(), 0.4, label=title if bars else None)
    for place, result in enumerate(results):
        if y in result.interval:
            below, above = _reach(result.interval[y], result.ours[y])
            axis.errorbar(place - 0.2, result.ours[y], yerr=[[below], [above]], color='black', capsize=3)
    if shown and min(shown) > 1:
        axis.set_ylim(min(shown) - 1, max(shown) + 0.5)
    axis.set_xticks(range(len(names)), names, rotation=20, ha='right', fontsize=7)
    if shown:
        axis.legend()


def _line(axis: Any, results: list[Result], y: str) -> None:
    """A line for ours and one for the paper's, or of each where rows have a place: by its first name. Of an order, its
    names are the places along x.
    """
    series: dict[str, list[Result]] = {}
    for result in results:
        if not result.row.order and not result.row.minus:
            series.setdefault(result.row.place[0] if result.row.place else 'ours', []).append(result)
    lines = [(name, 'o-', [(r.row.x, r.ours.get(y)) for r in rows]) for name, rows in series.items()]
    for name, rows in series.items():
        title = 'paper' if name == 'ours' else f'{name}, paper'
        lines.append((title, 'x:', [(r.row.x, r.row.published.get(y)) for r in rows]))
    for result in results:
        if result.items:
            lines.append(('ours', 'o-', [(float(name), value) for name, value in result.items.items()]))
            lines.append(('paper', 'x:', [(float(name), result.row.published[name]) for name in result.items]))
    lines.append(('LQ bicubic', 'k--', list(dict.fromkeys((r.row.x, r.baseline.get('bicubic')) for r in results))))
    for title, style, values in lines:
        points = [(a, b) for a, b in values if None not in (a, b)]
        if points:
            axis.plot(*zip(*points, strict=True), style, label=title, ms=4)
    axis.legend(fontsize=7)


def _curves(axis: Any, results: list[Result], y: str) -> None:
    """The validations of fine-tuning runs; those of one row have one colour."""
    for number, result in enumerate(results):
        for i, points in enumerate(result.curve.values()):
            label = result.row.label if i == 0 else None
            axis.plot(*zip(*points, strict=True), 'o-', ms=3, color=f'C{number}', label=label)
    if any(result.curve for result in results):
        axis.legend(fontsize=7)


def _matrix(axis: Any, results: list[Result], y: str) -> None:
    """Gain over bicubic LQ: rows are what was trained on, columns what was tested."""
    cells = {r.row.place: r.ours[y] - r.baseline.get('bicubic', 0) for r in results if r.row.place}
    rows = list(dict.fromkeys(place[0] for place in cells))
    columns = list(dict.fromkeys(place[1] for place in cells))
    values = [[cells.get((row, column), float('nan')) for column in columns] for row in rows]
    axis.imshow(values, cmap='viridis')
    for i, line in enumerate(values):
        for j, value in enumerate(line):
            axis.text(j, i, f'{value:+.2f}', ha='center', va='center', color='white', fontsize=8)
    axis.set_xticks(range(len(columns)), columns, rotation=20 if len(columns) > 4 else 0, fontsize=7)
    axis.set_yticks(range(len(rows)), rows)
