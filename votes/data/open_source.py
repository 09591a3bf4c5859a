"""Which frame source a path is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from votes.data.lmdb_source import LmdbSource
from votes.data.packed_source import MANIFEST, PackedSource
from votes.data.sources import FolderSource, FrameSource
from votes.data.video_source import VIDEO_SUFFIXES, VideoSource, YuvSource
from votes.errors import UserError

KINDS: dict[str, Callable[[str | Path], FrameSource]] = {
    'disk': FolderSource,
    'lmdb': LmdbSource,
    'packed': PackedSource,
    'video': VideoSource,
    'yuv': YuvSource,
}


def kind_of(root: str | Path) -> str:
    """What lies at `root`; 'disk' (folders of pictures) if it is nothing else."""
    root = Path(root)
    if (root / MANIFEST).is_file():
        return 'packed'
    if (root / 'data.mdb').is_file() or root.suffix == '.lmdb':
        return 'lmdb'
    suffixes = {p.suffix.lower() for p in root.iterdir() if not p.is_dir()} if root.is_dir() else set()
    if suffixes & set(VIDEO_SUFFIXES):
        return 'video'
    return 'yuv' if '.yuv' in suffixes else 'disk'


def open_source(root: str | Path, io_backend: dict | None = None) -> FrameSource:
    """The frame source at `root`: of the kind that `io_backend` names (``{type: lmdb}``), else of what lies there."""
    kind = (io_backend or {}).get('type', 'auto')
    if kind not in (*KINDS, 'auto'):
        raise UserError(f'unknown io_backend type {kind!r}', where=root, fix=f'auto, {", ".join(KINDS)}')
    return KINDS[kind_of(root) if kind == 'auto' else kind](root)
