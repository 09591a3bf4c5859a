"""A network made of two: the first cleans frames at their size, the second restores the cleaned clip."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from votes.archs import build_network, infer_options
from votes.archs.contract import Causal, Clip, Frame, Sees, Window, apply, promise
from votes.archs.parts.propagation import AT_ONCE, in_pieces
from votes.archs.parts.several import amp_around, joint_parts
from votes.archs.windows import CUT, PICKED, TYPES, Pick, peak_indices, window_indices
from votes.errors import UserError

PLACES = ('first', 'second')


class Pipeline(nn.Module):
    """Frames as the second network takes them -> what that returns, and 'cleaned', what the first made of its frames.

    The first sees as it does alone: frame by frame, windows around each frame (beyond the ends of what the pipeline is
    given the nearest frame again), or the clip. Networks of one channel clean luma.

    Args:
        first: options of a network that keeps the size, {'type': ..., constructor arguments}.
        second: options of any network. One that goes from frame to frame is given whole clips.

    Parts are `first`, `second`, their own as `first.flow`, and as `flow` those of both: each may have its weights from
    a file of its own, be frozen, or be trained with the other.
    """

    small = {
        'first': {'type': 'STDF', 'radius': 1, 'in_nc': 3, 'nf': 4, 'nb': 2, 'fused_nf': 4, 'qe_nf': 4, 'qe_nb': 3},
        'second': {'type': 'BasicVSR', 'num_feat': 8, 'num_block': 1, 'scale': 4},
    }

    def __init__(self, first: dict[str, Any], second: dict[str, Any]):
        super().__init__()
        self.first, self.second = build_network(first), build_network(second)
        self.promises = promise(self.first), promise(self.second)
        cleaner, restorer = self.promises
        if cleaner.scale != 1:
            raise ValueError(
                f'the first network keeps the size of frames, {cleaner.name} enlarges {cleaner.scale} times'
            )
        self.scale = restorer.scale
        self.sees = _sees(cleaner.sees, restorer.sees)
        picked = [
            name
            for said in self.promises
            if isinstance(said.sees, Window) and said.sees.picks
            for name in ('pict_type' if said.sees.pick in TYPES else 'pqf', 'scene')
        ]
        self.inputs = tuple(dict.fromkeys((*cleaner.inputs, *restorer.inputs, *picked)))
        self.optional = tuple(dict.fromkeys((*cleaner.optional, *restorer.optional)))
        self.parts = joint_parts(
            {place: (f'{place}.', said) for place, said in zip(PLACES, self.promises, strict=True)}
        )
        supervised = {name: {**entry} for name, entry in restorer.supervised.items()}
        for entry in supervised.values():
            entry['output'] = self._name(entry.get('output', 'out'))
        target = 'gt' if self.scale == 1 else 'gt_small'
        self.supervised = {**supervised, 'l_clean': {'output': 'cleaned', 'target': target}}

    @staticmethod
    def _name(output: str) -> str:
        """Of an output of the second network, which may itself clean."""
        return 'cleaned_again' if output == 'cleaned' else output

    def forward(self, x: Tensor, **fields: Tensor) -> dict[str, Tensor]:
        single, window = isinstance(self.sees, Frame), isinstance(self.sees, Window)
        if single:
            x, fields = x.unsqueeze(1), {name: value.unsqueeze(1) for name, value in fields.items()}
        amp = amp_around(x)
        numbers = list(range(x.shape[1]))
        if isinstance(self.sees, Window) and isinstance(self.promises[1].sees, Frame):
            numbers = [self.sees.centre]  # what else the first network cleaned would not be looked at
        cleaned = self._cleaned(x, fields, numbers, amp)
        seen = {name: value[:, numbers] for name, value in fields.items() if value.shape[1:2] == (x.shape[1],)}
        result = apply(self.second, {**fields, **seen, 'lq': cleaned}, amp=amp, said=self.promises[1])
        result = {self._name(name): value for name, value in result.items()}
        result['cleaned'] = (
            cleaned[:, numbers.index(self.sees.centre), None] if isinstance(self.sees, Window) else cleaned
        )
        return {name: value[:, 0] for name, value in result.items()} if single or window else result

    def _cleaned(self, x: Tensor, fields: Mapping[str, Tensor], numbers: list[int], amp: torch.dtype | None) -> Tensor:
        """What the first network makes of frames (B, T, 3, h, w) by their numbers."""
        said, count = self.promises[0], x.shape[1]
        if isinstance(said.sees, Clip | Causal):
            return apply(self.first, {**fields, 'lq': x}, amp=amp, said=said)['out'][:, numbers]
        indices = self._windows(said.sees, count, numbers, fields).to(x.device)
        wanted = {'lq': x, **{name: fields[name] for name in (*said.inputs, *said.optional) if name in fields}}
        # what is not of each frame, such as the DSM's finding of a window's centre, is of no use here
        wanted = {name: value for name, value in wanted.items() if value.shape[1:2] == (count,)}
        rows = torch.arange(len(x), device=x.device).view(-1, 1, 1)
        windows = [value[rows, indices].flatten(0, 1) for value in wanted.values()]

        def clean(*inputs: Tensor) -> Tensor:
            return apply(self.first, dict(zip(wanted, inputs, strict=True)), amp=amp, said=said)['out']

        if self.first.training:  # batch normalisation counts them together
            cleaned = clean(*windows)
        else:
            cleaned = in_pieces(clean, *windows, at_once=AT_ONCE // indices.shape[-1])
        return cleaned[:, 0].unflatten(0, (len(x), len(numbers)))

    def _windows(self, sees: Frame | Window, count: int, numbers: list[int], fields: Mapping[str, Tensor]) -> Tensor:
        """Which frames the first network sees for each of `numbers`, (B or 1, len(numbers), n)."""
        if isinstance(sees, Frame):
            return torch.tensor(numbers).view(1, -1, 1)
        if sees.picks:
            rows = _marks(sees.pick, fields)
            window = sees.frames, sees.centre, sees.adjacent
            return torch.tensor([[peak_indices(i, row, *window) for i in numbers] for row in rows])
        # windows that are longer than the clip repeat its last frame too
        length = max(count, sees.frames)
        found = [window_indices(i, length, sees.frames, 'replicate', sees.centre) for i in numbers]
        return torch.tensor(found).clamp(max=count - 1).unsqueeze(0)

    @classmethod
    def from_weights(cls, weights: dict[str, Tensor]) -> dict[str, Any] | None:
        """The options of both networks, where their classes tell."""
        if not all(key.startswith(('first.', 'second.')) for key in weights):
            return None
        try:
            return {
                place: infer_options({k.partition('.')[2]: v for k, v in weights.items() if k.startswith(f'{place}.')})
                for place in PLACES
            }
        except UserError:
            return None


def _marks(pick: Pick, fields: Mapping[str, Tensor]) -> list[list[int]]:
    """Which frames of each clip of a batch are picked, and which begin a scene: marks as of archs.windows."""
    told, scenes = (fields[name].flatten(1) for name in ('pict_type' if pick in TYPES else 'pqf', 'scene'))
    picked = [[chr(int(x)) in TYPES[pick] if pick in TYPES else bool(x) for x in row] for row in told.tolist()]
    cuts = F.pad(scenes.diff(dim=1) != 0, (1, 0)).tolist()
    return [
        [PICKED * peak | CUT * cut for peak, cut in zip(*row, strict=True)] for row in zip(picked, cuts, strict=True)
    ]


def _sees(first: Sees, second: Sees) -> Sees:
    """How a pipeline sees: as the second network, or as the first where the second sees single frames."""
    if isinstance(second, Window):
        return Window(second.frames, second.centre, second.pick, second.adjacent)
    if isinstance(second, Frame) and isinstance(first, Frame | Window):
        return first
    reach = sum(
        sees.context if isinstance(sees, Clip) else sees.frames // 2 if isinstance(sees, Window) else 0
        for sees in (first, second)
    )
    least = max(getattr(sees, 'least', 1) for sees in (first, second))
    # a state that begins anew at each piece of a long video needs some frames to be as good as before
    return Clip(least, max(reach, Clip().context))
