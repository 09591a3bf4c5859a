"""Losses that go wrong on purpose, for option files: ``type: faults:NanLoss``. They count their calls, one a step."""

import os
import signal
import time
from abc import abstractmethod
from pathlib import Path

import torch

from votes.losses.pixel_loss import CharbonnierLoss


class _FaultyLoss(CharbonnierLoss):
    """Args: at: calls (from 1) that go wrong; rank: where. A `once` file keeps a restarted process from it."""

    def __init__(self, at: list[int], rank: int = 0, once: str | None = None, epsilon: float = 1e-3):
        super().__init__(epsilon=epsilon)
        self.at, self.rank, self.once, self.calls = at, rank, once, 0

    def forward(self, pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        loss = super().forward(pred, target)
        mine = int(os.environ.get('RANK', 0)) == self.rank
        if mine and self.calls in self.at and not (self.once and Path(self.once).exists()):
            if self.once:
                Path(self.once).touch()
            return self.fail(loss)
        return loss

    @abstractmethod
    def fail(self, loss: torch.Tensor) -> torch.Tensor:
        """What happens instead of `loss`."""


class NanLoss(_FaultyLoss):
    def fail(self, loss: torch.Tensor) -> torch.Tensor:
        return loss * torch.nan


class RaisingLoss(_FaultyLoss):
    def fail(self, loss: torch.Tensor) -> torch.Tensor:
        raise RuntimeError('out of luck')


class KilledLoss(_FaultyLoss):
    def fail(self, loss: torch.Tensor) -> torch.Tensor:
        os.kill(os.getpid(), signal.SIGKILL)
        return loss


class HangingLoss(_FaultyLoss):
    def fail(self, loss: torch.Tensor) -> torch.Tensor:
        time.sleep(600)
        return loss


class SignalledLoss(_FaultyLoss):
    def __init__(self, at: list[int], rank: int = 0, name: str = 'SIGTERM', epsilon: float = 1e-3):
        super().__init__(at, rank, None, epsilon)
        self.name = name

    def fail(self, loss: torch.Tensor) -> torch.Tensor:
        os.kill(os.getpid(), getattr(signal, self.name))
        return loss


def damages(path):
    """Puts a file with each of its bits flipped, and cut at every length, in its place, and at last as it was."""
    whole = path.read_bytes()
    for i, byte in enumerate(whole):
        flipped = (whole[:i] + bytes([byte ^ 1 << bit]) + whole[i + 1 :] for bit in range(8))
        for data in (*flipped, whole[:i]):
            path.unlink()  # some file systems wait for the disk where a file is written over
            path.write_bytes(data)
            yield data
    path.write_bytes(whole)
