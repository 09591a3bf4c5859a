"""Windows of a video through a network, with what neighbouring windows share computed once."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from votes.archs.parts.dfm import luma_difference, map_of_difference
from votes.archs.parts.padding import to_multiple
from votes.archs.parts.window_network import WindowNetwork
from votes.archs.votes_arch import VOTES
from votes.errors import UserError
from votes.inference.tiles import SMALLEST, Limits, Tile, blend, bytes_per_pixel, fitting_tile, free_bytes, tiles
from votes.inference.windows import Window
from votes.models.optimisation import AMP

SAME = 50.0  # dB: closer than a step of 8 bits
Frames = Mapping[int, Tensor]


class WindowStream:
    """Restores frames of a video in rising order.

    Of EDVR and VOTES a frame's feature pyramid, its share in the alignment, and the DSM's estimate between two frames
    are kept for the windows to come: in float32, a window at a time, the result is bit for bit that of ``net(window)``.
    Other networks are simply run, recurrent ones (``recurrent = True``) on segments.

    In tiles, the degradation map still comes from the whole frame: it is divided by its largest value there.

    Args:
        net: takes windows (B, T, 3, h, w); has `num_frame`, `scale` and `multiple`.
        amp: 'none', or 'bf16' or 'fp16' for autocast; the degradation map stays in float32.
        limits: shrink when memory runs out.
    """

    def __init__(self, net: nn.Module, device: torch.device, amp: str = 'none', limits: Limits | None = None):
        # matrix units of half precision want the channels of a pixel side by side
        self.layout = torch.contiguous_format if amp == 'none' else torch.channels_last
        self.net, self.device, self.amp = net.to(device, memory_format=self.layout).eval(), device, amp  # type: ignore[call-overload]
        self.limits = limits or Limits()
        # one that computes in other ways than by its parts is run as a whole
        self.shared = type(net).forward is WindowNetwork.forward
        self.scale, self.multiple = int(cast(int, net.scale)), int(cast(int, net.multiple))
        self.pyramids: dict[int, tuple[list[Tensor], list[Tensor]]] = {}
        self.pairs: dict[tuple[int, int], Tensor] = {}
        self.counts = {'features': 0, 'pairs': 0, 'windows': 0}

    @torch.inference_mode()
    def restore(self, windows: Sequence[Window], frames: Frames) -> Tensor:
        """The frames that `windows` are about, float32 (N, 3, S*h, S*w), not clamped.

        Args:
            frames: number -> (1, 3, h, w) float32 in [0, 1] on the device, all of one size.

        Raises:
            UserError: not even small tiles fit into memory.
        """
        while True:
            try:
                parts = [
                    self._restore(windows[i : i + self.limits.batch], frames)
                    for i in range(0, len(windows), self.limits.batch)
                ]
                return torch.cat(parts)
            except torch.OutOfMemoryError as error:
                self.reset()
                height, width = next(iter(frames.values())).shape[-2:]
                self._take_less(height, width, error)
            except RuntimeError as error:
                if type(error).__module__.startswith(('torch._dynamo', 'torch._inductor')):
                    what, problem = 'this network cannot be compiled here', str(error).strip().splitlines()[0]
                    raise UserError(what, value=problem, fix='no --compile') from error
                raise

    def _take_less(self, height: int, width: int, error: torch.OutOfMemoryError) -> None:
        """Half of what was done at a time: of the windows, then of the frame."""
        if self.limits.batch > 1:
            self.limits.batch //= 2
            return
        side = min(self.limits.tile or max(height, width), max(height, width)) // 2
        if side < SMALLEST:
            raise UserError('not enough memory, not even for small tiles', value=str(error).splitlines()[0]) from error
        self.limits.tile = side
        if self.device.type == 'cuda':
            torch.cuda.empty_cache()

    def _autocast(self) -> contextlib.AbstractContextManager[object]:
        dtype = AMP[self.amp]
        return torch.autocast(self.device.type, dtype) if dtype else contextlib.nullcontext()

    def _restore(self, windows: Sequence[Window], frames: Frames) -> Tensor:
        height, width = next(iter(frames.values())).shape[-2:]
        needed = sorted({i for window in windows for i in window.indices})
        padded = {
            i: to_multiple(frames[i].unsqueeze(0), self.multiple)[0].contiguous(memory_format=self.layout)
            for i in needed
        }
        full = padded[needed[0]].shape[-2:]
        self.counts['windows'] += len(windows)
        dfm = self.degradation(windows, padded) if self.shared else None
        side = self.limits.tile
        with self._autocast():
            if side is None or side >= max(full):
                output = self._compute(windows, padded, dfm).float()
            else:
                places = tiles(full[0], full[1], side, self.limits.overlap, self.multiple)

                def compute(tile: Tile) -> Tensor:
                    self.pyramids.clear()
                    return self._compute(
                        windows, {i: tile.of(x) for i, x in padded.items()}, None if dfm is None else tile.of(dfm)
                    )

                output = blend(places, compute, full[0], full[1], self.limits.overlap, self.scale)
                self.pyramids.clear()
        self.forget(windows[-1])
        return output[..., : height * self.scale, : width * self.scale]

    def _compute(self, windows: Sequence[Window], frames: Frames, dfm: Tensor | None) -> Tensor:
        """Whole frames or a tile of them."""
        net = self.net
        if not isinstance(net, WindowNetwork) or dfm is None:
            output = net(torch.stack([torch.cat([frames[i] for i in w.indices]) for w in windows]))
            if not getattr(net, 'recurrent', False):
                return output
            return torch.cat([o[[w.indices.index(c) for c in w.centres]] for o, w in zip(output, windows, strict=True)])
        for number, frame in frames.items():
            if number not in self.pyramids:
                pyramid = net.features(frame)
                self.pyramids[number] = pyramid, net.pcd_align.shares(pyramid)  # type: ignore[operator]
                self.counts['features'] += 1
        flat = [i for window in windows for i in window.indices]
        pyramids, shares = (
            [torch.cat(level) for level in zip(*(self.pyramids[i][part] for i in flat), strict=True)] for part in (0, 1)
        )
        aligned = net.align(pyramids, len(windows), shares)
        centres = torch.cat([frames[window.indices[net.centre]] for window in windows])
        return net.reconstruct(net.fuse(aligned, dfm), centres)

    @torch.inference_mode()
    def degradation(self, windows: Sequence[Window], frames: Frames) -> Tensor:
        """The degradation maps of windows, (B, 1, h, w); zeros for a network that has none."""
        net, first = self.net, frames[windows[0].indices[0]]
        if not isinstance(net, VOTES) or not net.dfm:
            return first.new_zeros(len(windows), 1, *first.shape[-2:])
        return torch.cat([map_of_difference(self.difference(window, frames)) for window in windows])

    @torch.inference_mode()
    def difference(self, window: Window, frames: Frames) -> Tensor:
        """By how much the DSM's estimate of a window's centre is apart from it, (1, 1, h, w), see luma_difference."""
        a, _, centre, _, b = window.indices
        pairs = (self._between(*pair, frames) for pair in ((a, centre), (centre, b)))
        return luma_difference(cast(VOTES, self.net).bin.sense_centre(*pairs), frames[centre].float())

    def _between(self, first: int, second: int, frames: Frames) -> Tensor:
        """The DSM's estimate between two frames."""
        if (first, second) not in self.pairs:
            net = cast(VOTES, self.net)
            self.pairs[first, second] = net.bin.sense_pair(frames[first].float(), frames[second].float())
            self.counts['pairs'] += 1
        return self.pairs[first, second]

    def forget(self, window: Window) -> None:
        """Drops what no later window asks for: at a clip's end a window reaches back over its whole length."""
        oldest = window.centres[-1] - len(window.indices) + 2
        for number in [n for n in self.pyramids if n < oldest]:
            del self.pyramids[number]
        for pair in [p for p in self.pairs if min(p) < oldest]:
            del self.pairs[pair]

    def reset(self) -> None:
        """Forgets everything: another video follows."""
        self.pyramids.clear()
        self.pairs.clear()


def precision_gap(net: nn.Module, device: torch.device, amp: str, window: Window, frames: Frames) -> float:
    """PSNR in dB between a window restored in float32 and with `amp`; what is not finite counts as 0 dB."""
    exact, fast = (WindowStream(net, device, kind).restore([window], frames) for kind in ('none', amp))
    if not torch.isfinite(fast).all():
        return 0.0
    mse = (exact.clamp(0, 1) - fast.clamp(0, 1)).double().square().mean()
    return float(-10 * torch.log10(mse.clamp_min(1e-20)))


def fit(net: nn.Module, device: torch.device, amp: str, height: int, width: int) -> int | None:
    """The side of tiles for frames of this size by the memory that is free now, None where they fit whole."""
    count = int(cast(int, net.num_frame))
    window = Window([count // 2], list(range(count)), {})

    def run(side: int) -> None:
        frames = {i: torch.zeros(1, 3, side, side, device=device) for i in window.indices}
        WindowStream(net, device, amp).restore([window], frames)

    if height * width <= 128**2:
        return None
    return fitting_tile(height, width, bytes_per_pixel(run), free_bytes(device))
