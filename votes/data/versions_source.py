"""The same clips degraded in several ways; a training sample draws one of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from votes.data.sources import Crop, Frame, FrameSource, open_source
from votes.errors import UserError, explained

MANIFEST = 'versions.json'


class VersionsSource:
    """``root/NAME`` for every name of versions.json: frame sources of the same clips, lengths and sizes.

    versions.json is ``{"versions": {NAME: how often}}``: a sample draws a version in proportion to these numbers. What
    reads frames without drawing gets those of the first version.

    Raises:
        UserError: versions.json is none, or the versions are not of the same clips.
    """

    told_by = (MANIFEST,)

    def __init__(self, root: str | Path):
        self.root = Path(root)
        kinds = OSError, ValueError, KeyError, TypeError, AttributeError
        with explained('no versions of clips', *kinds, where=self.root / MANIFEST):
            said: dict[str, float] = json.loads((self.root / MANIFEST).read_text())['versions']
            shares = np.array([float(share) for share in said.values()])
            if not len(shares) or shares.min() < 0 or not shares.sum() > 0:
                raise ValueError('shares are numbers of 0 or more, one at least above it')
        self.names, self.shares = list(said), shares / shares.sum()
        self.versions: list[FrameSource] = [open_source(self.root / name) for name in self.names]
        first = self.versions[0]
        self._shapes = {clip: (first.length(clip), first.size(clip)) for clip in first.clips()}
        for name, version in zip(self.names, self.versions, strict=True):
            shapes = {clip: (version.length(clip), version.size(clip)) for clip in version.clips()}
            if shapes != self._shapes:
                other = sorted(
                    clip for clip in shapes.keys() | self._shapes if shapes.get(clip) != self._shapes.get(clip)
                )
                raise UserError(
                    'versions of different clips, lengths or sizes',
                    where=self.root / name,
                    value=f'{other[0]}: {shapes.get(other[0])}, in {self.names[0]} {self._shapes.get(other[0])}',
                    fix='degrade the same originals',
                )

    def clips(self) -> list[str]:
        return list(self._shapes)

    def length(self, clip: str) -> int:
        return self.versions[0].length(clip)

    def size(self, clip: str) -> tuple[int, int]:
        return self.versions[0].size(clip)

    def window(self, clip: str, indices: list[int], crop: Crop, rng: np.random.Generator) -> list[Frame]:
        """The frames of a window, cropped, all of one version."""
        version = self.versions[int(rng.choice(len(self.names), p=self.shares))]
        return [version.read(clip, i, crop) for i in indices]

    def read(self, clip: str, index: int, crop: Crop | None = None) -> Frame:
        return self.versions[0].read(clip, index, crop)
