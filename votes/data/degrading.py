"""`votes degrade`: the clips of any frame source through a recipe, into folders of PNGs with a manifest."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
from av import library_versions

from votes import checkpoint
from votes.data.open_source import open_source
from votes.errors import UserError
from votes.video.recipe import Recipe, degrade


def degrade_source(source: str | Path, target: str | Path, recipe: Recipe, say: Callable[[str], None] = print) -> None:
    """Writes target/CLIP/00000000.png ... and target/manifest.json.

    The manifest has the recipe, versions, and for each clip the SHA-256 of its decoded frames and what each generation
    did: bytes, bitrate, picture types, mean QP. It is written last; a run that was stopped goes on with the next clip.

    Raises:
        UserError: `target` is complete already or was begun with another recipe, or frames do not fit the recipe.
    """
    target = Path(target)
    manifest, job = target / 'manifest.json', target / '.recipe.json'
    if manifest.exists() or (target.exists() and not job.exists()):
        raise UserError('the output exists', where=target, fix='choose another name')
    target.mkdir(parents=True, exist_ok=True)
    if job.exists() and json.loads(job.read_text()) != recipe.model_dump():
        raise UserError('this folder was begun with another recipe', where=target, fix='remove it')
    _write_json(job, recipe.model_dump())
    frames, clips = open_source(source), {}
    for number, clip in enumerate(frames.clips()):
        done = target / f'.{clip}.json'
        if not done.exists():
            originals = [frames.read(clip, i) for i in range(frames.length(clip))]
            degraded, generations = degrade(originals, recipe, seed=number)
            if len(degraded) != len(originals):
                raise UserError(
                    'the codec gave another number of frames', where=clip, value=f'{len(degraded)} of {len(originals)}'
                )
            digest = _write_clip(target / clip, degraded)
            _write_json(done, {'sha256': digest, 'generations': [asdict(g) for g in generations]})
            last = generations[-1]
            say(f'{clip}: {len(degraded)} frames, {last.kbps} kbit/s' + (f', QP {last.qp}' if last.qp else ''))
        clips[clip] = json.loads(done.read_text())
    versions = {'av': version('av'), 'libavcodec': list(library_versions['libavcodec'])}
    _write_json(manifest, {'recipe': recipe.model_dump(), 'versions': versions, 'clips': clips})
    for path in [job, *(target / f'.{clip}.json' for clip in clips)]:
        path.unlink()


def _write_json(path: Path, content: object) -> None:
    with checkpoint.atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1))


def _write_clip(folder: Path, frames: list[np.ndarray]) -> str:
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was stopped in it
    folder.mkdir(parents=True)
    total = hashlib.sha256()
    for i, frame in enumerate(frames):
        total.update(frame.tobytes())
        if not cv2.imwrite(str(folder / f'{i:08d}.png'), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)):
            raise UserError('a frame cannot be written', where=folder, value=i)
    return total.hexdigest()
