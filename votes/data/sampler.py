"""Which samples a rank sees, as a pure function of the seed and how many were seen before."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

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
        epoch, order = -1, np.arange(self.size)
        first = self.consumed + self.rank * self.batch
        while True:
            keys = []
            for position in range(first, first + self.batch):
                if position // self.size != epoch:
                    epoch = position // self.size
                    order = np.random.default_rng((self.seed, epoch)).permutation(self.size) if self.shuffle else order
                keys.append((epoch, int(order[position % self.size])))
            yield keys
            first += self.batch * self.ranks
