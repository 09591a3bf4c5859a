"""Validation while training: tables, pictures, curves, and the best weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from votes import checkpoint
from votes.archs.contract import Promise
from votes.data import build_test_set
from votes.errors import UserError
from votes.inference.evaluation import RESTORED, Evaluation, evaluate
from votes.models import RestorationModel
from votes.options import Options
from votes.options.changes import flat
from votes.processes import distributed
from votes.processes.signals import StopRequests
from votes.registry import METRICS
from votes.reports.curves import draw_curves
from votes.reports.protocol import lower_is_better
from votes.reports.sheet import draw_rows
from votes.training import contents
from votes.training.checkpoint_store import Saves, weights_path
from votes.training.position import Position
from votes.training.run_log import RunLog, logger


class Validation:
    """The validation sets of a run: a table each, pictures, curves, and the best weights.

    What a validation found is kept in training_states/validated.json: the checkpoint of its iteration was written
    before it. models/net_g_best.pth says itself of which iteration it is and what was measured.
    """

    def __init__(self, opt: Options, saves: Saves, log: RunLog, stop: StopRequests, said: Promise | None = None):
        self.opt, self.folder, self.saves, self.log, self.stop = opt, saves.folder, saves, log, stop
        self.sets = {
            name: build_test_set(data, opt.scale, said) for name, data in opt.datasets.items() if name.startswith('val')
        }
        self.metrics = opt.validation.metrics
        self.lower = lower_is_better({'metrics': {name: spec.model_dump() for name, spec in self.metrics.items()}})
        self.record = saves.states / 'validated.json'
        self.ahead: dict[str, Any] | None = None  # what the best weights say, where they are of an iteration to come
        self._try_metrics()

    def _try_metrics(self) -> None:
        """A measure that cannot be taken of the pictures there are is found before the first step.

        Raises:
            UserError: it raises for two grey pictures of the smallest size.
        """
        for key, dataset in self.sets.items():
            if hasattr(dataset, 'judge'):
                continue
            sizes = {dataset.pairs.lq.size(clip) for clip in dataset.clips}
            height, width = (min(side) * self.opt.scale for side in zip(*sizes, strict=True))
            grey = np.full((height, width, 3), 128, np.uint8)
            for name, spec in self.metrics.items():
                try:
                    border = int(spec.args.get('crop_border') or 0)
                    if 2 * border >= min(height, width):
                        raise ValueError(f'crop_border {border} leaves nothing of {width}x{height} pixels')
                    METRICS.get(spec.type)(grey, grey, **spec.args)
                except UserError:
                    raise
                except Exception as error:
                    raise UserError(
                        f'{name} cannot be measured on {key}: {error}',
                        where=f'val.metrics.{name}',
                        fix='another crop_border, larger pictures, or without this metric',
                    ) from error

    def protocol(self) -> dict[str, Any]:
        """How validation measures, and on what."""
        data = {key: contents.fingerprint(dataset) for key, dataset in self.sets.items()}
        return {'metrics': {name: spec.model_dump() for name, spec in self.metrics.items()}, 'data': data}

    def go_on(self, at: Position) -> None:
        """What was found before `at`, which has just been resumed, unless it was measured in another way."""
        now = distributed.on_first(self.protocol)
        found = distributed.on_first(lambda: self._found(at))
        if found and found['iter'] == at.iteration:
            at.best, at.best_iter, at.stale = found['best'], found['best_iter'], found['stale']
            at.validated, at.protocol = at.iteration, found['protocol']
        before, after = flat(at.protocol), flat(now)
        changed = [k for k in sorted(before.keys() | after.keys()) if before.get(k) != after.get(k)]
        if at.best and at.protocol and changed:
            named = ', '.join(f'{k}: was {before.get(k)!r}, is {after.get(k)!r}' for k in changed[:3])
            logger.warning('warning: validation measures otherwise now, the best so far is set aside: %s', named)
            at.forget_best()
            distributed.on_first(lambda: self._put_best_aside(at))
        at.protocol = now
        self._agree(at)

    def _found(self, at: Position) -> dict[str, Any] | None:
        try:
            return checkpoint.read_record(self.record)
        except ValueError as error:
            if self.record.exists():
                logger.warning('warning: %s: iteration %d is validated again', error, at.iteration)
            return None

    def _put_best_aside(self, at: Position) -> None:
        best = weights_path(self.folder, 'best')
        with checkpoint.writing('models', self.folder):
            if best.exists():
                best.replace(best.with_name(f'net_g_best_until_{at.iteration}.pth'))
            self.record.unlink(missing_ok=True)

    def _agree(self, at: Position) -> None:
        """The best weights and what is known of them are of one iteration."""
        if not self.sets or not self.opt.logger.keep_best:
            return
        content = distributed.on_first(lambda: self._best_of_file(at))
        if content is not None and content['iter'] > at.iteration:
            # its iteration is still to come again, and what is saved until then knows nothing of it
            self.ahead = content
        elif content is not None and content['iter'] != at.best_iter:
            self._adopt(content, at)  # its validation could not be noted any more

    @staticmethod
    def _adopt(content: dict[str, Any], at: Position) -> None:
        at.best_iter = content['iter']
        at.best.setdefault(content['set'], {})[content['metric']] = content['value']

    def _best_of_file(self, at: Position) -> dict[str, Any] | None:
        """What models/net_g_best.pth says of itself; where it is damaged or gone, it is made again if it can be."""
        path = weights_path(self.folder, 'best')
        if checkpoint.sound(path):
            best: dict[str, Any] | None = checkpoint.load(path).get('best')
            return best
        again = weights_path(self.folder, at.best_iter)
        first = next(iter(self.sets))
        values = at.best.get(first) or {}
        if at.best_iter and values and self.saves.problem(at.best_iter) is None:
            metric = next(iter(values))
            best = {'iter': at.best_iter, 'set': first, 'metric': metric, 'value': values[metric]}
            self.saves.write_weights('best', {**checkpoint.load(again), 'best': best})
            self.saves.finish()
            logger.warning('warning: %s is made again from %s', path.name, again.name)
            return best
        if path.exists() or at.best_iter:
            logger.warning('warning: %s is damaged or gone; the next validation makes another', path)
            with checkpoint.writing('models', self.folder):
                path.unlink(missing_ok=True)
            at.best_iter = 0
            return {'iter': 0, 'set': first, 'metric': next(iter(values), ''), 'value': None}
        return None

    def exhausted(self, at: Position) -> bool:
        """Whether ``val.patience`` validations in a row gained nothing."""
        return 0 < self.opt.validation.patience <= at.stale

    def run_if_due(self, model: RestorationModel, at: Position) -> bool:
        """Validates every val_freq iterations and at the end, once; the checkpoint of the iteration has been written.

        Returns:
            False where some rank was asked to stop and it was given up, on every rank; nothing is kept of it then.
        """
        due = at.iteration % self.opt.validation.val_freq == 0 or at.iteration == self.opt.training.total_iter
        if not self.sets or not due or at.iteration in (0, at.validated):
            return True
        results: dict[str, Evaluation] = {}
        for key, dataset in self.sets.items():
            name = self.opt.datasets[key].name or key
            images = self.folder / 'visualization' / name if self.opt.validation.save_img else None
            result = evaluate(model, dataset, name, self.metrics, images, f'_{at.iteration}', self.stop.asked)
            if result is None:
                return False
            results[key] = result
        for key, result in results.items():
            logger.info('%s', '\n'.join([result.table(at.best.get(key), self.lower), *result.notes]))
        reached = self.ahead is not None and at.iteration >= self.ahead['iter']
        if self.ahead and reached:
            self._adopt(self.ahead, at)
        gained = self._compare(results, at)
        self.ahead = None if gained or reached else self.ahead  # those weights are another's now, or known
        at.validated = at.iteration
        if distributed.rank() == 0:
            self._keep(model, results, at, gained)
        return True

    def _compare(self, results: dict[str, Evaluation], at: Position) -> bool:
        """Notes the best values; returns whether the weights are the best there were."""
        gained = False
        for number, (key, result) in enumerate(results.items()):
            now = {metric: result.mean(RESTORED, metric) for metric in result.metrics()}
            before = at.best.get(key, {})
            first = next(iter(now))
            if number == 0:  # an iteration that comes again finds itself to be the best
                known = before.get(first)
                gained = at.best_iter in (0, at.iteration) or known is None or self._better(first, now[first], known)
                at.best_iter = at.iteration if gained else at.best_iter
                at.stale = 0 if gained else at.stale + 1
            kept = {
                m: before[m] for m, v in now.items() if before.get(m) is not None and not self._better(m, v, before[m])
            }
            at.best[key] = now | kept
            if number == 0 and gained:
                at.best[key][first] = now[first]
        return gained

    def _better(self, metric: str, value: float, other: float) -> bool:
        return value < other if metric in self.lower else value > other

    def _keep(self, model: RestorationModel, results: dict[str, Evaluation], at: Position, gained: bool) -> None:
        """Pictures, lines, curves, best weights; the record last: without it all of this comes again."""
        shown = next(iter(self.sets.values()))
        with self.log.harmless('previews'):
            if not hasattr(shown, 'judge'):  # else there are no restored frames to show
                draw_rows(model, shown, self.folder / 'previews' / f'{at.iteration:08d}.png', count=2, side=96)
        for result in results.values():
            rows = {f'{row}_{m}': result.mean(row, m) for row in result.rows() for m in result.metrics()}
            self.log.scalars(at.iteration, rows, f'val_{result.name}')
        with self.log.harmless('curves.svg'):
            draw_curves(self.folder)
        if gained and self.opt.logger.keep_best:
            key, first = next(iter(results.items()))
            metric = first.metrics()[0]
            best = {'iter': at.iteration, 'set': key, 'metric': metric, 'value': at.best[key][metric]}
            self.saves.write_weights('best', {**model.weights()['net_g'], 'best': best})
        self.saves.finish()
        known = {'best': at.best, 'best_iter': at.best_iter, 'stale': at.stale, 'protocol': at.protocol}
        self.saves.write_note('validated.json', {'iter': at.iteration, **known})
