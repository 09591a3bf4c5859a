"""What one sample is: frame sources, datasets, the sampler and the loader."""

from __future__ import annotations

import atexit
import gc
import inspect
import itertools
import random
import threading
import weakref
from collections.abc import Generator, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from votes.archs.contract import Promise, Window
from votes.data.ahead import copied_ahead
from votes.data.video_test_dataset import VideoUVSSMTestDataset
from votes.errors import Stalled, UserError
from votes.options import DatasetOptions
from votes.processes.signals import ignore_in_worker
from votes.registry import DATASETS

Key = tuple[int, int]  # epoch, index


class EndlessBatches(Sampler[list[Key]]):
    """Batches of (epoch, index) without end.

    Samples have global positions 0, 1, 2, ...: position p is entry ``p % size`` of the permutation of epoch
    ``p // size``. A step takes the next ``batch * ranks`` positions, each rank its share of them. So every epoch visits
    every sample once over all ranks, and a run resumed after `consumed` samples goes on with the next one, no matter
    how many ranks there were before.
    """

    def __init__(
        self, size: int, batch: int, seed: int, rank: int = 0, ranks: int = 1, consumed: int = 0, shuffle: bool = True
    ):
        self.size, self.batch, self.seed, self.shuffle = size, batch, seed, shuffle
        self.rank, self.ranks, self.consumed = rank, ranks, consumed

    def __iter__(self) -> Iterator[list[Key]]:
        @lru_cache(1)
        def order(epoch: int) -> Any:
            drawn = np.random.default_rng((self.seed, epoch))
            return drawn.permutation(self.size) if self.shuffle else np.arange(self.size)

        for first in itertools.count(self.consumed + self.rank * self.batch, self.batch * self.ranks):
            places = (divmod(position, self.size) for position in range(first, first + self.batch))
            yield [(epoch, int(order(epoch)[index])) for epoch, index in places]


def _start_worker(_: int) -> None:
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    ignore_in_worker()


class _Samples(Dataset):
    """The samples of a dataset by (epoch, index), each a pure function of these and the seed.

    A dataset that says `by_epoch` draws for itself; of others, asked for by index, the global generators are seeded.
    A sample that cannot be read is handed over as its UserError: raised in a worker, it would arrive as a traceback.
    """

    def __init__(self, dataset: Any, seed: int):
        self.dataset, self.seed = dataset, seed

    def __getitem__(self, key: Any) -> Any:
        try:
            if getattr(self.dataset, 'by_epoch', False):
                return self.dataset[key]
            epoch, index = key
            drawn = np.random.SeedSequence((self.seed, epoch, index)).generate_state(1)[0]
            random.seed(int(drawn))
            np.random.seed(drawn)
            torch.manual_seed(int(drawn))
            return self.dataset[index]
        except UserError as error:
            return error


def _collate(samples: list[Any]) -> Any:
    return next((s for s in samples if isinstance(s, UserError)), None) or default_collate(samples)


