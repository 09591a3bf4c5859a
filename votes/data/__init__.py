"""What one sample is: frame sources, datasets, the sampler and the loader."""

from __future__ import annotations

import atexit
import inspect
import random
import weakref
from collections.abc import Generator, Iterator
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from votes.archs.contract import Promise, Window
from votes.data.ahead import copied_ahead
from votes.data.sampler import EndlessBatches
from votes.data.video_test_dataset import VideoUVSSMTestDataset
from votes.errors import UserError
from votes.options import DatasetOptions
from votes.processes.signals import ignore_in_worker
from votes.registry import DATASETS


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

    Args:
        copy_ahead: `batches` brings them to a GPU while others are computed with. Loading runs ahead in any case.
    """

    alive: weakref.WeakSet[TrainLoader] = weakref.WeakSet()

    def __init__(self, *args: Any, copy_ahead: bool = False, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.copy_ahead = copy_ahead
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

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        for batch in super().__iter__():
            if isinstance(batch, UserError):
                raise batch
            yield batch


@atexit.register
def _close_loaders() -> None:
    """Workers ignore signals: Python's own way of ending them at exit, SIGTERM, would wait for ever."""
    for loader in TrainLoader.alive:
        loader.close()


def build_train_set(options: DatasetOptions, scale: int, seed: int, said: Promise | None = None) -> Any:
    """The dataset of training samples that a section of `datasets` names, with the frames that a network sees."""
    cls = DATASETS.get(options.type)
    taken = inspect.signature(cls).parameters  # a dataset of a user's own may know nothing of scales
    given = {'scale': scale} if 'scale' in taken or any(p.kind is p.VAR_KEYWORD for p in taken.values()) else {}
    dataset = cls(**_completed(options, said), **given)
    dataset.seed = seed
    return dataset


def _completed(options: DatasetOptions, said: Promise | None) -> dict[str, Any]:
    """The dataset's arguments, with what is not said told by the network."""
    arguments = dict(options.args)
    if said is None:
        return arguments
    told: dict[str, Any] = {'num_frame': said.frames()}
    if isinstance(said.sees, Window):
        beside = any(entry.get('frame') for entry in said.supervised.values())
        told |= {'centre': said.sees.centre, 'pick': said.sees.pick, 'adjacent': said.sees.adjacent}
        told['center_gt'] = not beside
    else:
        told['center_gt'] = False
    taken = inspect.signature(DATASETS.get(options.type)).parameters
    return {**{name: value for name, value in told.items() if name in taken}, **arguments}


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
    batches = EndlessBatches(
        len(dataset) * options.dataset_enlarge_ratio,
        options.batch_size_per_gpu * accumulate,
        seed,
        rank,
        world_size,
        consumed,
        options.use_shuffle,
    )
    workers = options.num_worker_per_gpu
    return TrainLoader(
        _Samples(dataset, seed),
        collate_fn=_collate,
        batch_sampler=batches,
        num_workers=workers,
        persistent_workers=workers > 0,
        worker_init_fn=_start_worker,
        copy_ahead=options.prefetch_mode == 'cuda',
        pin_memory=options.pin_memory and torch.cuda.is_available(),
    )


def build_test_set(options: DatasetOptions, scale: int, said: Promise | None = None) -> VideoUVSSMTestDataset:
    """The evaluation set that a section of `datasets` names, for what a network sees."""
    told = (
        {'num_frame': said.frames() if isinstance(said.sees, Window) and said.sees.pick == 'next' else 1}
        if said
        else {}
    )
    taken = inspect.signature(DATASETS.get(options.type)).parameters
    arguments = {**{name: value for name, value in told.items() if name in taken}, **options.args}
    dataset: VideoUVSSMTestDataset = DATASETS.get(options.type)(**arguments, scale=scale)
    return dataset


__all__ = ['VideoUVSSMTestDataset', 'build_test_set', 'build_train_loader', 'build_train_set']
