"""The checkpoints of a run: whole or absent, verified by checksum, the newest good one found again.

A checkpoint N is three files: models/net_g_N.pth, training_states/N.state, and last training_states/N.json with the
size and SHA-256 of both. training_states/latest.json then points to N. Without its N.json a checkpoint does not count
(but a .state file of another program, which never had one, does).
"""

from __future__ import annotations

import json
import os
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from votes import checkpoint
from votes.errors import UserError


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
    """

    def __init__(self, folder: Path, keep_last: int = 0, background: bool = False):
        self.folder, self.keep_last = folder, keep_last
        self.states = folder / 'training_states'
        self.writer = ThreadPoolExecutor(1, 'checkpoint') if background else None
        self.pending: Future[None] | None = None

    # writing

    def write(self, iteration: int, weights: dict[str, Any], state: dict[str, Any]) -> None:
        """Saves checkpoint `iteration`."""
        self._run(self._write, iteration, checkpoint.copied(weights), checkpoint.copied(state))

    def write_weights(self, name: str, weights: dict[str, Any]) -> None:
        """Saves models/net_g_NAME.pth alone ('latest', 'best')."""
        self._run(checkpoint.save, checkpoint.copied(weights), weights_path(self.folder, name))

    def finish(self) -> None:
        """Waits for what is being written in the background; raises what went wrong there."""
        if self.pending is not None:
            pending, self.pending = self.pending, None
            pending.result()

    def _run(self, work: Any, *args: Any) -> None:
        self.finish()
        if self.writer is None:
            self._guarded(work, *args)
        else:
            self.pending = self.writer.submit(self._guarded, work, *args)

    def _guarded(self, work: Any, *args: Any) -> None:
        try:
            work(*args)
        except OSError as error:
            raise UserError(
                'a checkpoint cannot be written; earlier ones are untouched',
                where=self.folder,
                value=error,
                fix='make room or restore write access; the same command then goes on from the last checkpoint',
            ) from error

    def _write(self, iteration: int, weights: dict[str, Any], state: dict[str, Any]) -> None:
        self.remove(iteration)  # of a run that was rolled back
        files = {
            str(path.relative_to(self.folder)): checkpoint.save(content, path)
            for path, content in (
                *((weights_path(self.folder, iteration, name), content) for name, content in weights.items()),
                (state_path(self.folder, iteration), state),
            )
        }
        checkpoint.write_json(self.states / f'{iteration}.json', {'iter': iteration, 'files': files})
        checkpoint.write_json(self.states / 'latest.json', {'iter': iteration})
        if self.keep_last:
            for old in [n for n in self.iterations() if n <= iteration][self.keep_last :]:
                self.remove(old)

    def remove(self, iteration: int) -> None:
        """Removes a checkpoint, its manifest first."""
        manifest = self.states / f'{iteration}.json'
        weights = (self.folder / 'models').glob(f'net_*_{iteration}.pth')
        for path in (manifest, state_path(self.folder, iteration), *weights):
            path.unlink(missing_ok=True)

    # reading

    def iterations(self) -> list[int]:
        """The checkpoints that claim to be there, newest first, starting with the one that latest.json names."""
        if not self.states.is_dir():
            return []
        found = {int(p.stem) for p in self.states.iterdir() if p.suffix in ('.json', '.state') and p.stem.isdigit()}
        try:
            latest = int(json.loads((self.states / 'latest.json').read_text())['iter'])
        except (OSError, ValueError, KeyError, TypeError):
            latest = max(found, default=0)
        return sorted((n for n in found if n <= latest), reverse=True)

    def problem(self, iteration: int) -> str | None:
        """What is wrong with a checkpoint, or None."""
        manifest = self.states / f'{iteration}.json'
        if not manifest.is_file():
            whole = all(p.is_file() for p in (state_path(self.folder, iteration), weights_path(self.folder, iteration)))
            if whole and not any(self.states.glob('*.json')):
                return None  # of BasicSR or the release, which write no manifests
            return 'it was not finished'
        try:
            files = dict(json.loads(manifest.read_text())['files'])
        except (OSError, ValueError, KeyError, TypeError) as error:
            return f'{manifest.name} cannot be read: {error}'
        for name, about in files.items():
            path = self.folder / name
            if not path.is_file():
                return f'{name} is missing'
            if path.stat().st_size != about['bytes']:
                return f'{name} has {path.stat().st_size} bytes instead of {about["bytes"]}'
            if checkpoint.sha256(path) != about['sha256']:
                return f'{name} does not have the checksum it was written with'
        return None

    def newest_good(self) -> tuple[int | None, list[str]]:
        """The newest checkpoint that is whole, and what is wrong with newer ones."""
        problems: list[str] = []
        for iteration in self.iterations():
            problem = self.problem(iteration)
            if problem is None:
                return iteration, problems
            problems.append(f'checkpoint {iteration} is passed over: {problem}')
        return None, problems

    # before the first step

    def left_over(self) -> list[Path]:
        """Temporary files of a process that was killed while it wrote."""
        folders = (self.states, self.folder / 'models')
        return [path for folder in folders if folder.is_dir() for path in folder.glob('.*.tmp*')]

    def check_room(self, checkpoint_bytes: int) -> None:
        """Raises UserError where checkpoints of this size cannot be written."""
        probe = self.states / f'.probe.{os.getpid()}'
        try:
            self.states.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b'x')
            probe.unlink()
        except OSError as error:
            raise UserError('the run folder cannot be written to', where=self.folder, value=error) from error
        free = shutil.disk_usage(self.states).free
        needed = checkpoint_bytes * (max(1, self.keep_last) + 1)
        if free < needed:
            raise UserError(
                'too little room for checkpoints',
                where=self.folder,
                value=f'{free / 1e6:.0f} MB free, {needed / 1e6:.0f} MB needed',
                fix='make room, or set path.experiments_root to another disk',
            )
