"""Validation while training: tables, pictures, curves, and the best weights."""

from __future__ import annotations

from pathlib import Path

import torch

from votes.archs.contract import Promise
from votes.data import build_test_set
from votes.inference.evaluation import RESTORED, evaluate
from votes.models import RestorationModel
from votes.options import Options
from votes.processes import distributed
from votes.processes.signals import StopRequests
from votes.reports.curves import draw_curves
from votes.reports.sheet import draw_rows
from votes.training.checkpoint_store import Saves
from votes.training.position import Position
from votes.training.run_log import RunLog, logger


class Validation:
    """The validation sets of a run: a table each, pictures, curves, and the best weights."""

    def __init__(self, opt: Options, folder: Path, log: RunLog, stop: StopRequests, said: Promise | None = None):
        self.opt, self.folder, self.log, self.stop = opt, folder, log, stop
        self.sets = {
            name: build_test_set(data, opt.scale, said) for name, data in opt.datasets.items() if name.startswith('val')
        }

    def exhausted(self, at: Position) -> bool:
        """Whether ``val.patience`` validations in a row gained nothing."""
        return 0 < self.opt.validation.patience <= at.stale

    def run_if_due(self, model: RestorationModel, at: Position, saves: Saves | None = None) -> bool:
        """Validates every val_freq iterations and at the end, once.

        Returns:
            False where some rank was asked to stop and it was given up, on every rank.
        """
        due = at.iteration % self.opt.validation.val_freq == 0 or at.iteration == self.opt.training.total_iter
        if not self.sets or not due or at.iteration == at.validated:
            return True
        for number, (key, dataset) in enumerate(self.sets.items()):
            name = self.opt.datasets[key].name or key
            images = self.folder / 'visualization' / name if self.opt.validation.save_img else None
            result = evaluate(
                model, dataset, name, self.opt.validation.metrics, images, f'_{at.iteration}', self.stop.asked
            )
            if result is None:
                return False
            logger.info('%s', '\n'.join([result.table(at.best.get(key)), *result.notes]))
            now = {metric: result.mean(RESTORED, metric) for metric in result.metrics()}
            before = at.best.get(key, {})
            at.best[key] = {metric: max(value, before.get(metric, value)) for metric, value in now.items()}
            first = next(iter(now))
            better = number == 0 and now[first] > before.get(first, -torch.inf)
            if number == 0:
                at.stale = 0 if better else at.stale + 1
            if better and saves and self.opt.logger.keep_best and distributed.rank() == 0:
                saves.write_weights('best', model.weights()['net_g'])
            rows = {f'{row}_{m}': result.mean(row, m) for row in result.rows() for m in result.metrics()}
            self.log.scalars(at.iteration, rows, f'val_{name}')
        at.validated = at.iteration
        if distributed.rank() == 0:
            shown = next(iter(self.sets.values()))
            with self.log.harmless('previews'):
                if not hasattr(shown, 'judge'):  # else there are no restored frames to show
                    draw_rows(model, shown, self.folder / 'previews' / f'{at.iteration:08d}.png', count=2, side=96)
            with self.log.harmless('curves.svg'):
                draw_curves(self.folder)
        return True
