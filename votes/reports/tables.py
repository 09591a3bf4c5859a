"""A table, its head first, as lines of text, Markdown, LaTeX or CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable

from votes.reports.protocol import latex_text

Table = list[list[str]]


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
