"""One owner of a folder: who writes into it, for as long as it lives, on one machine or on several that share a disk.

A lease is a file ``.NAME.owner.N.json`` beside the folder, made by a hard link, which exactly one process can make on
local disks and on network file systems alike, whether they have locks or not. The highest N holds. The holder touches
its file every few seconds. Another process takes over with N + 1 where the holder is surely dead: its process is gone
from this machine, or, seen from another one, its file has not been touched for much longer than it should have been.
Ages are read from times that the file system gave to two files, so that the clocks of the machines do not matter.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from votes.checkpoint import writing
from votes.errors import UserError

BEAT = 5.0  # seconds between touches of a lease
PATIENCE = 60.0  # seconds without a touch after which a holder on another machine counts as dead


class LeaseLost(Exception):
    """Another process owns the folder now: this one must not write into it any more."""


class Lease:
    """Owns a folder inside a `with` block, or between `acquire` and `release`.

    Args:
        folder: need not exist; what it is called after links are followed counts.
        what: 'training', 'a study' ...: what its owner does, for the message that another process gets.
        beat, patience: seconds, see BEAT and PATIENCE.

    Attributes:
        on_loss: called by the thread that keeps it when it finds it lost.

    Raises:
        UserError: another process owns the folder; it says which.
    """

    def __init__(self, folder: Path, what: str, beat: float = BEAT, patience: float = PATIENCE):
        self.folder, self.what, self.beat, self.patience = folder.resolve(), what, beat, patience
        self.path: Path | None = None
        self.pid = os.getpid()
        self.lost = False
        self.on_loss: Callable[[], None] = lambda: None
        self._ended = threading.Event()
        self._beating: threading.Thread | None = None

    def __enter__(self) -> Lease:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def acquire(self) -> None:
        """Takes the folder, from nobody or from the dead."""
        while self.path is None:
            newest = _newest(self.folder)
            if newest is not None and not self._surely_dead(newest[1]):
                raise held(self.folder, read(newest[1]))
            self._take(1 if newest is None else newest[0] + 1)
        self._beating = threading.Thread(target=self._beat, name='lease', daemon=True)
        self._beating.start()

    def _take(self, number: int) -> None:
        """Leaves `path` at None where another process was first."""
        content = {'what': self.what, **_here(), 'command': ' '.join(sys.argv)[:300]}
        content['since'] = time.strftime('%Y-%m-%d %H:%M:%S')
        mine = self._file('new', uuid.uuid4().hex)
        path = self._file(number)
        try:
            with writing('the folder', mine.parent):
                mine.parent.mkdir(parents=True, exist_ok=True)
                mine.write_text(json.dumps(content))
            if not _linked(mine, path):
                return
        finally:
            with contextlib.suppress(OSError):
                mine.unlink()
        self.path = path
        for _, old in [pair for pair in _all(self.folder) if pair[0] < number]:
            old.unlink(missing_ok=True)

    def _file(self, *parts: object) -> Path:
        return self.folder.with_name('.'.join(['', self.folder.name, 'owner', *map(str, parts), 'json']))

    def _surely_dead(self, path: Path) -> bool:
        """Watches a lease for a while where that is the only way to know."""
        holder = read(path)
        alive = _alive(holder)
        if alive is not None:
            return not alive
        first, watched = None, time.monotonic()
        while True:
            try:
                touched, age = self._touched(path)
            except FileNotFoundError:  # released
                return True
            first = touched if first is None else first
            if touched != first:
                return False
            if age > self.patience or time.monotonic() - watched > self.patience:
                return True
            time.sleep(min(self.beat / 2, self.patience / 4))

    def _touched(self, path: Path) -> tuple[int, float]:
        """When a file was touched (nanoseconds), and how many seconds before a file that is made now."""
        probe = self._file('probe', uuid.uuid4().hex)
        try:
            probe.write_text('')
            now = probe.stat().st_mtime_ns
        finally:
            probe.unlink(missing_ok=True)
        with open(path, 'rb') as file:  # opening asks the server, a bare stat may be answered from a cache
            touched = os.fstat(file.fileno()).st_mtime_ns
        return touched, (now - touched) / 1e9

    def _beat(self) -> None:
        while not self._ended.wait(self.beat):
            try:
                self.check()
                assert self.path is not None
                os.utime(self.path)
            except LeaseLost:
                self.on_loss()
                return
            except OSError:
                continue  # a network that is away for a moment: whoever takes over meanwhile is seen by `check`

    def check(self) -> None:
        """Before anything is written.

        Raises:
            LeaseLost: another process has taken over.
        """
        if self.path is None or self.pid != os.getpid():
            return
        newest = _newest(self.folder)
        if self.lost or newest is None or newest[1] != self.path:
            self.lost = True
            holder = read(newest[1]) if newest else {}
            raise LeaseLost(f'{self.folder} belongs to {named(holder)} now: nothing more is written here')

    def release(self) -> None:
        """Gives the folder back. What has been forked from the owner gives nothing back."""
        self._ended.set()
        if self.path is not None and self.pid == os.getpid():
            self.path.unlink(missing_ok=True)
            self.path = None


def read(path: Path) -> dict[str, Any]:
    """What a lease says of its holder; nothing where it is gone or damaged."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def owner_of(folder: Path) -> dict[str, Any] | None:
    """The holder of a folder, if it has one that is not known to be dead."""
    newest = _newest(folder.resolve())
    holder = read(newest[1]) if newest else None
    return None if holder is None or _alive(holder) is False else holder


