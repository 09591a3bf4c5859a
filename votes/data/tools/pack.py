"""`votes pack`: frames of any source into a packed store or an LMDB, checked by reading them back.

Work happens in OUT.partial, which becomes OUT when it is complete; the same command goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from votes import checkpoint
from votes.data.lmdb_source import LmdbSource
from votes.data.open_source import kind_of, open_source
from votes.data.packed_source import MANIFEST, PackedSource
from votes.data.sources import FolderSource, Frame, FrameSource
from votes.errors import UserError

PNG_LEVEL = 1
FIRST_MAP = 1 << 28  # bytes; grown when it is full
Say = Callable[[str], None]


def pack(source: str | Path, target: str | Path, to: str = 'packed', workers: int = 2, say: Say = print) -> None:
    """Writes every clip of `source` to `target`.

    Args:
        to: 'packed' (raw frames, see PackedSource) or 'lmdb' (PNG, BasicSR's layout).
        workers: threads that decode.
        say: takes a line of progress.

    Raises:
        UserError: `target` exists, a frame is damaged, the disk is full, or what was read back differs.
    """
    target = Path(target)
    if target.exists():
        raise UserError('the output exists', where=target, fix='choose another name, or remove it')
    frames = open_source(source)
    partial = target.with_name(f'{target.name}.partial')
    partial.mkdir(parents=True, exist_ok=True)
    _same_job(partial, {'source': str(Path(source).resolve()), 'to': to})
    try:
        with ThreadPoolExecutor(workers) as pool:
            _Progress(frames, say).run(_pack_clips if to == 'packed' else _pack_lmdb, partial, pool)
    except OSError as error:
        raise UserError(
            'the store cannot be written',
            where=partial,
            value=error,
            fix='make room; the same command goes on from there',
        ) from error
    (partial / 'job.json').unlink()
    os.replace(partial, target)
    say(f'{target}: {len(frames.clips())} clips, read back and equal')


def _same_job(partial: Path, job: dict[str, str]) -> None:
    path = partial / 'job.json'
    if not path.exists():
        checkpoint.write_json(path, job)
    elif json.loads(path.read_text()) != job:
        raise UserError('another job was begun here', where=partial, value=path.read_text(), fix='remove this folder')


class _Progress:
    """Passes clips on and says how far it is and how long it will take."""

    def __init__(self, frames: FrameSource, say: Say):
        self.frames, self.say = frames, say
        self.total = sum(frames.length(clip) for clip in frames.clips())
        self.done = self.skipped = 0
        self.started = time.monotonic()

    def run(self, work: Callable[[_Progress, Path, ThreadPoolExecutor], None], *args: Any) -> None:
        work(self, *args)

    def tell(self, clip: str, skipped: bool = False) -> None:
        count = self.frames.length(clip)
        self.done += count
        self.skipped += count if skipped else 0
        pace = (time.monotonic() - self.started) / max(1, self.done - self.skipped)
        rest = 'was there' if skipped else f'{pace * (self.total - self.done):.0f} s to go'
        self.say(f'{clip}: {self.done}/{self.total} frames, {rest}')


def _read_all(frames: FrameSource, clip: str, pool: ThreadPoolExecutor) -> Iterator[Frame]:
    """A clip's frames in order, a few decoded ahead; a decoder of video is read by one thread only."""
    count = frames.length(clip)
    if not isinstance(frames, FolderSource | LmdbSource):
        yield from (frames.read(clip, i) for i in range(count))
        return
    ahead = 16
    waiting = [pool.submit(frames.read, clip, i) for i in range(min(ahead, count))]
    for i in range(count):
        yield waiting.pop(0).result()
        if i + ahead < count:
            waiting.append(pool.submit(frames.read, clip, i + ahead))


def _pack_clips(progress: _Progress, partial: Path, pool: ThreadPoolExecutor) -> None:
    frames, manifest = progress.frames, {}
    for clip in frames.clips():
        about = partial / f'{clip}.json'
        if about.is_file() and (partial / f'{clip}.npy').is_file():
            progress.tell(clip, skipped=True)
        else:
            _need_room(partial, frames.length(clip) * int(np.prod(frames.size(clip))) * 3)
            written = _pack_clip(frames, clip, partial / f'{clip}.npy', pool)
            checkpoint.write_json(about, written)
            progress.tell(clip)
        manifest[clip] = json.loads(about.read_text())
    checkpoint.write_json(partial / MANIFEST, {'clips': manifest})
    for clip in manifest:
        (partial / f'{clip}.json').unlink()


def _pack_clip(frames: FrameSource, clip: str, path: Path, pool: ThreadPoolExecutor) -> dict[str, Any]:
    """Writes one .npy and reads it back."""
    shape = (frames.length(clip), *frames.size(clip), 3)
    total = hashlib.sha256()
    with checkpoint.atomic_write(path) as temporary:
        with open(temporary, 'wb') as file:
            header = {'descr': '|u1', 'fortran_order': False, 'shape': shape}
            np.lib.format.write_array_header_1_0(file, header)  # type: ignore[arg-type]
            for frame in _read_all(frames, clip, pool):
                data = frame.tobytes()
                total.update(data)
                file.write(data)
        _compare(temporary, shape, total.hexdigest())
    return {'shape': list(shape), 'sha256': total.hexdigest()}


def _compare(path: Path, shape: tuple[int, ...], expected: str) -> None:
    found, stored = hashlib.sha256(), np.load(path, mmap_mode='r')
    for frame in stored:
        found.update(frame.tobytes())
    if stored.shape != shape or found.hexdigest() != expected:
        raise UserError('what was written reads back differently', where=path, fix='is the disk sound?')


def _need_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed + (64 << 20):
        raise UserError(
            'too little room for the next clip',
            where=folder,
            value=f'{free / 1e9:.2f} GB free, {needed / 1e9:.2f} GB needed',
            fix='make room; the same command goes on from there',
        )


def _encoded(frames: FrameSource, clip: str, index: int) -> tuple[bytes, tuple[int, int]]:
    """A frame as a PNG file: the source's own where it is one."""
    if isinstance(frames, FolderSource):
        path = frames.root / clip / frames.files(clip)[index]
        frames.read(clip, index)  # damaged pictures are found now
        if path.suffix.lower() == '.png':
            return path.read_bytes(), frames.size(clip)
    frame = frames.read(clip, index)
    done, data = cv2.imencode('.png', cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, PNG_LEVEL])
    if not done:
        raise OSError(f'{clip}/{index} cannot be encoded')
    return data.tobytes(), (frame.shape[0], frame.shape[1])


