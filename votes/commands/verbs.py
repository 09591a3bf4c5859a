"""The verbs of the `votes` command, an example for each group of them, and their parsers."""

from __future__ import annotations

import argparse
import importlib
import itertools
from typing import NamedTuple, NoReturn


class Parser(argparse.ArgumentParser):
    """Says what is wrong with arguments as all other bad input is told, without a page of usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f'error: {message}\n  where: {self.prog}\n  fix  : `{self.prog} --help` shows what it takes\n')


class Verb(NamedTuple):
    """A module with add_arguments(parser) and run(args), which returns the exit code, or nothing for 0; the group of
    `votes --help`; what it does.
    """

    module: str
    group: str
    text: str


VERBS = {
    'restore': Verb('votes.commands.restore', 'Videos', 'restore a video file, or many'),
    'app': Verb('votes.commands.app', 'Videos', 'a page on this machine: drop a video, watch, compare, download'),
    'dfm': Verb('votes.commands.dfm', 'Videos', 'the degradation map of a video as a heat-map video'),
    'probe': Verb('votes.video.probe', 'Videos', 'what a video file holds, and how strongly it is compressed'),
    'metrics': Verb('votes.commands.metrics', 'Videos', 'two videos or folders of frames compared; or results files'),
    'train': Verb('votes.train', 'Training', 'train a network from an option file'),
    'migrate': Verb(
        'votes.commands.migrate', 'Training', 'option files and runs of BasicSR, traiNNer-redux and mmagic, as ours'
    ),
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
    'export': Verb('votes.commands.export', 'Training', 'a trained network as ONNX, torch.export or safetensors'),
    'lineage': Verb(
        'votes.commands.lineage', 'Training', 'what a run or study came from, and what had changed each time it went on'
    ),
    'compare-runs': Verb('votes.commands.compare_runs', 'Training', 'the first step at which two training runs differ'),
    'test': Verb('votes.test', 'Evaluation', 'evaluate a network from an option file'),
    'compare': Verb('votes.reports.compare', 'Evaluation', 'results of several evaluations in one table'),
    'report': Verb('votes.reports.page', 'Evaluation', 'a run, several or a study as an HTML page'),
    'plot': Verb('votes.reports.curves', 'Evaluation', 'curves of several runs in one figure, for papers'),
    'sheet': Verb('votes.reports.sheet', 'Evaluation', 'a picture of LQ, DFM, restored, GT and error'),
    'reproduce': Verb(
        'votes.studies.reproduce', 'Evaluation', 'a table or figure of the paper: run what is missing, compare, draw'
    ),
    'prepare': Verb('votes.data.tools.prepare', 'Data', 'a downloaded dataset into clips, lists and splits'),
    'pair': Verb(
        'votes.commands.pair', 'Data', 'downloads to the originals they came of, by content; exit code 1 if none fits'
    ),
    'degrade': Verb('votes.data.degrading', 'Data', 'clips through a recipe of shrinking and real codecs'),
    'calibrate': Verb(
        'votes.commands.calibrate', 'Data', 'what a platform does to videos, from pairs: a recipe, checked against them'
    ),
    'platform': Verb('votes.commands.platform', 'Data', 'the sheet of a platform: its recipe and what it rests on'),
    'metadata': Verb('votes.data.codec_metadata', 'Data', 'motion vectors, quantisers and picture types of videos'),
    'pack': Verb('votes.data.tools.pack', 'Data', 'frames into a store that reads crops fast, or into an LMDB'),
    'check-data': Verb(
        'votes.data.tools.check', 'Data', 'what is wrong with training pairs; exit code 1 if training makes no sense'
    ),
    'bench-data': Verb(
        'votes.data.tools.speed', 'Data', 'how fast training samples are read, and what the time goes into'
    ),
    'demo-data': Verb('votes.data.tools.demo', 'Data', 'make small compressed clips from photographs'),
    'weights': Verb('votes.commands.weights', 'Networks and options', 'weights that ship with votes, and their cards'),
    'zoo': Verb(
        'votes.commands.zoo',
        'Networks and options',
        'every network: what it sees, parameters, arithmetic, memory, option files, parity',
    ),
    'list': Verb('votes.commands.names', 'Networks and options', 'names that option files may use'),
    'explain': Verb(
        'votes.options.reference',
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
    'completion': Verb('votes.commands.completion', 'This machine', 'completion of these commands for bash or zsh'),
    'bench': Verb('votes.commands.bench', 'This machine', 'run a benchmark of this project and keep its result'),
}

# one for each group, as `votes --help` and docs/commands.md show them
EXAMPLES = {
    'Videos': 'votes restore IN.mp4 OUT.mp4 --weights W.pth',
    'Training': 'votes train -opt options/train/VOTES/train_VOTES_demo.yml',
    'Evaluation': 'votes report results/VOTES_demo',
    'Data': 'votes check-data -opt options/train/VOTES/train_VOTES_demo.yml',
    'Networks and options': 'votes explain grad_clip',
    'This machine': 'votes doctor',
}


def parsers() -> dict[str, argparse.ArgumentParser]:
    """The parsers of all verbs by what is typed, such as 'restore' or 'checkpoint inspect'."""
    found = {}
    for name, verb in VERBS.items():
        parser = Parser(prog=f'votes {name}', description=verb.text)
        importlib.import_module(verb.module).add_arguments(parser)
        below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
        for action in below:
            for about in action._choices_actions:
                action.choices[about.dest].description = about.help
                found[f'{name} {about.dest}'] = action.choices[about.dest]
        if not below:
            found[name] = parser
    return found


def arguments_of(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """What a person may give: neither `--help` nor what only launchers give."""
    return [action for action in parser._actions if action.dest != 'help' and action.help != argparse.SUPPRESS]


def overview() -> str:
    """All verbs, a line each, in groups that end with an example."""
    lines = []
    for group, members in itertools.groupby(VERBS.items(), lambda item: item[1].group):
        lines += [f'{group}:', *(f'  {name:<15}{verb.text}' for name, verb in members), f'  e.g. {EXAMPLES[group]}', '']
    return '\n'.join([*lines, '`votes VERB --help` shows what a verb takes.'])
