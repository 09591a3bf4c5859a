"""Batches for the training loop, on each rank; a rank that gets none any more does not leave the others alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from votes.data import TrainLoader
from votes.errors import Stalled


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
