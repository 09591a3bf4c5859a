"""Training from an option file: `votes train -opt FILE.yml`, or `python votes/train.py -opt ... --launcher pytorch`."""

from __future__ import annotations

import argparse
import contextlib
import runpy
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

if __name__ == '__main__':
    # started as a file: the verb; the folder above the package belongs on the path, the package's own rooms do not
    if not __package__:
        sys.path[0] = str(Path(__file__).resolve().parents[1])
    sys.argv.insert(1, 'train')
    runpy.run_module('votes.cli', run_name='__main__', alter_sys=True)

import torch

from votes import checkpoint
from votes.data import TrainLoader, build_train_loader, build_train_set
from votes.data.grid import check_grid, grid_of
from votes.errors import Stalled
from votes.models import RestorationModel, build_model
from votes.models.optimisation import Outcome
from votes.models.terms import restoring
from votes.options import Options
from votes.processes import distributed
from votes.processes.devices import device_of
from votes.processes.lease import Lease
from votes.processes.program import add_program_arguments, crash_summary, run_program
from votes.processes.signals import Preempted, StopRequests, tell_launcher
from votes.training import position
from votes.training.checkpoint_store import Saves
from votes.training.contents import fingerprint
from votes.training.health import Guard
from votes.training.history import note_start
from votes.training.position import Position, Setup
from votes.training.run_log import RunLog, StepMeter, duration, environment, logger, put_aside
from votes.training.validation import Validation


def train(opt: Options, args: argparse.Namespace) -> None:
    """Builds what trains, goes on from where the run was, and trains."""
    device = prepare(opt)
    folder = Path(opt.path.experiments_root) / opt.name
    with StopRequests() as stop, owned(folder, stop) as lease, opened(folder, opt, lease, args.restart) as log:
        saves = Saves(folder, opt.logger.keep_last, opt.logger.background_save, lease)
        data = opt.datasets['train']
        model = build_model(opt, device)
        dataset = build_train_set(data, opt.scale, opt.manual_seed, model.said)
        validation = Validation(opt, saves, log, stop, model.said)
        note_grids(model, dataset, validation, opt)
        pictures = distributed.on_first(lambda: fingerprint(dataset, data.args.get('degradation')))
        setup = Setup.of(opt, log.clips(dataset), pictures)
        distributed.on_first(lambda: saves.check_room(checkpoint_bytes(model)))
        at = position.resume(model, saves, opt, setup, args.allow_changes)
        validation.go_on(at)
        log.rewind(at.iteration, at.validated)
        ranks = distributed.rank(), distributed.world_size()
        loader = build_train_loader(dataset, data, opt.manual_seed, *ranks, at.consumed, opt.training.accumulate)
        introduce(model, at, setup, device)
        distributed.on_first(lambda: note_start(folder, opt, at, setup, environment()))
        run = Run(opt, model, saves, at, setup, validation, log, stop)
        if distributed.any_rank(stop.asked(), device=device)[0] or not validation.run_if_due(model, at):
            leave(run)
        loop(run, loader, device)
        if distributed.rank() == 0:
            saves.write_weights('latest', model.weights()['net_g'])
            saves.finish()
            logger.info('done: %s', folder / 'models' / 'net_g_latest.pth')


@dataclass
class Run:
    """What the loop works with."""

    opt: Options
    model: RestorationModel
    saves: Saves
    at: Position
    setup: Setup
    validation: Validation
    log: RunLog
    stop: StopRequests
    meter: StepMeter = field(init=False)


