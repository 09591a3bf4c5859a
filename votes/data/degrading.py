"""Clips through a recipe: all of a frame source at once (`votes degrade`), or samples when they are drawn."""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from av import library_versions

from votes.checkpoint import begin, read_record, whole_folder, write_record
from votes.data.codec_metadata import write_metadata
from votes.data.sources import Crop, Frame, FrameSource, cropped, open_source, write_picture
from votes.errors import UserError, explained
from votes.video.draws import ends
from votes.video.metadata import each_frame
from votes.video.recipe import Degradation, Recipe, degrade, read_recipe


@dataclass(frozen=True)
class Beside:
    """Folders for what is written beside LQ frames.

    Attributes:
        originals: the frames that the degraded ones show, as PNG too: a pair for training.
        metadata: what the codec says about the last generation, see CodecMetadata.
        videos: the compressed files of the last generation, CLIP.mkv.
        once: what the generation before the last showed, as PNG: the middle label of twice-encoded video.
    """

    originals: Path | None = None
    metadata: Path | None = None
    videos: Path | None = None
    once: Path | None = None

    def write(self, clip: str, passing: Degradation, original: Callable[[int], Frame]) -> None:
        """Writes these of a clip whose frames were all taken."""
        if self.once:
            write_clip(self.once / clip, passing.once())
        if self.metadata and passing.generations:
            write_metadata(self.metadata / clip, each_frame(passing.video))
        if self.videos and passing.generations:
            (self.videos / clip).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(passing.video, self.videos / f'{clip}.mkv')
        if self.originals:
            write_clip(self.originals / clip, map(original, passing.shown))


def degrade_source(
    source: str | Path,
    target: str | Path,
    recipe: Recipe,
    *,
    workers: int = 1,
    seed: int = 0,
    only: Sequence[str] = (),
    say: Callable[[str], None] = print,
    **more: Path | None,
) -> None:
    """Writes target/CLIP/00000000.png ... and target/manifest.json.

    The manifest has the recipe, versions, and for each clip the SHA-256 of its decoded frames, what each generation
    did (bytes, bitrate, picture types, mean QP), what the recipe drew for it ('drawn'), and which frames are shown
    where the frame rate changes. It is written last; a run that was stopped goes on with the next clip. Sizes that the
    recipe cannot divide are cropped at the right and the bottom, which the manifest says.

    Args:
        workers: clips at a time. Frames are read, coded and written one after the other: what is in memory does not
            grow with a clip's length.
        seed: of what the recipe draws for each clip.
        only: clips that are wanted; all where none is named.
        more: folders for what is written beside, see Beside.

    Raises:
        UserError: a wanted clip is not there, `target` is complete already or was begun with another recipe, or frames
            do not fit the recipe.
    """
    beside = Beside(**more)
    _check_beside(recipe, beside)
    there = open_source(source).clips()
    if unknown := [clip for clip in only if clip not in there]:
        raise UserError('no such clips', where=source, value=', '.join(unknown), fix=f'such as {", ".join(there[:5])}')
    names = [clip for clip in there if clip in only] if only else there
    target = Path(target)
    manifest, job = target / 'manifest.json', target / '.recipe.json'
    if manifest.exists() or (target.exists() and not job.exists()):
        raise UserError('the output exists', where=target, fix='choose another name')
    target.mkdir(parents=True, exist_ok=True)
    asked = recipe.model_dump(mode='json') | ({'seed': seed} if recipe.drawn_from else {})
    begin(job, asked, 'another recipe')
    opened = threading.local()  # a decoder belongs to one thread
    said = {clip: target / f'.{clip.replace("/", ".")}.json' for clip in names}  # until all are done

    def one(number: int, clip: str) -> None:
        if not hasattr(opened, 'source'):
            opened.source = open_source(source)
        if not said[clip].exists():
            own = recipe.for_clip(seed, clip)
            about = _degrade_clip(opened.source, clip, target, own, number, beside)
            if recipe.drawn_from:
                about['drawn'] = recipe.drawn(own)
            write_record(said[clip], about)
            say(_outcome(clip, own, about))

    with ThreadPoolExecutor(max(1, workers)) as pool:  # coding and decoding release Python's lock
        list(pool.map(one, range(len(names)), names))  # after an error no more is begun
    with explained('what was noted of a clip is damaged', ValueError, where=target, fix='remove this folder'):
        clips = {clip: read_record(path, unsigned=True) for clip, path in said.items()}
    versions = {'av': version('av'), 'libavcodec': list(library_versions['libavcodec']), 'decoding': DECODING}
    write_record(manifest, {'recipe': asked, 'grid': recipe.grid, 'versions': versions, 'clips': clips})
    for path in (job, *said.values()):
        path.unlink()


