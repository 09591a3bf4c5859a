"""How far networks are from what public implementations compute, for the cases of a folder.

    python benchmarks/parity.py FOLDER -o benchmarks/results/parity.json

A case is a description, not a copy: NAME.json says which network is built, the shape of every weight, which numbers
weights and inputs are drawn from, and where the public implementation is; NAME.npz holds what that computed of them.
Weights are saved in the form in which people have them (wrapper, prefix), loaded strictly as any checkpoint is, and the
outputs are compared. NAME.json holds:

    network          {'type': name, ...constructor arguments}
    source, licence  of the public implementation, with its commit
    state_dict       key -> shape
    buffers          key -> {'shape', 'values', 'dtype'}: values that are given; one fills the shape
    gains, fills     [[part of a key, gain]], [[part of a key, mean, deviation]]: the first that fits a key counts
    checkpoint_form  {'wrapper', 'prefix', 'beside', 'more_keys'} of the file
    inputs           argument -> {'kind', 'shape', 'seed', ...}; the first is given by position
    outputs          names in NAME.npz in the order of what is returned (['out']); more_outputs_optional: the first
                     may be returned alone
    keep             output -> {'shape', 'slices'}: the file holds that part of it
    tolerance        limits of the absolute difference: 'mean', 'max', 'tail' (its 99.9 % quantile)

A weight's numbers come from a normal stream that its key seeds (crc32), see `drawn`. NumPy keeps RandomState as it is,
so that they are the same everywhere.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import zlib
from pathlib import Path
from typing import Any

import machine
import numpy as np
import torch
from numpy.typing import NDArray

from votes.archs import build_network
from votes.checkpoint import load_network
from votes.errors import UserError

Array = NDArray[Any]
Case = dict[str, Any]


def fitting(entries: list[list[Any]], key: str) -> list[Any] | None:
    """What follows the first part of a key that is in `key`."""
    return next((rest for part, *rest in entries if part in key), None)


def drawn(case: Case, key: str, shape: tuple[int, ...]) -> Array:
    """A weight: by `fills`; else running means and variances near 0 and 1, one-dimensional weights (of normalisation)
    near 1, other short ones near 0, and all others with deviation gain / sqrt(inputs).
    """
    noise = np.asarray(np.random.RandomState(zlib.crc32(key.encode())).standard_normal(shape))
    fill, gain = fitting(case.get('fills', []), key), fitting(case.get('gains', []), key)
    if fill:
        value = fill[0] + fill[1] * noise
    elif key.endswith('num_batches_tracked'):
        return np.zeros(shape, np.int64)
    elif key.endswith('running_mean'):
        value = 0.05 * noise
    elif key.endswith('running_var'):
        value = 1 + 0.1 * np.abs(noise)
    elif len(shape) == 1 and key.endswith('weight'):
        value = 1 + 0.1 * noise
    elif len(shape) < 2:
        value = 0.02 * noise
    else:
        value = noise * ((gain[0] if gain else 1.0) / np.sqrt(int(np.prod(shape[1:]))))
    return np.asarray(value, np.float32).reshape(shape)


def weights_of(case: Case) -> dict[str, Array]:
    """Key -> array of the whole checkpoint."""
    found = {key: drawn(case, key, tuple(shape)) for key, shape in case['state_dict'].items()}
    for key, buffer in case.get('buffers', {}).items():
        values = np.asarray(buffer['values'], buffer.get('dtype', 'float32'))
        shape = tuple(buffer['shape'])
        found[key] = np.full(shape, values) if values.size == 1 else values.reshape(shape)
    return found


def moving(batch: int, frames: int, height: int, width: int, seed: int) -> Array:
    """Clips (batch, frames, 3, height, width) in steps of 1/255: in each channel three waves that a clip's motion moves
    along, and noise.
    """
    stream = np.random.RandomState(seed)
    down, across = np.mgrid[:height, :width].astype(np.float64)
    clips = np.empty((batch, frames, 3, height, width))
    for clip in clips:
        waves = [stream.uniform(low, high, (3, 3)) for low, high in ((0.1, 0.6), (0.1, 0.6), (0, 6))]
        step_x, step_y = stream.uniform(-2, 2, 2)
        for t, frame in enumerate(clip):
            for channel, parts in zip(frame, zip(*waves, strict=True), strict=True):
                places = [
                    per_x * (across + step_x * t) + per_y * (down + step_y * t) + phase
                    for per_x, per_y, phase in zip(*parts, strict=True)
                ]
                channel[:] = 0.5 + 0.15 * sum(map(np.sin, places))
    clips += stream.uniform(-0.05, 0.05, clips.shape)
    return (np.round(clips.clip(0, 1) * 255) / 255).astype(np.float32)


def motion(shape: tuple[int, ...], block: int, reach: float, stream: np.random.RandomState) -> Array:
    """Vectors (..., h, w, 2) in quarters of a pixel, the same all over a block."""
    *before, height, width, two = shape
    coarse = stream.uniform(-reach, reach, (*before, -(-height // block), -(-width // block), two))
    return (np.round(coarse * 4) / 4).repeat(block, -3).repeat(block, -2)[..., :height, :width, :]


def input_of(spec: dict[str, Any]) -> Array:
    """An input by its kind."""
    shape, stream, kind = tuple(spec['shape']), np.random.RandomState(spec.get('seed', 0)), spec['kind']
    if kind == 'clip':
        value = moving(shape[0], shape[1], shape[3], shape[4], spec['seed'])[:, :, : shape[2]]
    elif kind == 'frame':
        value = moving(shape[0], spec['frames'], shape[2], shape[3], spec['seed'])[:, spec['frame'], : shape[1]]
    elif kind == 'uniform':
        value = stream.uniform(spec.get('low', 0), spec.get('high', 1), shape)
    elif kind == 'normal':
        value = spec.get('mean', 0) + spec.get('deviation', 1) * stream.standard_normal(shape)
    elif kind == 'mv':
        value = motion(shape, spec.get('block', 8), spec.get('range', 3), stream)
    elif kind == 'types':
        value = np.asarray(spec['values'])[stream.randint(0, len(spec['values']), shape)]
    elif kind == 'given':
        value = np.asarray(spec['values']).reshape(shape)
    else:
        raise UserError('unknown kind of input', value=kind)
    return np.ascontiguousarray(value).astype(spec.get('dtype', 'float32'))


def checkpoint_of(case: Case) -> dict[str, Any]:
    """The content of the file that people have."""
    form = {'wrapper': 'params', 'prefix': '', **case.get('checkpoint_form', {})}
    content = {form['prefix'] + key: torch.from_numpy(value.copy()) for key, value in weights_of(case).items()}
    content |= {key: torch.zeros(shape) for key, shape in form.get('more_keys', {}).items()}
    return {**form.get('beside', {}), form['wrapper']: content} if form['wrapper'] else content


def computed(case: Case) -> dict[str, Array]:
    """What the network here makes of the case: output -> array, without those that it does not return."""
    net = build_network(dict(case['network']))
    with tempfile.TemporaryDirectory() as folder:
        torch.save(checkpoint_of(case), Path(folder) / 'published.pth')
        load_network(net, str(Path(folder) / 'published.pth'), strict=True)
    (_, first), *others = ((name, torch.from_numpy(input_of(spec))) for name, spec in case['inputs'].items())
    with torch.no_grad():
        returned = net.eval()(first, **dict(others))
    names = case.get('outputs', ['out'])
    if not isinstance(returned, dict):
        returned = dict(zip(names, returned if isinstance(returned, tuple | list) else [returned], strict=False))
    return {name: returned[name].float().numpy() for name in names if name in returned}


def compared(case: Case, ours: dict[str, Array], theirs: dict[str, Array]) -> dict[str, float]:
    """The worst of all outputs: mean, largest and 99.9 % quantile of the absolute difference.

    Raises:
        UserError: an output is missing, or has another shape.
    """
    worst: dict[str, float] = {}
    for name in case.get('outputs', ['out']):
        if name not in ours:
            if case.get('more_outputs_optional') and worst:
                continue
            raise UserError('an output is missing', value=name)
        keep = case.get('keep', {}).get(name)
        shape = tuple(keep['shape']) if keep else theirs[name].shape
        if ours[name].shape != shape:
            raise UserError(f'{name} is not {shape}', value=ours[name].shape)
        part = ours[name][tuple(slice(*cut) for cut in keep['slices'])] if keep else ours[name]
        apart = np.abs(part.astype(np.float64) - theirs[name].astype(np.float64))
        seen = {'mean': apart.mean(), 'max': apart.max(), 'tail': np.quantile(apart, 0.999)}
        worst = {key: max(worst.get(key, 0.0), float(value)) for key, value in seen.items()}
    return worst


def result_of(folder: Path, name: str) -> dict[str, Any]:
    """What a results file says of a case. A network that cannot be built, or that fails, is a case that fails."""
    case = json.loads((folder / f'{name}.json').read_text())
    about = {'case': name, 'network': case['network']['type'], 'source': case['source'], 'licence': case['licence']}
    about['tolerance'] = case['tolerance']
    try:
        with np.load(folder / f'{name}.npz') as file:
            seen = compared(case, computed(case), dict(file))
    except Exception as error:  # a defect of one network hides none of the others
        what = f'{type(error).__name__}: {error}'.replace(str(folder), '').splitlines()[0]
        return {**about, 'passed': False, 'difference': None, 'problem': what}
    passed = all(seen[key] <= limit for key, limit in case['tolerance'].items())
    return {**about, 'passed': passed, 'difference': {key: float(f'{value:.3g}') for key, value in seen.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', type=Path, help='with NAME.json and NAME.npz')
    parser.add_argument('names', nargs='*', metavar='NAME', help='cases (default: all of the folder)')
    parser.add_argument('-o', '--output', type=Path)
    args = parser.parse_args()
    results = []
    for name in args.names or sorted(path.stem for path in args.folder.glob('*.json')):
        results.append(result_of(args.folder, name))
        difference = results[-1]['difference']
        said = results[-1].get('problem') or f'max {difference["max"]:.1e}, mean {difference["mean"]:.1e}'
        print(f'{"ok  " if results[-1]["passed"] else "FAIL"} {name}: {said}', flush=True)
    failed = [result['case'] for result in results if not result['passed']]
    print(f'{len(results) - len(failed)} passed, {len(failed)} failed')
    if args.output:
        about = {**machine.describe(), 'command': f'python benchmarks/parity.py FOLDER -o {args.output.name}'}
        machine.write(args.output, {'machine': about, 'cases': results})
    raise SystemExit(1 if failed else 0)


if __name__ == '__main__':
    main()
