"""Training from an option file: `votes train -opt FILE.yml`, or `python votes/train.py -opt ... --launcher pytorch`."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from pathlib import Path
from typing import Any

if __name__ == '__main__' and not __package__:
    # started as a file: the folder above the package belongs on the path, the package's own rooms do not
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch

from votes import checkpoint
from votes.data import build_train_loader, build_train_set
from votes.models import RestorationModel, build_model
from votes.options import Options
from votes.processes import distributed
from votes.processes.devices import device_of
from votes.processes.program import add_program_arguments, crash_summary, end_process, run_program
from votes.processes.signals import Preempted, StopRequests, tell_launcher
from votes.training import position
from votes.training.checkpoint_store import Saves
from votes.training.health import Guard
from votes.training.position import Position, Setup
from votes.training.run_log import RunLog, StepMeter, duration, logger, put_aside
from votes.training.validation import Validation


def train(opt: Options, args: argparse.Namespace) -> None:
    """The whole training loop."""
    device = prepare(opt)
    folder = Path(opt.path.experiments_root) / opt.name
    start_folder(folder, args.restart)
    saves = Saves(folder, opt.logger.keep_last, opt.logger.background_save)

    with RunLog(folder, opt, opt.logger.use_tb_logger) as log, StopRequests() as stop:
        data = opt.datasets['train']
        model = build_model(opt, device)
        dataset = build_train_set(data, opt.scale, opt.manual_seed, model.said)
        validation = Validation(opt, folder, log, stop, model.said)
        setup = Setup.of(opt, log.clips(dataset))
        saves.check_room(checkpoint_bytes(model))
        at = position.resume(model, saves, opt, setup, args.allow_changes)
        log.rewind(at.iteration)
        loader = build_train_loader(
            dataset,
            data,
            opt.manual_seed,
            distributed.rank(),
            distributed.world_size(),
            at.consumed,
            opt.training.accumulate,
        )
        introduce(model, at, setup, device)

        guard, meter, batch = Guard(opt, folder), StepMeter(at.iteration, opt.training.total_iter), None
        batches = loader.batches(device)
        if not validation.run_if_due(model, at):  # of a run that was stopped before it had validated
            leave(folder, at, saves, stop)
        with contextlib.closing(loader), crash_summary(lambda: situation(at, batch, saves)):
            while at.iteration < opt.training.total_iter and not validation.exhausted(at):
                batch = next(batches)
                meter.data_ready()
                at.advance(setup.samples_a_step)
                printing = at.iteration % opt.logger.print_freq == 0
                outcome = model.step(batch, at.iteration, lr_scale=at.lr_scale, stop=stop.asked, want_gain=printing)
                if guard.went_back(outcome, batch, model, at, saves, setup.samples_a_step):
                    log.rewind(at.iteration)
                    continue
                meter.step_done(outcome.terms if outcome.finite else {})
                if printing and outcome.gain is not None and outcome.finite:
                    progress(log, model, guard, meter, at, float(distributed.mean(outcome.gain)))
                stopping = outcome.stop or not validation.run_if_due(model, at, saves)
                meter.mark = time.monotonic()
                last = at.iteration == opt.training.total_iter or validation.exhausted(at)
                if at.iteration % opt.logger.save_checkpoint_freq == 0 or last or stopping:
                    save(model, saves, at, setup)
                if stopping:
                    leave(folder, at, saves, stop)
                if meter.done == meter.first + 1:  # built, compiled, workers started: now every rank answers soon
                    distributed.set_timeout(opt.dist_params.timeout)

        if validation.exhausted(at):
            logger.info('nothing was gained in %d validations: training ends at iteration %d', at.stale, at.iteration)
        if distributed.rank() == 0:
            saves.write_weights('latest', model.weights()['net_g'])
            saves.finish()
            logger.info('done: %s', folder / 'models' / 'net_g_latest.pth')


def prepare(opt: Options) -> torch.device:
    """Seeds, determinism and the device."""
    torch.manual_seed(opt.manual_seed)
    if opt.deterministic:
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
    return device_of(opt)


def start_folder(folder: Path, restart: bool) -> None:
    """Puts an earlier run of the same name aside where that is asked for, and removes what a stopped one left."""
    if distributed.rank() == 0 and folder.is_dir():
        if restart:
            put_aside(folder)
        for path in [folder / 'PREEMPTED.json', *Saves(folder).left_over()]:
            path.unlink(missing_ok=True)
    distributed.barrier()


def checkpoint_bytes(model: RestorationModel) -> int:
    """About how large a checkpoint is: weights, their average, and the optimiser's two moments."""
    total = 0
    for learner in model.learners.values():
        weights = sum(t.numel() * t.element_size() for t in learner.net.state_dict().values())
        trained = sum(p.numel() * p.element_size() for p in learner.named.values())
        total += weights * (1 if learner.ema is None else 2) + 2 * trained
    return total


