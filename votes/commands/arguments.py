"""The arguments of `votes restore` that say how, and what they mean."""

from __future__ import annotations

import argparse
import re
from dataclasses import fields
from fractions import Fraction

from votes.archs.contract import AMP
from votes.errors import UserError
from votes.restore.progress import KINDS
from votes.restore.settings import Settings
from votes.video.colour import MATRICES
from votes.video.encoders import CODECS
from votes.video.read import Reading


def add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda, cuda:1 ...')


def add_reading(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('how the input is read, where it does not say so')
    group.add_argument('--colour-matrix', choices=tuple(MATRICES), help='of its YUV, whatever the file says')
    group.add_argument('--range', choices=('limited', 'full'), help='of its YUV, whatever the file says')
    group.add_argument('--exact-colour', action='store_true', help='RGB is rounded; ffmpeg cuts it off, a level darker')
    group.add_argument('--deinterlace', action='store_true', help='join the fields of interlaced video')
    group.add_argument('--rate', type=Fraction, help='frames a second of pictures or a raw stream (default 25)')
    group.add_argument('--raw', metavar='WxH:FORMAT:RATE', help='a file of raw YUV, such as 832x480:yuv420p:30')


def add_encoding(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('how the output is compressed')
    group.add_argument('--codec', choices=tuple(CODECS), help='default: h264, in .webm vp9')
    group.add_argument('--crf', type=int, help='quality, lower is better; the default cannot be told from the original')
    group.add_argument('--preset', help='speed, as the encoder names it')
    group.add_argument('-e', action='append', default=[], metavar='KEY=VALUE', help='another option of the encoder')


def add_running(parser: argparse.ArgumentParser) -> None:
    add_device(parser)
    parser.add_argument('--segment', type=int, default=64, help='frames that are kept together (default 64)')
    parser.add_argument('--progress', choices=KINDS, default='auto', help='auto: a bar on a terminal, else lines')
    parser.add_argument('--overwrite', action='store_true', help='replace an output that exists')
    parser.add_argument('--restart', action='store_true', help='begin anew where another job was interrupted')


def add_network(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('how the network is run')
    group.add_argument('--amp', choices=(*AMP, 'auto'), default='auto', help='auto: bf16 on a GPU if nobody can see it')
    group.add_argument('--runtime', choices=('torch', 'onnx'), default='torch', help='onnx: W.onnx of `votes export`')
    group.add_argument('--compile', action='store_true', help='torch.compile: for long videos')
    group.add_argument(
        '--ensemble', default='none', help='x4, x6, x8, x12 (x6+temporal), temporal, x8+temporal: better, slower'
    )
    group.add_argument(
        '--strength', type=float, default=1.0, help='share of the result, 0 to 2; the rest is the source (default 1)'
    )
    group.add_argument('--tile', type=int, help='side of tiles in pixels, 0 for none; default: what fits into memory')
    group.add_argument('--overlap', type=int, default=32, help='pixels that tiles share (default 32)')
    group.add_argument('--batch', type=int, default=1, help='windows at a time')
    group.add_argument('--chunk', type=int, default=16, help='frames at a time of a recurrent network')
    group.add_argument('--gpus', type=int, default=1, help='processes that share the segments, a GPU each')


def add_range(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('a part of the video, without its sound')
    group.add_argument('--frames', metavar='A:B', help='frames A to B - 1, counted from 0')
    group.add_argument('--preview', metavar='3s@00:10', help='so many seconds from this time on, beside the input')


def reading(args: argparse.Namespace) -> Reading:
    full = None if args.range is None else args.range == 'full'
    if args.rate is not None and args.rate <= 0:
        raise UserError('a rate is above zero', value=args.rate)
    return Reading(args.colour_matrix, full, args.deinterlace, args.rate, args.raw, args.exact_colour)


def settings(args: argparse.Namespace, rate: Fraction = Fraction(25)) -> Settings:
    """What was asked for. Arguments that a verb does not have stay at their defaults.

    Args:
        rate: frames a second of the input, for `--preview`.
    """
    pairs = [tuple(text.split('=', 1)) for text in args.e]
    if any(len(pair) != 2 for pair in pairs):
        raise UserError('options of the encoder are KEY=VALUE', value=' '.join(args.e))
    frames = frame_range(args.frames, args.preview, rate)
    found = {'encoder_options': tuple(pairs), 'frames': frames, 'reading': reading(args)}
    return Settings(**{f.name: getattr(args, f.name) for f in fields(Settings) if hasattr(args, f.name)} | found)


def frame_range(frames: str | None, preview: str | None, rate: Fraction) -> tuple[int, int | None]:
    """First and last + 1 of ``A:B``, or of ``SECONDSs@MINUTES:SECONDS`` at `rate` frames a second."""
    if frames:
        match = re.fullmatch(r'(\d*):(\d*)', frames)
        if match is None:
            raise UserError('a range of frames is A:B', value=frames, fix='100:160')
        return int(match[1] or 0), int(match[2]) if match[2] else None
    if preview:
        match = re.fullmatch(r'(\d*\.?\d+)s(?:@((?:\d+:){0,2}\d*\.?\d+))?', preview)
        if match is None:
            raise UserError('a preview is SECONDSs@MINUTES:SECONDS', value=preview, fix='3s@00:10')
        length, start = match[1], 0.0
        for part in (match[2] or '0').split(':'):  # hours, minutes, seconds
            start = start * 60 + float(part)
        first = round(start * rate)
        return first, first + max(1, round(float(length) * rate))
    return 0, None