def held(folder: Path, holder: dict[str, Any]) -> UserError:
    return UserError(
        f'another process owns this folder: {named(holder)}',
        where=folder,
        value=holder.get('command'),
        fix='wait for it or stop it; a folder whose owner is dead is taken over by itself',
    )


def named(holder: dict[str, Any]) -> str:
    """'training, process 4711 on HOST, since ...'."""
    if not holder:
        return 'a process that is not known'
    return f'{holder.get("what")}, process {holder.get("pid")} on {holder.get("host")}, since {holder.get("since")}'


def _all(folder: Path) -> list[tuple[int, Path]]:
    pattern = re.compile(re.escape(f'.{folder.name}.owner.') + r'([0-9]{1,9})\.json')
    try:
        names = os.listdir(folder.parent)
    except OSError:
        return []
    found = ((pattern.fullmatch(name), name) for name in names)
    return sorted((int(match[1]), folder.with_name(name)) for match, name in found if match)


def _newest(folder: Path) -> tuple[int, Path] | None:
    return max(_all(folder), default=None)


def _linked(source: Path, target: Path) -> bool:
    """`target` becomes a second name of `source`; False where it is there.

    The link's answer can get lost on a network: the number of names tells whether it was made. File systems without
    links get the file by an exclusive open.
    """
    try:
        os.link(source, target)
    except FileExistsError:
        return source.stat().st_nlink == 2
    except OSError:
        if source.stat().st_nlink != 2:
            with writing('the folder', target.parent):
                try:
                    with open(target, 'x') as file:
                        file.write(source.read_text())
                except FileExistsError:
                    return False
    return True


def _here() -> dict[str, Any]:
    """This process, so that it can be told from every other one there was or will be."""
    return {'host': socket.gethostname(), 'machine': _machine(), 'pid': os.getpid(), 'start': _start(os.getpid())}


def _machine() -> str:
    """What a process number is unique in: this start of the machine, and a container's own numbers."""
    try:
        boot = Path('/proc/sys/kernel/random/boot_id').read_text().strip()
        return f'{boot} {os.readlink("/proc/self/ns/pid")}'
    except OSError:
        return socket.gethostname()


def _start(pid: int) -> str | None:
    """When a process started, in the system's own count; None where it is gone or only waits to be collected."""
    try:
        fields = Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()
    except OSError:
        return None
    return None if fields[0] in 'ZX' else fields[19]


def _alive(holder: dict[str, Any]) -> bool | None:
    """None where only time can tell."""
    pid = holder.get('pid')
    if not isinstance(pid, int) or holder.get('machine') != _machine():
        return None
    if Path('/proc/self/stat').exists():
        return _start(pid) is not None and _start(pid) == holder.get('start')
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return None
    return None
