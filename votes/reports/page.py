"""`votes report`: a run or a study as one HTML file that needs nothing else."""

from __future__ import annotations

import argparse
import base64
import json
import re
import shlex
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape

from votes import checkpoint
from votes.errors import UserError
from votes.reports.compare import comparison
from votes.reports.curves import draw_curves, read_rows
from votes.reports.frames import QUALITY, SIDE, TestSet, test_sets

PROTOCOL = ('channel', 'rounding', 'luma', 'aggregation', 'window_padding', 'baselines', 'metrics', 'range', 'data')
PREVIEWS = 6


def write_report(folder: Path, output: Path | None = None) -> Path:
    """Writes report.html into the folder of a training run, an evaluation or a study, or to `output`.

    Raises:
        UserError: the folder is none of them.
    """
    studies = [p for p in sorted(folder.glob('*.json')) if p.stem == folder.name or (folder / 'jobs').is_dir()]
    if studies:
        content = of_study(folder, studies[0])
    elif (folder / 'results.json').is_file():
        content = of_results([folder])
    elif (folder / 'metrics.jsonl').is_file():
        content = of_training(folder)
    else:
        raise UserError(
            'neither a run nor a study', where=folder.absolute(), fix='experiments/NAME, results/NAME or studies/NAME'
        )
    sets: list[tuple[str, TestSet]] = content.pop('sets')
    viewers = {f'{run}: {shown.name}' if run else shown.name: shown for run, shown in sets}
    path = output or folder / 'report.html'
    write_page(path, viewers, content)
    return path


def write_page(path: Path, viewers: dict[str, TestSet], content: dict[str, Any]) -> None:
    """Writes one HTML file.

    Args:
        viewers: heading -> pictures with a slider.
        content: 'title'; 'tables' of text; and where there are any 'figures' as SVG, 'protocol', 'weights',
            'environment', 'commands' and 'previews': title -> picture as a data URI.
    """
    loader = Environment(loader=PackageLoader('votes.reports', 'templates'), autoescape=select_autoescape())
    html = loader.get_template('page.html').render(
        **content,
        viewers=viewers,
        frames_json=inside_script({name: shown.clips for name, shown in viewers.items()}),
        picture_note=f'Pictures are JPEG of quality {QUALITY}; of larger frames the middle {SIDE} x {SIDE} pixels.',
    )
    with checkpoint.atomic_write(path) as temporary:
        temporary.write_text(html, encoding='utf-8')


def inside_script(content: Any) -> str:
    """JSON that may stand in a <script>: nothing in it is markup, whatever clips are called; no Infinity."""
    return json.dumps(checkpoint.without_infinity(content), allow_nan=False).replace('<', '\\u003c')


def _environment(folder: Path) -> dict[str, Any]:
    path = folder / 'environment.json'
    return json.loads(path.read_text()) if path.is_file() else {}


def _about(environment: dict[str, Any]) -> dict[str, str]:
    """The lines of an environment that a reader asks for."""
    wanted = ('commit', 'changed_files', 'python', 'system', 'gpus', 'cuda', 'processes', 'threads')
    found = {key: environment[key] for key in wanted if environment.get(key)}
    packages = environment.get('packages', {})
    found |= {name: packages[name] for name in ('torch', 'torchvision', 'av', 'numpy') if name in packages}
    return {key: ', '.join(value) if isinstance(value, list) else str(value) for key, value in found.items()}


def _svg(path: Path) -> str:
    """A figure to be put into a page: from its <svg> on."""
    text = path.read_text()
    return text[re.search('<svg', text).start() :] if '<svg' in text else ''  # type: ignore[union-attr]


def of_results(folders: list[Path]) -> dict[str, Any]:
    """One evaluation, or the pictures of several, with the first one's table and protocol."""
    first = json.loads((folders[0] / 'results.json').read_text())
    environment = _environment(folders[0])
    alone = len(folders) == 1
    return {
        'title': first['name'],
        'tables': [comparison([folders[0] / 'results.json'])],
        'protocol': {k: _plain(first['protocol'][k]) for k in PROTOCOL if k in first['protocol']},
        'weights': first.get('weights'),
        'figures': [],
        'sets': [('' if alone else folder.name, shown) for folder in folders for shown in test_sets(folder)],
        'environment': _about(environment),
        'commands': [shlex.join(environment['command'])] if environment.get('command') else [],
    }


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, indent=1)


def of_training(folder: Path) -> dict[str, Any]:
    """Curves, last validation and previews of a training run."""
    environment = _environment(folder)
    rows = [row for row in read_rows(folder / 'metrics.jsonl') if row['kind'] != 'train']
    lines = [f'{row["kind"]}, iteration {row["iter"]}: ' + _values(row) for row in rows]
    return {
        'title': folder.name,
        'tables': ['\n'.join(lines) or 'not validated yet'],
        'protocol': {},
        'weights': None,
        'figures': [_svg(draw_curves(folder))],
        'previews': previews(folder),
        'sets': [],
        'environment': _about(environment),
        'commands': [shlex.join(environment['command'])] if environment.get('command') else [],
    }


def previews(folder: Path) -> dict[str, str]:
    """The pictures of the first validation and of the last ones: title -> data URI."""
    pictures = [path for path in sorted((folder / 'previews').glob('*.png')) if path.stem.isdecimal()]
    chosen = pictures if len(pictures) <= PREVIEWS else [pictures[0], *pictures[1 - PREVIEWS :]]
    data = {path: base64.b64encode(path.read_bytes()).decode() for path in chosen}
    return {f'iteration {int(path.stem)}': f'data:image/png;base64,{text}' for path, text in data.items()}


def _values(row: dict[str, Any]) -> str:
    return ', '.join(f'{key} {value:.4f}' for key, value in row.items() if isinstance(value, float))


def of_study(folder: Path, path: Path) -> dict[str, Any]:
    """The table and the figure of a study, and the pictures of its evaluations."""
    study = json.loads(path.read_text())
    runs = [p.parent for p in sorted(folder.glob('results/*/results.json'))]
    content = of_results(runs) if runs else {'protocol': {}, 'weights': None, 'sets': []}
    figure = path.with_suffix('.svg')
    commands = [study['command']]
    commands += [shlex.join(c) for c in (_environment(run).get('command') for run in runs) if c]
    return content | {
        'title': study['title'],
        'tables': [path.with_suffix('.md').read_text()],
        'figures': [_svg(figure)] if figure.is_file() else [],
        'environment': _about(study['environment']),
        'commands': commands,
        'weights': None,
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('folder', type=Path, help='experiments/NAME, results/NAME or studies/NAME')
    parser.add_argument('-o', '--output', type=Path, help='HTML file to write (default: FOLDER/report.html)')


def run(args: argparse.Namespace) -> int:
    if not args.folder.is_dir():
        raise UserError('no such folder', where=args.folder)
    path = write_report(args.folder, args.output)
    print(f'{path} ({path.stat().st_size / 1e6:.1f} MB)')
    return 0