def _check_beside(recipe: Recipe, beside: Beside) -> None:
    """
    Raises:
        UserError: something is wanted beside LQ frames that this recipe does not give.
    """
    where, drawn = recipe.name, recipe.drawn_from or {}
    if beside.metadata and (recipe.bars or 'bars' in drawn):
        raise UserError('no metadata of a video with bars: frames are without', where=where, fix='no bars')
    if beside.once and len(recipe.generations) < 2:
        raise UserError('this recipe encodes once', where=where, fix='two generations, or no --once')
    versions = [recipe, *(Recipe(**version) for _, _, version in ends(drawn))]
    switches = any(version.generations and version.generations[-1].switch for version in versions)
    if switches and (beside.metadata or beside.videos):
        what = 'no metadata, and no one file, of a video whose resolution switches'
        raise UserError(what, where=where, fix='leave --metadata and --videos away')


def _degrade_clip(
    frames: FrameSource, clip: str, target: Path, recipe: Recipe, seed: int, beside: Beside
) -> dict[str, Any]:
    """Writes one clip; returns its entry in the manifest."""
    count, (height, width) = frames.length(clip), frames.size(clip)
    step = recipe.step
    size = height // step * step, width // step * step
    if not all(size):
        raise UserError(f'frames are smaller than {step} pixels', where=clip, value=f'{width}x{height}')

    def original(index: int) -> Frame:
        return frames.read(clip, index, (0, 0, *size))

    with tempfile.TemporaryDirectory(prefix='votes_degrade_') as folder:
        passing = Degradation(lambda: map(original, range(count)), count, size, recipe, seed, Path(folder))
        try:
            digest = write_clip(target / clip, passing.frames())
        except UserError as error:
            error.details['where'] = error.details['where'] or clip
            raise
        beside.write(clip, passing, original)
    about: dict[str, Any] = {'sha256': digest, 'generations': [asdict(g) for g in passing.generations]}
    if size != (height, width):
        about['cropped'] = f'{width}x{height} to {size[1]}x{size[0]}, at the right and the bottom'
    return about | ({'shows': passing.shown} if recipe.frame_rate else {})


def _outcome(clip: str, recipe: Recipe, about: dict[str, Any]) -> str:
    if not recipe.generations:
        return f'{clip}: {recipe.name}' + (f', cropped from {about["cropped"]}' if 'cropped' in about else '')
    last, asked = about['generations'][-1], recipe.generations[-1].kbps
    line = f'{clip}: {len(last["types"])} frames, {last["kbps"]} kbit/s' + (f', QP {last["qp"]}' if last['qp'] else '')
    line += f', cropped from {about["cropped"]}' if 'cropped' in about else ''
    off = asked and abs(last['kbps'] - asked) > 0.2 * asked
    return line + (f' (NOT the {asked} kbit/s asked for: rate control missed on this clip)' if off else '')


def write_clip(folder: Path, frames: Iterable[Frame]) -> str:
    """Writes RGB or grey frames as 00000000.png ...; `folder` appears, or is replaced, when it is complete.

    Returns:
        SHA-256 of the frames.
    """
    total = hashlib.sha256()
    with whole_folder(folder) as partial:
        for i, frame in enumerate(frames):
            total.update(frame.tobytes())
            write_picture(partial / f'{i:08d}.png', frame)
    return total.hexdigest()


DECODING = 'swscale, bicubic chroma, 8-bit RGB: as `ffmpeg -i IN %08d.png`, and as videos are read here'


