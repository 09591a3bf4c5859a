"""A restoration that can be interrupted: finished segments lie in a folder beside the output until all are there."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from votes import checkpoint
from votes.checkpoint import copied, read_record, write_record
from votes.errors import UserError, explained
from votes.options.changes import flat, other_values
from votes.processes.lease import Lease, LeaseLost
from votes.video.mux import Piece

SUFFIX = '.votes-job'
JOINING = 'joining.json'
EDGE = 1 << 20  # bytes read at both ends of a source to recognise it


def fingerprint(path: Path) -> dict[str, Any]:
    """What a file, or a folder of pictures, is recognised by: its size and the hash of its ends, or names and sizes."""
    if path.is_dir():
        sizes = {p.name: p.stat().st_size for p in sorted(path.iterdir()) if p.is_file()}
        size, content = sum(sizes.values()), '\n'.join(f'{name} {size}' for name, size in sizes.items()).encode()
    else:
        size = path.stat().st_size
        with open(path, 'rb') as file:
            content = file.read(EDGE)
            file.seek(max(EDGE, size - EDGE))
            content += file.read()
    return {'name': path.name, 'bytes': size, 'sha256': hashlib.sha256(content).hexdigest()[:16]}


def job_folder(target: Path) -> Path:
    """Where finished segments of an output lie."""
    return target.with_name(target.name + SUFFIX)


def was_joining(target: Path) -> bool:
    """Whether a job of this output got as far as putting it in its place, and was killed before its own end."""
    return (job_folder(target) / JOINING).is_file()


@dataclass
class Segment(Piece):
    """A finished part, of so many frames."""

    frames: int


def segments_in(folder: Path, known: Mapping[int, Segment] | None = None) -> dict[int, Segment]:
    """The finished segments in a job folder by number; of those in `known` nothing is read. One whose note is damaged
    is not finished.
    """
    found = dict(known or {})
    for path in sorted(folder.glob('[0-9]*.json')):
        if int(path.stem) not in found:
            with contextlib.suppress(ValueError, KeyError):
                about = read_record(path, unsigned=True)
                found[int(path.stem)] = Segment(folder / about['file'], about['first'], about['frames'])
    return found


class Job:
    """``OUTPUT.votes-job/``: ``job.json`` says what is made of what, ``000012.nut`` and ``000012.json`` are a segment.

    Attributes:
        resumed: segments that were there already.
        lease: what this process owns it by; None of a helper.
    """

    resumed = 0

    def __init__(self, target: Path, lease: Lease | None):
        self.folder, self.lease = job_folder(target), lease
        self._done = self.folder.with_name(f'.{self.folder.name}.done')
        self.folder.mkdir(exist_ok=True)

    @classmethod
    @contextlib.contextmanager
    def of(
        cls, target: Path, description: dict[str, Any], restart: bool = False, helper: bool = False
    ) -> Iterator[Job]:
        """Begins a job, or goes on with it; one that fails before its first segment leaves no folder.

        Args:
            target: the output.
            description: all that the result depends on; a job that was begun with another one is not gone on with.
            restart: begin anew where there is another.
            helper: one of several processes that work on a job which another has begun.

        Raises:
            UserError: the job was begun with something else, or another process works on it.
        """
        lease = None if helper else Lease(job_folder(target), 'a restoration')
        with lease or contextlib.nullcontext():
            job = cls(target, lease)
            if lease:
                shutil.rmtree(job._done, ignore_errors=True)  # of a process that was killed while it tidied up
            for path in job.folder.iterdir() if restart and lease else ():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            job._compare(json.loads(json.dumps(description)))
            job.resumed = len(job.segments())
            try:
                yield job
            except BaseException:
                if lease and not job.segments():
                    job.remove()
                raise

    def _still_mine(self) -> None:
        if self.lease is not None:
            with explained('another process has taken over this output', LeaseLost, where=self.folder):
                self.lease.check()

    def _compare(self, description: dict[str, Any]) -> None:
        path = self.folder / 'job.json'
        different = other_values(flat(self._noted(path)), flat(description)) if path.is_file() else []
        if different:
            what, fix = 'this output was begun with something else', 'the same command continues; --restart begins anew'
            raise UserError(what, where=self.folder, value='; '.join(different), fix=fix)
        if not path.is_file():
            write_record(path, description)

    def _noted(self, path: Path) -> dict[str, Any]:
        with explained('how this output was begun cannot be read', ValueError, where=path, fix='--restart begins anew'):
            return read_record(path, unsigned=True)

    def segments(self) -> dict[int, Segment]:
        """Those that are finished, by number."""
        return segments_in(self.folder)

    def finish(self, number: int, file: Path, frames: int, first: int) -> None:
        """Notes that a segment is written; from now on it is not made again."""
        self._still_mine()
        write_record(self.folder / f'{number:06d}.json', {'file': file.name, 'frames': frames, 'first': first})

    def recall(self) -> dict[str, Any]:
        """What `remember` kept."""
        path = self.folder / 'limits.json'
        return self._noted(path) if path.is_file() else {}

    def remember(self, limits: dict[str, Any]) -> None:
        """What memory allowed, so that the rest is made in the same way."""
        if limits != self.recall():
            write_record(self.folder / 'limits.json', limits)

    def remember_state(self, number: int, state: dict[str, Any]) -> None:
        """What a network that goes from frame to frame knows after a segment; that of earlier ones is not kept."""
        checkpoint.save(copied(state), self.folder / f'{number:06d}.state')
        for path in self.folder.glob('[0-9]*.state'):
            if int(path.stem) < number - 1:
                path.unlink()

    def recall_state(self, segment: int) -> dict[str, Any] | None:
        """What was known before a segment, where an earlier process got there."""
        path = self.folder / f'{segment - 1:06d}.state'
        return checkpoint.load(path) if path.is_file() else None

    def joining(self) -> None:
        """All segments are there; the output is put in its place from now on."""
        self._still_mine()
        write_record(self.folder / JOINING, {'segments': len(self.segments())})

    def remove(self) -> None:
        """After the output is complete. Either all of the folder is there, or nothing under its name."""
        shutil.rmtree(self._done, ignore_errors=True)
        self.folder.rename(self._done)
        shutil.rmtree(self._done, ignore_errors=True)
