"""How numbers of a results file were measured, in a line, and how they are printed: also as tables, a list of lines."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping
from typing import Any

Table = list[list[str]]  # the head first
SPECIAL = {
    '\\': r'\textbackslash{}',
    '~': r'\textasciitilde{}',
    '^': r'\textasciicircum{}',
    '±': r'$\pm$',
    '→': r'$\to$',
    '<': r'\textless{}',
    '>': r'\textgreater{}',
    **{character: f'\\{character}' for character in '&%$#_{}'},
}


def described(protocol: Mapping[str, Any]) -> str:
    """A sentence on a results file's protocol: 'psnr, ssim: Y, 2 pixels cropped; output rounded to 8 bit; mean ...'."""
    groups: dict[str, list[str]] = {}
    for name, spec in protocol.get('metrics', {}).items():
        groups.setdefault(_how(spec), []).append(name)
    parts = [f'{", ".join(names)}: {how}' for how, names in groups.items()]
    return '; '.join([*parts, *(str(protocol[key]) for key in ('rounding', 'aggregation') if protocol.get(key))])


def _how(spec: Mapping[str, Any]) -> str:
    lower = ', lower is better' if spec.get('better') == 'lower' else ''
    if 'crop_border' in spec or 'test_y_channel' in spec:
        border = spec.get('crop_border', 0)
        rounded = {'truncate': ', truncated to 8 bit', 'none': ', neither rounded nor clamped'}
        how = rounded.get(spec.get('rounding', 'round'), '')
        how += f', the middle in multiples of {n}' if (n := spec.get('centre_multiple')) else ''
        return f'{"Y" if spec.get("test_y_channel") else "RGB"}, {border} pixels cropped{how}{lower}'
    return f'{spec.get("how") or spec.get("type")}{lower}'


def of_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The protocol of a run's validations, from its resolved options."""
    metrics = (options.get('val') or {}).get('metrics') or {}
    return {
        'metrics': metrics,
        'rounding': rounding_of(metrics),
        'aggregation': 'mean over the frames of a clip, then over clips',
    }


def rounding_of(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """What is measured of outputs whose metrics do not say it themselves."""
    kinds = {spec.get('rounding', 'round') for spec in metrics.values()}
    return '' if kinds and 'round' not in kinds else 'output rounded to 8 bit' + ' elsewhere' * (len(kinds) > 1)


def lower_is_better(protocol: Mapping[str, Any]) -> set[str]:
    """The metrics of a protocol of which lower values are better; fluctuation is always one."""
    return {'fluctuation'} | {n for n, spec in protocol.get('metrics', {}).items() if spec.get('better') == 'lower'}


def shown(value: float, sign: str = '') -> str:
    """Four decimals, or so many that something is seen."""
    small = value != 0 and math.isfinite(value) and abs(value) < 0.01
    return f'{value:{sign}.3e}' if small else f'{value:{sign}.4f}'


def latex_text(text: str) -> str:
    """Text as LaTeX prints it."""
    return ''.join(SPECIAL.get(character, character) for character in text)


def plain(table: Table) -> list[str]:
    width = max(len(line[0]) for line in table) + 2
    columns = [max(9, *(len(line[i]) for line in table)) for i in range(1, len(table[0]))]
    return [
        f'{line[0]:<{width}}' + ''.join(f' {cell:>{w}}' for cell, w in zip(line[1:], columns, strict=True))
        for line in table
    ]


def markdown(table: Table) -> list[str]:
    lines = ['| ' + ' | '.join(cell.replace('|', r'\|') for cell in line) + ' |' for line in table]
    return ['', lines[0], '|' + '---|' * len(table[0]), *lines[1:], '']


def latex(table: Table, last: str = 'r') -> list[str]:
    """Args: last: how the last column is aligned; the first one is to the left, and those between to the right."""
    head, *rows = (' & '.join(map(latex_text, line)) + r' \\' for line in table)
    begin = f'\\begin{{tabular}}{{l{"r" * (len(table[0]) - 2)}{last}}}'
    return [begin, r'\toprule', head, r'\midrule', *rows, r'\bottomrule', r'\end{tabular}']


def comma_separated(table: Table) -> list[str]:
    written = io.StringIO()
    csv.writer(written, lineterminator='\n').writerows(table)
    return written.getvalue().splitlines()


STYLES: dict[str, Callable[[Table], list[str]]] = {
    'text': plain,
    'markdown': markdown,
    'latex': latex,
    'csv': comma_separated,
}
