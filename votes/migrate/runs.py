"""A run of another program as one that `votes train` continues: weights, their average, the step, Adam's moments.

Optimizers number their parameters. The order is that of the network there, and so that of the keys in its file of
weights; names are those of this project after the same renaming that its weights go through.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import votes
from votes import checkpoint
from votes.archs import build_network
from votes.errors import UserError
from votes.migrate.files import Migrated, migrate_file
from votes.migrate.moments import moments_of, renamed
from votes.migrate.stored import Stored, read_stored
from votes.models.learner import Learner
from votes.options import Options, Spec, examine
from votes.options.yaml_file import OptionFile
from votes.processes.lease import Lease
from votes.training.checkpoint_store import Saves, weights_path

BEGUN = 'migrated'  # models/net_g_migrated.pth: what is there before the first step here, whatever checkpoints are kept


@dataclass
class Half:
    """One network of a run, as this project keeps it.

    Attributes:
        weights: what models/net_X_N.pth holds.
        optimizer: state of the learner's optimizer.
    """

    weights: dict[str, Any]
    optimizer: dict[str, Any]
    said: list[str] = field(default_factory=list)


def migrate_run(
    source: Path, target: Path | None, option_file: Path | None, overwrite: bool = False
) -> tuple[Migrated, Path, list[str]]:
    """Writes the newest checkpoint of a run as one of this project.

    Args:
        source: folder of the run, with its option file, unless `option_file` names it.
        target: folder to write, experiments/NAME unless told.

    Returns:
        What came of the option file, where it belongs, and what was taken over, a line each.

    Raises:
        UserError: no whole checkpoint, another network, or something stands at `target`.
    """
    found = migrate_file(option_file or _option_file(source))
    if found.mode != 'train':
        raise UserError('the option file of a run has a section train', where=option_file or source)
    folder = target or Path('experiments') / str(found.options['name'])
    path = folder / 'migrated.yml'
    saves = Saves(folder)
    if saves.iterations() or (path.exists() and not overwrite):
        raise UserError('there is a run already', where=folder, fix='another folder with -o')
    if folder.resolve() == source.resolve():
        raise UserError('the run itself is not changed', where=source, fix='another folder with -o')
    found.options['name'] = folder.name
    where = {'experiments_root': str(folder.parent)} if folder.parent != Path('experiments') else {}
    # the run goes on from its own checkpoint: what it and its parts once started from is in it
    begun = {'pretrain_network_g': str(weights_path(folder, BEGUN)), 'param_key_g': 'params'}
    found.options['path'] = {**_kept(found.options.get('path') or {}), **begun, **where}
    for plan in (found.options['train'].get('parts') or {}).values():
        plan.pop('weights', None)
    opt, problems = examine(OptionFile(found.options))
    assert not problems
    stored = read_stored(source)
    halves = _halves(opt, stored)
    lines = [f'step {stored.iteration} of {stored.source}', *(line for half in halves.values() for line in half.said)]
    lines += _rates(opt, stored)
    state = {
        'iter': stored.iteration,
        'epoch': 0,
        'environment': f'votes {votes.__version__}, migrated from {found.program}',
        'optimizers': [half.optimizer for half in halves.values()],
        'schedulers': [],
        'scalers': {name: stored.scalers.get(name, {}) for name in halves},
        'position': {'iteration': stored.iteration, 'validated': stored.iteration},
        'migrated': found.program,
    }
    with checkpoint.writing('the run folder', folder):
        folder.mkdir(parents=True, exist_ok=True)
    with Lease(folder, 'migration') as lease:
        saves.lease = lease
        saves.write_weights(BEGUN, halves['g'].weights)
        saves.write(stored.iteration, {f'net_{name}': half.weights for name, half in halves.items()}, state)
        saves.finish()
    return found, path, lines


def _kept(path: dict[str, Any]) -> dict[str, Any]:
    gone = ('pretrain_network_g', 'pretrain_network_d', 'param_key_g', 'param_key_d', 'resume_state', 'bin_model')
    return {key: value for key, value in path.items() if key not in gone and value is not None}


def _option_file(folder: Path) -> Path:
    """The one option file in the folder of a run: BasicSR copies it there, mmagic writes the whole configuration."""
    found = sorted(p for p in folder.iterdir() if p.suffix in ('.yml', '.yaml', '.py'))
    if len(found) != 1:
        raise UserError(
            f'{"no" if not found else "more than one"} option file in the folder of a run',
            where=folder,
            value=', '.join(p.name for p in found) or None,
            fix='-opt FILE names it',
        )
    return found[0]


def _halves(opt: Options, stored: Stored) -> dict[str, Half]:
    train = opt.training
    specs: dict[str, tuple[Spec, Spec, float]] = {'g': (opt.network_g, train.optim_g, train.ema_decay)}
    if opt.network_d is not None and train.optim_d is not None:
        specs['d'] = (opt.network_d, train.optim_d, train.ema_decay_d)
    halves = {}
    for number, (name, (network, optim, decay)) in enumerate(specs.items()):
        if f'net_{name}' not in stored.weights:
            raise UserError(f'this run has no weights of net_{name}', where=stored.source)
        net = build_network({'type': network.type, **network.args}).train()
        parts = {part: plan.model_copy(update={'weights': None}) for part, plan in train.parts.items()}
        learner = Learner(net, train, optim, ema_decay=0, parts=parts if name == 'g' else None)
        known = stored.weights[f'net_{name}']
        state = stored.optimizers[number] if number < len(stored.optimizers) else None
        halves[name] = _half(learner, known, state, decay, stored.sorted_names)
        if name == 'g':
            halves[name].weights['network_g'] = {'type': network.type, **network.args}
    return halves


def _half(
    learner: Learner,
    known: Mapping[str, dict[str, Tensor]],
    state: dict[str, Any] | None,
    decay: float,
    sorted_names: bool,
) -> Half:
    """
    Args:
        known: 'params' and perhaps 'params_ema', with the names that they have there.
        state: of the optimizer there.
        decay: of the moving average that the run goes on with, 0 for none.
        sorted_names: see Stored.
    """
    own = renamed(known['params'], learner.net)
    weights: dict[str, Any] = {'params': own}
    kind = type(learner.net).__name__
    said = [f'{kind}: {len(own)} tensors']
    if decay:
        weights['params_ema'] = renamed(known['params_ema'], learner.net) if 'params_ema' in known else own
        said[0] += ' and their average' if 'params_ema' in known else '; their average begins with them'
    learner.net.load_state_dict(own)
    moments: dict[str, dict[str, Tensor]] = {}
    problem: str | None = 'there are none'
    if state:
        moments, problem = moments_of(known['params'], state, learner.net, sorted_names)
    for name, parameter in learner.named.items():
        if name in moments:
            learner.optimizer.state[parameter] = moments[name]
    count = sum(name in moments for name in learner.named)
    if problem:
        said.append(f"{kind}: the optimizer's moments start anew: {problem}")
    else:
        said.append(f"{kind}: the optimizer's moments of {count} of {len(learner.named)} parameters")
    return Half(weights, learner.optimizer.state_dict(), said)


def _rates(opt: Options, stored: Stored) -> list[str]:
    """Whether the learning rate goes on from where it was."""
    last = next((s.get('_last_lr') for s in stored.schedulers if isinstance(s, dict) and s.get('_last_lr')), None)
    if not last:
        return []
    net = torch.nn.Linear(1, 1)
    learner = Learner(
        net, opt.training.model_copy(update={'lr_mul': {}, 'dcn_lr_mul': 1.0, 'tsa_iter': 0}), opt.training.optim_g
    )
    rate = learner.learning_rate(stored.iteration)
    if abs(rate - last[0]) > 1e-3 * max(rate, last[0]):
        return [
            f'the learning rate of step {stored.iteration} was {last[0]:.4g} there and is {rate:.4g} by these options'
        ]
    return [f'the learning rate goes on at {rate:.4g}']
