"""`votes pack`: frames of any source into a packed store or an LMDB, checked by reading them back.

Work happens in OUT.partial, which becomes OUT when it is complete; the same command goes on where it stopped: with the
shard, or for an LMDB the frame, that is missing.
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import math
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from votes import checkpoint
from votes.data.degrading import DECODING
from votes.data.lmdb_source import LmdbSource
from votes.data.packed_source import MANIFEST, PackedSource
from votes.data.sources import FolderSource, Frame, FrameSource, kind_of, open_source
from votes.data.video_source import VideoSource, YuvSource
from votes.errors import UserError
from votes.processes.lease import Lease

PNG_LEVEL = 1
MAP = 1 << 40  # bytes of addresses that an LMDB may grow to, as BasicSR's: its file is as large as what it holds
FIRST = 1 << 28  # bytes that are free on the disk before an LMDB is begun
SHARD = 1 << 30  # bytes: a clip that ends beyond it is the last of its shard
BATCH = 16 << 20  # bytes of pictures that are written to an LMDB at once: each writing waits for the disk
RESERVE = 64 << 20  # bytes that stay free on the disk
MAKE_ROOM = 'make room; the same command goes on from there'
Say = Callable[[str], None]


def pack(source: str | Path, target: str | Path, to: str = 'packed', workers: int = 2, say: Say = print) -> None:
    """Writes every clip of `source` to `target`.

    Args:
        to: 'packed' (raw frames, see PackedSource) or 'lmdb' (PNG, BasicSR's layout).
        workers: threads that decode.
        say: takes a line of progress.

    Raises:
        UserError: `target` exists, somebody else is writing it, a frame is damaged, the disk is full (found before the
            first frame where it can be), or what was read back differs.
    """
    target = Path(target)
    if target.exists():
        raise UserError('the output exists', where=target, fix='choose another name, or remove it')
    frames = open_source(source)
    folder = target.with_name(f'{target.name}.partial')
    with checkpoint.writing('the store', folder, '; the same command goes on from there'):
        folder.mkdir(parents=True, exist_ok=True)
        with Lease(folder, 'packing'), ThreadPoolExecutor(max(1, workers)) as pool:
            checkpoint.begin(folder / 'job.json', {'source': str(Path(source).resolve()), 'to': to}, 'another job')
            (_pack_clips if to == 'packed' else _pack_lmdb)(_Progress(frames, say), folder, pool)
            (folder / 'job.json').unlink()
            os.replace(folder, target)
    say(f'{target}: {len(frames.clips())} clips, read back and equal')


class _Progress:
    """Says how far it is and how long it will take: a line a clip, of many clips a line a second."""

    def __init__(self, frames: FrameSource, say: Say):
        self.frames, self.say = frames, say
        self.total = sum(frames.length(clip) for clip in frames.clips())
        self.many = len(frames.clips()) > 100
        self.done = self.skipped = 0
        self.started = self.said = time.monotonic()

    def tell(self, clip: str, skipped: bool = False) -> None:
        count = self.frames.length(clip)
        self.done += count
        self.skipped += count if skipped else 0
        now = time.monotonic()
        if self.many and now - self.said < 1 and self.done < self.total:
            return
        self.said = now
        pace = (now - self.started) / max(1, self.done - self.skipped)
        rest = 'was there' if skipped else f'{pace * (self.total - self.done):.0f} s to go'
        self.say(f'{clip}: {self.done}/{self.total} frames, {rest}')


def _read_all(frames: FrameSource, clips: Iterable[str], pool: ThreadPoolExecutor) -> Iterator[tuple[str, int, Frame]]:
    """Clip, index and frame in order, a few decoded ahead; a decoder of video is read by one thread only."""
    asked = ((clip, i) for clip in clips for i in range(frames.length(clip)))
    if not isinstance(frames, FolderSource | LmdbSource):
        yield from ((clip, i, frames.read(clip, i)) for clip, i in asked)
        return
    waiting: deque[tuple[str, int, Future[Frame]]] = deque()
    for clip, i in asked:
        waiting.append((clip, i, pool.submit(frames.read, clip, i)))
        if len(waiting) >= 16:
            done = waiting.popleft()
            yield done[0], done[1], done[2].result()
    yield from ((clip, i, future.result()) for clip, i, future in waiting)


def _bytes(frames: FrameSource, clip: str) -> int:
    return frames.length(clip) * math.prod(frames.size(clip)) * 3


def _shards(frames: FrameSource) -> Iterator[list[str]]:
    """The clips of each shard."""
    shard: list[str] = []
    filled = 0
    for clip in frames.clips():
        shard.append(clip)
        filled += _bytes(frames, clip)
        if filled >= SHARD:
            yield shard
            shard, filled = [], 0
    if shard:
        yield shard


def _pack_clips(progress: _Progress, folder: Path, pool: ThreadPoolExecutor) -> None:
    frames = progress.frames
    manifest: dict[str, Any] = {}
    shards = {f'shard_{number:05d}': clips for number, clips in enumerate(_shards(frames))}
    done = {name: _already(folder, name, frames, clips) for name, clips in shards.items()}
    need_room(folder, sum(_bytes(frames, clip) for name, clips in shards.items() if not done[name] for clip in clips))
    for name, clips in shards.items():
        for clip in clips if done[name] else ():
            progress.tell(clip, skipped=True)
        manifest |= done[name] or _pack_shard(progress, clips, folder / f'{name}.npy', pool)
    about = {'decoding': DECODING} if isinstance(frames, VideoSource | YuvSource) else {}
    checkpoint.write_record(folder / MANIFEST, {'source': type(frames).__name__, **about, 'clips': manifest})
    for name in shards:
        (folder / f'{name}.json').unlink()


def _already(folder: Path, name: str, frames: FrameSource, clips: list[str]) -> dict[str, Any]:
    """What packed.json will say of a shard that an earlier call wrote; nothing if it has to be written."""
    try:
        about = checkpoint.read_record(folder / f'{name}.json', unsigned=True)
        there = {clip: tuple(entry['shape']) for clip, entry in about.items()}
        if not (folder / f'{name}.npy').is_file():
            return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    return about if there == {clip: (frames.length(clip), *frames.size(clip), 3) for clip in clips} else {}


def _pack_shard(progress: _Progress, clips: list[str], path: Path, pool: ThreadPoolExecutor) -> dict[str, Any]:
    """Writes the clips of a shard one after the other and reads them back."""
    frames = progress.frames
    about: dict[str, Any] = {}
    total, offset = hashlib.sha256(), 0
    with checkpoint.atomic_write(path) as temporary:
        with open(temporary, 'wb') as file:
            header = {'descr': '|u1', 'fortran_order': False, 'shape': (sum(_bytes(frames, clip) for clip in clips),)}
            np.lib.format.write_array_header_1_0(file, header)  # type: ignore[arg-type]
            for clip, index, frame in _read_all(frames, clips, pool):
                total.update(frame.tobytes())
                file.write(frame.tobytes())
                if index + 1 == frames.length(clip):
                    shape = [frames.length(clip), *frames.size(clip), 3]
                    about[clip] = {'shard': path.name, 'offset': offset, 'shape': shape, 'sha256': total.hexdigest()}
                    total, offset = hashlib.sha256(), offset + math.prod(shape)
                    progress.tell(clip)
        _compare(temporary, about)
    checkpoint.write_record(path.with_suffix('.json'), about)
    return about


def _compare(path: Path, about: dict[str, Any]) -> None:
    stored = np.load(path, mmap_mode='r')
    for clip, entry in about.items():
        part = stored[entry['offset'] : entry['offset'] + math.prod(entry['shape'])]
        if hashlib.sha256(part.data).hexdigest() != entry['sha256']:
            what, fix = 'what was written reads back differently', 'is the disk sound?'
            raise UserError(what, where=f'{path}: {clip}', fix=fix)


def need_room(folder: Path, needed: int, what: str = 'for the store', where: Path | None = None) -> None:
    """Raises UserError where a disk has no room for so many bytes; some stay free."""
    free = shutil.disk_usage(folder).free
    if needed and free < needed + RESERVE:
        value = (
            f'{free / 1e9:.2f} GB free, {(needed + RESERVE) / 1e9:.2f} GB needed: '
            f'{needed / 1e9:.2f} GB for what is missing, and {RESERVE / 1e9:.2f} GB that stay free'
        )
        raise UserError(f'too little room {what}', where=where or folder, value=value, fix=MAKE_ROOM)


def _encoded(frames: FrameSource, clip: str, index: int) -> bytes:
    """A frame as a PNG file: the source's own where it is one."""
    if isinstance(frames, FolderSource):
        path = frames.root / clip / frames.files(clip)[index]
        frames.read(clip, index)  # damaged pictures are found now
        if path.suffix.lower() == '.png':
            return path.read_bytes()
    frame = frames.read(clip, index)
    done, data = cv2.imencode('.png', cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, PNG_LEVEL])
    if not done:
        raise OSError(f'{clip}/{index} cannot be encoded')
    return data.tobytes()


