"""Training from an option file: `votes train -opt FILE.yml`, or `python votes/train.py -opt ... --launcher pytorch`."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

if __name__ == '__main__' and not __package__:
    # started as a file: the folder above the package belongs on the path, the package's own rooms do not
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch

from votes import distributed
from votes.data import build_test_set, build_train_loader
from votes.models import RestorationModel, build_model
from votes.models.evaluation import RESTORED, evaluate, pick_device
from votes.options import Options
from votes.run import RunLog, StepMeter, add_program_arguments, duration, logger, run_program


def train(opt: Options, args: argparse.Namespace) -> None:
    """The whole training loop."""
    assert opt.train is not None
    torch.manual_seed(opt.manual_seed)
    device, notices = pick_device(opt.num_gpu)
    opt.notices += notices
    folder = Path(opt.path.experiments_root) / opt.name
    if args.restart and distributed.rank() == 0:
        archive(folder)
    distributed.barrier()

    with RunLog(folder, opt, opt.logger.use_tb_logger) as log:
        validation = {
            name: build_test_set(data, opt.scale) for name, data in opt.datasets.items() if name.startswith('val')
        }
        model = build_model(opt, device)
        first, best = resume(model, opt, folder)
        data = opt.datasets['train']
        per_step = data.batch_size_per_gpu * distributed.world_size()
        loader = build_train_loader(
            data, opt.scale, opt.manual_seed, distributed.rank(), distributed.world_size(), consumed=first * per_step
        )
        introduce(model, first, per_step, device)

        meter = StepMeter(first, opt.train.total_iter)
        batches = iter(loader)
        for iteration in range(first + 1, opt.train.total_iter + 1):
            batch = next(batches)
            meter.data_ready()
            printing = iteration % opt.logger.print_freq == 0
            terms = model.step(batch, iteration, want_gain=printing)
            gain = terms.pop('gain', None)
            meter.step_done(terms)

            if printing and gain is not None:
                progress(log, model, meter, iteration, float(distributed.mean(gain)))
            last = iteration == opt.train.total_iter
            if validation and opt.val is not None and (iteration % opt.val.val_freq == 0 or last):
                validate(model, opt, validation, log, iteration, best, folder)
                meter.mark = time.monotonic()
            if (iteration % opt.logger.save_checkpoint_freq == 0 or last) and distributed.rank() == 0:
                model.save(folder, iteration, {'best': best})

        if distributed.rank() == 0:
            model.save(folder, 'latest')
            logger.info('done: %s', folder / 'models' / 'net_g_latest.pth')


def archive(folder: Path) -> None:
    """Puts an earlier run of the same name aside."""
    if folder.exists():
        folder.rename(folder.with_name(f'{folder.name}_archived_{time.strftime("%Y%m%d_%H%M%S")}'))


def resume(model: RestorationModel, opt: Options, folder: Path) -> tuple[int, dict[str, dict[str, float]]]:
    """Continues from path.resume_state or the run's own last checkpoint. Returns iterations done and best values."""
    states = sorted((folder / 'training_states').glob('*.state'), key=lambda p: int(p.stem))
    state_path = Path(opt.path.resume_state) if opt.path.resume_state else states[-1] if states else None
    if state_path is None:
        return 0, {}
    state = model.resume(state_path)
    logger.info('resumed from %s', state_path)
    return int(state['iter']), state.get('best', {})


def introduce(model: RestorationModel, first: int, per_step: int, device: torch.device) -> None:
    """Says what is about to be trained."""
    for message in model.messages:
        logger.info('%s', message)
    trained = sum(p.numel() for p in model.net.parameters() if p.requires_grad)
    total = sum(p.numel() for p in model.net.parameters())
    assert model.opt.train is not None
    logger.info(
        '%s: %s with %.3f M parameters, %.3f M of them trained, on %s x %d, %d samples a step, iterations %d to %d',
        model.opt.name,
        model.opt.network_g.type,
        total / 1e6,
        trained / 1e6,
        device.type,
        distributed.world_size(),
        per_step,
        first + 1,
        model.opt.train.total_iter,
    )


def progress(log: RunLog, model: RestorationModel, meter: StepMeter, iteration: int, gain: float) -> None:
    """One line a print_freq."""
    values = meter.summary()
    values |= {'lr': float(model.optimizer.param_groups[0]['lr']), 'gain_db': gain}
    offset = model.offset_mean()
    if offset is not None:
        values['offset'] = float(offset)
    logger.info(
        'it %d/%d %.1f%% loss %.5g lr %.2e %.3f s/it (data %.0f%%) gain %+.2f dB%s ETA %s',
        iteration,
        meter.total,
        100 * iteration / meter.total,
        values['loss'],
        values['lr'],
        values['seconds'],
        100 * values['data'],
        gain,
        f' offset {values["offset"]:.2f} px' if 'offset' in values else '',
        duration(values['eta']),
    )
    if values.get('offset', 0) > 50:
        logger.warning(
            'warning: mean |offset| is above 50 pixels: training is diverging; lower the rate or train.dcn_lr_mul'
        )
    log.scalars(iteration, values)


def validate(
    model: RestorationModel,
    opt: Options,
    validation: dict,
    log: RunLog,
    iteration: int,
    best: dict[str, dict[str, float]],
    folder: Path,
) -> None:
    """A table a validation set; updates `best`, which maps set -> metric -> highest value."""
    assert opt.val is not None
    for key, dataset in validation.items():
        name = opt.datasets[key].name or key
        images = folder / 'visualization' / name if opt.val.save_img else None
        result = evaluate(model, dataset, name, opt.val.metrics, images, f'_{iteration}')
        logger.info('%s', result.table(best.get(key)))
        now = {metric: result.mean(RESTORED, metric) for metric in result.metrics()}
        best[key] = {metric: max(value, best.get(key, {}).get(metric, value)) for metric, value in now.items()}
        log.scalars(
            iteration,
            {f'{row}_{m}': result.mean(row, m) for row in result.rows() for m in result.metrics()},
            f'val_{name}',
        )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog='votes train', description='Train a network from an option file.')
    add_arguments(parser)
    return run(parser.parse_args(argv))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_program_arguments(parser)
    parser.add_argument('--auto_resume', action='store_true', help='accepted: a run always continues where it stopped')
    parser.add_argument('--restart', action='store_true', help='put an earlier run of this name aside and start anew')


def run(args: argparse.Namespace) -> int:
    return run_program(train, 'train', args)


if __name__ == '__main__':
    raise SystemExit(main())