def _pack_lmdb(progress: _Progress, partial: Path, pool: ThreadPoolExecutor) -> None:
    import lmdb

    frames, lines = progress.frames, []
    threads = isinstance(frames, FolderSource | LmdbSource)
    _need_room(partial, FIRST_MAP)
    environment = lmdb.open(str(partial), map_size=FIRST_MAP)
    try:
        for clip in frames.clips():
            keys = [f'{clip}/{i:08d}' for i in range(frames.length(clip))]
            with environment.begin() as reading:
                missing = [i for i, key in enumerate(keys) if reading.get(key.encode()) is None]
            run = pool.map if threads else map
            for i, (data, _) in zip(missing, run(lambda i: _encoded(frames, clip, i), missing), strict=True):  # noqa: B023
                _put(environment, keys[i].encode(), data, partial)
            with environment.begin() as reading:
                _compare_clip(frames, clip, [bytes(reading.get(key.encode()) or b'') for key in keys], partial)
            height, width = frames.size(clip)
            lines += [f'{key}.png ({height},{width},3) {PNG_LEVEL}' for key in keys]
            progress.tell(clip, skipped=not missing)
        environment.sync(True)
    except lmdb.Error as error:
        raise OSError(str(error)) from error
    finally:
        environment.close()
    with checkpoint.atomic_write(partial / 'meta_info.txt') as temporary:
        temporary.write_text('\n'.join(lines) + '\n')


def _put(environment: Any, key: bytes, data: bytes, folder: Path) -> None:
    """Writes one value; a map that is full is doubled, as long as the disk has room for it."""
    import lmdb

    while True:
        try:
            with environment.begin(write=True) as transaction:
                transaction.put(key, data)
            return
        except lmdb.MapFullError:
            size = environment.info()['map_size']
            _need_room(folder, size)
            environment.set_mapsize(2 * size)


def _compare_clip(frames: FrameSource, clip: str, stored: list[bytes], folder: Path) -> None:
    for index in (0, len(stored) - 1):  # the pictures are the source's bytes; a look at both ends shows a mix-up
        image = cv2.imdecode(np.frombuffer(stored[index], np.uint8), cv2.IMREAD_COLOR)
        if image is None or not np.array_equal(image[..., ::-1], frames.read(clip, index)):
            raise UserError('what was written reads back differently', where=f'{folder}: {clip}/{index:08d}')


def verify(root: str | Path) -> list[str]:
    """Reads a store through. Returns what is wrong, a line each.

    Raises:
        UserError: `root` is no store.
    """
    kind, problems = kind_of(root), []
    source = open_source(root)
    for clip in source.clips():
        try:
            if isinstance(source, PackedSource):
                found = hashlib.sha256()
                for frame in source.frames(clip):
                    found.update(frame.tobytes())
                if found.hexdigest() != source.manifest[clip]['sha256']:
                    problems.append(f'{clip}: not what was packed (checksum)')
            else:
                for i in range(source.length(clip)):
                    source.read(clip, i)
        except UserError as error:
            problems.append(f'{clip}: {error.what} ({kind}, {error.details["where"]})')
    return problems
