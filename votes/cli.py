"""The `votes` command: a table of verbs, each a module with add_arguments(parser) and run(args)."""

from __future__ import annotations

import argparse
import difflib
import importlib
import itertools
import os
import sys
import traceback
from typing import NamedTuple

from votes.errors import UserError
from votes.processes.parent import end_with_parent
from votes.processes.signals import forget_early, note_from_now_on


class Verb(NamedTuple):
    """A module with add_arguments(parser) and run(args) -> exit code; the group of `votes --help`; what it does."""

    module: str
    group: str
    text: str


VERBS = {
    'restore': Verb('votes.commands.restore', 'Videos', 'restore a video file, or many'),
    'dfm': Verb('votes.commands.dfm', 'Videos', 'the degradation map of a video as a heat-map video'),
    'probe': Verb('votes.commands.probe', 'Videos', 'what a video file holds, and how strongly it is compressed'),
    'metrics': Verb('votes.commands.metrics', 'Videos', 'two videos or folders of frames compared; or results files'),
    'train': Verb('votes.train', 'Training', 'train a network from an option file'),
    'launch': Verb('votes.processes.launch', 'Training', 'train or test on several processes and machines'),
    'finetune': Verb(
        'votes.commands.finetune', 'Training', 'adapt a trained network to the videos of another platform'
    ),
    'sense': Verb(
        'votes.commands.sense',
        'Training',
        'degradation maps of a data set, stored, so that stage 2 trains without running the DSM',
    ),
    'checkpoint': Verb('votes.commands.checkpoint', 'Training', 'inspect, verify or convert checkpoints'),
    'lineage': Verb(
        'votes.commands.lineage', 'Training', 'what a run or study came from, and what had changed each time it went on'
    ),
    'compare-runs': Verb('votes.commands.compare_runs', 'Training', 'the first step at which two training runs differ'),
    'test': Verb('votes.test', 'Evaluation', 'evaluate a network from an option file'),
    'compare': Verb('votes.commands.compare', 'Evaluation', 'results of several evaluations in one table'),
    'report': Verb('votes.reports.page', 'Evaluation', 'a run or a study as one HTML page'),
    'plot': Verb('votes.reports.plot', 'Evaluation', 'curves of several runs in one figure, for papers'),
    'sheet': Verb('votes.commands.sheet', 'Evaluation', 'a picture of LQ, DFM, restored, GT and error'),
    'reproduce': Verb(
        'votes.studies.reproduce', 'Evaluation', 'a table or figure of the paper: run what is missing, compare, draw'
    ),
    'prepare': Verb('votes.data.tools.prepare', 'Data', 'a downloaded dataset into clips, lists and splits'),
    'degrade': Verb('votes.commands.degrade', 'Data', 'clips through a recipe of shrinking and real codecs'),
    'metadata': Verb('votes.commands.metadata', 'Data', 'motion vectors, quantisers and picture types of videos'),
    'pack': Verb('votes.commands.pack', 'Data', 'frames into a store that reads crops fast, or into an LMDB'),
    'check-data': Verb(
        'votes.commands.check_data', 'Data', 'what is wrong with training pairs; exit code 1 if training makes no sense'
    ),
    'bench-data': Verb(
        'votes.commands.bench_data', 'Data', 'how fast training samples are read, and what the time goes into'
    ),
    'demo-data': Verb('votes.commands.demo_data', 'Data', 'make small compressed clips from photographs'),
    'zoo': Verb(
        'votes.commands.zoo',
        'Networks and options',
        'every network: what it sees, parameters, arithmetic, memory, option files, parity',
    ),
    'list': Verb('votes.commands.names', 'Networks and options', 'names that option files may use'),
    'explain': Verb(
        'votes.commands.explain',
        'Networks and options',
        'what an option key means, or what a network, loss or dataset takes',
    ),
    'new': Verb(
        'votes.commands.new_network',
        'Networks and options',
        'a network to start from: its file, row, option file and test',
    ),
    'check-network': Verb(
        'votes.commands.check_network',
        'Networks and options',
        'whether a network keeps what it promises; exit code 1 if it does not',
    ),
    'doctor': Verb('votes.commands.doctor', 'This machine', 'what works on this machine'),
    'bench': Verb('votes.commands.bench', 'This machine', 'run a benchmark of this project and keep its result'),
}


def main(argv: list[str] | None = None) -> int:
    """Exit codes: 0 done, 2 bad input; anything else is a crash."""
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
    parser = argparse.ArgumentParser(
        prog='votes',
        usage='votes VERB ...',
        description='Restoring videos that social platforms have shrunk and compressed.',
        epilog=_overview(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest='verb', prog='votes', required=True, metavar='VERB', help=argparse.SUPPRESS)
    if argv and argv[0] in VERBS:  # only the verb that runs is imported
        known = VERBS[argv[0]]
        program = importlib.import_module(known.module)
        program.add_arguments(verbs.add_parser(argv[0], description=known.text))
    args = parser.parse_args(argv)
    try:
        return int(program.run(args))
    except UserError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _overview() -> str:
    """All verbs, a line each, in groups."""
    lines = []
    for group, members in itertools.groupby(VERBS.items(), lambda item: item[1].group):
        lines += [f'{group}:', *(f'  {name:<15}{verb.text}' for name, verb in members), '']
    return '\n'.join([*lines, '`votes VERB --help` shows the options of a verb.'])


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
