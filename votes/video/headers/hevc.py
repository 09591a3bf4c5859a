"""What headers of HEVC say (ITU-T H.265, 7.3): parameter sets, slices, the encoder's own text.

The quantiser of a slice is that from which its blocks begin; how far they go from it is coded with the pictures
themselves, and cannot be had without decoding them.
"""

from __future__ import annotations

from typing import Any

from votes.video.headers.bits import Bits, sei_text, unescaped
from votes.video.headers.h264 import Slice

PROFILES = {1: 'Main', 2: 'Main 10', 3: 'Main Still Picture', 4: 'Range Extensions'}
VPS, SPS, PPS, SEI = 32, 33, 34, 39
KEYS = range(16, 24)
IDR = (19, 20)
B, P, I = 0, 1, 2  # noqa: E741


class Headers:
    """Reads the units of a stream in order; see h264.Headers."""

    def __init__(self) -> None:
        self.sps: dict[int, dict[str, Any]] = {}
        self.pps: dict[int, dict[str, Any]] = {}
        self.encoder = ''

    def take(self, unit: bytes) -> Slice | None:
        """A unit -> the slice if it begins a picture, else None."""
        kind = unit[0] >> 1 & 63
        if unit[0] & 1 or unit[1] >> 3:  # of another layer
            return None
        if kind < 32:
            return self._slice(Bits(unescaped(unit[2:400])), kind)
        body = unescaped(unit[2:])
        if kind == SPS:
            found = read_sps(Bits(body))
            self.sps[found['id']] = found
        elif kind == PPS:
            found = _pps(Bits(body))
            self.pps[found['id']] = found
        elif kind == SEI:
            self.encoder = self.encoder or sei_text(body)
        return None

    def _slice(self, bits: Bits, unit: int) -> Slice | None:
        if not bits.flag():  # not the first of its picture
            return None
        if unit in KEYS:
            bits.flag()
        pps = self.pps[bits.ue()]
        sps = self.sps[pps['sps']]
        bits.u(pps['extra_bits'])
        kind = bits.ue()
        if pps['output_flag']:
            bits.flag()
        if sps['planes']:
            bits.u(2)
        chosen, temporal = 0, False
        if unit not in IDR:
            bits.u(sps['order_bits'])
            chosen = self._short_term(bits, sps)
            chosen += _long_term(bits, sps)
            temporal = sps['temporal'] and bits.flag()
        if sps['sao']:
            bits.u(2 if sps['chroma'] else 1)
        lists: list[int] = []
        if kind != I:
            lists = _lists(bits, pps, kind, chosen)
            if kind == B:
                bits.flag()
            if pps['cabac_init']:
                bits.flag()
            if temporal:
                zero = bits.flag() if kind == B else True
                if lists[0 if zero else 1] > 1:
                    bits.ue()
            if (pps['weighted'] and kind == P) or (pps['weighted_b'] and kind == B):
                _skip_weights(bits, lists, sps['chroma'])
            bits.ue()
        qp = pps['qp'] + bits.se()
        referenced = unit >= 16 or bool(unit % 2)
        return Slice('BPI'[kind], unit in IDR, qp, referenced, lists[0] if lists else 0, _deblocking(bits, pps))

    @staticmethod
    def _short_term(bits: Bits, sps: dict[str, Any]) -> int:
        """How many pictures near in time are referred to."""
        sets = sps['sets']
        if not bits.flag():
            return len(_read_set(bits, len(sets), sets, True)[0])
        used = sets[bits.u((len(sets) - 1).bit_length())] if len(sets) > 1 else sets[0]
        return len(used[0])


def _lists(bits: Bits, pps: dict[str, Any], kind: int, chosen: int) -> list[int]:
    lists = list(pps['references'])
    if bits.flag():
        lists = [bits.ue() + 1, *([bits.ue() + 1] if kind == B else [])]
    lists = lists[: 2 if kind == B else 1]
    if pps['lists_change'] and chosen > 1:
        for count in lists:
            if bits.flag():
                bits.u(count * (chosen - 1).bit_length())
    return lists


def _long_term(bits: Bits, sps: dict[str, Any]) -> int:
    if not sps['long_term']:
        return 0
    known = bits.ue() if sps['long_known'] else 0
    count = known + bits.ue()
    for number in range(count):
        if number < known:
            bits.u((sps['long_known'] - 1).bit_length())
        else:
            bits.u(sps['order_bits'])
            bits.flag()
        if bits.flag():
            bits.ue()
    return count


def _skip_weights(bits: Bits, lists: list[int], chroma: int) -> None:
    bits.ue()
    if chroma:
        bits.se()
    for count in lists:
        luma = [bits.flag() for _ in range(count)]
        colour = [bits.flag() for _ in range(count)] if chroma else [False] * count
        for weighted, coloured in zip(luma, colour, strict=True):
            for _ in range(2 * weighted + 4 * coloured):
                bits.se()


def _deblocking(bits: Bits, pps: dict[str, Any]) -> tuple[int, int] | None:
    if pps['slice_chroma_qp']:
        bits.se(), bits.se()
    if pps['deblocking_override'] and bits.flag():
        return None if bits.flag() else (2 * bits.se(), 2 * bits.se())
    found: tuple[int, int] | None = pps['deblocking']
    return found


