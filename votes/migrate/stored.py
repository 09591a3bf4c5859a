"""The newest checkpoint of a run of another program, read and not executed."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from votes import checkpoint
from votes.errors import UserError
from votes.migrate.mmengine import read_mmengine

SUFFIXES = ('.pth', '.safetensors')
Weights = dict[str, dict[str, Tensor]]


@dataclass
class Stored:
    """A checkpoint.

    Attributes:
        iteration: updates done.
        source: the file that says so.
        weights: 'net_g', 'net_d' -> 'params', 'params_ema' -> state_dict in the order that it was written in.
        optimizers, schedulers: their state_dicts.
        scalers: 'g', 'd' -> state of the scaler of fp16.
        sorted_names: weights are in the order of the alphabet, as .safetensors files have them.
    """

    iteration: int
    source: Path
    weights: dict[str, Weights]
    optimizers: list[dict[str, Any]] = field(default_factory=list)
    schedulers: list[dict[str, Any]] = field(default_factory=list)
    scalers: dict[str, dict[str, Any]] = field(default_factory=dict)
    sorted_names: bool = False


def read_stored(folder: Path) -> Stored:
    """
    Raises:
        UserError: there is none, or it cannot be read.
    """
    states = folder / 'training_states'
    if states.is_dir():
        numbers = sorted((int(p.stem) for p in states.glob('*.state') if p.stem.isdigit()), reverse=True)
        for number in numbers:
            if _file(folder, 'net_g', number) is not None:
                return _basicsr(folder, number)
    saved = {int(match[1]): p for p in folder.glob('iter_*.pth') if (match := re.fullmatch(r'iter_(\d+)\.pth', p.name))}
    if saved:
        return _mmengine(saved[max(saved)])
    raise UserError(
        'no checkpoint to go on from',
        where=folder,
        fix='training_states/N.state and models/net_g_N.pth, or iter_N.pth of mmagic',
    )


def _file(folder: Path, name: str, number: int) -> Path | None:
    """models/NAME_N.pth; what redux resumes from lies in resume_models/."""
    places = (folder / room / f'{name}_{number}{suffix}' for room in ('resume_models', 'models') for suffix in SUFFIXES)
    return next((path for path in places if path.is_file()), None)


def _basicsr(folder: Path, number: int) -> Stored:
    source = folder / 'training_states' / f'{number}.state'
    state = checkpoint.load(source)
    if not {'iter', 'optimizers'} <= state.keys():
        raise UserError('not a training state', where=source, value=', '.join(map(str, list(state)[:5])))
    weights: dict[str, Weights] = {}
    for name in ('net_g', 'net_d'):
        path = _file(folder, name, number)
        if path is None:
            continue
        weights[name] = _weights(path)
        average = _file(folder, f'{name}_ema', number)
        if average is not None:
            weights[name]['params_ema'] = next(iter(_weights(average).values()))
    scalers = {name: state[f'scaler_{name}'] for name in ('g', 'd') if state.get(f'scaler_{name}')}
    path = _file(folder, 'net_g', number)
    return Stored(
        int(state['iter']),
        source,
        weights,
        list(state['optimizers']),
        list(state.get('schedulers') or []),
        scalers,
        path is not None and path.suffix == '.safetensors',
    )


def _weights(path: Path) -> Weights:
    if path.suffix == '.safetensors':
        return {'params': checkpoint.read_safetensors(path)}
    content = checkpoint.load(path)
    found: Weights = {key: checkpoint.read_weights(path, key) for key in ('params', 'params_ema') if key in content}
    return found if 'params' in found else {'params': checkpoint.read_weights(path), **found}


def _mmengine(path: Path) -> Stored:
    content = read_mmengine(path)
    weights, average = _split(content['state_dict'])
    optimizer = content.get('optimizer') or {}
    states = [optimizer] if 'param_groups' in optimizer else [s for s in optimizer.values() if isinstance(s, dict)]
    number = int(re.sub(r'\D', '', path.stem))
    found: Weights = {'params': weights}
    if average:
        found['params_ema'] = average
    return Stored(number, path, {'net_g': found}, states[:1])


def _split(weights: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The generator, and its average, of a trainer of mmagic."""
    plain = {key.removeprefix('module.'): value for key, value in weights.items()}
    halves = []
    for prefix in ('generator.', 'generator_ema.'):
        own = {key.removeprefix(prefix): value for key, value in plain.items() if key.startswith(prefix)}
        halves.append({key: value for key, value in own.items() if key != 'step_counter'})
    return halves[0] or plain, halves[1]
