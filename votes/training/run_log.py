"""The folder of a run and its logs: options, environment, notices, metrics.jsonl, TensorBoard."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import logging
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
import yaml

import votes
from votes import checkpoint
from votes.models.terms import restoring
from votes.options import Options
from votes.processes import distributed
from votes.processes.lease import Lease, LeaseLost

logger = logging.getLogger('votes')


@functools.cache
def packages() -> dict[str, str]:
    """What is installed beside this process, with versions."""
    return dict(sorted((d.name, d.version) for d in metadata.distributions() if d.name))


def environment() -> dict[str, Any]:
    """What a run depends on besides its options: versions, machine, commit of the source, command."""
    source = Path(votes.__file__).resolve().parents[1]

    def git(*command: str) -> str | None:
        try:
            done = subprocess.run(['git', '-C', str(source), *command], capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    return {
        'command': sys.argv,
        'folder': os.getcwd(),
        'processes': distributed.world_size(),
        'commit': git('rev-parse', 'HEAD'),
        'changed_files': (git('status', '--porcelain', '--untracked-files=no') or '').splitlines(),
        'python': platform.python_version(),
        'system': f'{platform.system()} {platform.release()} {platform.machine()}',
        'threads': torch.get_num_threads(),
        'gpus': [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        'cuda': torch.version.cuda,
        'packages': packages(),
    }


def put_aside(folder: Path) -> None:
    """Renames a folder of an earlier run, as BasicSR does; the second of one second has a number."""
    name = f'{folder.name}_archived_{time.strftime("%Y%m%d_%H%M%S")}'
    names = itertools.chain([name], (f'{name}_{i}' for i in itertools.count(2)))
    folder.rename(next(path for path in map(folder.with_name, names) if not path.exists()))


class RunLog(contextlib.ExitStack):
    """The folder of a run: log file, metrics.jsonl, TensorBoard, closed at the end. Only rank 0 writes.

    Args:
        lease: metrics.jsonl is written only with it, where there is one.
    """

    def __init__(self, folder: Path, opt: Options, tensorboard: bool = False, lease: Lease | None = None):
        super().__init__()
        self.folder, self.lease = folder, lease
        self.active = distributed.rank() == 0
        self.tensorboard: Any = None
        self.failed: set[str] = set()
        logger.setLevel(logging.INFO if self.active else logging.ERROR)
        distributed.on_first(lambda: self._open(opt))
        if not self.active:
            return
        if tensorboard:
            self._open_tensorboard(folder / 'tb_logger')
        for notice in opt.notices:
            logger.info('notice: %s', notice)

    def _open(self, opt: Options) -> None:
        folder, stamp = self.folder, time.strftime('%Y%m%d_%H%M%S')
        with checkpoint.writing('the run folder', folder.absolute()):
            checkpoint.write_text(folder / 'options.yml', yaml.safe_dump(opt.resolved(), sort_keys=False))
            checkpoint.write_record(folder / 'environment.json', environment())
            self._add_handler(logging.StreamHandler(sys.stdout), '%(message)s')
            self._add_handler(logging.FileHandler(folder / f'{opt.name}_{stamp}.log'), '%(asctime)s %(message)s')

    def _add_handler(self, handler: logging.Handler, layout: str) -> None:
        handler.setFormatter(logging.Formatter(layout))
        logger.addHandler(handler)
        self.callback(handler.close)
        self.callback(logger.removeHandler, handler)

    def _open_tensorboard(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter

            self.tensorboard = SummaryWriter(str(folder))
            self.callback(self.harmless('TensorBoard')(self.tensorboard.close))
        except (ImportError, RuntimeError, OSError) as error:
            logger.warning('warning: TensorBoard cannot be written: %s', error)

    def scalars(self, iteration: int, values: dict[str, float], prefix: str = 'train') -> None:
        """Appends a line to metrics.jsonl and the values to TensorBoard."""
        if not self.active:
            return
        row = json.dumps(checkpoint.without_infinity({'iter': iteration, 'kind': prefix, **values}), allow_nan=False)
        with self.harmless('metrics.jsonl'), open(self.folder / 'metrics.jsonl', 'a') as file:
            if self.lease is not None:
                self.lease.check()
            file.write(row + '\n')
        if self.tensorboard is not None:
            with self.harmless('TensorBoard'):
                for name, value in values.items():
                    self.tensorboard.add_scalar(f'{prefix}/{name}', value, iteration)

    @contextlib.contextmanager
    def harmless(self, what: str) -> Iterator[None]:
        """What tells about a run cannot stop it: anything that goes wrong inside is told once and given up."""
        try:
            yield
        except LeaseLost:
            raise
        except Exception as error:
            if what not in self.failed:
                logger.warning('warning: %s cannot be written: %s', what, error)
            self.failed.add(what)

    def clips(self, dataset: Any) -> dict[str, int] | None:
        """Name -> frames of the training clips, where the dataset says so; kept in data.json."""
        pairs = getattr(dataset, 'pairs', None)
        if pairs is None:
            return None
        clips = {name: int(pairs.lengths[name]) for name in pairs.names()}
        content = {'clips': clips, 'lq': str(pairs.lq.root), 'gt': str(pairs.gt.root)}
        with checkpoint.writing('data.json', self.folder):
            distributed.on_first(lambda: checkpoint.write_record(self.folder / 'data.json', content))
        return clips

    def rewind(self, iteration: int, validated: int) -> None:
        """Forgets what metrics.jsonl says about what will come again.

        Args:
            iteration: lines of later ones are forgotten;
            validated: of validations, those after this one.
        """
        path = self.folder / 'metrics.jsonl'
        if not self.active or not path.exists():
            return
        with self.harmless('metrics.jsonl'):
            rows = []
            for line in path.read_text().splitlines():
                with contextlib.suppress(ValueError, KeyError, TypeError):  # a line cut off by a crash
                    row = json.loads(line)
                    rows += [line] if row['iter'] <= (iteration if row['kind'] == 'train' else validated) else []
            checkpoint.write_text(path, ''.join(f'{row}\n' for row in rows))


class StepMeter:
    """Progress of a training run: iterations a second, share of time spent waiting for data, time left.

    Args:
        kept: `state` of the run that this one goes on from: its next mean is that of all steps since the last line.
    """

    def __init__(self, done: int, total: int, kept: list[dict[str, Any]] | None = None):
        self.first = self.done = done
        self.total = total
        self.started = self.mark = self.spoken = time.monotonic()
        self.used = time.process_time()
        self.waiting = 0.0
        self.restore(kept or [])

    def restore(self, kept: list[dict[str, Any]]) -> None:
        """Takes over what `state` said. With another number of ranks each gets the mean of what there was."""
        mine: dict[str, Any]
        if len(kept) == distributed.world_size():
            mine = kept[distributed.rank()]
        else:
            names = {name for each in kept for name in each['terms']}
            sums = {name: sum(each['terms'].get(name, 0.0) for each in kept) / len(kept) for name in names}
            mine = {'terms': sums, 'count': kept[0]['count'] if kept else 0}
        self.terms: dict[str, Any] = {name: torch.tensor(value) for name, value in mine['terms'].items()}
        self.count: int = mine['count']

    def state(self) -> list[dict[str, Any]]:
        """What has been summed up since the last `summary`, of every rank, which all call this."""
        return distributed.gather({'terms': {n: float(t) for n, t in self.terms.items()}, 'count': self.count})

    def data_ready(self) -> None:
        """Called when a batch has arrived; the time since `step_done` was spent waiting for it."""
        self.waiting += time.monotonic() - self.mark

    def step_done(self, terms: dict[str, Any]) -> None:
        """Called after a step with its loss terms, which are averaged on the device until `summary`."""
        for name, term in terms.items():
            self.terms[name] = self.terms[name].to(term.device) + term if name in self.terms else term
        self.count += bool(terms)
        self.done += 1
        self.mark = time.monotonic()

    def silent_for_long(self, seconds: float = 60) -> bool:
        """Whether nothing has been printed since the first step, or for so long."""
        return self.done == self.first + 1 or time.monotonic() - self.spoken > seconds

    def summary(self, iteration: int) -> dict[str, float]:
        """Mean loss terms since the last summary, and the pace."""
        values = {n: float(distributed.mean(term / max(1, self.count))) for n, term in self.terms.items()}
        values |= {'loss': restoring(values), **self.pace(iteration)}
        self.terms, self.count = {}, 0
        return values

    def pace(self, iteration: int) -> dict[str, float]:
        """Seconds an iteration, the processor's seconds an iteration and thread of this process (what others compute
        beside it does not count), share of waiting (0 to 1), seconds left.
        """
        self.spoken = time.monotonic()
        elapsed, steps = self.mark - self.started, max(1, self.done - self.first)
        used = (time.process_time() - self.used) / steps / torch.get_num_threads()
        left = elapsed / steps * (self.total - iteration)
        return {'seconds': elapsed / steps, 'cpu_seconds': used, 'data': self.waiting / max(elapsed, 1e-9), 'eta': left}


def duration(seconds: float) -> str:
    """90061 -> '1d 01:01:01'."""
    days, rest = divmod(int(seconds), 86400)
    return (f'{days}d ' if days else '') + f'{rest // 3600:02d}:{rest % 3600 // 60:02d}:{rest % 60:02d}'
