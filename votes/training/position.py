"""Where a training run is, what it was started with, and going on from there."""

from __future__ import annotations

import logging
import platform
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

import votes
from votes import checkpoint
from votes.errors import UserError
from votes.models import RestorationModel
from votes.options import Options
from votes.options.changes import differences
from votes.processes import distributed
from votes.training import contents
from votes.training.checkpoint_store import Saves, state_path, weights_path

logger = logging.getLogger('votes')


@dataclass
class Position:
    """Everything that training has to remember besides weights and optimiser.

    Attributes:
        iteration: updates done (or skipped).
        consumed: samples seen by all ranks together.
        lr_scale: factor on the learning rate, below 1 after a roll-back.
        bad_in_row: steps with NaN or Inf since the last good one.
        rollbacks: how often training went back.
        validated: the last iteration after which validation was completed.
        best: validation set -> metric -> best value.
        best_iter: the iteration whose first metric of the first set was best: that of models/net_g_best.pth.
        stale: validations since then.
        protocol: how and on what `best` was measured.
        meter: what each rank has summed up of its loss since the last line of metrics.jsonl.
        origin: the training state of another run that this one started from.
    """

    iteration: int = 0
    consumed: int = 0
    lr_scale: float = 1.0
    bad_in_row: int = 0
    rollbacks: int = 0
    validated: int = 0
    best: dict[str, dict[str, float]] = field(default_factory=dict)
    best_iter: int = 0
    stale: int = 0
    protocol: dict[str, Any] = field(default_factory=dict)
    meter: list[dict[str, Any]] = field(default_factory=list)
    origin: str | None = None

    def advance(self, samples: int, steps: int = 1) -> None:
        """A step of so many samples; with -1 one that was not done after all."""
        self.iteration += steps
        self.consumed += steps * samples

    def forget_best(self) -> None:
        self.best, self.best_iter, self.stale = {}, 0, 0


@dataclass
class Setup:
    """What a run was started with, kept in its checkpoints: resolved options, samples a step, the training data.

    Attributes:
        clips: hash of the names and lengths of the training clips.
        pictures: clip -> hash of some of its pictures, see `contents.fingerprint`.
    """

    options: dict[str, Any]
    samples_a_step: int
    ranks: int
    clips: str | None
    pictures: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, opt: Options, clips: dict[str, int] | None, pictures: dict[str, str] | None = None) -> Setup:
        """Args: clips: name -> frames of the training clips."""
        ranks = distributed.world_size()
        samples = opt.datasets['train'].batch_size_per_gpu * opt.training.accumulate * ranks
        digest = checkpoint.checksum(sorted(clips.items())) if clips else None
        return cls(opt.resolved(), samples, ranks, digest, pictures or {})

    def changes(self, before: dict[str, Any]) -> list[str]:
        """Training-relevant differences to the setup in a checkpoint, a line each."""
        rows = [f'  {row}' for row in differences(before['options'], self.options)]
        if before['samples_a_step'] != self.samples_a_step and before['ranks'] == self.ranks:
            rows.append(f'  samples a step: were {before["samples_a_step"]}, are {self.samples_a_step}')
        if before['clips'] != self.clips:
            rows.append('  the training clips or their lengths are not the same')
        else:
            rows += contents.differences(before.get('pictures') or {}, self.pictures)
        return rows


def save(model: RestorationModel, saves: Saves, position: Position, setup: Setup) -> None:
    """Writes a checkpoint of this iteration."""
    state = {
        'iter': position.iteration,
        'epoch': 0,
        'environment': f'votes {votes.__version__}, torch {torch.__version__}, Python {platform.python_version()}',
        **model.state(),
        'position': asdict(position),
        'setup': asdict(setup),
    }
    saves.write(position.iteration, model.weights(), state)


def load(model: RestorationModel, folder: Path, iteration: int, state: dict[str, Any], samples: int) -> Position:
    """Takes a checkpoint over into `model`; one of another program is at ``iter`` and has seen that many steps."""
    if 'setup' in state or 'migrated' in state:
        names = model.weights()
        model.resume({name: weights_path(folder, iteration, name) for name in names}, state)
    else:
        # optimisers number their parameters: another program's moments would go to other parameters
        checkpoint.load_network(model.net, weights_path(folder, iteration))
        logger.warning(
            'warning: this state was saved by another program: weights and iteration are taken over, '
            "the optimiser's moments start anew"
        )
    known = {f.name for f in fields(Position)}
    found = {k: v for k, v in state.get('position', {}).items() if k in known}
    return Position(**{'iteration': int(state['iter']), 'consumed': int(state['iter']) * samples, **found})


def resume(model: RestorationModel, saves: Saves, opt: Options, setup: Setup, allow_changes: bool = False) -> Position:
    """Goes on from the run's own newest good checkpoint, else from ``path.resume_state``, else from the start.

    Raises:
        UserError: checkpoints are there but none is whole, or what was trained with is not what is asked for now.
    """
    newest, problems = distributed.on_first(saves.newest_good)
    for problem in problems:
        logger.warning('warning: %s', problem)
    if problems and newest is None:
        raise UserError(
            'no checkpoint of this run is whole', where=saves.folder, fix='--restart puts the run aside and starts anew'
        )
    folder, iteration, origin = saves.folder, newest, None
    state = None if newest is None else checkpoint.load(state_path(folder, newest))
    wanted = opt.path.resume_state
    if wanted and (state is None or state.get('position', {}).get('origin') != str(wanted)):
        state, folder, origin = _state_of_another(Path(wanted)), Path(wanted).parent.parent, str(wanted)
        iteration = int(state['iter'])
    if state is None or iteration is None:
        return Position()
    before = state.get('setup')
    changes = setup.changes(before) if before else []
    if changes and not allow_changes:
        raise UserError(
            '\n'.join(['this run was started with other options:', *changes]),
            where=state_path(folder, iteration),
            fix='change them back, give the run another name, --restart it, or --allow_changes',
        )
    if origin and folder.resolve() == saves.folder.resolve() and distributed.rank() == 0:
        _set_newer_aside(saves, iteration, Path(origin))
    position = load(model, folder, iteration, state, setup.samples_a_step)
    if origin:
        position.origin, position.validated = origin, iteration
        position.forget_best()  # its weights are in another folder
    for change in changes:
        logger.warning('warning: changed:%s', change)
    logger.info('resumed from %s', state_path(folder, iteration))
    if before and before['samples_a_step'] != setup.samples_a_step:
        logger.warning(f'warning: a step now has {setup.samples_a_step} samples, it had {before["samples_a_step"]}')
    return position


def _set_newer_aside(saves: Saves, iteration: int, wanted: Path) -> None:
    """After a run was taken back to one of its checkpoints: what came after that must not be gone on from."""
    newer = [n for n in saves.iterations() if n > iteration and str(n) != wanted.stem]
    if newer:
        saves.set_aside(newer, 'superseded')
        logger.warning('warning: checkpoints after %d are set aside as *.superseded', iteration)


def _state_of_another(path: Path) -> dict[str, Any]:
    state = checkpoint.load(path)
    if not {'iter', 'optimizers'} <= state.keys():
        raise UserError(
            'not a training state',
            where=path,
            value=f'keys: {", ".join(list(state)[:5])}',
            fix='path.resume_state names a file of training_states/',
        )
    problem = Saves(path.parent.parent).problem(int(state['iter'])) if path.stem == str(state['iter']) else None
    if problem:
        raise UserError('this checkpoint is damaged', where=path, value=problem, fix='take an earlier one')
    return state
