"""`votes migrate`: option files and runs of BasicSR, the VOTES release, traiNNer-redux and mmagic."""

from __future__ import annotations

import argparse
from pathlib import Path

from votes import checkpoint
from votes.errors import UserError
from votes.migrate import Migrated, migrate_file, written


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('input', type=Path, help='FILE.yml, a configuration FILE.py of mmagic, or the folder of a run')
    parser.add_argument(
        '-o',
        type=Path,
        metavar='OUT',
        dest='output',
        help='file to write (default: migrated/NAME.yml), of a run the folder (default: experiments/NAME)',
    )
    parser.add_argument('-opt', type=Path, metavar='FILE', help='of a run whose folder does not hold its option file')
    parser.add_argument('--overwrite', action='store_true', help='replace an option file that exists')


def run(args: argparse.Namespace) -> int:
    source: Path = args.input
    if source.is_dir():
        from votes.migrate.runs import migrate_run

        found, target, lines = migrate_run(source, args.output, args.opt, args.overwrite)
    elif source.is_file():
        found = migrate_file(source)
        target, lines = args.output or Path('migrated') / f'{source.stem}.yml', []
        checkpoint.check_target(target, args.overwrite)
    else:
        raise UserError('no such file or folder', where=source, fix='an option file, or the folder of a run')
    _write(target, written(found, args.opt or source))
    tell(found, target, lines)
    return 0


def _write(target: Path, text: str) -> None:
    with checkpoint.writing('the option file', target):
        checkpoint.write_text(target, text)


def tell(found: Migrated, target: Path, lines: list[str]) -> None:
    """What came of it, and how it goes on."""
    print(f'{target}: {found.options["network_g"]["type"]}, from a file of {found.program}')
    for line in [*found.lines(), *lines]:
        print(f'  {line}')
    print(f'go on with:\n  votes {"train" if found.mode == "train" else "test"} -opt {target}')