def _profile(bits: Bits, layers: int) -> tuple[str, float]:
    bits.u(3)
    name = PROFILES.get(number := bits.u(5), str(number))
    bits.u(32 + 48)
    level = bits.u(8) / 30
    there = [(bits.flag(), bits.flag()) for _ in range(layers)]
    if layers:
        bits.u(2 * (8 - layers))
    for profile, own_level in there:
        bits.u(88 * profile + 8 * own_level)
    return name, level


def read_sps(bits: Bits) -> dict[str, Any]:
    """A sequence's parameters."""
    bits.u(4)
    layers = bits.u(3)
    bits.flag()
    profile, level = _profile(bits, layers)
    found: dict[str, Any] = {'profile': profile, 'level': level, 'id': bits.ue(), 'chroma': bits.ue()}
    found['planes'] = found['chroma'] == 3 and bits.flag()
    found['width'], found['height'] = bits.ue(), bits.ue()
    if bits.flag():
        for _ in range(4):
            bits.ue()
    bits.ue(), bits.ue()
    found['order_bits'] = bits.ue() + 4
    every = bits.flag()
    for _ in range(layers + 1 if every else 1):
        found['references'], found['reorder'] = bits.ue(), bits.ue()
        bits.ue()
    found['block'] = 8 << bits.ue()
    found['block'] <<= bits.ue()
    for _ in range(4):
        bits.ue()
    if bits.flag() and bits.flag():
        _skip_scaling(bits)
    bits.flag()
    found['sao'] = bits.flag()
    if bits.flag():
        bits.u(8)
        bits.ue(), bits.ue(), bits.flag()
    sets: list[tuple[list[int], list[int]]] = []
    count = bits.ue()
    for number in range(count):
        sets.append(_read_set(bits, number, sets, False))
    found['sets'] = sets
    found['long_term'] = bits.flag()
    found['long_known'] = bits.ue() if found['long_term'] else 0
    for _ in range(found['long_known']):
        bits.u(found['order_bits'] + 1)
    found['temporal'] = bits.flag()
    return found


def _read_set(
    bits: Bits, number: int, sets: list[tuple[list[int], list[int]]], in_slice: bool
) -> tuple[list[int], list[int]]:
    """A set of reference pictures (7.3.7): (those that are used, all), as distances in order."""
    if number and bits.flag():
        back = bits.ue() + 1 if in_slice else 1
        backwards = bits.flag()
        step = (bits.ue() + 1) * (-1 if backwards else 1)
        before = sets[number - back][1]
        used, all_of = [], []
        for place in range(len(before) + 1):
            is_used = bits.flag()
            if not is_used and not bits.flag():
                continue
            distance = step + (before[place] if place < len(before) else 0)
            all_of.append(distance)
            used += [distance] if is_used else []
        earlier = sorted((d for d in all_of if d < 0), reverse=True)
        later = sorted(d for d in all_of if d > 0)
        return used, earlier + later
    counts = bits.ue(), bits.ue()
    used, all_of = [], []
    for count, sign in zip(counts, (-1, 1), strict=True):
        distance = 0
        for _ in range(count):
            distance += sign * (bits.ue() + 1)
            all_of.append(distance)
            used += [distance] if bits.flag() else []
    return used, all_of


def _skip_scaling(bits: Bits) -> None:
    for size in range(4):
        for _ in range(0, 6, 3 if size == 3 else 1):
            if not bits.flag():
                bits.ue()
                continue
            if size > 1:
                bits.se()
            for _ in range(min(64, 1 << (4 + (size << 1)))):
                bits.se()


def _pps(bits: Bits) -> dict[str, Any]:
    found: dict[str, Any] = {'id': bits.ue(), 'sps': bits.ue()}
    bits.flag()
    found['output_flag'], found['extra_bits'] = bits.flag(), bits.u(3)
    bits.flag()
    found['cabac_init'] = bits.flag()
    found['references'] = [bits.ue() + 1, bits.ue() + 1]
    found['qp'] = 26 + bits.se()
    bits.u(2)
    found['adaptive_qp'] = bits.flag()
    if found['adaptive_qp']:
        bits.ue()
    found['chroma_qp_offset'] = bits.se()
    bits.se()
    found['slice_chroma_qp'] = bits.flag()
    found['weighted'], found['weighted_b'] = bits.flag(), bits.flag()
    bits.flag()
    tiles = bits.flag()
    bits.flag()
    if tiles:
        columns, rows = bits.ue(), bits.ue()
        if not bits.flag():
            for _ in range(columns + rows):
                bits.ue()
        bits.flag()
    bits.flag()
    found['deblocking'], found['deblocking_override'] = (0, 0), False
    if bits.flag():
        found['deblocking_override'] = bits.flag()
        found['deblocking'] = None if bits.flag() else (2 * bits.se(), 2 * bits.se())
    if bits.flag():
        _skip_scaling(bits)
    found['lists_change'] = bits.flag()
    return found
