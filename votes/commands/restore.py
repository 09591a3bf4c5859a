"""`votes restore`: a video, or many, with a trained network."""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import torch
from torch import nn

from votes.archs.contract import promise
from votes.commands import arguments
from votes.errors import UserError
from votes.export.hub import network_of
from votes.processes.devices import pick_device
from votes.processes.lease import Lease
from votes.processes.parent import child_environment, end_with_parent
from votes.processes.signals import Preempted, StopRequests
from votes.restore.compare import KINDS, compare
from votes.restore.inputs import open_input, videos_of
from votes.restore.job import job_folder
from votes.restore.ledger import announce
from votes.restore.progress import clock
from votes.restore.settings import Settings, Summary, check_paths
from votes.restore.suited import guessed, suited
from votes.restore.video import Restoration, restore_video
from votes.video.encoders import CODECS
from votes.weights import Card, found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('input', help='video, folder of pictures, folder of videos, or a pattern such as "*.mp4"')
    parser.add_argument('output', type=Path, help='video to write; a name without a suffix is a folder')
    parser.add_argument(
        '--weights',
        metavar='W.pth',
        help='a checkpoint of this project or a published one, a folder or hub:owner/name of safetensors, OUT.onnx, or '
        'the name of weights that ship with votes (see `votes weights`); x2 unless told',
    )
    arguments.add_running(parser)
    parser.add_argument('--dry-run', action='store_true', help='say what would be done, how long, and stop')
    parser.add_argument('--compare', choices=KINDS, action='append', default=[], help='write a comparison as well')
    arguments.add_network(parser)
    arguments.add_encoding(parser)
    arguments.add_reading(parser)
    arguments.add_range(parser)
    # I/N: what a process that `--gpus` starts is to do
    parser.add_argument('--part', type=lambda text: tuple(map(int, text.split('/'))), help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    end_with_parent()
    device = pick_device(args.device)
    videos = videos_of(args.input)
    if not videos:
        check_paths(args.input, args.output, args.overwrite or args.dry_run or args.part is not None)
    weights, card = found(args.weights)
    if args.compile and (args.runtime == 'onnx' or weights.suffix == '.onnx'):
        raise UserError('onnxruntime compiles by itself', value='--compile', fix='leave it out')
    net = network_of(weights, device, args.runtime)
    said = promise(net)
    if not said.restores:
        raise UserError(f'{said.name} restores no video', where=weights, fix='weights of a whole network')
    if card and args.part is None:
        other = '; --weights names others' if args.weights is None else ''
        tell(f'weights: {card.name}, which ship with votes: {card.what}{other}', args.progress)
    return _several(args, net, card, device, videos) if videos else one(args, net, card, device)


def _several(
    args: argparse.Namespace, net: nn.Module, card: Card | None, device: torch.device, videos: list[Path]
) -> int:
    """Every video; one that fails does not stop the others."""
    folder: Path = args.output
    if folder.exists() and not folder.is_dir():
        raise UserError('several videos need a folder as output', where=folder)
    folder.mkdir(parents=True, exist_ok=True)
    table = []
    for video in videos:
        suffix = video.suffix if video.suffix.lower() in CODECS['h264'].suffixes else '.mp4'
        own = argparse.Namespace(**vars(args) | {'input': str(video), 'output': folder / f'{video.stem}{suffix}'})
        try:
            one(own, net, card, device)
            table.append(f'done    {own.output}')
        except UserError as error:
            table.append(f'FAILED  {video}: {error.what}')
            print(f'error: {error}', file=sys.stderr)
    print('\n'.join(table))
    return int(any(line.startswith('FAILED') for line in table))


def one(args: argparse.Namespace, net: nn.Module, card: Card | None, device: torch.device) -> int:
    """One video, as the arguments of `votes restore` say."""
    source = Path(args.input)
    rate = Fraction(25)
    if args.preview:
        with open_input(source, arguments.reading(args)) as reader:
            rate = reader.rate
    chosen, said = suited(arguments.settings(args, rate), card, source)
    if args.dry_run:
        print('\n'.join([_plan(args, net, device, chosen), *said]))
        return 0
    if args.gpus > 1:
        _with_helpers(args)
    summary = restore_video(
        net,
        source,
        args.output,
        device=device,
        settings=chosen,
        overwrite=args.overwrite or args.part is not None,
        progress=args.progress,
        restart=args.restart and args.gpus == 1,
        part=args.part,
    )
    if args.part is not None:
        return 0
    summary.notes += said or (_hint(source) if promise(net).restores else [])
    for kind in args.compare or (['side'] if args.preview else []):
        summary.notes.append(f'comparison: {compare(kind, source, args.output, chosen, net, device, args.overwrite)}')
    tell(summary, args.progress)
    return 0


def tell(summary: Summary | str, progress: str) -> None:
    """The summary, or a line, where programs do not read."""
    print(summary, file=sys.stderr if progress == 'json' else sys.stdout)


def _hint(source: Path) -> list[str]:
    """A line for who restores what hardly needs it."""
    guess = guessed(source)
    if guess is None:
        return []
    advice = '; a network for compressed video may smooth it' if guess.word == 'hardly' else ''
    return [f'the source is {guess}{advice}']


def _plan(args: argparse.Namespace, net: nn.Module, device: torch.device, chosen: Settings) -> str:
    """What `--dry-run` prints."""
    source, target = Path(args.input), Path(args.output)
    work = Restoration(net, source, chosen, device)
    lines = []
    with work.open() as reader:
        about = f'about {reader.frames_hint} frames, {reader.bits} bits'
        lines += [f'input: {source}, {work.size[1]}x{work.size[0]}, {about}']
        lines += [f'  {note}' for note in [*reader.notes, *work.notes]]
        lines += [f'output: {target}, {work.new_size[1]}x{work.new_size[0]}']
        if target.suffix:
            encoding = work.settings.encoding(target, reader.bits, reader.chroma)
            known = CODECS[encoding.codec]
            crf = known.crf if encoding.crf is None else encoding.crf
            lines += [f'  {known.encoder}, {encoding.pixels(work.new_size)}' + ('' if crf is None else f', crf {crf}')]
            said = announce(target, work.new_size, reader, encoding, work.beside(reader))
            lines += [f'  {line}' for line in said.lines()]
        work.choose_tile()
        side = work.limits.tile
        lines += [f'tiles: {f"{side} pixels" if side else "none, whole frames fit"}; precision {work.settings.amp}']
        maker, seconds = work.stream(), 0.0
        for view in itertools.islice(work.views(reader, lambda index: True), 3):  # the first one is the slowest
            frames = {i: work.shown(i, frame) for i, frame in view.frames.items()}
            started = time.monotonic()
            maker.restore([view], frames)
            seconds = (time.monotonic() - started) / len(view.centres)
        count = work.settings.count(reader.frames_hint)
        lines += [f'time: about {clock(seconds * count)} ({seconds:.2f} s a frame on {device})']
    return '\n'.join(lines)


def _with_helpers(args: argparse.Namespace) -> None:
    """Processes that make every Nth segment each; what is missing afterwards is made by this one."""
    if args.restart:
        raise UserError('--restart and --gpus do not go together', fix='remove the job folder')
    environment = os.environ | child_environment() | {'PYTHONPATH': os.pathsep.join(p for p in sys.path if p)}
    children: list[subprocess.Popen[bytes]] = []
    with Lease(job_folder(args.output), f'a restoration in {args.gpus} processes'), StopRequests() as stop:
        for i in range(args.gpus):
            device = f'cuda:{i}' if args.device in ('auto', 'cuda') and torch.cuda.device_count() > i else args.device
            own = ['--gpus', '1', '--part', f'{i}/{args.gpus}', '--device', device, '--progress', 'none']
            children.append(subprocess.Popen([sys.executable, '-m', 'votes.cli', *sys.argv[1:], *own], env=environment))
        while any(child.poll() is None for child in children):
            time.sleep(0.2)
            if stop.asked():
                for child in children:
                    child.terminate()
                for child in children:
                    child.wait()
                raise Preempted('stopped; the same command continues')
