"""`votes export`: a trained network for other programs."""

from __future__ import annotations

import argparse
from pathlib import Path

from votes import checkpoint
from votes.errors import UserError

FORMATS = ('onnx', 'torch-export', 'safetensors')
SUFFIXES = {'onnx': '.onnx', 'torch-export': '.pt2'}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('weights', type=Path, metavar='W.pth', help='a checkpoint, or a folder of --to safetensors')
    parser.add_argument('--to', choices=FORMATS, required=True, help='safetensors: a file, or a folder for a hub')
    parser.add_argument(
        '-o', type=Path, metavar='OUT', dest='output', required=True, help='OUT.onnx, OUT.pt2 or a folder'
    )
    parser.add_argument(
        '--deform',
        choices=('operator', 'grid'),
        default='operator',
        help='deformable convolutions in ONNX: the operator DeformConv, or grid sampling for runtimes without it',
    )
    parser.add_argument(
        '--frames', type=int, metavar='N', help='of the clips that a network of clips takes (default 7)'
    )
    parser.add_argument('--opset', type=int, default=20, help='of ONNX, from 19 on (default 20)')
    parser.add_argument('--overwrite', action='store_true', help='replace an output that exists')


def run(args: argparse.Namespace) -> int:
    from votes.export import hub

    target: Path = args.output
    if args.to == 'safetensors' and target.suffix != '.safetensors':
        lines = hub.write_folder(args.weights, target, args.overwrite)
        print('\n'.join(lines))
        return 0
    checkpoint.check_target(target, args.overwrite)
    net, options = hub.opened(args.weights)
    if args.to == 'safetensors':
        hub.write_safetensors(net.state_dict(), options, target)
        print(f'{target}: {len(net.state_dict())} tensors')
        return 0
    if target.suffix != SUFFIXES[args.to]:
        raise UserError(f'the name of such a file ends in {SUFFIXES[args.to]}', where=target)
    if args.frames is not None and args.frames < 1:
        raise UserError('a clip has frames', value=args.frames)
    print('\n'.join(_written(args, net, options, target)))
    return 0


def _written(args: argparse.Namespace, net: object, options: dict, target: Path) -> list[str]:
    from votes.export.graphs import exported

    if args.to == 'torch-export':
        from votes.export.programs import write_programs

        # read back without this project: no operator of its own
        return write_programs(exported(net, options, 'grid', args.frames), target)  # type: ignore[arg-type]
    from votes.export.onnx import needed, write_onnx

    needed()
    found = exported(net, options, args.deform, args.frames)  # type: ignore[arg-type]
    return [*write_onnx(found, target, args.opset), f'run it: votes restore IN.mp4 OUT.mp4 --weights {target}']
