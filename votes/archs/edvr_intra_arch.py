"""EDVRIntra: EDVR that sees the nearest I frames beside its neighbours (BLUEDOT in the NTIRE 2021 challenge)."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from votes.archs.contract import Window
from votes.archs.edvr_arch import EDVR
from votes.archs.parts.window_network import Init


class EDVRIntra(EDVR):
    """As EDVR, on the frame, the two next to it, and the nearest I frames before and after them, in the order of time:
    a frame that was coded whole shows what others lack.

    The report of the challenge specifies EDVR, the most relevant I frame as a reference, textures that are transferred
    from it as in TTSR, and two stages, of which the second sees the restored I frame. Built is the least form: the
    nearest I frame on either side is one more frame for alignment and attention, and what a frame's place in the window
    adds to its features is learned; for two stages, two of this network are a Pipeline. The transfer of textures is
    left out: nothing says of which sizes and weights it was.

    Args: see EDVR; a `num_frame` of 5 is one I frame on either side.
    """

    small = {**EDVR.small, 'num_frame': 5}

    def initialise(self, init: Init) -> None:
        """See WindowNetwork."""
        super().initialise(init)
        frames = cast(Window, self.sees).frames
        self.sees = Window(frames, self.centre, pick='intra', adjacent=True)
        self.place = nn.Parameter(torch.zeros(frames, self.conv_l2_1.in_channels))

    def fuse(self, aligned: Tensor, dfm: Tensor) -> Tensor:
        """See WindowNetwork."""
        return super().fuse(aligned + self.place[:, :, None, None], dfm)
