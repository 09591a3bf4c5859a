"""What a data set holds, cheaply: whether the frames under the same names are still the same ones.

A manifest is of contents, not of places or dates: names of clips, their lengths and sizes, the bytes of their files and
checksums of parts of them. Copying or touching files changes nothing; other pictures under the same names do.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from votes.checkpoint import checksum
from votes.data.lmdb_source import LmdbSource
from votes.data.packed_source import PackedSource
from votes.data.sources import FolderSource, FrameSource, open_source
from votes.data.video_source import VideoSource, YuvSource

Manifest = dict[str, Any]
PIECE = 4096  # bytes at the start, the middle and the end of what is sampled
LOOKED_INTO = 2048  # clips whose contents are sampled, spread over all
DECODED = 4  # frames that are decoded, spread over all: what different kinds of stores have in common


def manifest(source: FrameSource | str | Path, clips: Iterable[str] | None = None) -> Manifest:
    """What a frame source holds.

    Args:
        source: or the folder of one.
        clips: takes these alone (default: all).

    Returns:
        'kind' of source; 'clips': name -> [frames, height, width, checksum]; 'frames': 'clip/index' -> checksum of
        RGB pixels, of a few frames; 'digest': of all of it. The checksum of a clip covers the number of bytes of all of
        its files, and of up to 2048 clips three pieces of 4096 bytes of a file. In JSON about 60 bytes a clip.

    Raises:
        UserError: a clip cannot be read.
    """
    source = open_source(source) if isinstance(source, str | Path) else source
    names = sorted(source.clips() if clips is None else clips)
    every = max(1, len(names) // LOOKED_INTO)
    rows = {
        clip: [source.length(clip), *source.size(clip), stored(source, clip, number % every == 0)]
        for number, clip in enumerate(names)
    }
    spread = (
        [names[i] for i in sorted({*np.linspace(0, len(names) - 1, DECODED).astype(int).tolist()})] if names else []
    )
    frames = {}
    for clip in spread:
        frames[f'{clip}/0'] = hashlib.sha256(np.ascontiguousarray(source.read(clip, 0)).data).hexdigest()[:16]
    found: Manifest = {'kind': type(source).__name__, 'clips': rows, 'frames': frames}
    return {**found, 'digest': checksum(found)}


def differences(before: Manifest, now: Manifest) -> list[str]:
    """What changed from one manifest to another, a sentence each; nothing where they are of the same contents.

    Frames of different kinds of stores (a folder that was packed in between) are compared by what both have: names,
    lengths, sizes, and the pixels of a few frames.
    """
    if before.get('digest') == now.get('digest'):
        return []
    old, new = before['clips'], now['clips']
    both = [clip for clip in old if clip in new]
    same_kind = before['kind'] == now['kind']
    shapes = [clip for clip in both if list(old[clip][:3]) != list(new[clip][:3])]
    contents = {clip for clip in both if same_kind and old[clip][3] != new[clip][3]}
    frames = before['frames'], now['frames']
    contents |= {
        key.rpartition('/')[0] for key in frames[0].keys() & frames[1].keys() if frames[0][key] != frames[1][key]
    }
    found = (
        ('clips are gone', [clip for clip in old if clip not in new]),
        ('clips are new', [clip for clip in new if clip not in old]),
        ('clips have another length or size', shapes),
        ('clips hold other frames', sorted(contents - set(shapes))),
    )
    return [_line(text, clips) for text, clips in found if clips]


def _line(text: str, clips: list[str]) -> str:
    more = f' and {len(clips) - 3} more' if len(clips) > 3 else ''
    return f'{text}: {", ".join(clips[:3])}{more}'


def stored(source: FrameSource, clip: str, look: bool = True) -> str:
    """A checksum of how a clip is stored: bytes of its files, and with `look` some of what is in them."""
    total = hashlib.sha256()
    if isinstance(source, PackedSource):
        total.update(str(source.manifest[clip].get('sha256')).encode())
        if look:
            _pieces(total, source.frames(clip).reshape(-1).data)
    elif isinstance(source, LmdbSource):
        if look:
            data = source.encoded(clip, source.length(clip) // 2)
            total.update(str(len(data)).encode())
            _pieces(total, memoryview(data))
    elif isinstance(source, FolderSource):
        paths = [source.root / clip / name for name in source.files(clip)]
        total.update(' '.join(str(os.stat(path).st_size) for path in paths).encode())
        if look:
            _file_pieces(total, paths[len(paths) // 2])
    elif isinstance(source, VideoSource | YuvSource):
        path = source.path(clip)
        total.update(str(path.stat().st_size).encode())
        _file_pieces(total, path)
    else:
        for index in {0, source.length(clip) - 1} if look else ():
            total.update(np.ascontiguousarray(source.read(clip, index)).data)
    return total.hexdigest()[:16]


def _pieces(total: Any, data: memoryview) -> None:
    for start in (0, len(data) // 2, max(0, len(data) - PIECE)):
        total.update(data[start : start + PIECE])


def _file_pieces(total: Any, path: Path) -> None:
    with open(path, 'rb') as file:
        size = os.fstat(file.fileno()).st_size
        for start in (0, size // 2, max(0, size - PIECE)):
            file.seek(start)
            total.update(file.read(PIECE))
