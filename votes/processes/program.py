"""What `votes train` and `votes test` are as programs: their command line, the process group, the exit code."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, NoReturn

from votes.errors import Diverged, Stalled, UserError
from votes.options import OptionError, Options, load_options
from votes.processes import distributed
from votes.processes.lease import LeaseLost
from votes.processes.parent import end_with_parent
from votes.processes.signals import PREEMPTED, REPORT_VARIABLE, Preempted, forget_early, note_from_now_on, tell_launcher


def add_program_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `votes train` and `votes test`: those of BasicSR."""
    parser.add_argument('-opt', required=True, metavar='FILE.yml', help='option file')
    parser.add_argument('--launcher', choices=('none', 'pytorch'), default='none', help='pytorch: started by torchrun')
    what = 'change options, e.g. train.total_iter=1000; may be given several times, the last of a key counts'
    add_overrides(parser, what, '--set', '--force_yml')
    # older launchers pass it
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def add_overrides(
    parser: argparse.ArgumentParser, what: str, *names: str, dest: str = 'overrides', takes: str = 'KEY=VALUE'
) -> None:
    """An argument of several values that may be given several times, ``--set`` unless named otherwise."""
    names = names or ('--set',)
    parser.add_argument(*names, nargs='+', action='extend', default=[], metavar=takes, dest=dest, help=what)


def run_program(program: Callable[[Options, argparse.Namespace], None], mode: str, args: argparse.Namespace) -> int:
    """Loads the options, joins the process group, runs `program`.

    Returns:
        Exit code: 0 done, 1 training diverged, stalled or lost its folder, 2 bad input, 75 stopped on request after
        saving (0 under `votes launch`, which turns it into 75 when all processes have ended). A crash raises, which
        Python ends with 1.
    """
    if mode == 'train':  # it may run for long: requests to stop are kept, and it ends with its parent
        note_from_now_on()
        end_with_parent()
    try:
        opt = load_options(args.opt, mode=mode, overrides=args.overrides)
        waits, gpu = opt.dist_params.first_timeout, opt.num_gpu != 0
        opt.notices.extend(distributed.start(args.launcher, opt.dist_params.backend, waits, gpu))
        try:
            program(opt, args)
        finally:
            distributed.stop()
    except (UserError, Diverged, Stalled, LeaseLost) as error:
        return report(error)
    except Preempted:
        return 0 if REPORT_VARIABLE in os.environ else PREEMPTED
    finally:
        forget_early()
    return 0


def called(program: ModuleType, arguments: list[str]) -> int:
    """What `votes train` or `votes test` would do with these arguments, in this process; its exit code."""
    parser = argparse.ArgumentParser()
    program.add_arguments(parser)
    return int(program.run(parser.parse_args(arguments)))


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
    except (UserError, Diverged, Stalled, LeaseLost, Preempted, KeyboardInterrupt):
        raise
    except Exception as error:
        lines = [f'  {name:<10} {value}' for name, value in describe().items()]
        error.add_note('\n'.join(['', f'crashed: {type(error).__name__}: {str(error).splitlines()[0:1]}', *lines]))
        raise


def report(error: Exception) -> int:
    """Prints an error that was foreseen, once where all ranks have it; returns the exit code for it."""
    # what is wrong with an option file is found by every rank
    repeated = getattr(error, 'repeated', isinstance(error, OptionError) and os.environ.get('LOCAL_RANK', '0') != '0')
    if not repeated:
        print(f'error: {error}', file=sys.stderr)
    if not isinstance(error, UserError):
        return 1
    tell_launcher('refused', error.what)
    return 2
