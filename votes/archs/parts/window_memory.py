"""What neighbouring windows of a video share, computed once: bit for bit `forward` on each window, in float32."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from votes.archs.parts.dfm import luma_difference, neighbour_difference

if TYPE_CHECKING:
    from votes.archs.parts.window_network import WindowNetwork

Frames = Mapping[int, Tensor]  # number of a frame -> (1, 3, h, w)


class PairEstimates:
    """The DSM's estimates between two frames that are two apart, each of which serves three windows.

    Args:
        between: two frames (1, 3, h, w) -> what lies between them (BIN.sense_pair).
        centre: the estimates on both sides of a frame -> its own (BIN.sense_centre).
    """

    def __init__(self, between: Callable[[Tensor, Tensor], Tensor], centre: Callable[[Tensor, Tensor], Tensor]):
        self.between, self.centre = between, centre
        self.known: dict[tuple[int, int], Tensor] = {}
        self.count = 0

    def difference(self, indices: Sequence[int], frames: Frames) -> Tensor:
        """By how much the estimate of a window's middle frame is apart from it, (1, 1, h, w), see luma_difference."""
        first, _, middle, _, last = indices
        previous, following = (self._between(pair, frames) for pair in ((first, middle), (middle, last)))
        return luma_difference(self.centre(previous, following), frames[middle].float())

    def _between(self, pair: tuple[int, int], frames: Frames) -> Tensor:
        if pair not in self.known:
            self.known[pair] = self.between(frames[pair[0]].float(), frames[pair[1]].float())
            self.count += 1
        return self.known[pair]

    def forget(self, before: int) -> None:
        for pair in [p for p in self.known if min(p) < before]:
            del self.known[pair]


class NeighbourDifferences:
    """How far frames are from their two neighbours, in place of a DSM's estimates; nothing of it is worth keeping."""

    def difference(self, indices: Sequence[int], frames: Frames) -> Tensor:
        """Of a window's middle frame (1, 1, h, w), see neighbour_difference."""
        middle = len(indices) // 2
        previous, frame, following = (frames[i].float() for i in indices[middle - 1 : middle + 2])
        return neighbour_difference(previous, frame, following)

    def forget(self, before: int) -> None:
        """There is nothing to forget."""


class WindowMemory:
    """Pyramids and offset shares of a WindowNetwork's frames, and what its DSM found between them.

    Frames are padded to multiples by who asks; calls are made in inference mode, under autocast where that is wanted.
    """

    def __init__(self, net: WindowNetwork):
        self.net = net
        self.pyramids: dict[int, tuple[list[Tensor], list[Tensor]]] = {}
        self.pairs = net.pair_estimates()
        self.features = 0

    def sense(self, views: Sequence[Sequence[int]], frames: Frames, given: Frames | None = None) -> Tensor | None:
        """The degradation maps of whole windows (B, 1, h, w), before any tiling: a map is divided by its largest
        value. None of a network that does not sense.

        Args:
            given: number of a frame -> the field (1, 1, h, w) that the network makes its map of, where it reads one.
        """
        if self.pairs is None and given is None:
            return None
        with torch.autocast(frames[views[0][0]].device.type, enabled=False):
            if given is not None:
                return self.net.map_of(torch.cat([given[view[self.net.centre]] for view in views]))
            assert self.pairs is not None
            return torch.cat([self.net.map_of(self.pairs.difference(view, frames)) for view in views])

    def compute(self, views: Sequence[Sequence[int]], frames: Frames, dfm: Tensor | None) -> Tensor:
        """Restored centre frames (B, 3, S*h, S*w) of windows, given by the numbers of their frames."""
        net = self.net
        for number in {i for view in views for i in view}:
            if number not in self.pyramids:
                pyramid = net.features(frames[number])
                self.pyramids[number] = pyramid, net.pcd_align.shares(pyramid)  # type: ignore[operator]
                self.features += 1
        flat = [i for view in views for i in view]
        pyramids, shares = (
            [torch.cat(level) for level in zip(*(self.pyramids[i][part] for i in flat), strict=True)] for part in (0, 1)
        )
        aligned = net.align(pyramids, len(views), shares)
        centres = torch.cat([frames[view[net.centre]] for view in views])
        if dfm is None:
            dfm = net.no_map(centres)
        return net.reconstruct(net.fuse(aligned, dfm), centres)

    def forget(self, before: int) -> None:
        """Drops what is of frames with lower numbers."""
        for number in [n for n in self.pyramids if n < before]:
            del self.pyramids[number]
        if self.pairs is not None:
            self.pairs.forget(before)

    def forget_features(self) -> None:
        """Another part of the frames follows: what was computed of this one is of no use."""
        self.pyramids.clear()
