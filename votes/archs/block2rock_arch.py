"""Block2Rock: a network of patches, each shown with its best matches in other frames (Block2Rock Noah-Hisilicon in the
NTIRE 2021 challenge).
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from votes.archs import build_network
from votes.archs.contract import Frame, Promise, Window, promise
from votes.archs.parts.overlap import Around, Canvas, starts_of

AT_ONCE = 64  # patches that are looked for, or restored, at a time


def best_matches(patches: Tensor, regions: Tensor) -> Tensor:
    """Where each patch is most like its region, by the sum of squared differences.

    ``|a - b|^2 = |a|^2 + |b|^2 - 2 a b``: the first is the same everywhere, the second a sum over windows, the third a
    correlation, computed with Fourier transforms.

    Args:
        patches: (N, C, P, P).
        regions: (N, C, H, W) of at least P rows and columns.

    Returns:
        (N, 2): row and column at which the most similar window begins, the first of equal ones.
    """
    side = patches.shape[-1]
    rows, columns = (n - side + 1 for n in regions.shape[-2:])
    size = regions.shape[-2], regions.shape[-1]
    mean = regions.mean((1, 2, 3), keepdim=True)  # smaller numbers lose less in the transforms
    patches, regions = patches.float() - mean, regions.float() - mean
    squares = F.avg_pool2d(regions.square().sum(1, keepdim=True), side, 1)[:, 0] * side**2
    spectrum = (torch.fft.rfft2(regions) * torch.fft.rfft2(patches, s=size).conj()).sum(1)
    products = torch.fft.irfft2(spectrum, s=size)[:, :rows, :columns]
    best = (squares - 2 * products).flatten(1).argmin(1)
    return torch.stack((best // columns, best % columns), 1)


def gathered(frames: Tensor, which: Tensor, tops: Tensor, lefts: Tensor, size: tuple[int, int]) -> Tensor:
    """Windows of `size` rows and columns that begin at rows `tops` and columns `lefts` of frames `which`, (N,) each.

    Args:
        frames: (B, C, H, W).

    Returns:
        (N, C, *size).
    """
    rows = tops[:, None] + torch.arange(size[0], device=frames.device)
    columns = lefts[:, None] + torch.arange(size[1], device=frames.device)
    found = frames.movedim(1, -1)[which[:, None, None], rows[:, :, None], columns[:, None, :]]
    return found.movedim(-1, 1)


class Block2Rock(Around):
    """(B, T, 3, h, w) RGB in [0, 1], h and w of at least `patch` -> the centre frame (B, 3, h, w), not clamped.

    The report of the challenge specifies patches of 48 x 48, the single best match of each in every other frame by the
    sum of squared differences, Fourier transforms and box filters, up to 50 frames, and EDVR (along time) or RRDBNet
    (along channels) for what is found, the frame's own patch first; chosen are the radius of the search, the stride of
    patches, and that the mean is taken where they overlap.

    Args:
        network: options of EDVR with `center_frame_idx: 0`, or of another network of windows of T frames whose first is
            restored; or of one of single frames of 3*T channels, such as RRDBNet.
        num_frame: frames T of the window, odd.
        patch, stride: of the patches, in pixels.
        radius: how far from the place of a patch its match may begin.
    """

    small = {
        'network': {
            'type': 'RRDBNet',
            'num_in_ch': 9,
            'scale': 1,
            'num_feat': 8,
            'num_block': 1,
            'num_grow_ch': 4,
            'upsampling': False,
        },
        'num_frame': 3,
        'patch': 16,
        'stride': 12,
        'radius': 4,
    }

    def __init__(
        self, network: dict[str, Any], num_frame: int = 7, patch: int = 48, stride: int = 40, radius: int = 24
    ):
        super().__init__()
        if num_frame % 2 == 0 or not 0 < stride <= patch or radius < 0:
            raise ValueError(f'num_frame is odd, stride 1 to {patch}, radius from 0: {num_frame}, {stride}, {radius}')
        self.network = build_network(network)
        said = promise(self.network)
        self.along_time = isinstance(said.sees, Window)
        wanted = Window(num_frame, 0) if self.along_time else Frame()
        if said.sees != wanted or said.scale != 1 or said.inputs or patch % said.multiple:
            raise ValueError(f'{said.name} does not restore the first of {num_frame} patches of {patch}x{patch}')
        self.sees, self.smallest = Window(num_frame), patch
        self.patch, self.stride, self.radius = patch, stride, radius

    @torch.no_grad()
    def _stacked(self, x: Tensor, places: Tensor) -> Tensor:
        """Patches of the centre frame and their matches, (N, T, 3, P, P).

        Args:
            x: (B, T, 3, h, w).
            places: (N, 3), number, row and column of each patch.
        """
        (which, tops, lefts), centre, side = places.unbind(1), self.sees.centre, (self.patch, self.patch)
        own = gathered(x[:, centre], which, tops, lefts, side)
        height, width = (min(n, self.patch + 2 * self.radius) for n in x.shape[-2:])
        first = (tops - self.radius).clamp(min=0, max=x.shape[-2] - height)
        left = (lefts - self.radius).clamp(min=0, max=x.shape[-1] - width)
        found, each = [own], torch.arange(len(places), device=x.device)
        for number in (i for i in range(x.shape[1]) if i != centre):
            regions = gathered(x[:, number], which, first, left, (height, width))
            down, across = best_matches(own, regions).unbind(1)
            found.append(gathered(regions, each, down, across, side))
        return torch.stack(found, 1)

    def _restored(self, stacked: Tensor) -> Tensor:
        found = self.network(stacked if self.along_time else stacked.flatten(1, 2))
        return found['out'] if isinstance(found, dict) else found

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, 3, h, w) -> (B, 3, h, w)."""
        sides = [starts_of(n, self.patch, self.stride) for n in x.shape[-2:]]
        grid = list(itertools.product(range(len(x)), *sides))
        parts = [torch.tensor(grid[i : i + AT_ONCE], device=x.device) for i in range(0, len(grid), AT_ONCE)]
        restored = torch.cat([self._restored(self._stacked(x, part)) for part in parts])
        canvas, one = Canvas(restored, (x.shape[0], 3, *x.shape[-2:])), restored.new_ones(())
        for (b, top, left), patch in zip(grid, restored, strict=True):
            canvas.add((b, ..., slice(top, top + self.patch), slice(left, left + self.patch)), patch, one)
        return canvas.mean()

    @classmethod
    def told(cls, said: Promise, channels: int) -> dict[str, Any] | None:
        """See Around."""
        return {'num_frame': channels // 3} if isinstance(said.sees, Frame) and channels > 3 else None
