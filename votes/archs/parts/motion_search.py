"""Motion that is searched for at random and handed from frame to frame, as TMP has it (Zhang et al., TIP 2024)."""

from __future__ import annotations

import torch
from torch import Tensor

DEVIATION = 30  # pixels: how far around a guess is looked
TRIES = 8  # random places around each guess


def sampled(x: Tensor, motion: Tensor) -> Tensor:
    """``x[p + motion(p)]``, of the nearest pixel where that is outside.

    Args:
        x: (B, C, h, w).
        motion: (B, h, w, 2) integers, x and y.
    """
    height, width = x.shape[-2:]
    return x.flatten(2).gather(2, _places(motion, height, width).unsqueeze(1).expand(-1, x.shape[1], -1)).view_as(x)


def _places(motion: Tensor, height: int, width: int) -> Tensor:
    """Where pixels go, (B, h*w): the number of a pixel, counted row by row."""
    across = torch.arange(width, device=motion.device) + motion[..., 0]
    down = torch.arange(height, device=motion.device)[:, None] + motion[..., 1]
    return (down.clamp(0, height - 1) * width + across.clamp(0, width - 1)).flatten(1)


class MotionSearch:
    """Finds for each pixel of a frame the one before's whose key is nearest, candidate by candidate.

    The public search writes without order from many threads, so that no two runs give the same motion; here the nearest
    candidate wins, the first of equal ones, and draws depend on `seed` alone.

    Args:
        key, before: of the frame and of the one before it, (B, C, h, w).
        seed: of the draws, which all of a batch share.
    """

    def __init__(self, key: Tensor, before: Tensor, seed: int):
        self.batch, _, self.height, self.width = key.shape
        self.key, self.before = key.flatten(2).float(), before.flatten(2).float()
        self.draws = torch.Generator(key.device).manual_seed(seed)
        self.own = torch.arange(self.height * self.width, device=key.device).expand(self.batch, -1)
        self.best = self._random()
        self.distance = self._distances(self.own, self.best)

    @torch.no_grad()
    def find(self, motion: Tensor) -> Tensor:
        """Motion to the frame before, (B, h, w, 2) integers, x and y in pixels.

        Args:
            motion: of the frame before, likewise.
        """
        guess = _places(motion, self.height, self.width)
        self._try(guess)  # what is here moves on as it did here
        for _ in range(TRIES):
            self._try(self._around(guess))
        onward = _places(-motion, self.height, self.width)
        self._try_at(onward)  # what was here has moved on by as much
        for _ in range(TRIES):
            self._try_at(self._around(onward))
        step = max(self.height, self.width) // 2
        while step:  # jump flooding: neighbours move alike
            self._try_neighbours(step)
            step //= 2
        return torch.stack(self._moved(self.best), -1).unflatten(1, (self.height, self.width))

    def _moved(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """The motion of each pixel to its place, x and y, (B, h*w)."""
        own = self.own
        return places % self.width - own % self.width, places // self.width - own // self.width

    def _random(self) -> Tensor:
        count = self.height * self.width
        return torch.randint(count, (count,), generator=self.draws, device=self.own.device).expand(self.batch, -1)

    def _around(self, places: Tensor) -> Tensor:
        """A place near each, normally distributed; evenly where that would be outside."""
        found = []
        for where, size in ((places // self.width, self.height), (places % self.width, self.width)):
            count, device = where.shape[1], where.device
            drawn = where + (DEVIATION * torch.randn(count, generator=self.draws, device=device)).long()
            near = torch.rand(count, generator=self.draws, device=device)
            low, high = (where - DEVIATION).clamp(min=0), (where + DEVIATION).clamp(max=size - 1)
            evenly = low + (near * (high - low + 1)).long()
            found.append(torch.where((drawn < 0) | (drawn >= size), evenly, drawn).clamp(0, size - 1))
        return found[0] * self.width + found[1]

    def _distances(self, pixels: Tensor, places: Tensor) -> Tensor:
        """Squared distances of pixels' keys to those of places in the frame before, (B, h*w)."""
        channels = self.key.shape[1]
        here = self.key.gather(2, pixels.unsqueeze(1).expand(-1, channels, -1))
        there = self.before.gather(2, places.unsqueeze(1).expand(-1, channels, -1))
        return (here - there).square().sum(1)

    def _take(self, places: Tensor, distance: Tensor) -> None:
        nearer = distance < self.distance
        self.best = torch.where(nearer, places, self.best)
        self.distance = torch.where(nearer, distance, self.distance)

    def _try(self, places: Tensor) -> None:
        """A candidate for every pixel."""
        self._take(places, self._distances(self.own, places))

    def _try_at(self, pixels: Tensor) -> None:
        """Every place as a candidate for a pixel elsewhere; several may be candidates for the same one."""
        distance = self._distances(pixels, self.own)
        nearest = torch.full_like(distance, torch.inf).scatter_reduce(1, pixels, distance, 'amin')
        wins = distance == nearest.gather(1, pixels)
        none = self.height * self.width
        places = torch.where(wins, self.own, none)
        places = torch.full_like(self.own, none).scatter_reduce(1, pixels, places, 'amin')
        self._take(places.clamp(max=none - 1), nearest)

    def _try_neighbours(self, step: int) -> None:
        """The motion of the pixels so many to each side."""
        across, down = (x.unflatten(1, (self.height, self.width)) for x in self._moved(self.best))
        motion = torch.stack((across, down), -1)
        for shift, axis in ((step, 1), (-step, 1), (step, 2), (-step, 2)):
            self._try(_places(motion.roll(shift, axis), self.height, self.width))
