"""Which frame source a path is."""

from __future__ import annotations

import fnmatch
import os
from pathlib import Path

from votes.data.sources import FrameSource
from votes.registry import SOURCES


def kind_of(root: str | Path) -> str:
    """What lies at `root`, as the stores of the registry say; 'disk' (folders of pictures) if it is nothing else."""
    root = Path(root)
    names = [f'{root.name}/']
    names += [entry.name.lower() for entry in os.scandir(root) if not entry.is_dir()] if root.is_dir() else []
    told = ((kind, getattr(SOURCES.get(kind), 'told_by', ())) for kind in SOURCES.table)  # some are only named
    return next(kind for kind, patterns in told if any(fnmatch.filter(names, pattern) for pattern in patterns))


def open_source(root: str | Path, io_backend: dict | None = None) -> FrameSource:
    """The frame source at `root`: of the kind that `io_backend` names (``{type: lmdb}``, or module:Class of a user's
    own), else of what lies there.
    """
    kind = (io_backend or {}).get('type', 'auto')
    source: FrameSource = SOURCES.get(kind_of(root) if kind == 'auto' else kind)(root)
    return source
