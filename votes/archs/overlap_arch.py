"""Overlap: a network of clips that sees patches in space and time which overlap, as MGBP-3D is tested (BOE-IOT-AIBD in
the NTIRE 2021 challenge).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from votes.archs import build_network
from votes.archs.contract import Clip, Promise, apply, promise
from votes.archs.parts.overlap import Around, Canvas, starts_of, triangle


class Overlap(Around):
    """(B, T, 3, h, w) -> (B, T, 3, S*h, S*w): the mean of patches, weighted by a triangle in each direction of space.

    The report of the challenge specifies patches at every 243 pixels and every frame, and a window by which they are
    weighted ("Hadamard"; a triangle in the authors' code in two dimensions); chosen are the size of patches, twice
    their stride, their number of frames, and that all frames of a patch weigh the same.

    Args:
        network: options of a network of clips.
        frames: of a patch; fewer where there are no more.
        patch, stride: pixels of the input.
        stride_frames: from one patch to the next.
    """

    small = {'network': {'type': 'MGBP3D', 'widths': [4, 6, 8], 'steps': 1}, 'frames': 3, 'patch': 24, 'stride': 12}

    def __init__(
        self, network: dict[str, Any], frames: int = 5, patch: int = 486, stride: int = 243, stride_frames: int = 1
    ):
        super().__init__()
        self.network = build_network(network)
        said = self.said = promise(self.network)
        if not isinstance(said.sees, Clip) or said.inputs or frames < said.sees.least:
            raise ValueError(f'{said.name} does not take clips of {frames} frames, and only these')
        if not (0 < stride <= patch and 0 < stride_frames <= frames):
            raise ValueError(f'strides are 1 to {patch} and 1 to {frames}, not {stride} and {stride_frames}')
        self.scale, self.sees = said.scale, Clip(said.sees.least, context=frames - 1)
        self.frames, self.patch, self.stride, self.stride_frames = frames, patch, stride, stride_frames

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, 3, h, w) -> (B, T, 3, S*h, S*w)."""
        count, (height, width) = min(self.frames, x.shape[1]), (min(self.patch, n) for n in x.shape[-2:])
        sides = height * self.scale, width * self.scale
        weight = triangle(sides[0], x.device)[:, None] * triangle(sides[1], x.device)
        canvas: Canvas | None = None
        for begin in starts_of(x.shape[1], count, self.stride_frames):
            for top in starts_of(x.shape[-2], height, self.stride):
                for left in starts_of(x.shape[-1], width, self.stride):
                    part = x[:, begin : begin + count, :, top : top + height, left : left + width]
                    found = apply(self.network, {'lq': part}, said=self.said)['out']
                    if canvas is None:
                        size = (n * self.scale for n in x.shape[-2:])
                        canvas = Canvas(found, (*x.shape[:3], *size))
                    rows, columns = (
                        slice(start * self.scale, start * self.scale + side)
                        for start, side in zip((top, left), sides, strict=True)
                    )
                    canvas.add((slice(None), slice(begin, begin + count), slice(None), rows, columns), found, weight)
        assert canvas is not None
        return canvas.mean()

    @classmethod
    def told(cls, said: Promise, channels: int) -> dict[str, Any] | None:
        """See Around."""
        return {} if isinstance(said.sees, Clip) else None