def introduce(model: RestorationModel, at: Position, setup: Setup, device: torch.device) -> None:
    """Says what is about to be trained."""
    for message in model.messages:
        logger.info('%s', message)
    trained = sum(p.numel() for p in model.net.parameters() if p.requires_grad)
    total = sum(p.numel() for p in model.net.parameters())
    logger.info(
        '%s: %s with %.3f M parameters, %.3f M of them trained, on %s x %d, %d samples a step, iterations %d to %d',
        model.opt.name,
        model.opt.network_g.type,
        total / 1e6,
        trained / 1e6,
        device.type,
        distributed.world_size(),
        setup.samples_a_step,
        at.iteration + 1,
        model.opt.training.total_iter,
    )


def progress(log: RunLog, model: RestorationModel, guard: Guard, meter: StepMeter, at: Position, gain: float) -> None:
    """One line a print_freq."""
    values = meter.summary(at.iteration)
    values |= {'lr': model.generator.learning_rate(at.iteration, at.lr_scale), 'gain_db': gain}
    offsets = {name: float(mean) for name, mean in model.offset_means().items()}
    values |= {f'offset.{name}': offset for name, offset in offsets.items()}
    logger.info(
        'it %d/%d %.1f%% loss %.5g lr %.2e %.3f s/it (data %.0f%%) gain %+.2f dB%s ETA %s',
        at.iteration,
        meter.total,
        100 * at.iteration / meter.total,
        values['loss'],
        values['lr'],
        values['seconds'],
        100 * values['data'],
        gain,
        f' offset {max(offsets.values()):.2f} px' if offsets else '',
        duration(values['eta']),
    )
    guard.check_offsets(offsets)
    log.scalars(at.iteration, values)


def save(model: RestorationModel, saves: Saves, at: Position, setup: Setup) -> None:
    """Writes a checkpoint, unless the weights are broken."""
    if distributed.rank() != 0:
        return
    nets = [learner.net for learner in model.learners.values()]
    if not all(bool(torch.isfinite(p).all()) for net in nets for p in net.parameters()):
        logger.warning('warning: no checkpoint at iteration %d: the weights hold NaN or Inf', at.iteration)
        return
    position.save(model, saves, at, setup)


def leave(folder: Path, at: Position, saves: Saves, stop: StopRequests) -> None:
    """Ends a run that was asked to stop and has been saved."""
    if distributed.rank() == 0:
        saves.finish()
        marker = folder / 'PREEMPTED.json'
        checkpoint.write_json(
            marker, {'iter': at.iteration, 'signal': stop.requested, 'time': time.strftime('%Y-%m-%d %H:%M:%S')}
        )
        tell_launcher('stopped', str(marker.absolute()))
        logger.info('stopped on request after iteration %d; the same command goes on from here', at.iteration)
    distributed.barrier()
    raise Preempted


def situation(at: Position, batch: Any, saves: Saves) -> dict[str, Any]:
    """What a crash is told with."""
    newest = saves.newest_good()[0]
    return {
        'rank': distributed.rank(),
        'iteration': at.iteration,
        'samples': ', '.join(batch['key']) if batch else 'none yet',
        'checkpoint': newest if newest is not None else 'none yet',
        'go on': 'with the same command',
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog='votes train', description='Train a network from an option file.')
    add_arguments(parser)
    return run(parser.parse_args(argv))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_program_arguments(parser)
    parser.add_argument('--auto_resume', action='store_true', help='accepted: a run always continues where it stopped')
    parser.add_argument('--restart', action='store_true', help='put an earlier run of this name aside and start anew')
    parser.add_argument('--allow_changes', action='store_true', help='go on although training options have changed')


def run(args: argparse.Namespace) -> int:
    return run_program(train, 'train', args)


if __name__ == '__main__':
    end_process(main())
