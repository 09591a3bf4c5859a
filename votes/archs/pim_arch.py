"""PIM: inference on overlapping patches of RCVN (HNU_CVers, NTIRE 2021 challenge on compressed video, track 1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from votes.archs import build_network
from votes.archs.contract import Frame, Promise, Window, promise
from votes.archs.parts.overlap import Around
from votes.ops.exporting import exported_form

AT_ONCE = 64  # patches of one batch; what a patch becomes does not depend on the others


class PIM(Around):
    """A network of single frames or windows, which sees patches of a frame instead of the frame; everything it tells of
    the whole, such as the means of channel attention, is told of a patch.

    (B, 3, h, w) or (B, T, 3, h, w), h and w of at least `patch` -> (B, 3, S*h, S*w). Four grids of patches begin at the
    four corners; what overlaps is averaged. Patches lose `rim` pixels on all four sides, but not those of the row and
    of the column from which their grid begins: the authors' rule, by which those keep their inner rims, too. Their
    rounding to whole grey levels at the end is left out.

    Args:
        network: type and arguments of the network.
        stride: from one patch to the next.
        rim: pixels that are dropped; fewer where patches of this stride would not meet.
        patch: side of a patch, 72 in the authors' code.
    """

    no_graph = ''  # grids are regular
    small = {
        'network': {'type': 'RCAN_A', 'n_feats': 8, 'n_resgroups': 2, 'n_resblocks': 1},
        'stride': 24,
        'rim': 4,
        'patch': 32,
    }

    def __init__(self, network: dict[str, Any], stride: int = 62, rim: int = 5, patch: int = 72):
        super().__init__()
        if not 0 < stride <= patch or rim < 0:
            raise ValueError(f'stride must be 1 to {patch}, rim not below 0; not {stride} and {rim}')
        self.network = build_network(network)
        said = promise(self.network)
        if not isinstance(said.sees, Frame | Window) or said.inputs or patch % said.multiple:
            raise ValueError(
                f'{said.name} does not take patches of {patch}x{patch} of frames or windows, and only these'
            )
        self.sees, self.scale, self.channels = said.sees, said.scale, said.channels
        self.patch, self.stride, self.smallest = patch, stride, patch
        self.rim = min(rim, (patch - stride) // 2)

    def _restored(self, patches: Tensor) -> Tensor:
        found = [self.network(part) for part in ([patches] if exported_form() else patches.split(AT_ONCE))]
        return torch.cat([x['out'] if isinstance(x, dict) else x for x in found])

    def _whole(self, counts: Sequence[int], bottom: bool, right: bool, device: torch.device) -> Tensor:
        """Which patches of a grid of rows and columns keep their rims, (rows * columns,): those where it begins."""
        whole = torch.zeros(*counts, dtype=torch.bool, device=device)
        whole[-1 if bottom else 0] = True
        whole[:, -1 if right else 0] = True
        return whole.flatten()

    def _grid(self, x: Tensor, bottom: bool, right: bool) -> tuple[Tensor, Tensor]:
        """Sums (B, 3, S*h, S*w) and counts (1, 1, S*h, S*w) of one grid of patches."""
        counts = [(side - self.patch) // self.stride + 1 for side in x.shape[-2:]]
        sides = [self.patch + (n - 1) * self.stride for n in counts]
        gaps = [side - used for side, used in zip(x.shape[-2:], sides, strict=True)]
        top, left = gaps[0] * bottom, gaps[1] * right
        part = x  # copied: a slice that may be the whole frame would tie an exported graph to sizes where it is not
        for axis, start, used in ((-2, top, sides[0]), (-1, left, sides[1])):
            part = part.index_select(axis, torch.arange(start, start + used, device=x.device))
        patches = part.unfold(-2, self.patch, self.stride).unfold(-2, self.patch, self.stride)
        # (B, ..., rows, columns, patch, patch) -> (B * rows * columns, ..., patch, patch)
        patches = patches.movedim((-4, -3), (1, 2)).flatten(0, 2)
        restored = self._restored(patches).unflatten(0, (x.shape[0], -1))
        side, rim = self.patch * self.scale, self.rim * self.scale
        mask = torch.zeros(side, side, dtype=restored.dtype, device=x.device)
        mask[rim : side - rim, rim : side - rim] = 1
        whole = self._whole(counts, bottom, right, x.device)
        masks = torch.where(whole[:, None, None], torch.ones_like(mask), mask)
        size = tuple(n * self.scale for n in sides)

        def spread(values: Tensor) -> Tensor:  # (B, rows * columns, C, side, side)
            columns = values.flatten(2).transpose(1, 2)
            placed = F.fold(columns, size, side, stride=self.stride * self.scale)
            ends = (gaps[0] - top, gaps[1] - left)
            around = (left, ends[1], top, ends[0])
            return F.pad(placed, [n * self.scale for n in around])

        return spread(restored * masks.unsqueeze(1)), spread(masks[None, :, None])

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, h, w) or (B, T, 3, h, w) -> (B, 3, S*h, S*w)."""
        total, count = self._grid(x, False, False)
        for bottom, right in ((False, True), (True, False), (True, True)):
            more, times = self._grid(x, bottom, right)
            total, count = total + more, count + times
        return total / count

    @classmethod
    def told(cls, said: Promise, channels: int) -> dict[str, Any] | None:
        """See Around."""
        return {} if isinstance(said.sees, Frame | Window) and channels <= 3 else None
