"""What the DSM found in the frames of a data set, or another map of them, stored once by `votes sense`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from votes.checkpoint import digest, read_record
from votes.data.pairs import ClipPairs
from votes.data.sources import Crop, open_source
from votes.errors import UserError, explained

MANIFEST = 'sensed.json'  # beside the clips: which DSM, and of which frames


def check_complete(root: str) -> None:
    """Raises UserError unless `votes sense` has finished the maps at `root`."""
    if not (Path(root) / MANIFEST).is_file():
        raise UserError('not a folder of `votes sense`, or one that is not complete', where=root, fix='votes sense')


def check_dsm(root: str, dsm: nn.Module) -> None:
    """Raises UserError unless the maps at `root` were made by this DSM."""
    check_complete(root)
    path = Path(root) / MANIFEST
    with explained('these maps cannot be used', ValueError, where=path, fix='make them again: votes sense'):
        said = read_record(path, unsigned=True)
    if said.get('map', 'dsm') != 'dsm':
        fix = 'network_g.map_source: stored, or `votes sense` with --map dsm'
        raise UserError('these are no degradation maps of a DSM', where=path, value=said['map'], fix=fix)
    if said['dsm'] != digest(dsm):
        what, value = 'these degradation maps were made by another DSM', f'by {said["weights"]}'
        fix = 'votes sense with the bin_model of this option file, or no dataroot_dfm'
        raise UserError(what, where=path, value=value, fix=fix)


class SensedClips:
    """By how much the DSM's estimates are apart from the frames of `pairs`, see archs.dfm.luma_difference.

    They are of whole frames, with neighbours one frame apart.

    Raises:
        UserError: clips are missing or of other sizes, or windows are drawn of frames further apart.
    """

    def __init__(self, root: str, pairs: ClipPairs, intervals: list[int]):
        self.source = open_source(root)
        if intervals != [1]:
            value, fix = f'interval_list: {intervals}', 'interval_list: [1], or no dataroot_dfm'
            raise UserError('degradation maps are of neighbouring frames', where=root, value=value, fix=fix)
        there = set(self.source.clips())
        for clip in pairs.names():
            expected = (pairs.lq.length(clip), pairs.lq.size(clip))
            found = (self.source.length(clip), self.source.size(clip)) if clip in there else None
            if found != expected:
                what, where = 'degradation maps do not belong to these frames', f'clip {clip} in {root}'
                value = f'frames and size {found}, of LQ {expected}'
                raise UserError(what, where=where, value=value, fix='votes sense')

    def read(self, clip: str, index: int, crop: Crop | None = None) -> Tensor:
        """Of frame `index`, or of a crop of it: uint8 (1, h, w)."""
        return torch.from_numpy(np.ascontiguousarray(self.source.read(clip, index, crop)[None, :, :, 0]))
