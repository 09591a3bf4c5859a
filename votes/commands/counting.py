"""What a network costs: parameters, arithmetic and working memory, counted on tensors that hold no values."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from votes.archs import build_network
from votes.archs.contract import Causal, Clip, Frame, Promise, Window, apply, promise, step
from votes.commands.check_network import sample_for
from votes.inference.tiles import LiveBytes
from votes.ops.deform_conv import counted_by_shape

SIZE = (540, 960)
SMALL = (96, 160)  # where values are needed: scaled by area
CLIP = 10  # frames of the clip that networks of clips are counted on
STEPS = 3  # of a Causal network; the last is what each further one is like

ASKED_FOR_VALUES = (DataDependentOutputException, DynamicOutputShapeException)


@dataclass(frozen=True)
class Cost:
    """What a network costs at 960x540 pixels of the input.

    Attributes:
        flops: a frame; a multiplication and an addition are two. Convolutions and matrix products are counted.
        peak_bytes: the most that is alive at once besides weights and input, in float32, without gradients.
        of: what that memory is of, such as 'a window of 5 frames'.
        scaled: counted on random frames of 160x96 and scaled by area, as the network looks at values.
    """

    flops: float
    peak_bytes: float
    of: str
    scaled: bool = False


def cost_of(options: dict[str, Any], size: tuple[int, int] = SIZE) -> Cost:
    """What the network that ``{'type': name, **arguments}`` builds costs for frames of `size` (height, width)."""
    try:
        return _counted(options, size, _without_values)
    except ASKED_FOR_VALUES:
        small = _counted(options, SMALL, contextlib.nullcontext)
        times = size[0] * size[1] / (SMALL[0] * SMALL[1])
        return Cost(small.flops * times, small.peak_bytes * times, small.of, scaled=True)


@contextlib.contextmanager
def _without_values() -> Iterator[None]:
    with FakeTensorMode(allow_non_fake_inputs=True), counted_by_shape():
        yield


def _counted(
    options: dict[str, Any], size: tuple[int, int], within: Callable[[], contextlib.AbstractContextManager[None]]
) -> Cost:
    torch.manual_seed(0)
    with within():
        net = build_network(options).eval()
        said = promise(net)
        count, of = _shown(said)
        sample = sample_for(said, count, size)
        flops, peak = (_steps if isinstance(said.sees, Causal) else _whole)(net, said, sample)
    return Cost(flops, peak, of)


def _shown(said: Promise) -> tuple[int, str]:
    """How many frames are shown to it, and what they are called."""
    sees = said.sees
    if isinstance(sees, Causal):
        return max(STEPS, sees.least) + sees.look_ahead, 'a step'
    if isinstance(sees, Clip):
        return max(CLIP, sees.least), f'a clip of {max(CLIP, sees.least)} frames'
    return (1, 'a frame') if isinstance(sees, Frame) else (sees.frames, f'a window of {sees.frames} frames')


def _given(net: nn.Module, sample: dict[str, Any]) -> list[torch.Tensor]:
    return [*net.parameters(), *net.buffers(), *sample.values()]


@torch.no_grad()
def _whole(net: nn.Module, said: Promise, sample: dict[str, Any]) -> tuple[float, int]:
    with FlopCounterMode(display=False) as counted, LiveBytes(_given(net, sample)) as alive:
        apply(net, sample, said=said)
    restored = 1 if isinstance(said.sees, Window) else sample['lq'].shape[1]
    return counted.get_total_flops() / restored, alive.most


@torch.no_grad()
def _steps(net: nn.Module, said: Promise, sample: dict[str, Any]) -> tuple[float, int]:
    assert isinstance(said.sees, Causal)
    ahead, state, flops = said.sees.look_ahead, None, 0
    with LiveBytes(_given(net, sample)) as alive:
        for first in range(sample['lq'].shape[1] - ahead):
            part = {name: value[:, first : first + 1 + ahead] for name, value in sample.items()}
            with FlopCounterMode(display=False) as counted:
                state = step(net, part, state, said=said)[1]
            flops = counted.get_total_flops()
    return flops, alive.most
