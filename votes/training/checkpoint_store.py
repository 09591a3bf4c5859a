"""The checkpoints of a run: whole or absent, verified by checksum, the newest good one found again.

A checkpoint N is three files: models/net_g_N.pth, training_states/N.state, which holds the SHA-256 of the weights, and
last training_states/N.json with the size and SHA-256 of all. Which checkpoints there are is told by these files alone;
training_states/latest.json is a hint for people. Where N.json is lost or damaged, the checksums inside of the state
prove the checkpoint, or it does not count (but one of another program, which never had any, does).
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from votes import checkpoint
from votes.errors import UserError, explained
from votes.processes.lease import Lease


def weights_path(folder: Path, iteration: int | str, name: str = 'net_g') -> Path:
    return folder / 'models' / f'{name}_{iteration}.pth'


def state_path(folder: Path, iteration: int | str) -> Path:
    return folder / 'training_states' / f'{iteration}.state'


class Saves:
    """Reads and writes the checkpoints of one run folder. One process writes.

    Args:
        folder: experiments/NAME.
        keep_last: older checkpoints are removed, 0 keeps all.
        background: files are written by a thread while training goes on; one at a time, and what fails there is
            raised by the next call.
        lease: nothing is written without it, where there is one.
    """

    def __init__(self, folder: Path, keep_last: int = 0, background: bool = False, lease: Lease | None = None):
        self.folder, self.keep_last, self.lease = folder, keep_last, lease
        self.states = folder / 'training_states'
        self.writer = ThreadPoolExecutor(1, 'checkpoint') if background else None
        self.pending: Future[None] | None = None
        self.written: int | None = None  # the last checkpoint that was asked for

    # writing

    def write(self, iteration: int, weights: dict[str, Any], state: dict[str, Any]) -> None:
        """Saves checkpoint `iteration`."""
        self.written = iteration
        self._run(self._write, iteration, checkpoint.copied(weights), checkpoint.copied(state))

    def write_weights(self, name: str, weights: dict[str, Any]) -> None:
        """Saves models/net_g_NAME.pth alone ('latest', 'best'), which carries what `weights` holds besides tensors."""
        self._run(checkpoint.save, checkpoint.copied(weights), weights_path(self.folder, name))

    def write_note(self, name: str, content: dict[str, Any]) -> None:
        """Writes training_states/NAME, with a checksum, after everything that was asked for before it."""
        self.finish()
        self._guarded(checkpoint.write_record, self.states / name, content)

    def finish(self) -> None:
        """Waits for what is being written in the background; raises what went wrong there."""
        if self.pending is not None:
            pending, self.pending = self.pending, None
            pending.result()

    def check_lease(self) -> None:
        """Raises LeaseLost where the folder belongs to another process by now."""
        if self.lease is not None:
            self.lease.check()

    def _run(self, work: Any, *args: Any) -> None:
        self.finish()
        if self.writer is None:
            self._guarded(work, *args)
        else:
            self.pending = self.writer.submit(self._guarded, work, *args)

    def _guarded(self, work: Any, *args: Any) -> None:
        what = 'a checkpoint cannot be written; earlier ones are untouched'
        fix = 'make room or restore write access; the same command then goes on from the last checkpoint'
        with explained(what, OSError, where=self.folder, fix=fix):
            self.check_lease()
            work(*args)

    def _write(self, iteration: int, weights: dict[str, Any], state: dict[str, Any]) -> None:
        self.remove(iteration)  # of a run that was rolled back
        files = {
            str(path.relative_to(self.folder)): checkpoint.save(content, path)
            for path, content in ((weights_path(self.folder, iteration, n), c) for n, c in weights.items())
        }
        state = {**state, 'weights': {name: about['sha256'] for name, about in files.items()}}
        path = state_path(self.folder, iteration)
        files[str(path.relative_to(self.folder))] = checkpoint.save(state, path)
        self._write_manifest(iteration, files)
        if self.keep_last:
            for old in [n for n in self.iterations() if n <= iteration][self.keep_last :]:
                self.remove(old)

    def _write_manifest(self, iteration: int, files: dict[str, Any]) -> None:
        checkpoint.write_record(self.states / f'{iteration}.json', {'iter': iteration, 'files': files})
        checkpoint.write_record(self.states / 'latest.json', {'iter': iteration})

    def remove(self, iteration: int) -> None:
        """Removes a checkpoint, its manifest first."""
        for path in self._files(iteration):
            path.unlink(missing_ok=True)

    def _files(self, iteration: int) -> list[Path]:
        weights = (self.folder / 'models').glob(f'net_*_{iteration}.pth')
        return [self.states / f'{iteration}.json', state_path(self.folder, iteration), *weights]

    def set_aside(self, iterations: Iterable[int], why: str) -> None:
        """Checkpoints that are not to count any more get `why` at the end of their names; nothing is lost."""
        for path in [path for iteration in iterations for path in self._files(iteration)]:
            if path.exists():
                path.replace(path.with_name(f'{path.name}.{why}'))

    # reading

    def iterations(self) -> list[int]:
        """The checkpoints that lie there, whole or not, newest first."""
        if not self.states.is_dir():
            return []
        named = (re.fullmatch(r'(0|[1-9][0-9]{0,17})\.(json|state)', path.name) for path in self.states.iterdir())
        return sorted({int(match[1]) for match in named if match}, reverse=True)

    def problem(self, iteration: int) -> str | None:
        """What is wrong with a checkpoint, or None."""
        files, damaged = self.manifest(iteration)
        if files is None:
            return self._unproven(iteration, damaged)
        for name, about in files.items():
            path = self.folder / name
            if not path.is_file():
                return f'{name} is missing'
            if path.stat().st_size != about['bytes']:
                return f'{name} has {path.stat().st_size} bytes instead of {about["bytes"]}'
            if checkpoint.sha256(path) != about['sha256']:
                return f'{name} does not have the checksum it was written with'
        return None

    def manifest(self, iteration: int) -> tuple[dict[str, Any] | None, str]:
        """What N.json says of its files; None and why where it says nothing that can be relied on."""
        path = self.states / f'{iteration}.json'
        try:
            content = checkpoint.read_record(path, unsigned=True)
        except ValueError as error:
            return None, str(error) if path.exists() else 'it was not finished'
        files = content.get('files')
        needed = (state_path(self.folder, iteration), weights_path(self.folder, iteration))
        if content.get('iter') != iteration or not isinstance(files, dict):
            return None, f'{path.name} is of another checkpoint'
        if not all(isinstance(about, dict) and about.keys() == {'bytes', 'sha256'} for about in files.values()):
            return None, f'{path.name} is damaged'  # one of a version before, which had no checksum
        missing = {str(p.relative_to(self.folder)) for p in needed} - files.keys()
        return (None, f'{path.name} does not name {", ".join(sorted(missing))}') if missing else (files, '')

    def _unproven(self, iteration: int, damaged: str) -> str | None:
        """None where a checkpoint is whole by the checksums inside of its state, else what is wrong."""
        path, weights = state_path(self.folder, iteration), weights_path(self.folder, iteration)
        if not path.is_file() or not weights.is_file():
            return damaged
        if not checkpoint.sound(path):
            return f'{damaged}, and {path.name} is damaged or not finished'
        try:
            state = checkpoint.load(path)
        except UserError as error:
            return f'{damaged}, and {path.name}: {error.what}'
        if 'weights' in state:
            sums = state['weights']
            wrong = [n for n, known in sums.items() if not (self.folder / n).is_file()]
            wrong = wrong or [n for n, known in sums.items() if checkpoint.sha256(self.folder / n) != known]
            wrong = wrong or ([] if state.get('iter') == iteration else [path.name])
            return f'{damaged}, and {wrong[0]} does not belong to it' if wrong else None
        if 'setup' not in state and not any(self.states.glob('[0-9]*.json')):
            return None  # of BasicSR or the release, which write no manifests
        return damaged

    def newest_good(self) -> tuple[int | None, list[str]]:
        """The newest checkpoint that is whole, and what is wrong with newer ones."""
        problems: list[str] = []
        for iteration in self.iterations():
            problem = self.problem(iteration)
            if problem is None:
                return iteration, problems
            problems.append(f'checkpoint {iteration} is passed over: {problem}')
        return None, problems

    def repair(self) -> list[str]:
        """Writes small files anew from what is whole, and sets aside what is not. Returns a line on each change."""
        lines, good = [], []
        for iteration in self.iterations():
            problem = self.problem(iteration)
            if problem is not None:
                self.set_aside([iteration], 'damaged')
                lines.append(f'{iteration}: set aside as *.damaged: {problem}')
                continue
            good.append(iteration)
            files, _ = self.manifest(iteration)
            if files is None:
                known = {str(p.relative_to(self.folder)): p for p in self._files(iteration)[1:]}
                sums = {n: {'bytes': p.stat().st_size, 'sha256': checkpoint.sha256(p)} for n, p in known.items()}
                self._write_manifest(iteration, sums)
                lines.append(f'{iteration}: {iteration}.json is written anew: the files prove each other')
        pointer = self.states / 'latest.json'
        try:
            pointed = checkpoint.read_record(pointer).get('iter') if pointer.exists() or good else None
        except ValueError:
            pointed = None
        if good and pointed != good[0]:
            checkpoint.write_record(pointer, {'iter': good[0]})
            lines.append(f'latest.json points to {good[0]} now')
        return lines

    # before the first step

    def left_over(self) -> list[Path]:
        """Temporary files of a process that was killed while it wrote."""
        return [path for path in self.folder.rglob('.*.tmp*') if path.is_file()] if self.folder.is_dir() else []

    def check_room(self, checkpoint_bytes: int) -> None:
        """Raises UserError where checkpoints of this size cannot be written."""
        probe = self.states / f'.probe.{os.getpid()}'
        with explained('the run folder cannot be written to', OSError, where=self.folder):
            self.states.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b'x')
            probe.unlink()
        free = shutil.disk_usage(self.states).free
        needed = checkpoint_bytes * (max(1, self.keep_last) + 1)
        if free < needed:
            raise UserError(
                'too little room for checkpoints',
                where=self.folder,
                value=f'{free / 1e6:.0f} MB free, {needed / 1e6:.0f} MB needed',
                fix='make room, or set path.experiments_root to another disk',
            )
