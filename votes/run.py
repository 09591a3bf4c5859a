"""What the two programs share: command line, notices, the folder of a run and its logs."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from votes import checkpoint, distributed
from votes.errors import UserError
from votes.options import Options, load_options

logger = logging.getLogger('votes')


def add_program_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `votes train` and `votes test`: those of BasicSR."""
    parser.add_argument('-opt', required=True, metavar='FILE.yml', help='option file')
    parser.add_argument('--launcher', choices=('none', 'pytorch'), default='none', help='pytorch: started by torchrun')
    parser.add_argument(
        '--set',
        '--force_yml',
        nargs='+',
        default=[],
        metavar='KEY=VALUE',
        dest='overrides',
        help='change options, e.g. train.total_iter=1000',
    )
    parser.add_argument(
        '--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS
    )  # older launchers pass it


def run_program(program: Callable[[Options, argparse.Namespace], None], mode: str, args: argparse.Namespace) -> int:
    """Loads the options, joins the process group, runs `program`; exit code 0, or 2 for bad input."""
    try:
        opt = load_options(args.opt, mode=mode, overrides=args.overrides)
        opt.notices += distributed.start(args.launcher, opt.dist_params.backend)
        try:
            program(opt, args)
        finally:
            distributed.stop()
    except UserError as error:
        return report(error)
    return 0


def report(error: UserError) -> int:
    """Prints a user's error; returns the exit code for it."""
    print(f'error: {error}', file=sys.stderr)
    return 2


class RunLog:
    """The folder of a run: log file, metrics.jsonl, TensorBoard. Only rank 0 writes."""

    def __init__(self, folder: Path, opt: Options, tensorboard: bool = False):
        self.folder = folder
        self.active = distributed.rank() == 0
        self.tensorboard: Any = None
        logger.setLevel(logging.INFO if self.active else logging.ERROR)
        self.handlers: list[logging.Handler] = []
        if not self.active:
            return
        folder.mkdir(parents=True, exist_ok=True)
        with checkpoint.atomic_write(folder / 'options.yml') as temporary:
            temporary.write_text(yaml.safe_dump(opt.resolved(), sort_keys=False))
        stamp = time.strftime('%Y%m%d_%H%M%S')
        self._add_handler(logging.StreamHandler(sys.stdout), '%(message)s')
        self._add_handler(logging.FileHandler(folder / f'{opt.name}_{stamp}.log'), '%(asctime)s %(message)s')
        if tensorboard:
            self._open_tensorboard(folder / 'tb_logger')
        for notice in opt.notices:
            logger.info('notice: %s', notice)

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handler in self.handlers:
            logger.removeHandler(handler)
            handler.close()
        if self.tensorboard is not None:
            self.tensorboard.close()

    def _add_handler(self, handler: logging.Handler, layout: str) -> None:
        handler.setFormatter(logging.Formatter(layout))
        logger.addHandler(handler)
        self.handlers.append(handler)

    def _open_tensorboard(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter

            self.tensorboard = SummaryWriter(str(folder))
        except (ImportError, RuntimeError, OSError) as error:
            logger.warning('notice: no TensorBoard log: %s', error)

    def scalars(self, iteration: int, values: dict[str, float], prefix: str = 'train') -> None:
        """Appends a line to metrics.jsonl and the values to TensorBoard."""
        if not self.active:
            return
        with open(self.folder / 'metrics.jsonl', 'a') as file:
            file.write(json.dumps({'iter': iteration, 'kind': prefix, **values}) + '\n')
        if self.tensorboard is not None:
            for name, value in values.items():
                self.tensorboard.add_scalar(f'{prefix}/{name}', value, iteration)


class StepMeter:
    """Progress of a training run: iterations a second, share of time spent waiting for data, time left."""

    def __init__(self, done: int, total: int):
        self.first = self.done = done
        self.total = total
        self.started = self.mark = time.monotonic()
        self.waiting = 0.0
        self.terms: dict[str, Any] = {}
        self.count = 0

    def data_ready(self) -> None:
        """Called when a batch has arrived; the time since `step_done` was spent waiting for it."""
        self.waiting += time.monotonic() - self.mark

    def step_done(self, terms: dict[str, Any]) -> None:
        """Called after a step with its loss terms, which are averaged on the device until `summary`."""
        for name, term in terms.items():
            self.terms[name] = self.terms.get(name, 0) + term
        self.count += 1
        self.done += 1
        self.mark = time.monotonic()

    def summary(self) -> dict[str, float]:
        """Mean loss terms since the last summary, seconds an iteration, share of waiting (0 to 1), seconds left."""
        elapsed = self.mark - self.started
        pace = elapsed / max(1, self.done - self.first)
        values = {name: float(distributed.mean(term / self.count)) for name, term in self.terms.items()}
        values |= {
            'loss': sum(values.values()),
            'seconds': pace,
            'data': self.waiting / max(elapsed, 1e-9),
            'eta': pace * (self.total - self.done),
        }
        self.terms, self.count = {}, 0
        return values


def duration(seconds: float) -> str:
    """90061 -> '1d 01:01:01'."""
    days, rest = divmod(int(seconds), 86400)
    return (f'{days}d ' if days else '') + f'{rest // 3600:02d}:{rest % 3600 // 60:02d}:{rest % 60:02d}'
