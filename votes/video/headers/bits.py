"""Bits of a bitstream, and the units that H.264 and HEVC put them into."""

from __future__ import annotations

from collections.abc import Iterator


class Bits:
    """Reads bits from the first on. Reading beyond the end raises EOFError."""

    def __init__(self, data: bytes):
        self.value = int.from_bytes(data, 'big')
        self.left = 8 * len(data)

    def u(self, count: int) -> int:
        """An unsigned number of so many bits."""
        if count > self.left:
            raise EOFError
        self.left -= count
        return (self.value >> self.left) & ((1 << count) - 1)

    def flag(self) -> bool:
        return bool(self.u(1))

    def ue(self) -> int:
        """Exp-Golomb, unsigned."""
        zeros = 0
        while not self.u(1):
            zeros += 1
        return (1 << zeros) - 1 + self.u(zeros)

    def se(self) -> int:
        """Exp-Golomb, signed."""
        value = self.ue()
        return (value + 1) // 2 if value % 2 else -(value // 2)


def unescaped(unit: bytes) -> bytes:
    """A unit without the bytes that keep start codes from appearing in it."""
    return unit.replace(b'\0\0\3', b'\0\0')


def units(data: bytes, length_size: int) -> Iterator[bytes]:
    """The units of a packet, after lengths of `length_size` bytes, or for 0 after start codes."""
    if length_size:
        at = 0
        while at + length_size <= len(data):
            size = int.from_bytes(data[at : at + length_size], 'big')
            at += length_size
            yield data[at : at + size]
            at += size
        return
    for piece in data.split(b'\0\0\1')[1:]:
        unit = piece.rstrip(b'\0')
        if unit:
            yield unit


def in_avc_record(extra: bytes) -> tuple[int, list[bytes]]:
    """(bytes of a length, parameter sets) of an MP4's or MKV's H.264 stream; (0, units) of one with start codes."""
    if extra[:1] != b'\1':
        return 0, list(units(extra, 0))
    found, at = [], 5
    for mask in (31, 255):
        if at >= len(extra):
            break
        count, at = extra[at] & mask, at + 1
        for _ in range(count):
            size = int.from_bytes(extra[at : at + 2], 'big')
            found.append(extra[at + 2 : at + 2 + size])
            at += 2 + size
    return (extra[4] & 3) + 1, found


def in_hevc_record(extra: bytes) -> tuple[int, list[bytes]]:
    """The same of HEVC."""
    if extra[:1] != b'\1' or len(extra) < 23:
        return 0, list(units(extra, 0))
    found, at = [], 23
    for _ in range(extra[22]):
        count, at = int.from_bytes(extra[at + 1 : at + 3], 'big'), at + 3
        for _ in range(count):
            size = int.from_bytes(extra[at : at + 2], 'big')
            found.append(extra[at + 2 : at + 2 + size])
            at += 2 + size
    return (extra[21] & 3) + 1, found


def sei_text(payload: bytes) -> str:
    """The text of the user data (unregistered) in a SEI unit without its header; '' where there is none."""
    at = 0
    while at + 2 <= len(payload) and payload[at] != 0x80:
        kind = size = 0
        while at < len(payload) and payload[at] == 255:
            kind, at = kind + 255, at + 1
        kind, at = kind + payload[at], at + 1
        while at < len(payload) and payload[at] == 255:
            size, at = size + 255, at + 1
        if at >= len(payload):
            return ''
        size, at = size + payload[at], at + 1
        if kind == 5:
            text = payload[at + 16 : at + size].split(b'\0')[0].decode('latin-1').strip()
            return text if text.isascii() and text.isprintable() else ''
        at += size
    return ''