def _pack_lmdb(progress: _Progress, folder: Path, pool: ThreadPoolExecutor) -> None:
    import lmdb

    frames, lines = progress.frames, []
    run = pool.map if isinstance(frames, FolderSource | LmdbSource) else map
    need_room(folder, min(FIRST, sum(_bytes(frames, clip) for clip in frames.clips())))
    batch: dict[bytes, bytes] = {}
    complete: dict[str, bool] = {}  # clips whose last frame is stored or waiting -> whether they were there
    try:
        with lmdb.open(str(folder), map_size=MAP) as environment:
            for clip in frames.clips():
                keys = [f'{clip}/{i:08d}' for i in range(frames.length(clip))]
                with environment.begin() as reading:
                    missing = [i for i, key in enumerate(keys) if reading.get(key.encode()) is None]
                for i, data in zip(missing, run(partial(_encoded, frames, clip), missing), strict=True):
                    batch[keys[i].encode()] = data
                    if sum(map(len, batch.values())) >= BATCH or len(batch) >= 1024:
                        _put(environment, batch, complete, progress)
                complete[clip] = not missing
                height, width = frames.size(clip)
                lines += [f'{key}.png ({height},{width},3) {PNG_LEVEL}' for key in keys]
            _put(environment, batch, complete, progress)
            environment.sync(True)
    except lmdb.Error as error:
        raise OSError(errno.ENOSPC if 'No space' in str(error) else errno.EIO, str(error)) from error
    checkpoint.write_text(folder / 'meta_info.txt', '\n'.join(lines) + '\n')


