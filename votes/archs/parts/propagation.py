"""What networks that go through a whole clip in both directions share (BasicVSR, IconVSR, BasicVSR++, ...)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from votes.archs.parts.blocks import conv3x3, residual_blocks
from votes.archs.spynet_arch import layer_name
from votes.ops.exporting import exported_form
from votes.ops.warp import flow_warp

AT_ONCE = 2**21  # pixels that are computed together where no gradients are wanted: half a GB for 64 channels
CACHED = 2**13  # the same on the CPU: 2 MB, as what leaves the cache between layers costs more than a batch saves


class ConvResidualBlocks(nn.Module):
    """3x3 convolution, LeakyReLU and `num_block` residual blocks: (B, C_in, h, w) -> (B, C, h, w)."""

    def __init__(self, num_in_ch: int, num_feat: int, num_block: int):
        super().__init__()
        self.main = nn.Sequential(
            conv3x3(num_in_ch, num_feat), nn.LeakyReLU(0.1, inplace=True), residual_blocks(num_block, num_feat)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.main(x)


def in_pieces(compute: Callable[..., Tensor], *inputs: Tensor, at_once: int = AT_ONCE) -> Tensor:
    """``compute(*inputs)``; where no gradients are wanted, or `compute` is computed again for them, for some items of
    the batch after the other, so that the memory for a long clip does not grow with its length. On the CPU always, so
    that it stays in the cache.
    """
    if exported_form():  # a graph for any size has no pieces
        return compute(*inputs)
    on_cpu = inputs[0].device.type == 'cpu'
    whole = torch.is_grad_enabled() and not getattr(compute, 'piecewise', False) and not on_cpu
    if on_cpu:
        at_once = at_once * CACHED // AT_ONCE
    elif torch.is_grad_enabled():
        at_once //= 16  # everything on the way is kept until its gradients are there
    each = max(1, at_once // inputs[0].shape[-2:].numel())
    if whole or len(inputs[0]) <= each:
        return compute(*inputs)
    return torch.cat([compute(*part) for part in zip(*(x.split(each) for x in inputs), strict=True)])


def flows_of(flow_net: Callable[[Tensor, Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """Flows between neighbours in a clip (B, T, 3, h, w), of all pairs in one batch.

    Returns:
        (B, T - 1, 2, h, w) each: from frames 1, 2, ... to the frame before; from frames 0, 1, ... to the frame after.
    """
    batch, count, _, height, width = x.shape
    if count == 1:
        none = x.new_zeros(batch, 0, 2, height, width)
        return none, none
    earlier, later = x[:, :-1].flatten(0, 1), x[:, 1:].flatten(0, 1)
    flows = in_pieces(flow_net, torch.cat((later, earlier)), torch.cat((earlier, later)))
    back, ahead = flows.unflatten(0, (2, batch, count - 1)).unbind(0)
    return back, ahead


def propagate(
    step: Callable[[int, Tensor], Tensor],
    state: Tensor,
    flows: Tensor,
    reverse: bool = False,
    padding: Literal['zeros', 'border'] = 'zeros',
) -> list[Tensor]:
    """What each frame's `step` makes of its number and the state (B, C, h, w) that was warped to it.

    Args:
        state: at the first frame visited.
        flows: (B, T - 1, 2, h, w), from a frame to the one visited before, see flows_of.
        reverse: from the last frame to the first.
        padding: what the state is beyond the picture, see flow_warp.
    """
    count = flows.shape[1] + 1
    found: dict[int, Tensor] = {}
    for number, i in enumerate(reversed(range(count)) if reverse else range(count)):
        if number:
            state = flow_warp(state, flows[:, i if reverse else i - 1], padding)
        found[i] = state = step(i, state)
    return [found[i] for i in range(count)]


def basicsr_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The keys of mmagic's networks of this family as BasicSR has them; BasicSR's stay."""
    found = {}
    for key, value in weights.items():
        if key != 'step_counter':
            key = re.sub(r'upsample(\d)\.upsample_conv\.', r'upconv\1.', layer_name(key))
            found[key.replace('ward_resblocks.', 'ward_trunk.')] = value
    return found
