"""NaN and Inf in training: found by all ranks together, skipped, named, and gone back from."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

from votes import checkpoint
from votes.errors import Diverged
from votes.models import RestorationModel
from votes.models.optimisation import Outcome
from votes.options import Options
from votes.processes import distributed
from votes.training import position
from votes.training.checkpoint_store import Saves, state_path
from votes.training.position import Position

logger = logging.getLogger('votes')
LARGE_OFFSET = 50  # pixels


class Guard:
    """Watches the steps of a run.

    Args:
        opt: what to do is ``train.nonfinite``.
        folder: of the run; bad batches go to bad_batches/.
    """

    def __init__(self, opt: Options, folder: Path):
        self.plan = opt.training.nonfinite
        self.folder = folder
        self.dumped = False
        self.warned: set[str] = set()

    def went_back(
        self, outcome: Outcome, batch: dict[str, Any], model: RestorationModel, at: Position, saves: Saves, samples: int
    ) -> bool:
        """Deals with a step. Every rank calls it, with the same `outcome.finite`.

        Returns:
            Whether `model` and `at` are now those of an earlier checkpoint.

        Raises:
            Diverged: too often.
        """
        if outcome.finite:
            at.bad_in_row = 0
            return False
        at.bad_in_row += 1
        self._report(outcome, batch, model, at)
        if at.bad_in_row < self.plan.patience:
            return False
        if self.plan.then == 'stop' or at.rollbacks >= self.plan.rollbacks:
            raise Diverged(f'{at.bad_in_row} steps in a row with NaN or Inf, after {at.rollbacks} roll-backs')
        self._go_back(model, at, saves, samples)
        return True

    def _report(self, outcome: Outcome, batch: dict[str, Any], model: RestorationModel, at: Position) -> None:
        terms = {name: float(term) for name, term in outcome.terms.items()}
        worst = [(key, name) for key, learner in model.learners.items() for name in learner.worst_gradients()]
        gradients = [name if key == 'g' else f'{key}: {name}' for key, name in worst]
        rank = distributed.rank()
        broken = [f'{name} = {value}' for name, value in terms.items() if not math.isfinite(value)]
        mine = {'rank': rank, 'terms': broken, 'samples': list(batch.get('key', [])), 'gradients': gradients}
        ranks = distributed.gather(mine)
        logger.warning(
            f'warning: NaN or Inf at iteration {at.iteration} ({at.bad_in_row} in a row), no rank updates; '
            f'worst gradients: {", ".join(gradients) or "all finite"}'
        )
        # where losses are finite and only gradients are not, they have been averaged: every rank is suspect
        suspects = [r for r in ranks if r['terms']] or ranks
        for found in suspects:
            said = ', '.join(found['terms']) or 'finite loss'
            logger.warning('  rank %d: %s; samples %s', found['rank'], said, found['samples'])
        if self.dumped:
            return
        self.dumped = True
        files = {r['rank']: self.folder / 'bad_batches' / f'{at.iteration}_rank{r["rank"]}.pth' for r in suspects}
        if rank in files:
            checkpoint.save({'iter': at.iteration, **mine, **checkpoint.copied(batch)}, files[rank])
        logger.warning('  the batch is in %s', ', '.join(map(str, files.values())))

    def _go_back(self, model: RestorationModel, at: Position, saves: Saves, samples: int) -> None:
        saves.finish()
        newest, _ = distributed.on_first(saves.newest_good)
        if newest is None:
            raise Diverged(f'{at.bad_in_row} steps in a row with NaN or Inf, and no checkpoint to go back to')
        state = checkpoint.load(state_path(saves.folder, newest))
        old = position.load(model, saves.folder, newest, state, samples)
        # samples are not seen again: others may do better
        at.iteration, at.bad_in_row, at.validated = old.iteration, 0, min(at.validated, old.iteration)
        at.meter = old.meter
        at.rollbacks += 1
        saves.written = None
        at.lr_scale *= self.plan.lr_factor
        rate = f'{at.lr_scale:.3g} times the learning rate'
        logger.warning('warning: back to checkpoint %d, with %s from now on', newest, rate)

    def check_offsets(self, offsets: dict[str, float]) -> None:
        """Warns once a layer where deformable convolutions look further than training survives."""
        for name, offset in offsets.items():
            if offset > LARGE_OFFSET and name not in self.warned:
                self.warned.add(name)
                logger.warning(
                    f'warning: mean |offset| of {name} is {offset:.0f} pixels: above {LARGE_OFFSET} training diverges; '
                    'lower the rate or train.dcn_lr_mul'
                )
