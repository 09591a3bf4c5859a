"""`votes report`: a run, several runs or a study as one HTML page; many pictures lie in a folder beside it."""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape

from votes import checkpoint
from votes.errors import UserError, explained
from votes.reports.compare import comparison, labels, read_results
from votes.reports.curves import draw_curves, read_rows
from votes.reports.frames import TestSet, test_sets
from votes.reports.pictures import QUALITY, Pictures

PROTOCOL = ('channel', 'rounding', 'luma', 'aggregation', 'window_padding', 'baselines', 'metrics', 'range', 'data')
PREVIEWS = 'Previews of validations'


def write_report(folders: list[Path], output: Path | None = None, every: int = 1, lossless: bool = False) -> Path:
    """Writes report.html into the folder of a training run, an evaluation or a study, or to `output`.

    Args:
        folders: one of them, or several evaluations, whose networks come into one slider.
        every: only every so many frames of a clip, and the worst.
        lossless: pictures are PNG, not JPEG.

    Raises:
        UserError: a folder is none of them, or evaluations cannot be compared.
    """
    path = output or folders[0] / 'report.html'
    pictures = Pictures(path, lossless)
    try:
        content = _content(folders, pictures, every)
        write_page(path, content.pop('sets'), content, pictures)
    finally:
        pictures.drop()
    return path


def _content(folders: list[Path], pictures: Pictures, every: int) -> dict[str, Any]:
    folder = folders[0]
    studies = [p for p in sorted(folder.glob('*.json')) if p.stem == folder.name or (folder / 'jobs').is_dir()]
    if len(folders) > 1:
        for one in folders:
            if not (one / 'results.json').is_file():
                raise UserError('several folders have to be evaluations', where=one.absolute(), fix='results/NAME')
        return of_results(folders, pictures, every)
    if studies:
        return of_study(folder, studies[0], pictures, every)
    if (folder / 'results.json').is_file():
        return of_results([folder], pictures, every)
    if (folder / 'metrics.jsonl').is_file():
        return of_training(folder, pictures)
    raise UserError(
        'neither a run nor a study', where=folder.absolute(), fix='experiments/NAME, results/NAME or studies/NAME'
    )


def write_page(path: Path, sets: list[TestSet], content: dict[str, Any], pictures: Pictures) -> None:
    """Writes one HTML file, and the folder of its pictures where they are many.

    Args:
        sets: pictures with a slider each, by their numbers in `pictures`.
        content: 'title'; 'tables' of text; and where there are any 'figures' as SVG, 'protocol', 'weights',
            'environment' and 'commands'.
    """
    loader = Environment(loader=PackageLoader('votes.reports', 'templates'), autoescape=select_autoescape())
    kind = f'JPEG of quality {QUALITY}' if pictures.lossy else 'PNG'
    html = loader.get_template('page.html').render(
        **content,
        sets=sets,
        data=inside_script({'sets': [shown.for_page() for shown in sets], 'addresses': pictures.finish()}),
        picture_note=f'Pictures are {kind}. Drag to compare; + and - zoom to single pixels, a click on the curve and '
        'the arrow keys change the frame.',
    )
    checkpoint.write_text(path, html)


def inside_script(content: Any) -> str:
    """JSON that may stand in a <script>: nothing in it is markup, whatever clips are called; no Infinity."""
    return json.dumps(checkpoint.without_infinity(content), allow_nan=False).replace('<', '\\u003c')


def _environment(folder: Path) -> dict[str, Any]:
    path = folder / 'environment.json'
    return _record(path) if path.is_file() else {}


def _record(path: Path) -> dict[str, Any]:
    with explained('a file of the page cannot be read', ValueError, where=path):
        content = checkpoint.read_record(path, unsigned=True)
    return content


def _commands(*folders: Path) -> list[str]:
    return [shlex.join(words) for folder in folders if (words := _environment(folder).get('command'))]


def _about(environment: dict[str, Any]) -> dict[str, str]:
    """The lines of an environment that a reader asks for."""
    wanted = ('commit', 'changed_files', 'python', 'system', 'gpus', 'cuda', 'processes', 'threads')
    found = {key: environment[key] for key in wanted if environment.get(key)}
    packages = environment.get('packages', {})
    found |= {name: packages[name] for name in ('torch', 'torchvision', 'av', 'numpy') if name in packages}
    return {key: ', '.join(value) if isinstance(value, list) else str(value) for key, value in found.items()}


