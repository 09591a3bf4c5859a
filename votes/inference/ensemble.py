"""Self-ensemble: the mean over what a network makes of a video that is mirrored, turned, or played backwards."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from votes.errors import UserError
from votes.inference.stream import Frames, WindowStream
from votes.inference.windows import Window

Turn = tuple[bool, bool, bool]  # mirrored left to right, top to bottom, rows and columns exchanged


def turned(x: Tensor, turn: Turn) -> Tensor:
    horizontal, vertical, transposed = turn
    x = x.flip([d for d, asked in ((-1, horizontal), (-2, vertical)) if asked])
    return x.transpose(-1, -2) if transposed else x


def turned_back(x: Tensor, turn: Turn) -> Tensor:
    horizontal, vertical, transposed = turn
    x = x.transpose(-1, -2) if transposed else x
    return x.flip([d for d, asked in ((-1, horizontal), (-2, vertical)) if asked])


def parse_ensemble(text: str) -> list[tuple[Turn, bool]]:
    """'x4' (mirrored), 'x8' (and turned), 'temporal' (and backwards), 'x4+temporal', 'x8+temporal' or 'none'.

    Raises:
        UserError: something else.
    """
    words = set(text.split('+'))
    if not words <= {'none', 'x4', 'x8', 'temporal'} or len(words & {'none', 'x4', 'x8'}) > 1 or words == {'none', ''}:
        raise UserError('unknown ensemble', value=text, fix='x4, x8, temporal, x4+temporal or x8+temporal')
    flips = (False, True) if words & {'x4', 'x8'} else (False,)
    transposed = (False, True) if 'x8' in words else (False,)
    backwards = (False, True) if 'temporal' in words else (False,)
    return [((h, v, t), back) for h, v, t, back in itertools.product(flips, flips, transposed, backwards)]


class Ensemble:
    """As WindowStream, the mean over several. Each keeps its own features.

    Args:
        stream: makes one more WindowStream.
        members: see `parse_ensemble`.
    """

    def __init__(self, stream: Callable[[], WindowStream], members: list[tuple[Turn, bool]]):
        self.members = [(turn, back, stream()) for turn, back in members]

    @torch.inference_mode()
    def restore(self, windows: Sequence[Window], frames: Frames) -> Tensor:
        total: Tensor | None = None
        backwards = [dataclasses.replace(w, indices=w.indices[::-1]) for w in windows]
        for turn, back, stream in self.members:
            seen = {i: turned(x, turn).contiguous() for i, x in frames.items()}
            output = turned_back(stream.restore(backwards if back else windows, seen), turn)
            total = output if total is None else total + output
        assert total is not None
        return total / len(self.members)
