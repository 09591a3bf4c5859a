"""A network over the frames of a video: views in, restored frames out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from votes.archs.contract import AMP, Causal, Clip, Frame, Promise, Window, apply, padding_of, promise, step
from votes.archs.fields import FIELDS, padded
from votes.archs.parts.blocks import in_layout
from votes.checkpoint import changed, copied
from votes.errors import UserError
from votes.inference.tiles import SMALLEST, Limits, Tile, bytes_per_pixel, fitting_tile, free_bytes, in_tiles
from votes.inference.views import View
from votes.ops.exporting import autocast

SAME = 50.0  # dB: closer than a step of 8 bits
Shown = Mapping[str, Tensor]  # one frame and its side information: 'lq' (1, 3, h, w) in [0, 1], fields (1, ...)
Frames = Mapping[int, Shown]


class Stream:
    """Restores frames of a video in rising order, exactly as `apply` does with each view.

    Networks with a `memory` (EDVR, VOTES) compute what windows share once. A Causal network's state goes from frame to
    frame. In tiles, a degradation map still comes from the whole frame, and each tile has a state of its own.

    Args:
        net: keeps the contract; on the device and in evaluation mode.
        amp: 'none', or 'bf16' or 'fp16' for autocast; degradation maps stay in float32.
        limits: shrink when memory runs out.

    Attributes:
        state: of a Causal network, by the place of a tile (None: the whole frame).
        position: the frame that comes next, of a Causal network.
    """

    def __init__(self, net: nn.Module, device: torch.device, amp: str = 'none', limits: Limits | None = None):
        self.layout = layout_of(net)
        self.net, self.device, self.amp = net, device, amp
        self.said = promise(net)
        self.limits = limits or Limits()
        self.reset()

    def reset(self) -> None:
        """Forgets everything: another video follows."""
        make = getattr(self.net, 'memory', None)
        self.memory: Any = make() if make else None
        self.state: dict[tuple[int, int] | None, Any] = {}
        self.position = 0

    def snapshot(self) -> dict[str, Any]:
        """All that later frames need of earlier ones, of a Causal network: what `take_over` takes. A copy: a network
        may go on in the state that it returned.
        """
        state = [(list(key) if key else None, copied(value)) for key, value in self.state.items()]
        return {'position': self.position, 'state': state}

    def take_over(self, snapshot: dict[str, Any]) -> None:
        """Goes on where another stream of this network and these settings was."""
        self.position = int(snapshot['position'])
        state = changed(snapshot['state'], lambda x: x.to(self.device) if isinstance(x, Tensor) else x)
        self.state = {tuple(key) if key else None: value for key, value in state}  # type: ignore[misc]

    @torch.inference_mode()
    def restore(self, views: Sequence[View], frames: Frames) -> Tensor:
        """The frames that `views` are about, float32 (N, 3, S*h, S*w), not clamped.

        Args:
            views: with as many frames each.
            frames: number -> frame and fields on the device, all of one size.

        Raises:
            UserError: not even small tiles fit into memory, or a frame of a Causal network was left out.
        """
        while True:
            count = 1 if isinstance(self.said.sees, Causal) else self.limits.batch
            try:
                return torch.cat([self._restore(views[i : i + count], frames) for i in range(0, len(views), count)])
            except torch.OutOfMemoryError as error:
                if self.memory is not None:
                    self.memory.forget_features()
                height, width = next(iter(frames.values()))['lq'].shape[-2:]
                self._take_less(height, width, error)
            except RuntimeError as error:
                if type(error).__module__.startswith(('torch._dynamo', 'torch._inductor')):
                    what, problem = 'this network cannot be compiled here', str(error).strip().splitlines()[0]
                    raise UserError(what, value=problem, fix='no --compile') from error
                raise

    def _take_less(self, height: int, width: int, error: torch.OutOfMemoryError) -> None:
        """Half of what was done at a time: of the views, then of the frame."""
        if self.limits.batch > 1:
            self.limits.batch //= 2
            return
        side = min(self.limits.tile or max(height, width), max(height, width)) // 2
        if side < SMALLEST or self.state:
            raise UserError('not enough memory, not even for small tiles', value=str(error).splitlines()[0]) from error
        self.limits.tile = side
        if self.device.type == 'cuda':
            torch.cuda.empty_cache()

    def _restore(self, views: Sequence[View], frames: Frames) -> Tensor:
        if self.memory is not None:
            output = self._remembering(views, frames)
            self.memory.forget(views[-1].centres[-1] - len(views[-1].indices) + 2)
            return output
        if isinstance(self.said.sees, Causal) and views[0].centres[0] != self.position:
            value = f'frame {views[0].centres[0]} after {self.position - 1}'
            raise UserError(f'{self.said.name} goes from frame to frame', value=value)
        fields = frames[views[0].indices[0]]
        sample = {n: torch.stack([torch.cat([frames[i][n] for i in v.indices]) for v in views]) for n in fields}
        height, width = sample['lq'].shape[-2:]
        applied = partial(self._applied, views, sample)
        output = in_tiles(applied, height, width, self.limits, 1, self.said.scale)
        self.position = views[-1].centres[-1] + 1
        return output

    def _applied(self, views: Sequence[View], sample: Mapping[str, Tensor], tile: Tile | None) -> Tensor:
        """(N, 3, S*h, S*w), of whole frames or of a tile of them."""
        if tile is not None:
            sample = {name: tile.of(x) if FIELDS[name].spatial else x for name, x in sample.items()}
        amp, sees = AMP[self.amp], self.said.sees
        if isinstance(sees, Causal):
            key = None if tile is None else (tile.top, tile.left)
            if self.position and key not in self.state:  # another of an ensemble took smaller tiles
                fix = f'--tile {self.limits.tile}'
                raise UserError('not enough memory for whole frames of all members of the ensemble', fix=fix)
            result, self.state[key] = step(self.net, sample, self.state.get(key), amp=amp, said=self.said)
            return result['out'].flatten(0, 1)
        out = apply(self.net, sample, amp=amp, said=self.said)['out']
        if isinstance(sees, Clip):
            return torch.cat([o[[v.indices.index(c) for c in v.centres]] for o, v in zip(out, views, strict=True)])
        return out.flatten(0, 1)

    def _remembering(self, views: Sequence[View], frames: Frames) -> Tensor:
        """Of a network that computes what windows share once."""
        indices = [view.indices for view in views]
        height, width = frames[indices[0][0]]['lq'].shape[-2:]
        more = padding_of(self.said, height, width)
        whole = {
            i: padded('lq', frames[i]['lq'], *more).contiguous(memory_format=self.layout)
            for i in sorted({i for view in indices for i in view})
        }
        field = getattr(self.net, 'map_field', None)
        given = field and {i: padded(field, frames[i][field], *more) for i in {view.centres[0] for view in views}}
        dfm = self.memory.sense(indices, whole, given)

        def compute(tile: Tile | None) -> Tensor:
            if tile is None:
                return self.memory.compute(indices, whole, dfm)
            self.memory.forget_features()
            part = {i: tile.of(x) for i, x in whole.items()}
            return self.memory.compute(indices, part, None if dfm is None else tile.of(dfm))

        with autocast(self.device.type, AMP[self.amp]):
            size = height + more[0], width + more[1]
            output = in_tiles(compute, *size, self.limits, self.said.multiple, self.said.scale)
        if self.limits.tile is not None:
            self.memory.forget_features()
        return output[..., : height * self.said.scale, : width * self.said.scale]


def layout_of(net: nn.Module) -> torch.memory_format:
    """How the weights of a network lie in memory: what is given to it lies best like that."""
    last = torch.channels_last
    weights = (p for p in net.parameters() if p.dim() == 4 and not p.is_contiguous())
    return last if any(p.is_contiguous(memory_format=last) for p in weights) else torch.contiguous_format


def laid_out(net: nn.Module, amp: str) -> nn.Module:
    """The network with its weights in the memory layout that is fastest: channels of a pixel side by side for CPUs and
    for the matrix units of half precision, planes for float32 elsewhere.
    """
    planes = amp == 'none' and any(p.device.type != 'cpu' for p in net.parameters())
    layout = torch.contiguous_format if planes else torch.channels_last
    return in_layout(net, layout)


def precision_gap(net: nn.Module, device: torch.device, amp: str, view: View, frames: Frames) -> float:
    """PSNR in dB between a view restored in float32 and with `amp`; what is not finite counts as 0 dB."""
    exact, fast = (Stream(laid_out(net, kind), device, kind).restore([view], frames) for kind in ('none', amp))
    if not torch.isfinite(fast).all():
        return 0.0
    mse = (exact.clamp(0, 1) - fast.clamp(0, 1)).double().square().mean()
    return float(-10 * torch.log10(mse.clamp_min(1e-20)))


def trial_bytes(net: nn.Module, device: torch.device, amp: str, count: int) -> float:
    """Working memory for a pixel of the input, of a view of `count` frames; measured."""
    said = promise(net)
    centre = said.sees.centre if isinstance(said.sees, Window) else 0
    centres = list(range(count)) if isinstance(said.sees, Clip | Frame) else [centre]
    view = View(centres, list(range(count)), {})

    def run(side: int) -> None:
        Stream(net, device, amp).restore([view], dict.fromkeys(view.indices, blank(said, side, device)))

    return bytes_per_pixel(run)


def blank(said: Promise, side: int, device: torch.device) -> dict[str, Tensor]:
    """A square black frame with the side information that the network reads."""
    shown = {'lq': torch.zeros(1, 3, side, side, device=device)}
    for name in said.inputs:
        field = FIELDS[name]
        shape = (1, 2 if field.kind == 'vectors' else 1, side, side) if field.spatial else (1,)
        shown[name] = torch.full(shape, field.blank, device=device)
    return shown


def fit(net: nn.Module, device: torch.device, amp: str, height: int, width: int, count: int) -> int | None:
    """The side of tiles for frames of this size by the memory that is free now, None where they fit whole.

    Args:
        count: frames of a view.
    """
    if height * width <= 128**2:
        return None
    return fitting_tile(height, width, trial_bytes(net, device, amp, count), free_bytes(device))
