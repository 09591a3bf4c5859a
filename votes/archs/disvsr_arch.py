"""DISVSR: a small recurrent network for CPUs, aligned by a flow that is not learned. It belongs to this project."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from votes.archs.contract import Causal, run_causal
from votes.archs.parts.blocks import conv3x3, count_of, enlarged, lrelu, residual_blocks, zero_
from votes.ops.dis_flow import SMALLEST, dis_flow
from votes.ops.warp import flow_warp

HALF = 2  # the recurrent part works at half the size: a quarter of the arithmetic, and it sees twice as far
SEEN = 3 * 12 + 2  # of three frames at half size, and how unlike the two neighbours are where they were brought
State = dict[str, Tensor]


class DISVSR(nn.Module):
    """(B, T, 3, h, w) RGB in [0, 1], h and w even -> (B, T, 3, S*h, S*w), each frame from itself, the next one, the one
    before and a state that has seen all before; not clamped.

    What is learned is added to the frame, or to its bicubic enlargement: a frame that needs nothing is left alone. The
    flow is DIS's (ops.dis_flow), so that none has to be trained: both neighbours and the state are brought to the frame
    by bilinear sampling. Residual blocks work at half the size of the frame; the last layers see the frame at its own.

    Args:
        scale: S, 1 to 4.
        num_feat: channels of the state.
        num_block: residual blocks.
        num_out: channels of the last layers, at the size of the frame.
    """

    sees = Causal(look_ahead=1)
    multiple = HALF
    smallest = SMALLEST
    # the last layer alone tells scales apart
    parts = {'recurrence': ('enter.', 'body.'), 'reconstruction': ('leave.', 'detail.', 'fuse.'), 'last': ('last.',)}
    small = {'scale': 2, 'num_feat': 8, 'num_block': 1, 'num_out': 4}

    def __init__(self, scale: int = 2, num_feat: int = 64, num_block: int = 8, num_out: int = 32):
        super().__init__()
        if scale not in (1, 2, 3, 4):
            raise ValueError(f'scale must be 1, 2, 3 or 4, not {scale}')
        self.scale, self.num_feat = scale, num_feat
        self.enter = conv3x3(SEEN + num_feat, num_feat)
        self.body = residual_blocks(num_block, num_feat)
        self.leave = conv3x3(num_feat, num_out * HALF**2)
        self.detail = conv3x3(3, num_out)
        self.fuse = conv3x3(num_out, num_out)
        self.last = conv3x3(num_out, 3 * scale**2)
        zero_(self.last.weight, self.last.bias)  # training starts at the enlarged frame

    def step(self, frames: Tensor, state: State | None) -> tuple[Tensor, State]:
        """One frame and the next, see contract.Causal; the state has the frame and what was made of all so far."""
        frame, after = frames[:, 0], frames[:, 1]
        before = frame if state is None else state['frame']
        to_before, to_after = (dis_flow(frame, other) for other in (before, after))
        seen = self._seen(frame, before, after, to_before, to_after)
        hidden = self._recur(seen, None if state is None else state['hidden'], to_before)
        return self._restored(hidden, frame), {'frame': frame, 'hidden': hidden}

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            whole: Tensor = run_causal(self, x)
            return whole
        batch, count = x.shape[:2]
        before = torch.cat((x[:, :1], x[:, :-1]), 1).flatten(0, 1)
        after = torch.cat((x[:, 1:], x[:, -1:]), 1).flatten(0, 1)
        frames = x.flatten(0, 1)
        motion = dis_flow(torch.cat((frames, frames)), torch.cat((before, after)))
        to_before, to_after = motion.chunk(2)
        seen = self._seen(frames, before, after, to_before, to_after).unflatten(0, (batch, count))
        motions = to_before.unflatten(0, (batch, count))
        hidden: Tensor | None = None
        states = []
        for t in range(count):
            hidden = self._recur(seen[:, t], hidden, motions[:, t])
            states.append(hidden)
        return self._restored(torch.stack(states, 1).flatten(0, 1), frames).unflatten(0, (batch, count))

    def _seen(self, frame: Tensor, before: Tensor, after: Tensor, to_before: Tensor, to_after: Tensor) -> Tensor:
        """What the recurrence takes in of frames (B, 3, h, w) and motions (B, 2, h, w): (B, 38, h/2, w/2)."""
        parts = [F.pixel_unshuffle(frame, HALF)]
        for other, motion in ((before, to_before), (after, to_after)):
            brought = flow_warp(other, motion, 'border')
            unlike = F.avg_pool2d((brought - frame).abs().mean(1, keepdim=True), HALF)
            parts += [F.pixel_unshuffle(brought, HALF), unlike]
        return torch.cat(parts, 1)

    def _recur(self, seen: Tensor, hidden: Tensor | None, motion: Tensor) -> Tensor:
        """The state at half size, (B, C, h/2, w/2)."""
        if hidden is None:
            hidden = seen.new_zeros(seen.shape[0], self.num_feat, *seen.shape[-2:])
        else:
            hidden = flow_warp(hidden, F.avg_pool2d(motion, HALF) / HALF, 'border')
        found: Tensor = self.body(lrelu(self.enter(torch.cat((seen.to(hidden.dtype), hidden), 1))))
        return found

    def _restored(self, hidden: Tensor, frame: Tensor) -> Tensor:
        fine = F.pixel_shuffle(self.leave(hidden), HALF) + self.detail(frame)
        change = F.pixel_shuffle(self.last(lrelu(self.fuse(lrelu(fine)))), self.scale)
        size = frame.shape[-2] * self.scale, frame.shape[-1] * self.scale
        return (frame if self.scale == 1 else enlarged(frame, size)) + change

    @classmethod
    def from_weights(cls, weights: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict."""
        if not {'enter.weight', 'leave.weight', 'detail.weight', 'fuse.weight', 'last.weight'} <= weights.keys():
            return None
        return {
            'scale': round((weights['last.weight'].shape[0] / 3) ** 0.5),
            'num_feat': weights['enter.weight'].shape[0],
            'num_block': count_of(weights, 'body.'),
            'num_out': weights['detail.weight'].shape[0],
        }
