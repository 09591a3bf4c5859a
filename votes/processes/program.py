"""What `votes train` and `votes test` are as programs: their command line, the process group, the exit code."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from votes.errors import Diverged, UserError
from votes.options import Options, load_options
from votes.processes import distributed
from votes.processes.signals import PREEMPTED, REPORT_VARIABLE, Preempted, tell_launcher


def add_program_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `votes train` and `votes test`: those of BasicSR."""
    parser.add_argument('-opt', required=True, metavar='FILE.yml', help='option file')
    parser.add_argument('--launcher', choices=('none', 'pytorch'), default='none', help='pytorch: started by torchrun')
    parser.add_argument(
        '--set',
        '--force_yml',
        nargs='+',
        default=[],
        metavar='KEY=VALUE',
        dest='overrides',
        help='change options, e.g. train.total_iter=1000',
    )
    parser.add_argument(
        '--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS
    )  # older launchers pass it


def run_program(program: Callable[[Options, argparse.Namespace], None], mode: str, args: argparse.Namespace) -> int:
    """Loads the options, joins the process group, runs `program`.

    Returns:
        Exit code: 0 done, 1 training diverged, 2 bad input, 75 stopped on request after saving (0 under `votes launch`,
        which turns it into 75 when all processes have ended). A crash raises, which Python ends with 1.
    """
    try:
        opt = load_options(args.opt, mode=mode, overrides=args.overrides)
        opt.notices += distributed.start(
            args.launcher, opt.dist_params.backend, opt.dist_params.first_timeout, gpu=opt.num_gpu != 0
        )
        try:
            program(opt, args)
        finally:
            distributed.stop()
    except UserError as error:
        return report(error)
    except Diverged as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    except Preempted:
        return 0 if REPORT_VARIABLE in os.environ else PREEMPTED
    return 0


def end_process(code: int) -> NoReturn:
    """Ends a program started as a file or by torchrun.

    Where there was a process group, without Python's own end: gloo's threads have been seen to abort there
    ("terminate called without an active exception") when all work was done.
    """
    if 'RANK' in os.environ:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    raise SystemExit(code)


@contextlib.contextmanager
def crash_summary(describe: Callable[[], dict[str, Any]]) -> Iterator[None]:
    """Adds to an unforeseen error what its reader wants to know next: a line for each entry of `describe()`."""
    try:
        yield
    except (UserError, Diverged, Preempted, KeyboardInterrupt):
        raise
    except Exception as error:
        lines = [f'  {name:<10} {value}' for name, value in describe().items()]
        error.add_note('\n'.join(['', f'crashed: {type(error).__name__}: {str(error).splitlines()[0:1]}', *lines]))
        raise


def report(error: UserError) -> int:
    """Prints a user's error; returns the exit code for it."""
    print(f'error: {error}', file=sys.stderr)
    tell_launcher('refused', error.what)
    return 2
