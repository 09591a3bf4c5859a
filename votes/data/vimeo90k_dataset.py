"""Vimeo-90K's septuplets for networks that see windows, as BasicSR's option files name them."""

from __future__ import annotations

import numpy as np

from votes.data.uvssm_dataset import UVSSMDataset
from votes.errors import UserError


class Vimeo90KDataset(UVSSMDataset):
    """The frames around the middle of each clip (im4 of seven).

    GT may hold the middle frames alone, as the LMDB ``vimeo90k_train_GT_only4th.lmdb`` does. See UVSSMDataset for the
    arguments and for what a sample is. (Networks that see clips take all seven frames: num_frame: -1 of UVSSMDataset,
    which is called Vimeo90KRecurrentDataset as well.)
    """

    middle_gt = True

    def _frames(self, clip: str, rng: np.random.Generator) -> list[int]:
        length = self.pairs.lengths[clip]
        if length % 2 == 0 or self.num_frame % 2 == 0 or self.num_frame < 1:
            raise UserError(
                'a clip or a window without a middle frame', where=clip, value=f'{length} frames, {self.num_frame} seen'
            )
        first = length // 2 - self.place
        if first < 0 or first + self.num_frame > length:
            raise UserError(
                'the middle frame of a clip is no centre of such a window',
                where=clip,
                value=f'frame {self.place} of {self.num_frame}, {length} frames',
            )
        return list(range(first, first + self.num_frame))
