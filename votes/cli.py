"""The `votes` command: runs the verb that is asked for, see votes/commands/verbs.py."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
import traceback

import votes
from votes.commands.verbs import VERBS, Parser, overview, program
from votes.errors import UserError
from votes.processes.parent import end_with_parent
from votes.processes.signals import PREEMPTED, Preempted, forget_early, note_from_now_on


def main(argv: list[str] | None = None) -> int:
    """Exit codes: 0 done, 2 bad input, 75 stopped on request; anything else is a crash."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] in (['train'], ['launch']):  # they listen to requests to stop, from now on
        note_from_now_on()
        end_with_parent()
    try:
        return _main(argv)
    finally:
        forget_early()


def _main(argv: list[str]) -> int:
    if argv and argv[0] not in VERBS and not argv[0].startswith('-'):
        near = difflib.get_close_matches(argv[0], VERBS, n=1, cutoff=0.5)
        guess = f'; did you mean {near[0]!r}?' if near else ''
        print(f'error: there is no verb {argv[0]!r}{guess}\n`votes --help` lists them', file=sys.stderr)
        return 2
    parser = Parser(
        prog='votes',
        usage='votes VERB ...',
        description='Restoring videos that social platforms have shrunk and compressed.',
        epilog=overview(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--version', action='version', version=f'votes {votes.__version__}')
    verbs = parser.add_subparsers(dest='verb', prog='votes', required=True, metavar='VERB', help=argparse.SUPPRESS)
    if argv and argv[0] in VERBS:  # only the verb that runs is imported
        program(argv[0]).add_arguments(verbs.add_parser(argv[0], description=VERBS[argv[0]].text))
    args = parser.parse_args(argv)
    try:
        return int(program(args.verb).run(args) or 0)
    except UserError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    except Preempted as stopped:
        print(stopped, file=sys.stderr)
        return PREEMPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _as_program() -> None:
    """Without Python's own end where there is a process group, also after a crash, see `end_process`."""
    if 'RANK' not in os.environ:
        raise SystemExit(main())
    from votes.processes.program import end_process

    try:
        code = main()
    except Exception:
        traceback.print_exc()
        code = 1
    end_process(code)


if __name__ == '__main__':
    _as_program()
