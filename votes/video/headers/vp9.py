"""What headers of VP9 say (VP9 bitstream specification, 6.2): type, quantiser, reference slots, loop filter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from votes.video.headers.bits import Bits

SYNC = 0x498342


@dataclass
class Frame:
    """A coded frame.

    Attributes:
        type: 'I' or 'P'.
        q: base_q_idx, 0 to 255; None of a frame that only shows an earlier one.
        shown: hidden frames (alternate references) are predicted from, and never shown themselves.
        refreshed: slots of references that it is kept in, of 8.
        filter: level and sharpness of the loop filter.
    """

    type: str
    q: int | None
    shown: bool
    refreshed: int
    filter: tuple[int, int]
    profile: int


def frames_of(packet: bytes) -> Iterator[bytes]:
    """The frames of a packet: one, or those of a superframe (Annex B)."""
    last = packet[-1] if packet else 0
    if last & 0xE0 == 0xC0:
        count, size = (last & 7) + 1, (last >> 3 & 3) + 1
        index = 2 + count * size
        if len(packet) >= index and packet[-index] == last:
            at = 0
            for number in range(count):
                place = len(packet) - index + 1 + number * size
                length = int.from_bytes(packet[place : place + size], 'little')
                if length:
                    yield packet[at : at + length]
                at += length
            return
    yield packet


def read_frame(data: bytes) -> Frame:
    """
    Raises:
        ValueError: no frame of VP9.
    """
    bits = Bits(data[:80])
    if bits.u(2) != 2:
        raise ValueError('no frame marker')
    profile = bits.u(1) | bits.u(1) << 1
    if profile == 3:
        bits.u(1)
    if bits.flag():
        return Frame('P', None, True, 0, (0, 0), profile)
    inter, shown, resilient = bits.flag(), bits.flag(), bits.flag()
    refreshed, intra_only = 255, False
    if not inter:
        _sync(bits)
        _colour(bits, profile)
        _size(bits)
    else:
        intra_only = not shown and bits.flag()
        if not resilient:
            bits.u(2)
        if intra_only:
            _sync(bits)
            if profile:
                _colour(bits, profile)
            refreshed = bits.u(8)
            _size(bits)
        else:
            refreshed = bits.u(8)
            bits.u(12)
            if not any(bits.flag() for _ in range(3)):
                bits.u(32)
            if bits.flag():
                bits.u(32)
            bits.flag()
            if not bits.flag():
                bits.u(2)
    if not resilient:
        bits.u(2)
    bits.u(2)
    level = bits.u(6), bits.u(3)
    if bits.flag() and bits.flag():
        for _ in range(6):
            if bits.flag():
                bits.u(7)
    return Frame('P' if inter and not intra_only else 'I', bits.u(8), shown, bin(refreshed).count('1'), level, profile)


def _sync(bits: Bits) -> None:
    if bits.u(24) != SYNC:
        raise ValueError('no sync code')


def _colour(bits: Bits, profile: int) -> None:
    if profile >= 2:
        bits.u(1)
    if bits.u(3) != 7:
        bits.u(1)
        if profile in (1, 3):
            bits.u(3)
    elif profile in (1, 3):
        bits.u(1)


def _size(bits: Bits) -> None:
    bits.u(32)
    if bits.flag():
        bits.u(32)
