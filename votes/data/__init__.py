"""What one sample is: frame sources, datasets, the sampler and the loader."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from votes.data.sampler import EndlessBatches
from votes.data.video_test_dataset import VideoUVSSMTestDataset
from votes.errors import UserError
from votes.options import DatasetOptions
from votes.registry import DATASETS


def _start_worker(_: int) -> None:
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


class _Reporting(Dataset):
    """Hands a sample that cannot be read over as its UserError: raised in a worker, it would arrive as a traceback."""

    def __init__(self, dataset: Dataset):
        self.dataset = dataset

    def __getitem__(self, key: Any) -> Any:
        try:
            return self.dataset[key]
        except UserError as error:
            return error


def _collate(samples: list[Any]) -> Any:
    return next((s for s in samples if isinstance(s, UserError)), None) or default_collate(samples)


class TrainLoader(DataLoader):
    """Batches; a sample that cannot be read raises its UserError here, in the process that trains."""

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        for batch in super().__iter__():
            if isinstance(batch, UserError):
                raise batch
            yield batch


def build_train_loader(
    options: DatasetOptions, scale: int, seed: int, rank: int = 0, world_size: int = 1, consumed: int = 0
) -> TrainLoader:
    """Batches of training samples without end; `consumed` samples over all ranks are skipped without reading them.

    Batches: {'lq': uint8 (B, T, 3, h, w), 'gt': uint8 (B, 3, H, W) or (B, T, 3, H, W), 'key': list of str}.
    """
    dataset = DATASETS.get(options.type)(**options.args, scale=scale)
    dataset.seed = seed
    batches = EndlessBatches(
        len(dataset) * options.dataset_enlarge_ratio,
        options.batch_size_per_gpu,
        seed,
        rank,
        world_size,
        consumed,
        options.use_shuffle,
    )
    workers = options.num_worker_per_gpu
    return TrainLoader(
        _Reporting(dataset),
        collate_fn=_collate,
        batch_sampler=batches,
        num_workers=workers,
        persistent_workers=workers > 0,
        worker_init_fn=_start_worker,
        pin_memory=options.pin_memory and torch.cuda.is_available(),
    )


def build_test_set(options: DatasetOptions, scale: int) -> VideoUVSSMTestDataset:
    """The evaluation set that a section of `datasets` names."""
    dataset: VideoUVSSMTestDataset = DATASETS.get(options.type)(**options.args, scale=scale)
    return dataset


__all__ = ['VideoUVSSMTestDataset', 'build_test_set', 'build_train_loader']
