"""What headers of H.264 say (ITU-T H.264, 7.3): parameter sets, slices, the encoder's own text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from votes.video.headers.bits import Bits, sei_text, unescaped

PROFILES = {
    66: 'Baseline',
    77: 'Main',
    88: 'Extended',
    100: 'High',
    110: 'High 10',
    122: 'High 4:2:2',
    244: 'High 4:4:4',
}
WITH_CHROMA = (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)
SLICE, IDR, SEI, SPS, PPS = 1, 5, 6, 7, 8
P, B, I = 0, 1, 2  # noqa: E741
LONGER = 3  # of list modifications: this number ends them


@dataclass
class Slice:
    """The first slice of a picture.

    Attributes:
        type: 'I', 'P' or 'B'.
        qp: the slice's quantiser, from which those of its blocks begin.
        referenced: other pictures may be predicted from it.
        references: pictures that it may be predicted from (of list 0).
        deblocking: None where it is off, else the two offsets.
    """

    type: str
    idr: bool
    qp: int
    referenced: bool
    references: int
    deblocking: tuple[int, int] | None


class Headers:
    """Reads the units of a stream in order.

    Attributes:
        sps, pps: parameter sets by their number, as names and values.
        encoder: the text that an encoder left, such as x264's options; ''.
    """

    def __init__(self) -> None:
        self.sps: dict[int, dict[str, Any]] = {}
        self.pps: dict[int, dict[str, Any]] = {}
        self.encoder = ''

    def take(self, unit: bytes) -> Slice | None:
        """A unit -> the slice if it begins a picture, else None."""
        kind = unit[0] & 31
        if kind in (SLICE, IDR):
            return self._slice(Bits(unescaped(unit[1:120])), kind == IDR, unit[0] >> 5 & 3)
        body = unescaped(unit[1:])
        if kind == SPS:
            found = read_sps(Bits(body))
            self.sps[found['id']] = found
        elif kind == PPS:
            found = self._pps(Bits(body))
            self.pps[found['id']] = found
        elif kind == SEI:
            self.encoder = self.encoder or sei_text(body)
        return None

    def _pps(self, bits: Bits) -> dict[str, Any]:
        found: dict[str, Any] = {'id': bits.ue(), 'sps': bits.ue(), 'cabac': bits.flag(), 'order_present': bits.flag()}
        groups = bits.ue()
        if groups:
            raise NotImplementedError('slice groups')
        found['references'] = [bits.ue() + 1, bits.ue() + 1]
        found['weighted'], found['weighted_b'] = bits.flag(), bits.u(2)
        found['qp'] = 26 + bits.se()
        bits.se()
        found['chroma_qp_offset'] = bits.se()
        found['deblocking_control'] = bits.flag()
        bits.flag()
        found['redundant'] = bits.flag()
        found['transform_8x8'] = bits.left > 8 and bits.flag()
        return found

    def _slice(self, bits: Bits, idr: bool, importance: int) -> Slice | None:
        if bits.ue():  # not the first macroblock
            return None
        kind = bits.ue() % 5
        kind = {3: P, 4: I}.get(kind, kind)
        pps = self.pps[bits.ue()]
        sps = self.sps[pps['sps']]
        if sps['planes']:
            bits.u(2)
        bits.u(sps['frame_num_bits'])
        field = not sps['progressive'] and bits.flag()
        if field:
            bits.flag()
        if idr:
            bits.ue()
        if sps['order_type'] == 0:
            bits.u(sps['order_bits'])
            if pps['order_present'] and not field:
                bits.se()
        elif sps['order_type'] == 1 and not sps['order_zero']:
            bits.se()
            if pps['order_present'] and not field:
                bits.se()
        if pps['redundant']:
            bits.ue()
        if kind == B:
            bits.flag()
        lists = list(pps['references'])
        if kind != I and bits.flag():
            lists = [bits.ue() + 1, *([bits.ue() + 1] if kind == B else [])]
        lists = lists[: {I: 0, P: 1, B: 2}[kind]]
        for _ in lists:
            if bits.flag():
                while bits.ue() != LONGER:
                    bits.ue()
        if (pps['weighted'] and kind == P) or (pps['weighted_b'] == 1 and kind == B):
            _skip_weights(bits, lists, sps['chroma'])
        if importance:
            _skip_marking(bits, idr)
        if pps['cabac'] and kind != I:
            bits.ue()
        qp = pps['qp'] + bits.se()
        return Slice('PBI'[kind], idr, qp, bool(importance), lists[0] if lists else 0, _deblocking(bits, pps))


def _deblocking(bits: Bits, pps: dict[str, Any]) -> tuple[int, int] | None:
    if not pps['deblocking_control']:
        return 0, 0
    return None if bits.ue() == 1 else (bits.se(), bits.se())


def _skip_weights(bits: Bits, lists: list[int], chroma: int) -> None:
    bits.ue()
    if chroma:
        bits.ue()
    for count in lists:
        for _ in range(count):
            for numbers in (1, 2) if chroma else (1,):
                if bits.flag():
                    for _ in range(2 * numbers):
                        bits.se()


def _skip_marking(bits: Bits, idr: bool) -> None:
    if idr:
        bits.u(2)
    elif bits.flag():
        while operation := bits.ue():
            for _ in range({3: 2, 5: 0}.get(operation, 1)):
                bits.ue()


def read_sps(bits: Bits) -> dict[str, Any]:
    """A sequence's parameters: profile, level, size, references, frame reordering (None where not said)."""
    profile = bits.u(8)
    constraints = bits.u(8)
    found: dict[str, Any] = {'level': bits.u(8) / 10, 'id': bits.ue(), 'chroma': 1, 'planes': False}
    name = PROFILES.get(profile, str(profile))
    found['profile'] = f'Constrained {name}' if profile == 66 and constraints >> 6 & 1 else name
    if profile in WITH_CHROMA:
        found['chroma'] = bits.ue()
        found['planes'] = found['chroma'] == 3 and bits.flag()
        bits.ue(), bits.ue(), bits.flag()
        if bits.flag():
            for number in range(12 if found['chroma'] == 3 else 8):
                if bits.flag():
                    _skip_scaling(bits, 16 if number < 6 else 64)
    found['frame_num_bits'] = bits.ue() + 4
    found['order_type'] = bits.ue()
    if found['order_type'] == 0:
        found['order_bits'] = bits.ue() + 4
    elif found['order_type'] == 1:
        found['order_zero'] = bits.flag()
        bits.se(), bits.se()
        for _ in range(bits.ue()):
            bits.se()
    found['references'] = bits.ue()
    bits.flag()
    found['width'] = 16 * (bits.ue() + 1)
    rows = bits.ue() + 1
    found['progressive'] = bits.flag()
    found['height'] = 16 * rows * (1 if found['progressive'] else 2)
    return found


def _skip_scaling(bits: Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.se()) % 256
        last = following or last
