"""The weights that the page offers: files of whole networks in the folders that were named."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from votes.archs import build_network, stored_options
from votes.archs.contract import promise
from votes.errors import UserError
from votes.options.outline import shapes_only

SUFFIXES = ('.pth', '.pt')


@dataclass(frozen=True)
class Weights:
    """A file that restores videos.

    Attributes:
        key: what requests call it: a hash, so that they name no file.
        name: where it lies in its folder, as a person is shown it.
    """

    key: str
    path: Path
    name: str
    network: str
    scale: int
    parameters: int

    def shown(self) -> dict[str, Any]:
        """What the page is told."""
        return {k: getattr(self, k) for k in ('key', 'name', 'network', 'scale', 'parameters')}


class Catalogue:
    """Finds weights again and again; a file is read once, until it changes.

    Args:
        places: files, or folders that are searched with all folders in them.
        named: files that are offered first, under names of their own.

    Raises:
        UserError: one of them is not there.
    """

    def __init__(self, places: list[Path], named: Mapping[str, Path] | None = None):
        for place in places:
            if not place.exists():
                raise UserError('no such weights', where=place.absolute(), fix='a file, or a folder with .pth files')
        self.places = places
        self.named = {path.resolve(): name for name, path in (named or {}).items()}
        self.lock = threading.Lock()
        self.closed = False
        self._read: dict[tuple[Path, int], Weights | None] = {}

    def all(self) -> list[Weights]:
        """Those that are there now, in the order of the places."""
        with self.lock:
            files = {path: name for place in self.places for path, name in _files(place)}
            files = self.named | {path: name for path, name in files.items() if path not in self.named}
            found = []
            for path, name in files.items():
                try:
                    key = path, path.stat().st_mtime_ns
                except OSError:  # gone since
                    continue
                if self.closed:
                    return []
                if key not in self._read:
                    self._read[key] = describe(path, name)
                if self._read[key] is not None:
                    found.append(self._read[key])
            return [weights for weights in found if weights is not None]

    def close(self) -> None:
        """Reads nothing any more."""
        self.closed = True
        with self.lock:  # waits for the file at hand
            self._read.clear()

    def get(self, key: str) -> Weights:
        """Raises UserError where there are none of this key (any more)."""
        for weights in self.all():
            if weights.key == key:
                return weights
        raise UserError('these weights are not there any more', fix='choose others')


def _files(place: Path) -> list[tuple[Path, str]]:
    """Files of weights, and what they are called. Of a training run only the latest and the best."""
    if place.is_file():
        return [(place.resolve(), place.name)]
    found = [p for p in sorted(place.rglob('*')) if p.suffix in SUFFIXES and p.is_file() and p.name[0] != '.']
    latest = {p.parent for p in found if p.name == 'net_g_latest.pth'}
    return [
        (path.resolve(), f'{place.resolve().name}/{path.relative_to(place)}')
        for path in found
        if path.parent.name != 'training_states'
        and not (path.parent in latest and path.stem.removeprefix('net_g_').isdecimal())
    ]


def describe(path: Path, name: str) -> Weights | None:
    """None of a file that is no network which restores videos."""
    try:
        net = _built(stored_options(path))
        said = promise(net)
    except UserError:
        return None
    if not said.restores:
        return None
    count = sum(p.numel() for p in net.parameters())
    key = hashlib.sha256(str(path).encode()).hexdigest()[:16]
    return Weights(key, path, name, said.name, said.scale, count)


def _built(options: dict[str, Any]) -> nn.Module:
    """Without values where that works: only its sizes are wanted."""
    try:
        with shapes_only():
            return build_network(options)
    except UserError:
        return build_network(options)