class TrainLoader(DataLoader):
    """Batches; a sample that cannot be read raises its UserError here, in the process that trains.

    Attributes:
        patience: seconds without a batch after which a worker counts as frozen, 0: never; `Stalled` names it.
        copy_ahead: `batches` brings them to a GPU while others are computed with. Loading runs ahead in any case.
    """

    alive: weakref.WeakSet[TrainLoader] = weakref.WeakSet()

    def __init__(self, samples: Dataset, batches: EndlessBatches, options: DatasetOptions):
        workers = options.num_worker_per_gpu
        super().__init__(
            samples,
            collate_fn=_collate,
            batch_sampler=batches,
            num_workers=workers,
            persistent_workers=workers > 0,
            worker_init_fn=_start_worker,
            pin_memory=options.pin_memory and torch.cuda.is_available(),
        )
        self.patience = options.worker_timeout if workers else 0
        self.copy_ahead = options.prefetch_mode == 'cuda'
        self.frozen: str | None = None
        self._copying: Generator[Any, None, None] | None = None
        self.alive.add(self)

    def batches(self, device: torch.device) -> Iterator[Any]:
        """Batches for a device, see `copy_ahead`."""
        if not self.copy_ahead or device.type != 'cuda':
            return iter(self)
        self._copying = copied_ahead(self, device)
        return self._copying

    def close(self) -> None:
        """Ends the worker processes, and the thread that takes from them."""
        if self._copying is not None:
            self._copying.close()
        if self._iterator is not None and self.num_workers:
            self._iterator._shutdown_workers()  # type: ignore[attr-defined]

    def _get_iterator(self) -> Any:
        """Forks the workers. They collect nothing that this process made.

        A decoder with threads, or what converts frames with several, waits for its threads where it is freed, and a
        fork has none of them: a worker whose garbage collector met one gave nothing for ever.
        """
        if not self.num_workers:
            return super()._get_iterator()
        gc.collect()
        gc.freeze()
        try:
            return super()._get_iterator()
        finally:
            gc.unfreeze()

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        source = super().__iter__()
        for batch in iter(lambda: self._next(source), None):
            if isinstance(batch, UserError):
                raise batch
            yield batch

    def _next(self, source: Any) -> Any:
        """The next batch, None after the last one.

        The time-out of DataLoader does not help: what a worker has sent is fetched from it, and may never come.
        """
        if not self.patience:
            return next(source, None)
        watch = threading.Timer(self.patience, self._end_workers, [source])
        watch.daemon = True
        watch.start()
        try:
            batch = next(source, None)
            watch.cancel()
            watch.join()  # it may be killing the workers of a batch that came late: that would interrupt the step
        except Exception as error:  # whatever it is that the death of a worker leads to
            if self.frozen is None:
                raise
            raise Stalled(self.frozen) from error
        finally:
            watch.cancel()
        if self.frozen is not None:
            raise Stalled(self.frozen)
        return batch

    def _end_workers(self, source: Any) -> None:
        """Kills the workers, of which one gives nothing, so that waiting for it ends, and notes which it was."""
        workers = source._workers
        stopped = [n for n, worker in enumerate(workers) if _sleeps_for_ever(worker.pid)]
        number = (stopped or [source._task_info.get(source._rcvd_idx, [0])[0]])[0]
        self.frozen = (
            f'data worker {number} (process {workers[number].pid}) has given nothing for {self.patience:g} s '
            '(datasets.train.worker_timeout): is its disk or network gone, or was it stopped?'
        )
        # DataLoader would raise their end in the main thread, whatever that does by then: saving was cut off by it
        source._worker_pids_set = False
        torch._C._remove_worker_pids(id(source))
        for worker in workers:
            worker.kill()


def _sleeps_for_ever(pid: int) -> bool:
    """Whether a process is stopped, or waits for a disk."""
    try:
        return Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()[0] in 'TtD'
    except OSError:
        return False


@atexit.register
def _close_loaders() -> None:
    """Workers ignore signals: Python's own way of ending them at exit, SIGTERM, would wait for ever."""
    for loader in TrainLoader.alive:
        loader.close()


def build_train_set(options: DatasetOptions, scale: int, seed: int, said: Promise | None = None) -> Any:
    """The dataset of training samples that a section of `datasets` names, with the frames that a network sees."""
    told: dict[str, Any] = {}
    if said is not None:
        # a clip of one frame would teach nothing about its neighbours
        told = {'num_frame': said.frames(least=5), 'center_gt': False}
        if isinstance(said.sees, Window):
            told |= {'centre': said.sees.centre, 'pick': said.sees.pick, 'adjacent': said.sees.adjacent}
            told['center_gt'] = not any(entry.get('frame') for entry in said.supervised.values())
    dataset = _built(options, scale, told)
    dataset.seed = seed
    return dataset


def _built(options: DatasetOptions, scale: int, told: dict[str, Any]) -> Any:
    """A dataset, where not said told by the network. One of a user's own may know nothing of it, nor of scales."""
    cls = DATASETS.get(options.type)
    taken = inspect.signature(cls).parameters
    given = {'scale': scale} if 'scale' in taken or any(p.kind is p.VAR_KEYWORD for p in taken.values()) else {}
    return cls(**{name: value for name, value in told.items() if name in taken} | options.args | given)


def build_train_loader(
    dataset: Any,
    options: DatasetOptions,
    seed: int,
    rank: int = 0,
    world_size: int = 1,
    consumed: int = 0,
    accumulate: int = 1,
) -> TrainLoader:
    """Batches of training samples without end; `consumed` samples over all ranks are skipped without reading them.

    Batches: {'lq': uint8 (B, T, 3, h, w), 'gt': uint8 (B, 3, H, W) or (B, T, 3, H, W), 'key': list of str} and further
    fields, see archs.fields; B is `accumulate` times batch_size_per_gpu.
    """
    size, batch = len(dataset) * options.dataset_enlarge_ratio, options.batch_size_per_gpu * accumulate
    batches = EndlessBatches(size, batch, seed, rank, world_size, consumed, options.use_shuffle)
    return TrainLoader(_Samples(dataset, seed), batches, options)


def build_test_set(options: DatasetOptions, scale: int, said: Promise | None = None) -> VideoUVSSMTestDataset:
    """The evaluation set that a section of `datasets` names, for what a network sees."""
    picks = said is not None and isinstance(said.sees, Window) and said.sees.pick == 'next'
    told = {'num_frame': said.frames() if picks else 1} if said else {}
    return _built(options, scale, told)
