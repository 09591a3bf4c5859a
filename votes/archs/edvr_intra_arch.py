"""EDVRIntra: EDVR that sees the nearest I frames beside its neighbours (BLUEDOT in the NTIRE 2021 challenge)."""

from __future__ import annotations

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

    Args: see EDVR; `num_frame` is 5 for one I frame on either side.
    """

    small = {**EDVR.small, 'num_frame': 5}

    def __init__(
        self,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        num_feat: int = 64,
        num_frame: int = 5,
        deformable_groups: int = 8,
        num_extract_block: int = 5,
        num_reconstruct_block: int = 10,
        center_frame_idx: int | None = None,
        hr_in: bool = False,
        with_predeblur: bool = False,
        with_tsa: bool = True,
        scale: int = 1,
        init: Init = 'default',
    ):
        super().__init__(
            num_in_ch,
            num_out_ch,
            num_feat,
            num_frame,
            deformable_groups,
            num_extract_block,
            num_reconstruct_block,
            center_frame_idx,
            hr_in,
            with_predeblur,
            with_tsa,
            scale,
            init,
        )
        self.sees = Window(num_frame, self.centre, pick='intra', adjacent=True)
        self.place = nn.Parameter(torch.zeros(num_frame, num_feat))

    def fuse(self, aligned: Tensor, dfm: Tensor) -> Tensor:
        """See WindowNetwork."""
        return super().fuse(aligned + self.place[:, :, None, None], dfm)
