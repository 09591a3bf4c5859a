"""Windows of a video through a network, with what neighbouring windows share computed once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from votes.archs.dfm import degradation_feature_map
from votes.archs.padding import to_multiple
from votes.archs.votes_arch import VOTES
from votes.archs.window_network import WindowNetwork

AMP = {'none': None, 'bf16': torch.bfloat16, 'fp16': torch.float16}


class WindowStream:
    """Restores frames of a video in rising order.

    Of EDVR and VOTES a frame's feature pyramid, its share in the alignment, and the DSM's estimate between two frames
    are kept for the windows to come: the result is bit for bit that of ``net(window)``. Other networks are simply run.

    Args:
        net: takes windows (B, T, 3, h, w); has `num_frame`, `scale` and `multiple`.
        amp: 'none', or 'bf16' or 'fp16' for autocast; the degradation map stays in float32.
    """

    def __init__(self, net: nn.Module, device: torch.device, amp: str = 'none'):
        self.net, self.device, self.amp = net.to(device).eval(), device, amp
        self.shared = isinstance(net, WindowNetwork) and type(net).fuse is not WindowNetwork.fuse
        self.pyramids: dict[int, tuple[list[Tensor], list[Tensor]]] = {}
        self.pairs: dict[tuple[int, int], Tensor] = {}
        self.counts = {'features': 0, 'pairs': 0, 'windows': 0}

    def _autocast(self) -> contextlib.AbstractContextManager[object]:
        dtype = AMP[self.amp]
        return torch.autocast(self.device.type, dtype) if dtype else contextlib.nullcontext()

    @torch.inference_mode()
    def restore(self, windows: Sequence[Sequence[int]], frames: Mapping[int, Tensor]) -> Tensor:
        """Windows of frame numbers -> their restored centre frames, float32 (B, 3, S*h, S*w), not clamped.

        Args:
            frames: number -> (1, 3, h, w) float32 in [0, 1] on the device, all of one size.
        """
        height, width = next(iter(frames.values())).shape[-2:]
        scale = int(self.net.scale)  # type: ignore[arg-type]
        padded = {i: to_multiple(frames[i].unsqueeze(0), int(self.net.multiple))[0] for w in windows for i in w}  # type: ignore[arg-type]
        self.counts['windows'] += len(windows)
        with self._autocast():
            if self.shared:
                output = self._shared(windows, padded)
            else:
                output = self.net(torch.stack([torch.cat([padded[i] for i in w]) for w in windows]))
        return output.float()[..., : height * scale, : width * scale]

    def _shared(self, windows: Sequence[Sequence[int]], frames: Mapping[int, Tensor]) -> Tensor:
        net = self.net
        assert isinstance(net, WindowNetwork)
        for number in sorted(frames):
            if number not in self.pyramids:
                pyramid = net.features(frames[number])
                self.pyramids[number] = pyramid, net.pcd_align.shares(pyramid)  # type: ignore[operator]
                self.counts['features'] += 1
        flat = [i for window in windows for i in window]
        pyramid, shares = (
            [torch.cat(level) for level in zip(*(self.pyramids[i][part] for i in flat), strict=True)]
            for part in (0, 1)
        )
        aligned = net.align(pyramid, len(windows), shares)
        centres = torch.cat([frames[window[net.centre]] for window in windows])
        output = net.reconstruct(net.fuse(aligned, self.degradation(windows, frames)), centres)
        self._forget(windows[-1])
        return output

    @torch.inference_mode()
    def degradation(self, windows: Sequence[Sequence[int]], frames: Mapping[int, Tensor]) -> Tensor:
        """The degradation maps of windows, (B, 1, h, w); zeros for a network that has none."""
        net, first = self.net, frames[windows[0][0]]
        if not isinstance(net, VOTES) or not net.dfm:
            return first.new_zeros(len(windows), 1, *first.shape[-2:])
        maps = []
        with torch.autocast(self.device.type, enabled=False):
            for window in windows:
                ends = [self._between(a, b, frames) for a, b in ((window[0], window[2]), (window[2], window[4]))]
                estimate = net.bin.sense_centre(*ends)
                maps.append(degradation_feature_map(estimate, frames[window[net.centre]].float()))
        return torch.cat(maps)

    def _between(self, first: int, second: int, frames: Mapping[int, Tensor]) -> Tensor:
        """The DSM's estimate between two frames."""
        if (first, second) not in self.pairs:
            sense = self.net.bin.sense_pair  # type: ignore[union-attr]
            self.pairs[first, second] = sense(frames[first].float(), frames[second].float())  # type: ignore[operator]
            self.counts['pairs'] += 1
        return self.pairs[first, second]

    def _forget(self, window: Sequence[int]) -> None:
        """Drops what no later window asks for: at a clip's end a window reaches back over its whole length."""
        oldest = window[len(window) // 2] - len(window) + 2
        for number in [n for n in self.pyramids if n < oldest]:
            del self.pyramids[number]
        for pair in [p for p in self.pairs if min(p) < oldest]:
            del self.pairs[pair]

    def reset(self) -> None:
        """Forgets everything: another video follows."""
        self.pyramids.clear()
        self.pairs.clear()


def precision_gap(net: nn.Module, device: torch.device, amp: str, window: Sequence[Tensor]) -> float:
    """PSNR in dB between a window restored in float32 and with `amp`; a NaN counts as 0 dB."""
    frames = dict(enumerate(window))
    exact, fast = (
        WindowStream(net, device, kind).restore([list(frames)], frames).clamp(0, 1) for kind in ('none', amp)
    )
    mse = float(((exact - fast) ** 2).mean())
    return 0.0 if mse != mse else float(-10 * torch.log10(torch.tensor(max(mse, 1e-20))))


def batches(items: Iterator[tuple[int, list[int]]], size: int) -> Iterator[list[tuple[int, list[int]]]]:
    """Groups of at most `size`."""
    group: list[tuple[int, list[int]]] = []
    for item in items:
        group.append(item)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
