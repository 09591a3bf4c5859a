"""`votes lineage`: what a run or a study came from."""

from __future__ import annotations

import argparse
from pathlib import Path

from votes.studies.lineage import lineage_of_study
from votes.training.history import lineage


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('run', type=Path, metavar='FOLDER', help='experiments/NAME, or studies/NAME')


def run(args: argparse.Namespace) -> None:
    is_study = (args.run / 'jobs').is_dir()
    print('\n'.join(lineage_of_study(args.run) if is_study else lineage(args.run)))
