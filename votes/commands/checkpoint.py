"""What is in a checkpoint, whether it is whole, and the same in another format."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from votes import checkpoint
from votes.archs import build_network, infer_options, stored_options
from votes.errors import UserError
from votes.processes.lease import Lease
from votes.training.checkpoint_store import Saves, weights_path


def read(path: Path, param_key: str | None = None) -> dict[str, Tensor]:
    """Weights of a .pth or a .safetensors file."""
    of_safetensors = path.suffix == '.safetensors'
    return checkpoint.read_safetensors(path) if of_safetensors else checkpoint.read_weights(path, param_key)


def inspect(path: Path) -> str:
    """Lines on the file: kind, iteration, network, number and size of its tensors."""
    lines = [f'{path}: {path.stat().st_size / 1e6:.2f} MB' if path.is_file() else str(path)]
    content = {} if path.suffix == '.safetensors' else checkpoint.load(path)
    if 'optimizers' in content:
        at = content.get('position', {})
        lines += [f'training state after iteration {content["iter"]}']
        lines += [f'  {key}: {value}' for key, value in at.items() if key not in ('iteration', 'meter')]
        lines += [f'  written by: {content["environment"]}'] if 'environment' in content else []
        options = content.get('setup', {}).get('options', {})
        lines += [f'  options: {options.get("name")}, {options.get("model_type")}'] if options else []
        return '\n'.join(lines)
    keys: list[str | None] = [k for k in checkpoint.WEIGHT_KEYS if k in content]
    for key in keys or [None]:
        weights = read(path, key)
        count = sum(t.numel() for t in weights.values())
        broken = sum(not bool(torch.isfinite(t).all()) for t in weights.values())
        bad = f', {broken} tensors with NaN or Inf' if broken else ''
        lines.append(f'{key or "weights"}: {len(weights)} tensors, {count / 1e6:.3f} M values{bad}')
    try:
        lines.append('network: ' + ', '.join(f'{k}: {v}' for k, v in infer_options(weights, path).items()))
    except UserError:
        lines.append('network: none that is known here')
    return '\n'.join(lines)


def verify(folder: Path, repair: bool = False) -> tuple[bool, str]:
    """Whether every checkpoint of a run folder is whole, and a line on each.

    Args:
        repair: mends what can be mended first, and sets aside what cannot, see `Saves.repair`; for that the folder
            must not be in use.
    """
    saves = Saves(folder)
    if not saves.iterations():
        raise UserError('no checkpoints', where=folder, fix='experiments/NAME')
    lines = []
    if repair:
        with Lease(folder, 'repair of checkpoints'):
            lines = saves.repair()
    found = {str(n): _verdict(saves, n) for n in saves.iterations()}
    for name in ('latest', 'best'):
        path = weights_path(folder, name)
        if path.is_file():
            found[path.name] = None if checkpoint.sound(path) else 'its content is not what was written'
    lines += [f'{name:>9}  {problem or "good"}' for name, problem in found.items()]
    return not any(found.values()), '\n'.join(lines)


def _verdict(saves: Saves, iteration: int) -> str | None:
    problem = saves.problem(iteration)
    files, damaged = saves.manifest(iteration)
    unsigned = problem is None and files is None and any(saves.states.glob('[0-9]*.json'))
    return f'whole, but {damaged}: --repair writes it anew' if unsigned else problem


def _check_target(target: Path, overwrite: bool, *more: str) -> None:
    if target.suffix not in ('.pth', '.pt', *more):
        raise UserError('unknown format', where=target, fix=f'a name that ends in {" or ".join([*more, ".pth"])}')
    checkpoint.check_target(target, overwrite)


def convert(source: Path, target: Path, param_key: str | None, dsm: bool, overwrite: bool) -> str:
    """Writes the weights of `source` as .safetensors, or as ``{'params': ...}`` with the release's key names.

    Raises:
        UserError: `source` is no checkpoint, `target` exists or has another suffix, or there is no DSM in it.
    """
    _check_target(target, overwrite, '.safetensors')
    weights = read(source, param_key)
    if dsm:
        weights = {k.removeprefix('bin.'): v for k, v in weights.items() if k.startswith('bin.')}
        if not weights:
            raise UserError('there is no DSM in this checkpoint', where=source)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.suffix == '.safetensors':
        from safetensors.torch import save_file

        with checkpoint.atomic_write(target) as temporary:
            save_file({k: v.contiguous() for k, v in weights.items()}, temporary)
    else:
        checkpoint.save({'params': weights}, target)
    return f'{target}: {len(weights)} tensors'


def blend(first: Path, second: Path, alpha: float, target: Path, overwrite: bool) -> str:
    """Writes (1 - alpha) * first + alpha * second, weight by weight: between a network of pixels and one of a
    discriminator lies a range of both (ESRGAN, Wang et al., ECCV Workshops 2018, section 3.4).

    Raises:
        UserError: they are of different networks, or `target` exists.
    """
    if not 0 <= alpha <= 1:
        raise UserError('alpha is between 0 (the first) and 1 (the second)', value=alpha)
    _check_target(target, overwrite)
    networks = [stored_options(path) for path in (first, second)]
    if networks[0] != networks[1]:
        raise UserError(
            'these are different networks', where=second, value=f'{networks[1]}, the first is {networks[0]}'
        )
    one, other = (checkpoint.read_weights(path) for path in (first, second))
    mismatch = checkpoint.compare(one, other)
    if mismatch:
        raise UserError(f'these checkpoints hold other tensors\n{mismatch}', where=second)
    weights = {
        name: torch.lerp(value, other[name], alpha) if value.is_floating_point() else value
        for name, value in one.items()
    }
    content = {'params': weights, 'network_g': networks[0], 'blend': {'of': [str(first), str(second)], 'alpha': alpha}}
    checkpoint.save(content, target)
    return f'{target}: {len(weights)} tensors, {1 - alpha:g} of {first} and {alpha:g} of {second}'


def join(files: list[Path], quantisers: list[float], target: Path, overwrite: bool) -> str:
    """Writes networks that were each trained at one quantiser as one that chooses by the frame, see ByQuantiser.

    Raises:
        UserError: not one quantiser a file, networks that cannot be one, or `target` exists.
    """
    _check_target(target, overwrite)
    options = {'type': 'ByQuantiser', 'networks': [stored_options(path) for path in files], 'quantisers': quantisers}
    net = build_network(options)
    for part, path in zip(net.networks, files, strict=True):  # type: ignore[arg-type]
        checkpoint.load_network(part, path)
    checkpoint.save({'params': net.state_dict(), 'network_g': options}, target)
    return f'{target}: {", ".join(f"QP {qp:g} {path}" for qp, path in zip(quantisers, files, strict=True))}'


def _mixed(args: argparse.Namespace) -> str:
    if args.action == 'blend':
        return blend(args.first, args.second, args.alpha, args.output, args.overwrite)
    return join(args.files, args.qp, args.output, args.overwrite)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest='action', required=True, metavar='ACTION')
    what = actions.add_parser('inspect', help='what is in a file of weights or a training state')
    what.add_argument('file', type=Path, help='.pth, .state or .safetensors')
    whole = actions.add_parser('verify', help='checksums of every checkpoint of a run; exit code 1 if one is damaged')
    whole.add_argument('run', type=Path, metavar='experiments/NAME', help='folder of a training run')
    whole.add_argument('--repair', action='store_true', help='mend small files, set damaged checkpoints aside')
    other = actions.add_parser('convert', help='to .safetensors, or to .pth as BasicSR and the release have it')
    other.add_argument('input', type=Path, help='.pth or .safetensors')
    other.add_argument('output', type=Path, help='its suffix, .safetensors or .pth, says the format')
    other.add_argument('--param-key', help='which weights of the file (default: params_ema, then params)')
    other.add_argument('--dsm', action='store_true', help='only the DSM of a VOTES, as a checkpoint of stage 1')
    for action in (other, *_add_mixing(actions)):
        action.add_argument('--overwrite', action='store_true', help='replace an output that exists')


def _add_mixing(actions: Any) -> tuple[argparse.ArgumentParser, argparse.ArgumentParser]:
    """Actions that make one checkpoint of several."""
    mixed = actions.add_parser('blend', help='weights between those of two checkpoints of one network')
    mixed.add_argument('first', type=Path, metavar='A.pth', help='a checkpoint')
    mixed.add_argument('second', type=Path, metavar='B.pth', help='another one of the same network')
    mixed.add_argument('--alpha', type=float, required=True, help='0 is A, 1 is B')
    joined = actions.add_parser('join', help='networks of one quantiser each as one that chooses by the frame')
    joined.add_argument('files', type=Path, nargs='+', metavar='A.pth', help='checkpoints')
    joined.add_argument('--qp', type=float, nargs='+', required=True, help='at which each was trained, in their order')
    for action in (mixed, joined):
        action.add_argument('-o', type=Path, dest='output', metavar='OUT.pth', required=True, help='file to write')
    return mixed, joined


def run(args: argparse.Namespace) -> int:
    good = True
    if args.action == 'inspect':
        text = inspect(args.file)
    elif args.action == 'verify':
        good, text = verify(args.run, args.repair)
    elif args.action == 'convert':
        text = convert(args.input, args.output, args.param_key, args.dsm, args.overwrite)
    else:
        text = _mixed(args)
    print(text)
    return 0 if good else 1
