"""What a sample is made of: one table of fields, read by everything that crops, turns, reverses, pads or tiles.

A sample is a mapping of fields. A field of T frames is (T, C, h, w), in a batch (B, T, C, h, w); a value of each frame
is (T,) or (T, n). What is not in the table ('key', 'turn') goes along untouched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Field:
    """What a field is.

    Attributes:
        kind: 'picture' (RGB), 'map' (a number a pixel), 'vectors' (x and y of a motion in pixels), or 'value' (of a
            whole frame).
        size: it is as large as LQ, or as GT.
        cell: it is stored once for so many pixels in each direction (a sample holds it for every pixel).
        partner: the field that it changes places with where time runs backwards.
        blank: what stands where nothing is known, or beyond the edge of side information.
    """

    kind: Literal['picture', 'map', 'vectors', 'value']
    size: Literal['lq', 'gt'] = 'lq'
    cell: int = 1
    partner: str | None = None
    blank: float = 0

    @property
    def spatial(self) -> bool:
        return self.kind != 'value'


FIELDS: dict[str, Field] = {
    'lq': Field('picture'),
    'gt': Field('picture', size='gt'),
    'once': Field('picture'),  # after the first of two encodes, of which LQ is the second
    'difference': Field('map'),  # what the DSM found, see parts.dfm.luma_difference: 0 to 255
    'mv_past': Field('vectors', cell=4, partner='mv_future'),  # from a pixel to where it was predicted from
    'mv_future': Field('vectors', cell=4, partner='mv_past'),
    'past_valid': Field('map', cell=4, partner='future_valid'),  # where there is such a vector
    'future_valid': Field('map', cell=4, partner='past_valid'),
    'qp': Field('map', cell=16, blank=-1),  # quantiser
    'pict_type': Field('value', blank=ord('?')),  # ord of I, P, B or ?
    'pqf': Field('value'),  # whether a frame is of peak quality, see video.metadata.pqf_labels
    'scene': Field('value'),  # a number that changes where something else is shown, see video.scenes
}

Turn = tuple[bool, bool, bool]  # mirrored left to right, then top to bottom, then rows and columns exchanged


def turned(name: str, x: Tensor, turn: Tensor | Turn) -> Tensor:
    """A field in one of the eight orientations of a picture.

    Args:
        x: (..., C, h, w).
        turn: three flags, see Turn; or (B, 3) of them, one for each sample of a batch of square pictures.
    """
    field = FIELDS.get(name)
    if field is None or not field.spatial:
        return x
    flags = turn.unbind(-1) if isinstance(turn, Tensor) else turn
    for flag, axis in zip(flags, (-1, -2, None), strict=True):
        each = isinstance(flag, Tensor) and flag.ndim > 0
        if not each and not flag:
            continue
        changed = x.flip(axis) if axis else x.transpose(-1, -2)
        if field.kind == 'vectors' and axis:  # a mirrored picture moves the other way
            sign = torch.tensor([-1, 1] if axis == -1 else [1, -1], dtype=x.dtype, device=x.device)
            changed = changed * sign.view(2, 1, 1)
        elif field.kind == 'vectors':
            changed = changed.flip(-3)  # x becomes y
        if each:
            assert isinstance(flag, Tensor)
            changed = torch.where(flag.view(-1, *[1] * (x.ndim - 1)), changed, x)
        x = changed
    return x.contiguous()


def turned_back(name: str, x: Tensor, turn: Turn) -> Tensor:
    """Undoes `turned` with the same flags."""
    horizontal, vertical, transposed = turn
    if transposed:
        x = turned(name, x, (False, False, True))
    return turned(name, x, (horizontal, vertical, False))


def reversed_in_time(sample: Mapping[str, Any], dim: int) -> dict[str, Any]:
    """A sample whose frames, along dimension `dim` of its fields, run backwards: past and future change places."""
    there = {name: sample[name].flip(dim) for name in sample if name in FIELDS}
    result = dict(sample)
    for name, value in there.items():
        partner = FIELDS[name].partner
        result[partner if partner in there else name] = value
    return result


def followed_backwards(sample: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a sample, (T, ...), with the same frames backwards behind them, (2 * T, ...).

    Its last frame stands twice: between the two nothing moves, which is known.
    """
    back = reversed_in_time(sample, 0)
    found = {name: torch.cat([x, back[name]]) for name, x in sample.items() if name in FIELDS and name != 'difference'}
    for name, direction in (('mv_past', 0), ('past_valid', 0), ('mv_future', -1), ('future_valid', -1)):
        if name in found:
            found[name][len(found[name]) // 2 + direction] = int(name.endswith('valid'))
    return found


def padded(name: str, x: Tensor, bottom: int, right: int) -> Tensor:
    """A field (..., C, h, w) grown at the bottom and the right: pictures and differences are mirrored, other side
    information continues its edge (a mirrored motion would point the wrong way). Frames too small to be mirrored
    repeat their edge.
    """
    field = FIELDS.get(name)
    if not (bottom or right) or (field is not None and not field.spatial):
        return x
    height, width = x.shape[-2:]
    mirrored = (field is None or field.kind == 'picture' or name == 'difference') and bottom < height and right < width
    flat = x.reshape(-1, *x.shape[-3:])
    kind = flat.dtype
    grown = F.pad(
        flat if kind.is_floating_point else flat.float(),
        (0, right, 0, bottom),
        mode='reflect' if mirrored else 'replicate',
    )
    return grown.to(kind).reshape(*x.shape[:-2], height + bottom, width + right)