def _put(environment: Any, batch: dict[bytes, bytes], complete: dict[str, bool], progress: _Progress) -> None:
    """Writes pictures, all or none, and looks at both ends of the clips that are complete: the pictures are the
    source's bytes, which shows a mix-up.
    """
    with environment.begin(write=True) as writing:
        writing.cursor().putmulti(batch.items())
    with environment.begin() as reading:
        for clip, there in complete.items():
            for index in {0, progress.frames.length(clip) - 1}:
                key = f'{clip}/{index:08d}'
                stored = np.frombuffer(reading.get(key.encode()) or b'', np.uint8)
                image = cv2.imdecode(stored, cv2.IMREAD_COLOR) if stored.size else None
                if image is None or not np.array_equal(image[..., ::-1], progress.frames.read(clip, index)):
                    raise UserError('what was written reads back differently', where=f'{environment.path()}: {key}')
            progress.tell(clip, skipped=there)
    batch.clear()
    complete.clear()


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
                if hashlib.sha256(source.frames(clip).data).hexdigest() != source.manifest[clip].get('sha256'):
                    problems.append(f'{clip}: not what was packed (checksum)')
            else:
                for i in range(source.length(clip)):
                    source.read(clip, i)
        except UserError as error:
            problems.append(f'{clip}: {error.what} ({kind}, {error.details["where"]})')
    return problems


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('source', type=Path, help='folders of pictures, videos, raw YUV, an LMDB or a packed store')
    parser.add_argument('output', type=Path, nargs='?', help='store to make')
    parser.add_argument('--to', choices=('packed', 'lmdb'), default='packed', help='raw frames, or PNG as BasicSR does')
    parser.add_argument('--workers', type=int, default=os.cpu_count() or 1, help='threads that decode')
    parser.add_argument('--verify', action='store_true', help='read SOURCE through instead; exit code 1 if damaged')


def run(args: argparse.Namespace) -> int:
    if args.verify:
        problems = verify(args.source)
        print('\n'.join(problems) or f'{args.source}: good')
        return 1 if problems else 0
    if args.output is None:
        raise UserError('where to?', fix='votes pack SOURCE OUTPUT')
    pack(args.source, args.output, args.to, args.workers)
    return 0
