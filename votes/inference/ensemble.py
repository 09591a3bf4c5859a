"""Self-ensemble: the mean over what a network makes of a video that is mirrored, turned, or played backwards."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from votes.archs.contract import Causal, Promise, Window
from votes.archs.fields import Turn, reversed_in_time, turned, turned_back
from votes.errors import UserError
from votes.inference.stream import Frames, Shown, Stream
from votes.inference.views import View

FLIPS: list[Turn] = [(h, v, False) for h, v in itertools.product((False, True), repeat=2)]
TURNS: dict[str, list[Turn]] = {
    'none': FLIPS[:1],
    'x4': FLIPS,
    # upright and turned by 90 degrees, each as it is, mirrored left to right and top to bottom (QENet)
    'x6': [(False, False, False), (True, False, False), (False, True, False)]
    + [(True, False, True), (False, False, True), (True, True, True)],
    'x8': [(h, v, t) for h, v, _ in FLIPS for t in (False, True)],
}


def parse_ensemble(text: str) -> list[tuple[Turn, bool]]:
    """'x4' (mirrored), 'x6' (NJU-Vision's in the NTIRE 2021 challenge), 'x8' (mirrored and turned), 'temporal' (and
    backwards), 'x4+temporal', 'x6+temporal', also called 'x12', 'x8+temporal' or 'none'.

    Raises:
        UserError: something else.
    """
    words = set({'x12': 'x6+temporal'}.get(text, text).split('+'))
    turns = words - {'temporal'}
    if not words <= {*TURNS, 'temporal'} or len(turns) > 1:
        fix = 'x4, x6, x8, x12, temporal, x4+temporal, x6+temporal or x8+temporal'
        raise UserError('unknown ensemble', value=text, fix=fix)
    backwards = (False, True) if 'temporal' in words else (False,)
    return [(turn, back) for turn in TURNS[next(iter(turns), 'none')] for back in backwards]


def check_ensemble(members: list[tuple[Turn, bool]], said: Promise) -> None:
    """Raises UserError where a network cannot be shown a video backwards."""
    sees = said.sees
    one_way = isinstance(sees, Causal) or (isinstance(sees, Window) and 2 * sees.centre != sees.frames - 1)
    if one_way and any(back for _, back in members):
        raise UserError(f'{said.name} cannot run backwards', where=sees, fix='no temporal ensemble')


class Ensemble:
    """As Stream, the mean over several. Each keeps its own features and state.

    Args:
        stream: makes one more Stream.
        members: see `parse_ensemble`.
    """

    def __init__(self, stream: Callable[[], Stream], members: list[tuple[Turn, bool]]):
        self.members = [(turn, back, stream()) for turn, back in members]
        check_ensemble(members, self.members[0][2].said)

    def snapshot(self) -> dict[str, Any]:
        """As of a Stream."""
        return {'members': [stream.snapshot() for _, _, stream in self.members]}

    def take_over(self, snapshot: dict[str, Any]) -> None:
        """As a Stream."""
        for (_, _, stream), own in zip(self.members, snapshot['members'], strict=True):
            stream.take_over(own)

    @torch.inference_mode()
    def restore(self, views: Sequence[View], frames: Frames) -> Tensor:
        total: Tensor | None = None
        backwards = [dataclasses.replace(v, indices=v.indices[::-1]) for v in views]
        for turn, back, stream in self.members:
            seen = {i: _seen(shown, turn, back) for i, shown in frames.items()}
            output = turned_back('gt', stream.restore(backwards if back else views, seen), turn)
            total = output if total is None else total + output
        assert total is not None
        return total / len(self.members)


def _seen(shown: Shown, turn: Turn, back: bool) -> dict[str, Tensor]:
    """A frame and its side information as a member of the ensemble sees them."""
    fields = reversed_in_time(shown, 0) if back else shown  # one frame: past and future change places
    return {name: turned(name, x, turn) for name, x in fields.items()}