def loop(run: Run, loader: TrainLoader, device: torch.device) -> None:
    """The training loop: a batch, a step, what came of it, and now and then a line, a checkpoint, a validation."""
    opt, model, at, setup, validation = run.opt, run.model, run.at, run.setup, run.validation
    meter = run.meter = StepMeter(at.iteration, opt.training.total_iter, at.meter)
    guard, supply = Guard(opt, run.saves.folder), Supply(loader, device)
    with contextlib.closing(loader), crash_summary(lambda: situation(run, supply.batch)):
        while at.iteration < opt.training.total_iter and not validation.exhausted(at):
            batch, void = supply.next()
            meter.data_ready()
            at.advance(setup.samples_a_step)
            printing = at.iteration % opt.logger.print_freq == 0
            outcome = model.step(
                batch, at.iteration, lr_scale=at.lr_scale, stop=run.stop.asked, want_gain=printing, void=void
            )
            if outcome.void:
                give_up(run, supply)
            if guard.went_back(outcome, batch, model, at, run.saves, setup.samples_a_step):
                run.log.rewind(at.iteration, at.validated)
                meter.restore(at.meter)
                continue
            meter.step_done(outcome.terms if outcome.finite else {})
            if printing and outcome.gain is not None and outcome.finite:
                progress(run, guard, float(distributed.mean(outcome.gain)))
            elif meter.silent_for_long():
                sign_of_life(meter, at, outcome)
            last = at.iteration == opt.training.total_iter
            if at.iteration % opt.logger.save_checkpoint_freq == 0 or last or outcome.stop:
                save(run)
            if outcome.stop or not validation.run_if_due(model, at):
                save(run)
                leave(run)
            meter.mark = time.monotonic()
            if meter.done == meter.first + 1:  # built, compiled, workers started: now every rank answers soon
                distributed.set_timeout(opt.dist_params.timeout)
    if validation.exhausted(at):
        save(run)
        logger.info('nothing was gained in %d validations: training ends at iteration %d', at.stale, at.iteration)


class Supply:
    """Gives a batch a step.

    A rank whose data worker is frozen computes once more with its last batch, so that all ranks meet in the decision of
    this step, where they learn that it does not count, and can save and end together.

    Attributes:
        batch: the last one.
        frozen: what is known of the worker that does not answer.
    """

    def __init__(self, loader: TrainLoader, device: torch.device):
        self.batches: Iterator[Any] = loader.batches(device)
        self.batch: Any = None
        self.frozen: str | None = None

    def next(self) -> tuple[Any, bool]:
        """A batch, and whether it only stands for one that did not come.

        Raises:
            Stalled: not even the first one came.
        """
        try:
            self.batch = next(self.batches)
        except Stalled as error:
            self.frozen = str(error)
            if self.batch is None:
                raise
        return self.batch, self.frozen is not None


def note_grids(model: RestorationModel, dataset: Any, validation: Validation, opt: Options) -> None:
    """The network remembers on which grid its training data were shrunk; validation has to be on the same."""
    model.grid = grid_of(dataset)
    for name, shown in validation.sets.items():
        check_grid(model.grid, 'the network', shown, name, opt.validation.any_grid)


def prepare(opt: Options) -> torch.device:
    """Seeds, determinism and the device."""
    torch.manual_seed(opt.manual_seed)
    if opt.deterministic:
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
    return device_of(opt)


@contextlib.contextmanager
def owned(folder: Path, stop: StopRequests) -> Iterator[Lease]:
    """The run folder is this training's alone; when it is lost to another one, this one stops."""
    lease = Lease(folder, 'training')
    try:
        distributed.on_first(lease.acquire)
        lease.on_loss = lambda: stop.request('the loss of the run folder')
        yield lease
    finally:
        lease.release()


@contextlib.contextmanager
def opened(folder: Path, opt: Options, lease: Lease, restart: bool) -> Iterator[RunLog]:
    """The run folder and its log; an earlier run of the same name is put aside where that is asked for."""

    def start() -> None:
        with checkpoint.writing('the run folder', folder.absolute()):
            if restart and folder.is_dir():
                put_aside(folder)
            for path in [folder / 'PREEMPTED.json', *Saves(folder).left_over()]:
                path.unlink(missing_ok=True)

    distributed.on_first(start)
    with RunLog(folder, opt, opt.logger.use_tb_logger, lease) as log:
        yield log


def checkpoint_bytes(model: RestorationModel) -> int:
    """About how large a checkpoint is: weights, their average, and the optimiser's two moments."""
    total = 0
    for learner in model.learners.values():
        weights = sum(t.nbytes for t in learner.net.state_dict().values())
        total += weights * (1 if learner.ema is None else 2) + 2 * sum(p.nbytes for p in learner.named.values())
    return total


def introduce(model: RestorationModel, at: Position, setup: Setup, device: torch.device) -> None:
    """Says what is about to be trained."""
    for message in model.messages:
        logger.info('%s', message)
    total = sum(p.numel() for p in model.net.parameters()) / 1e6
    trained = sum(p.numel() for p in model.net.parameters() if p.requires_grad) / 1e6
    logger.info(
        f'{model.opt.name}: {model.opt.network_g.type} with {total:.3f} M parameters, {trained:.3f} M of them trained, '
        f'on {device.type} x {distributed.world_size()}, {setup.samples_a_step} samples a step, '
        f'iterations {at.iteration + 1} to {model.opt.training.total_iter}'
    )


