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
    """A module below votes with add_arguments(parser) and run(args), which returns the exit code, or nothing for 0; the
    group of `votes --help`; what it does.
    """

    module: str
    group: str
    text: str


VIDEOS, TRAINING, EVALUATION = 'Videos', 'Training', 'Evaluation'
DATA, NETWORKS, MACHINE = 'Data', 'Networks and options', 'This machine'
VERBS = {
    'restore': Verb('commands.restore', VIDEOS, 'restore a video file, or many'),
    'app': Verb('commands.app', VIDEOS, 'a page on this machine: drop a video, watch, compare, download'),
    'dfm': Verb('commands.dfm', VIDEOS, 'the degradation map of a video as a heat-map video'),
    'probe': Verb('video.probe', VIDEOS, 'what a video file holds, and how strongly it is compressed'),
    'metrics': Verb('commands.metrics', VIDEOS, 'two videos or folders of frames compared; or results files'),
    'train': Verb('train', TRAINING, 'train a network from an option file'),
    'migrate': Verb(
        'commands.migrate', TRAINING, 'option files and runs of BasicSR, traiNNer-redux and mmagic, as ours'
    ),
    'launch': Verb('processes.launch', TRAINING, 'train or test on several processes and machines'),
    'finetune': Verb('commands.finetune', TRAINING, 'adapt a trained network to the videos of another platform'),
    'sense': Verb(
        'commands.sense',
        TRAINING,
        'degradation maps of a data set, stored, so that stage 2 trains without running the DSM',
    ),
    'checkpoint': Verb('commands.checkpoint', TRAINING, 'inspect, verify or convert checkpoints'),
    'export': Verb('commands.export', TRAINING, 'a trained network as ONNX, torch.export or safetensors'),
    'lineage': Verb(
        'commands.lineage', TRAINING, 'what a run or study came from, and what had changed each time it went on'
    ),
    'compare-runs': Verb('commands.compare_runs', TRAINING, 'the first step at which two training runs differ'),
    'test': Verb('test', EVALUATION, 'evaluate a network from an option file'),
    'compare': Verb('reports.compare', EVALUATION, 'results of several evaluations in one table'),
    'report': Verb('reports.page', EVALUATION, 'a run, several or a study as an HTML page'),
    'plot': Verb('reports.curves', EVALUATION, 'curves of several runs in one figure, for papers'),
    'sheet': Verb('reports.sheet', EVALUATION, 'a picture of LQ, DFM, restored, GT and error'),
    'reproduce': Verb(
        'studies.reproduce', EVALUATION, 'a table or figure of the paper: run what is missing, compare, draw'
    ),
    'prepare': Verb('data.tools.prepare', DATA, 'a downloaded dataset into clips, lists and splits'),
    'pair': Verb(
        'commands.pair', DATA, 'downloads to the originals they came of, by content; exit code 1 if none fits'
    ),
    'degrade': Verb('data.degrading', DATA, 'clips through a recipe of shrinking and real codecs'),
    'calibrate': Verb(
        'commands.calibrate', DATA, 'what a platform does to videos, from pairs: a recipe, checked against them'
    ),
    'platform': Verb('commands.platform', DATA, 'the sheet of a platform: its recipe and what it rests on'),
    'metadata': Verb('data.codec_metadata', DATA, 'motion vectors, quantisers and picture types of videos'),
    'pack': Verb('data.tools.pack', DATA, 'frames into a store that reads crops fast, or into an LMDB'),
    'check-data': Verb(
        'data.tools.check', DATA, 'what is wrong with training pairs; exit code 1 if training makes no sense'
    ),
    'bench-data': Verb('data.tools.speed', DATA, 'how fast training samples are read, and what the time goes into'),
    'demo-data': Verb('data.tools.demo', DATA, 'make small compressed clips from photographs'),
    'weights': Verb('commands.weights', NETWORKS, 'weights that ship with votes, and their cards'),
    'zoo': Verb(
        'commands.zoo', NETWORKS, 'every network: what it sees, parameters, arithmetic, memory, option files, parity'
    ),
    'list': Verb('commands.names', NETWORKS, 'names that option files may use'),
    'explain': Verb(
        'options.reference', NETWORKS, 'what an option key means, or what a network, loss or dataset takes'
    ),
    'new': Verb('commands.new_network', NETWORKS, 'a network to start from: its file, row, option file and test'),
    'check-network': Verb(
        'commands.check_network', NETWORKS, 'whether a network keeps what it promises; exit code 1 if it does not'
    ),
    'doctor': Verb('commands.doctor', MACHINE, 'what works on this machine'),
    'completion': Verb('commands.completion', MACHINE, 'completion of these commands for bash or zsh'),
    'bench': Verb('commands.bench', MACHINE, 'run a benchmark of this project and keep its result'),
}

# one for each group, as `votes --help` and docs/commands.md show them
EXAMPLES = {
    VIDEOS: 'votes restore IN.mp4 OUT.mp4 --weights W.pth',
    TRAINING: 'votes train -opt options/train/VOTES/train_VOTES_demo.yml',
    EVALUATION: 'votes report results/VOTES_demo',
    DATA: 'votes check-data -opt options/train/VOTES/train_VOTES_demo.yml',
    NETWORKS: 'votes explain grad_clip',
    MACHINE: 'votes doctor',
}


def parsers() -> dict[str, argparse.ArgumentParser]:
    """The parsers of all verbs by what is typed, such as 'restore' or 'checkpoint inspect'."""
    found = {}
    for name, verb in VERBS.items():
        parser = Parser(prog=f'votes {name}', description=verb.text)
        importlib.import_module(f'votes.{verb.module}').add_arguments(parser)
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
