"""`votes reproduce NAME`: a table or figure of the paper, trained, evaluated, compared and drawn."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
from pathlib import Path

import torch

from votes.errors import UserError
from votes.processes.lease import Lease, LeaseLost
from votes.processes.program import add_overrides
from votes.processes.signals import PREEMPTED
from votes.studies.claims import INCONCLUSIVE, NOT_REPRODUCED, NOT_RUN
from votes.studies.outcome import results_of
from votes.studies.render import write_all
from votes.studies.runner import Runner
from votes.studies.study import Job, find_study, read_study, shipped_studies

SOME_OPEN = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('study', help=f'{", ".join(shipped_studies())}, or a YAML file')
    add('--quick', action='store_true', help='the same on demo data with small networks, in minutes')
    add_overrides(parser, 'change the study, such as values.minutes=10 or seeds=[0]')
    add('--data', type=Path, metavar='FOLDER', help='what stands for ./datasets in the option files')
    add('-o', '--output', type=Path, help='folder of the study (default: studies/NAME)')
    add('--gpus', help='such as 0,1,2,3: a job on each (default: all)')
    own = 'weights of your own in place of what a training job of the study makes'
    add_overrides(parser, own, '--weights', dest='weights', takes='JOB=FILE')
    add('--evaluate-only', action='store_true', help='trains nothing: measures the weights that are there')
    add('--dry-run', action='store_true', help='only say which jobs there are and what they lack')


def run(args: argparse.Namespace) -> int:
    """Exit codes: 0 every claim is reproduced, 1 a claim is not, or a job fails, 3 some claims were not run or are
    inconclusive, 75 stopped.
    """
    study = read_study(find_study(args.study), args.quick, args.overrides)
    folder = args.output or Path('studies') / study.name
    if args.data is not None and not args.data.is_dir():
        raise UserError('no such folder', where=args.data, fix='what --data names stands for ./datasets')
    devices = args.gpus.split(',') if args.gpus else [str(i) for i in range(torch.cuda.device_count())]
    weights = dict(_given(text) for text in args.weights)
    runner = Runner(study, folder, args.data, devices, weights=weights, train=not args.evaluate_only)
    if args.dry_run:
        for name, job in study.jobs.items():
            print(f'{name}: {_plan(runner, name, job)}')
        return 0
    with Lease(folder, 'a study') as lease:
        lease.on_loss = lambda: os.kill(os.getpid(), signal.SIGTERM)
        outcomes = runner.run()
        try:
            lease.check()
        except LeaseLost as error:
            print(f'error: {error}', file=sys.stderr)
            return 1
        results = results_of(study, runner)
        print('\n' + write_all(study, results, outcomes, folder, command_of(args)))
    print(f'{folder}/{study.name}.md, .tex, .csv, .json, .svg; votes report {folder}; votes lineage {folder}')
    if any(outcome.state == 'stopped' for outcome in outcomes.values()):
        return PREEMPTED
    verdicts = {result.verdict for result in results}
    if NOT_REPRODUCED in verdicts or any(outcome.state == 'failed' for outcome in outcomes.values()):
        return 1
    return SOME_OPEN if verdicts & {NOT_RUN, INCONCLUSIVE} else 0


def _given(text: str) -> tuple[str, Path]:
    name, sign, path = text.partition('=')
    if not sign:
        raise UserError('weights are given as JOB=FILE', where='--weights', value=text)
    return name, Path(path)


def _plan(runner: Runner, name: str, job: Job) -> str:
    """What would be done for a job."""
    if name in runner.own:
        return f'weights given: {runner.own[name]}'
    try:
        command = f'python -m {shlex.join(runner.command(name, job))}'
    except UserError as error:
        first = [need for need in job.needs if runner.read(need).get('state') != 'done']
        return f'after {", ".join(first)}' if first else f'not yet possible: {error.line}'
    return f'{command}{" (done before; runs again if it is stale)" if runner.read(name).get("state") == "done" else ""}'


def command_of(args: argparse.Namespace) -> str:
    """The whole command, for those who do it again."""
    words = ['votes', 'reproduce', args.study]
    words += ['--quick'] if args.quick else []
    words += ['--set', *args.overrides] if args.overrides else []
    for option, value in (('--data', args.data), ('-o', args.output), ('--gpus', args.gpus)):
        words += [option, str(value)] if value is not None else []
    words += ['--evaluate-only'] if args.evaluate_only else []
    return shlex.join([*words, *(['--weights', *args.weights] if args.weights else [])])