def progress(run: Run, guard: Guard, gain: float) -> None:
    """One line a print_freq."""
    at, model, meter = run.at, run.model, run.meter
    values = meter.summary(at.iteration)
    values |= {'lr': model.generator.learning_rate(at.iteration, at.lr_scale), 'gain_db': gain}
    offsets = {name: float(mean) for name, mean in model.offset_means().items()}
    values |= {f'offset.{name}': offset for name, offset in offsets.items()}
    largest = f' offset {max(offsets.values()):.2f} px' if offsets else ''
    logger.info(
        f'it {at.iteration}/{meter.total} {at.iteration / meter.total:.1%} loss {values["loss"]:.5g} '
        f'lr {values["lr"]:.2e} {values["seconds"]:.3f} s/it (data {values["data"]:.0%}) gain {gain:+.2f} dB{largest} '
        f'ETA {duration(values["eta"])}'
    )
    guard.check_offsets(offsets)
    run.log.scalars(at.iteration, values)


def sign_of_life(meter: StepMeter, at: Position, outcome: Outcome) -> None:
    """A line after the first step, and where print_freq is long: that it goes on, and how fast."""
    if distributed.rank() == 0:
        loss = restoring({name: float(term) for name, term in outcome.terms.items()})
        pace = meter.pace(at.iteration)
        values = (loss, pace['seconds'], duration(pace['eta']))
        logger.info('it %d/%d (this step alone) loss %.5g, %.3f s/it, ETA %s', at.iteration, meter.total, *values)


def save(run: Run) -> None:
    """Writes a checkpoint of this iteration, unless there is one, or the weights are broken."""
    at = run.at
    at.meter = run.meter.state()
    distributed.on_first(run.saves.check_lease)
    if distributed.rank() != 0 or run.saves.written == at.iteration:
        return
    nets = [learner.net for learner in run.model.learners.values()]
    if not all(bool(torch.isfinite(p).all()) for net in nets for p in net.parameters()):
        logger.warning('warning: no checkpoint at iteration %d: the weights hold NaN or Inf', at.iteration)
        return
    position.save(run.model, run.saves, at, run.setup)


def give_up(run: Run, supply: Supply) -> NoReturn:
    """Ends a run that gets no samples any more, saved as it was before the step that lacks them."""
    run.at.advance(run.setup.samples_a_step, -1)
    save(run)
    run.saves.finish()
    whose = [f'rank {rank}: {text}' for rank, text in enumerate(distributed.gather(supply.frozen)) if text]
    error = Stalled(f'{"; ".join(whose)}. Saved after iteration {run.at.iteration}; the same command goes on')
    error.__dict__['repeated'] = distributed.rank() != 0
    distributed.barrier()
    raise error


def leave(run: Run) -> NoReturn:
    """Ends a run that was asked to stop and has been saved."""
    distributed.on_first(run.saves.check_lease)
    asked = next((name for name in distributed.gather(run.stop.requested) if name), None)
    marker = run.saves.folder / 'PREEMPTED.json'

    def say() -> None:
        run.saves.finish()
        with checkpoint.writing(marker.name, marker.parent):
            now = time.strftime('%Y-%m-%d %H:%M:%S')
            checkpoint.write_record(marker, {'iter': run.at.iteration, 'signal': asked, 'time': now})
        logger.info('stopped on request after iteration %d; the same command goes on from here', run.at.iteration)

    distributed.on_first(say)
    tell_launcher('stopped', str(marker.absolute()))
    distributed.barrier()  # a rank that ends takes what it has sent with it
    raise Preempted


def situation(run: Run, batch: Any) -> dict[str, Any]:
    """What a crash is told with."""
    newest = run.saves.newest_good()[0]
    return {
        'rank': distributed.rank(),
        'iteration': run.at.iteration,
        'samples': ', '.join(batch['key']) if batch else 'none yet',
        'checkpoint': newest if newest is not None else 'none yet',
        'go on': 'with the same command',
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_program_arguments(parser)
    parser.add_argument('--auto_resume', action='store_true', help='accepted: a run always continues where it stopped')
    parser.add_argument('--restart', action='store_true', help='put an earlier run of this name aside and start anew')
    parser.add_argument('--allow_changes', action='store_true', help='go on although training options have changed')


def run(args: argparse.Namespace) -> int:
    return run_program(train, 'train', args)