class OnTheFly:
    """LQ frames that are made when a sample is drawn, from the originals around it, by one of several recipes.

    Not the whole frame is coded but the crop and 16 LQ pixels around it, from up to 7 frames before the window on, so
    that a sample starts anywhere in a group of pictures. Rate control (kbps) thus sees a small picture: recipes of a
    QP or CRF come out as with `votes degrade`, those of a bitrate do not. Bars lie around no crop, and are left out.

    Raises:
        UserError: a recipe of another scale, or one that changes the frame rate.
    """

    MARGIN, LEAD = 16, 8

    def __init__(self, gt: FrameSource, recipes: list[str], scale: int):
        self.gt, self.scale = gt, scale
        self.clips, self.length = gt.clips, gt.length
        self.root = ' '.join(recipes)
        self.recipes = [read_recipe(path).without('bars') for path in recipes]
        for path, recipe in zip(recipes, self.recipes, strict=True):
            if recipe.scale != scale or recipe.frame_rate:
                value = f'scale {recipe.scale}, frame_rate {recipe.frame_rate}'
                fix = f'scale: {scale} and no frame_rate, or votes degrade'
                raise UserError('this recipe does not fit the dataset', where=path, value=value, fix=fix)

    def size(self, clip: str) -> tuple[int, int]:
        height, width = self.gt.size(clip)
        return height // self.scale // 2 * 2, width // self.scale // 2 * 2

    def window(self, clip: str, indices: list[int], crop: Crop, rng: np.random.Generator) -> list[Frame]:
        """The frames of a window, cropped (in LQ pixels)."""
        recipe, scale = self.recipes[int(rng.integers(len(self.recipes)))], self.scale
        if recipe.drawn_from:  # anew for each sample: a clip is seen in many ways
            recipe = recipe.for_clip(int(rng.integers(1 << 31)), clip)
        lead = int(rng.integers(self.LEAD)) if recipe.generations else 0  # without a codec nothing comes from before
        first = max(0, min(indices) - lead)
        starts = [max(0, start - self.MARGIN) // 2 * 2 for start in crop[:2]]
        after = (min(n, a + side + self.MARGIN) for n, a, side in zip(self.size(clip), crop[:2], crop[2:], strict=True))
        sides = [(end - start + 1) // 2 * 2 for start, end in zip(starts, after, strict=True)]  # even, as the frame is
        place = starts[0] * scale, starts[1] * scale, sides[0] * scale, sides[1] * scale
        originals = [self.gt.read(clip, i, place) for i in range(first, max(indices) + 1)]
        frames, _ = degrade(originals, recipe, int(rng.integers(1 << 31)), describe=False)
        top, left = crop[0] - starts[0], crop[1] - starts[1]
        return [cropped(frames[i - first], (top, left, *crop[2:])) for i in indices]

    def read(self, clip: str, index: int, crop: Crop | None = None) -> Frame:
        """One frame for itself, always alike: a look at what samples are like."""
        return self.window(clip, [index], crop or (0, 0, *self.size(clip)), np.random.default_rng(index))[0]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('-opt', required=True, metavar='RECIPE.yml', help='such as options/degrade/reds_x2_qp28.yml')
    parser.add_argument('source', type=Path, help='folders of pictures, videos, raw YUV, an LMDB or a packed store')
    parser.add_argument('output', type=Path, help='folder to make')
    parser.add_argument('--gt', type=Path, metavar='OUT', help='writes the originals of the frames that are shown here')
    parser.add_argument('--metadata', type=Path, metavar='OUT', help='writes motion vectors and quantisers here')
    parser.add_argument('--videos', type=Path, metavar='OUT', help='writes the compressed files themselves here')
    parser.add_argument('--once', type=Path, metavar='OUT', help='writes what the encoding before the last showed here')
    parser.add_argument('--workers', type=int, default=os.cpu_count() or 1, help='clips at a time')
    parser.add_argument('--seed', type=int, default=0, help='of what the recipe draws for each clip (default 0)')
    parser.add_argument('--only', nargs='+', default=[], metavar='CLIP', help='these clips alone')


def run(args: argparse.Namespace) -> None:
    beside = {'originals': args.gt, 'metadata': args.metadata, 'videos': args.videos, 'once': args.once}
    more = {'workers': args.workers, 'seed': args.seed, 'only': args.only}
    degrade_source(args.source, args.output, read_recipe(args.opt), **beside, **more)
