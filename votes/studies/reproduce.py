"""`votes reproduce NAME`: a table or figure of the paper, trained, evaluated, compared and drawn."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

import torch

from votes.errors import UserError
from votes.processes.signals import PREEMPTED
from votes.studies.outcome import FAIL, NOT_RUN, results_of
from votes.studies.render import write_all
from votes.studies.runner import Runner
from votes.studies.study import find_study, read_study

SOME_NOT_RUN = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('study', help='table2, table3, table4, figure7, figure8, figure9, platforms, or a YAML file')
    parser.add_argument('--quick', action='store_true', help='the same on demo data with small networks, in minutes')
    parser.add_argument('--data', type=Path, metavar='FOLDER', help='what stands for ./datasets in the option files')
    parser.add_argument('-o', '--output', type=Path, help='folder of the study (default: studies/NAME)')
    parser.add_argument('--gpus', help='such as 0,1,2,3: a job on each (default: all)')
    parser.add_argument('--dry-run', action='store_true', help='only say which jobs there are and what they lack')


def run(args: argparse.Namespace) -> int:
    """Exit codes: 0 every row passes, 1 a row or a job fails, 3 none fails but some were not run, 75 stopped."""
    study = read_study(find_study(args.study), args.quick)
    folder = args.output or Path('studies') / study.name
    if args.data is not None and not args.data.is_dir():
        raise UserError('no such folder', where=args.data, fix='what --data names stands for ./datasets')
    devices = args.gpus.split(',') if args.gpus else [str(i) for i in range(torch.cuda.device_count())]
    runner = Runner(study, folder, args.data, devices)
    if args.dry_run:
        for name, job in study.jobs.items():
            try:
                print(f'{name}: python -m {shlex.join(runner.command(name, job))}')
            except UserError as error:
                print(f'{name}: not yet possible: {" ".join(str(error).split())}')
        return 0
    outcomes = runner.run()
    results = results_of(study, runner)
    command = f'votes reproduce {args.study}' + (' --quick' if args.quick else '')
    print('\n' + write_all(study, results, outcomes, folder, command))
    print(f'{folder}/{study.name}.md, .tex, .csv, .json, .svg; votes report {folder}')
    if any(outcome.state == 'stopped' for outcome in outcomes.values()):
        return PREEMPTED
    verdicts = {result.verdict for result in results}
    if FAIL in verdicts or any(outcome.state == 'failed' for outcome in outcomes.values()):
        return 1
    return SOME_NOT_RUN if NOT_RUN in verdicts else 0
