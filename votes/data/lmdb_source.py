"""Frames in an LMDB as BasicSR lays it out: encoded pictures under 'CLIP/NUMBER', listed in meta_info.txt."""

from __future__ import annotations

import os
import re
from typing import Any

import numpy as np

from votes.data.sources import Crop, Frame, KnownClips, check_clip_name, cropped, decode_picture
from votes.errors import UserError, explained

LINE = re.compile(r'^(?P<key>.+?)(\.\w+)? \((?P<height>\d+),\s*(?P<width>\d+)(,\s*\d+)?\)( \d+)?$')
# folder -> environment: it may be opened only once in a process, and does not survive a fork
ENVIRONMENTS: dict[str, Any] = {}


def _close_environments() -> None:
    while ENVIRONMENTS:
        ENVIRONMENTS.popitem()[1].close()


os.register_at_fork(before=_close_environments)  # they open again where they are needed


class LmdbSource(KnownClips):
    """``root`` is an LMDB folder with meta_info.txt, a line a frame: ``000/00000000.png (720,1280,3) 1``.

    The database is opened on first use in each process.

    Raises:
        UserError: no LMDB there, a line that says something else, or (when read) a missing or damaged picture.
    """

    told_by = ('data.mdb', '*.lmdb/')

    def _find(self) -> dict[str, Any]:
        meta = self.root / 'meta_info.txt'
        if not meta.is_file() or not (self.root / 'data.mdb').is_file():
            fix = 'a folder with data.mdb and meta_info.txt: votes pack'
            raise UserError('no LMDB of frames', where=self.root.absolute(), fix=fix)
        keys: dict[str, list[str]] = {}
        sizes: dict[str, tuple[int, int]] = {}
        for number, line in enumerate(meta.read_text(errors='replace').splitlines(), 1):
            found, where = LINE.match(line), f'{meta}:{number}'
            if not found:
                raise UserError('not a line of meta_info.txt', where=where, value=line[:80], fix='KEY.png (H,W,3) 1')
            clip = found['key'].rpartition('/')[0]
            if clip not in keys:
                check_clip_name(clip, where)
                keys[clip], sizes[clip] = [], (int(found['height']), int(found['width']))
            keys[clip].append(found['key'])
        return {clip: (len(names), sizes[clip], sorted(names)) for clip, names in sorted(keys.items())}

    def _environment(self) -> Any:
        import lmdb

        key = str(self.root.resolve())
        if key not in ENVIRONMENTS:
            with explained('LMDB cannot be opened', lmdb.Error, where=self.root):
                opened = lmdb.open(key, readonly=True, lock=False, readahead=False, meminit=False)
            # beyond the end of a file that was cut there is nothing to map: reading there would end the process
            needed = (opened.info()['last_pgno'] + 1) * opened.stat()['psize']
            if os.path.getsize(f'{key}/data.mdb') < needed:
                opened.close()
                value = f'{needed} bytes are expected'
                raise UserError('LMDB is cut off', where=self.root / 'data.mdb', value=value, fix='copy it again')
            ENVIRONMENTS[key] = opened
        return ENVIRONMENTS[key]

    def encoded(self, clip: str, index: int) -> bytes:
        """The picture file as it is stored."""
        import lmdb

        key = self._of(clip)[2][index]
        where, environment = f'{self.root}: {key}', self._environment()
        with explained('LMDB is damaged', lmdb.Error, where=where, fix='copy it again'), environment.begin() as reading:
            data = reading.get(key.encode())
        if data is None:
            raise UserError('a frame is missing in the LMDB', where=where, fix='pack the frames again')
        return bytes(data)

    def read(self, clip: str, index: int, crop: Crop | None = None) -> Frame:
        data = np.frombuffer(self.encoded(clip, index), np.uint8)
        return cropped(decode_picture(data, f'{self.root}: {self._of(clip)[2][index]}'), crop)
