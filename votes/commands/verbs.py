"""The verbs of the `votes` command, an example for each group of them, and their parsers."""

from __future__ import annotations

import argparse
import importlib
import itertools
from typing import Any, NamedTuple, NoReturn


class Parser(argparse.ArgumentParser):
    """Says what is wrong with arguments as all other bad input is told, without a page of usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f'error: {message}\n  where: {self.prog}\n  fix  : `{self.prog} --help` shows what it takes\n')


class Verb(NamedTuple):
    """The group of `votes --help`; what it does; its module below votes where that is not the one of its name in
    votes.commands. It has add_arguments(parser) and run(args), which returns the exit code, or nothing for 0.
    """

    group: str
    text: str
    module: str = ''


VIDEOS, TRAINING, EVALUATION = 'Videos', 'Training', 'Evaluation'
DATA, NETWORKS, MACHINE = 'Data', 'Networks and options', 'This machine'
VERBS = {
    'restore': Verb(VIDEOS, 'restore a video file, or many'),
    'app': Verb(VIDEOS, 'a page on this machine: drop a video, watch, compare, download'),
    'dfm': Verb(VIDEOS, 'the degradation map of a video as a heat-map video'),
    'probe': Verb(VIDEOS, 'what a video file holds, and how strongly it is compressed', 'video.probe'),
    'metrics': Verb(VIDEOS, 'two videos or folders of frames compared; or results files'),
    'train': Verb(TRAINING, 'train a network from an option file', 'train'),
    'migrate': Verb(TRAINING, 'option files and runs of BasicSR, traiNNer-redux and mmagic, as ours'),
    'launch': Verb(TRAINING, 'train or test on several processes and machines', 'processes.launch'),
    'finetune': Verb(TRAINING, 'adapt a trained network to the videos of another platform'),
    'sense': Verb(TRAINING, 'degradation maps of a data set, stored, so that stage 2 trains without running the DSM'),
    'checkpoint': Verb(TRAINING, 'inspect, verify or convert checkpoints'),
    'export': Verb(TRAINING, 'a trained network as ONNX, torch.export or safetensors'),
    'lineage': Verb(TRAINING, 'what a run or study came from, and what had changed each time it went on'),
    'compare-runs': Verb(TRAINING, 'the first step at which two training runs differ'),
    'test': Verb(EVALUATION, 'evaluate a network from an option file', 'test'),
    'compare': Verb(EVALUATION, 'results of several evaluations in one table', 'reports.compare'),
    'report': Verb(EVALUATION, 'a run, several or a study as an HTML page', 'reports.page'),
    'plot': Verb(EVALUATION, 'curves of several runs in one figure, for papers', 'reports.curves'),
    'sheet': Verb(EVALUATION, 'a picture of LQ, DFM, restored, GT and error', 'reports.sheet'),
    'reproduce': Verb(
        EVALUATION, 'a table or figure of the paper: run what is missing, compare, draw', 'studies.reproduce'
    ),
    'prepare': Verb(DATA, 'a downloaded dataset into clips, lists and splits', 'data.tools.prepare'),
    'pair': Verb(DATA, 'downloads to the originals they came of, by content; exit code 1 if none fits'),
    'degrade': Verb(DATA, 'clips through a recipe of shrinking and real codecs', 'data.degrading'),
    'calibrate': Verb(DATA, 'what a platform does to videos, from pairs: a recipe, checked against them'),
    'platform': Verb(DATA, 'the sheet of a platform: its recipe and what it rests on'),
    'metadata': Verb(DATA, 'motion vectors, quantisers and picture types of videos', 'data.codec_metadata'),
    'pack': Verb(DATA, 'frames into a store that reads crops fast, or into an LMDB', 'data.tools.pack'),
    'check-data': Verb(
        DATA, 'what is wrong with training pairs; exit code 1 if training makes no sense', 'data.tools.check'
    ),
    'bench-data': Verb(DATA, 'how fast training samples are read, and what the time goes into', 'data.tools.speed'),
    'demo-data': Verb(DATA, 'make small compressed clips from photographs', 'data.tools.demo'),
    'weights': Verb(NETWORKS, 'weights that ship with votes, and their cards'),
    'zoo': Verb(NETWORKS, 'every network: what it sees, parameters, arithmetic, memory, option files, parity'),
    'list': Verb(NETWORKS, 'names that option files may use', 'commands.names'),
    'explain': Verb(
        NETWORKS, 'what an option key means, or what a network, loss or dataset takes', 'options.reference'
    ),
    'new': Verb(NETWORKS, 'a network to start from: its file, row, option file and test', 'commands.new_network'),
    'check-network': Verb(NETWORKS, 'whether a network keeps what it promises; exit code 1 if it does not'),
    'doctor': Verb(MACHINE, 'what works on this machine'),
    'completion': Verb(MACHINE, 'completion of these commands for bash or zsh'),
    'bench': Verb(MACHINE, 'run a benchmark of this project and keep its result'),
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


def program(name: str) -> Any:
    """The module of a verb."""
    return importlib.import_module(f'votes.{VERBS[name].module or "commands." + name.replace("-", "_")}')


def parsers() -> dict[str, argparse.ArgumentParser]:
    """The parsers of all verbs by what is typed, such as 'restore' or 'checkpoint inspect'."""
    found = {}
    for name, verb in VERBS.items():
        parser = Parser(prog=f'votes {name}', description=verb.text)
        program(name).add_arguments(parser)
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