def _svg(path: Path) -> str:
    """A figure to be put into a page: from its <svg> on."""
    return ''.join(path.read_text().partition('<svg')[1:])


def of_results(folders: list[Path], pictures: Pictures, every: int, alike: bool = True) -> dict[str, Any]:
    """One evaluation or several: the pictures of all, with the first one's protocol.

    Args:
        alike: they are of the same data, and come into one table.
    """
    files = [folder / 'results.json' for folder in folders]
    found = [read_results(file) for file in files]
    protocol, names = found[0]['protocol'], labels(files, [content['name'] for content in found])
    return {
        'title': ' and '.join(names),
        'tables': [comparison(files)] if alike else [],  # refuses what cannot be compared, before pictures are made
        'protocol': {k: _plain(protocol[k]) for k in PROTOCOL if k in protocol},
        'weights': found[0].get('weights') if len(folders) == 1 else None,
        'sets': test_sets(zip(names, folders, strict=True), pictures, every),
        'environment': _about(_environment(folders[0])),
        'commands': _commands(*folders),
    }


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, indent=1)


def of_training(folder: Path, pictures: Pictures) -> dict[str, Any]:
    """Curves, last validation and previews of a training run."""
    rows = [row for row in read_rows(folder) if row['kind'] != 'train']
    lines = [f'{row["kind"]}, iteration {row["iter"]}: ' + _values(row) for row in rows]
    return {
        'title': folder.name,
        'tables': ['\n'.join(lines) or 'not validated yet'],
        'figures': [_svg(draw_curves(folder))],
        'sets': previews(folder, pictures),
        'environment': _about(_environment(folder)),
        'commands': _commands(folder),
    }


def previews(folder: Path, pictures: Pictures) -> list[TestSet]:
    """What each validation showed, any two of them in one slider: the first and the last at first."""
    files = [path for path in sorted((folder / 'previews').glob('*.png')) if path.stem.isdecimal()]
    if not files:
        return []
    shown = {f'iteration {int(path.stem)}': pictures.add_file(path) for path in files}
    names = list(shown)
    frame = {'index': None, 'pictures': shown, 'values': {}}
    return [TestSet(PREVIEWS, {folder.name: [frame]}, left=names[0], right=names[-1])]


def _values(row: dict[str, Any]) -> str:
    return ', '.join(f'{key} {value:.4f}' for key, value in row.items() if isinstance(value, float))


def of_study(folder: Path, path: Path, pictures: Pictures, every: int) -> dict[str, Any]:
    """The table and the figure of a study, and the pictures of its evaluations."""
    study = _record(path)
    runs = [p.parent for p in sorted(folder.glob('results/*/results.json'))]
    content = of_results(runs, pictures, every, alike=False) if runs else {'sets': [], 'commands': []}
    figure = path.with_suffix('.svg')
    return content | {
        'title': study['title'],
        'tables': [path.with_suffix('.md').read_text()],
        'figures': [_svg(figure)] if figure.is_file() else [],
        'environment': _about(study['environment']),
        'commands': [study['command'], *content['commands']],
        'weights': None,
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    folders = 'experiments/NAME, results/NAME or studies/NAME; several results/NAME come into one slider'
    parser.add_argument('folders', type=Path, nargs='+', metavar='FOLDER', help=folders)
    parser.add_argument('-o', '--output', type=Path, help='HTML file to write (default: FOLDER/report.html)')
    parser.add_argument('--every', type=int, default=1, help='only every so many frames of a clip, and the worst')
    parser.add_argument('--lossless', action='store_true', help='pictures as PNG: exact, and several times as large')


def run(args: argparse.Namespace) -> None:
    for folder in args.folders:
        if not folder.is_dir():
            raise UserError('no such folder', where=folder)
    if len(args.folders) > 1 and args.output is None:
        raise UserError('a page of several evaluations needs a name', fix='-o compared.html')
    if args.every < 1:
        raise UserError('every frame, or every Nth', value=args.every)
    path = write_report(args.folders, args.output, args.every, args.lossless)
    beside = path.with_name(f'{path.stem}_files')
    more = f', pictures in {beside.name}' if beside.is_dir() else ''
    print(f'{path} ({path.stat().st_size / 1e6:.1f} MB{more})')
