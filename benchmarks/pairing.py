"""Sixty clips through random platforms, shuffled: `votes pair` has to find every original and no wrong one.

    python benchmarks/pairing.py --clips FOLDER_OF_VIDEOS -o benchmarks/results/pairing.json

Clips are pieces of the videos (several of each, so that some differ only in time) and moving photographs. What a
platform did is drawn with the seed: size, borders, crop, mirror, dropped, repeated and resampled frames, an offset,
BT.709 read as BT.601 and the other way, codec and quality. Some originals have no download, some downloads no original.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from machine import describe
from machine import write as write_result

from votes.checkpoint import atomic_write
from votes.data.tools.demo import SCENES, draw_scene
from votes.platforms.match import facts
from votes.platforms.pairing import Outcome, pair_folders
from votes.relation.colour import BT601_AS_709, BT709_AS_601, SAME
from votes.video.colour import Colour
from votes.video.encoders import Encoding
from votes.video.read import VideoReader
from votes.video.write import VideoWriter

SIZE = (144, 256)
FRAMES = 24
LARGEST, MOST_LINES = 10_000_000, 2000  # bytes and lines of a video that is taken
PIECES = 3  # of a video
WITHOUT = 15  # one of so many originals has no download, and one of so many downloads no original
BT601, BT709 = Colour('bt601', False), Colour('bt709', False)
MATRICES = {SAME: (BT601, BT601), BT709_AS_601: (BT709, BT601), BT601_AS_709: (BT601, BT709)}
CODECS = [('h264', 26, 36), ('h265', 26, 36), ('vp9', 36, 52)]
Clip = list[Any]


@dataclass
class Platform:
    """What was done to a clip."""

    size: tuple[int, int]
    frames: list[int]
    times: list[float]
    mirror: bool
    crop: tuple[int, int, int, int] | None
    borders: tuple[int, int]
    matrix: str
    codec: str
    crf: int


def drawn(rng: np.random.Generator) -> Platform:
    """A platform, by chance."""
    crop = None
    if rng.random() < 0.25:
        height, width = int(rng.integers(104, 137)), int(rng.integers(176, 241))
        crop = int(rng.integers(SIZE[0] - height)), int(rng.integers(SIZE[1] - width)), height, width
    height, width = crop[2:] if crop else SIZE
    factor = rng.choice([0.5, 0.5, 0.6, 0.444, 1 / 3, 0.75])
    size = round(height * factor / 2) * 2, round(width * factor / 2) * 2
    borders = (int(rng.integers(3, 10)) * 2, 0) if rng.random() < 0.3 else (0, 0)
    start = int(rng.integers(0, 5)) if rng.random() < 0.4 else 0
    frames = list(range(start, FRAMES))
    times: list[float] = [i - start for i in frames]
    kind = rng.choice(['all', 'drops', 'repeats', 'fewer', 'more'], p=[0.3, 0.25, 0.15, 0.2, 0.1])
    if kind == 'drops':
        gone = set(rng.choice(frames, int(rng.integers(1, 4)), replace=False).tolist())
        frames = [i for i in frames if i not in gone]
        times = [i - start for i in frames] if rng.random() < 0.5 else [float(i) for i in range(len(frames))]
    elif kind == 'repeats':
        again = set(rng.choice(frames, int(rng.integers(1, 4)), replace=False).tolist())
        frames = [i for i in frames for _ in range(1 + (i in again))]
        times = [float(i) for i in range(len(frames))]
    elif kind in ('fewer', 'more'):
        step = {'fewer': rng.choice([1.25, 1.2, 2.0]), 'more': 0.8}[str(kind)]
        frames = [min(FRAMES - 1, start + int(i * step)) for i in range(int((FRAMES - start) / step))]
        times = [float(i * step) for i in range(len(frames))]
    matrix = str(rng.choice(list(MATRICES), p=[0.6, 0.25, 0.15]))
    codec, best, worst = CODECS[int(rng.choice(3, p=[0.6, 0.25, 0.15]))]
    return Platform(
        size, frames, times, bool(rng.random() < 0.15), crop, borders, matrix, codec, int(rng.integers(best, worst))
    )


def through(clip: Clip, platform: Platform) -> Clip:
    """The frames as the platform shows them, before its codec."""
    written, read = MATRICES[platform.matrix]
    made = []
    for i in platform.frames:
        frame = clip[i]
        if platform.crop:
            top, left, height, width = platform.crop
            frame = frame[top : top + height, left : left + width]
        frame = cv2.resize(frame, platform.size[::-1], interpolation=cv2.INTER_AREA)
        frame = frame[:, ::-1] if platform.mirror else frame
        frame = read.to_rgb(written.to_yuv(np.ascontiguousarray(frame)))
        rows, columns = platform.borders
        made.append(cv2.copyMakeBorder(frame, rows, rows, columns, columns, cv2.BORDER_CONSTANT))
    return made


def write(path: Path, frames: Clip, times: list[float], codec: str, crf: int) -> None:
    encoding = Encoding(codec=codec, crf=crf)
    size = frames[0].shape[:2]
    with VideoWriter(path, size, Fraction(25), Fraction(1, 1000), BT601, encoding) as writer:
        for frame, at in zip(frames, times, strict=True):
            writer.write(np.ascontiguousarray(frame), round(40 * at))


def kept(path: Path, make: Callable[[], Clip]) -> Clip:
    """Frames that were made once."""
    if not path.is_file():
        with atomic_write(path) as temporary:
            np.save(temporary, np.stack(make()))
    return list(np.load(path))


def pieces(videos: Path, wanted: int, work: Path) -> dict[str, Clip]:
    """Pieces of real videos that do not overlap; of each video at most three."""
    found: dict[str, Clip] = {}
    for path in sorted(videos.iterdir()):
        if path.is_file() and len(found) < wanted and path.stat().st_size < LARGEST:
            frames = kept(work / f'{path.stem}.npy', lambda path=path: small(path))  # type: ignore[misc]
            for k in range(len(frames) // FRAMES):
                found[f'{path.stem}_{k}'] = frames[k * FRAMES : (k + 1) * FRAMES]
    return dict(list(found.items())[:wanted])


def small(path: Path) -> Clip:
    frames: Clip = []
    with VideoReader(path, threads=1) as reader:
        if reader.size[0] > MOST_LINES:
            return [np.zeros((*SIZE, 3), np.uint8)]
        for frame in reader:
            frames.append(cv2.resize(frame.rgb, SIZE[::-1], interpolation=cv2.INTER_AREA))
            if len(frames) == PIECES * FRAMES:
                break
    return frames


def photographs(wanted: int, seed: int, work: Path) -> dict[str, Clip]:
    """Moving photographs."""
    found = {}
    for i in range(wanted):
        scene, round_ = SCENES[i % len(SCENES)], i // len(SCENES)
        path = work / f'{scene.picture}_{seed}_{round_}.npy'
        frames = kept(path, lambda s=scene, r=round_: draw_scene(s, seed + r, FRAMES, SIZE[1]))  # type: ignore[misc]
        cut = (SIZE[1] - SIZE[0]) // 2
        found[f'{scene.picture}_{round_}'] = [np.ascontiguousarray(f[cut : cut + SIZE[0]]) for f in frames]
    return found


def make(
    folder: Path, clips: dict[str, Clip], seed: int, asked: int | None = None
) -> dict[str, tuple[str | None, Platform]]:
    """Writes both folders; returns download -> (original or None, what was done). What is there is not made again."""
    rng = np.random.default_rng(seed)
    for side in ('originals', 'downloads'):
        (folder / side).mkdir(exist_ok=True)
    names = list(clips)
    lone = max(1, len(names) // WITHOUT)
    absent = rng.choice(names, 2 * lone, replace=False).tolist()
    truth: dict[str, tuple[str | None, Platform]] = {}
    for name, number in zip(names, rng.permutation(len(names)), strict=True):
        path = folder / 'originals' / f'{name}.mp4'
        if name not in absent[:lone] and not path.is_file():
            write(path, clips[name], list(range(FRAMES)), 'h264', 12)
        if name in absent[lone:]:
            continue
        platform = drawn(np.random.default_rng((seed, int(number))))
        path = folder / 'downloads' / f'v{number:03d}.mp4'
        truth[path.stem] = (None if name in absent[:lone] else name), platform
        if not path.is_file():
            write(path, through(clips[name], platform), platform.times, platform.codec, platform.crf)
    for download in sorted(truth)[asked:] if asked else ():
        (folder / 'downloads' / f'{download}.mp4').unlink()
        del truth[download]
    return truth


def judged(outcome: Outcome, truth: dict[str, tuple[str | None, Platform]]) -> dict[str, Any]:
    """Counts, and a row for each download."""
    rows, frames_right, frames_all = [], 0, 0
    counts = dict.fromkeys(('right', 'wrong', 'missed', 'rightly_unpaired', 'colours_right', 'mirror_right'), 0)
    for download, (original, platform) in sorted(truth.items()):
        match = outcome.matches[download]
        found = match.original if match.sure else None
        kind = {
            (True, True): 'right',
            (True, False): 'missed' if found is None else 'wrong',
            (False, True): 'rightly_unpaired',
            (False, False): 'wrong',
        }[original is not None, found == original]
        counts[kind] += 1
        row: dict[str, Any] = {
            'download': download,
            'original': original,
            'found': match.original,
            'confidence': match.confidence,
        }
        row |= {'outcome': kind, 'why': match.why, 'platform': asdict(platform)}
        if kind == 'right' and match.relation is not None:
            timing = match.relation.timing
            right = int((timing.shown == np.array(platform.frames)).sum())
            frames_right, frames_all = frames_right + right, frames_all + len(platform.frames)
            done = [platform.matrix] if platform.matrix != SAME else []
            counts['colours_right'] += match.relation.colours.mistakes() == done
            counts['mirror_right'] += match.relation.space.mirror == platform.mirror
            row |= {'frames_right': f'{right} of {len(platform.frames)}', 'facts': facts(match.relation)}
            row |= {'share': round(match.relation.colours.share, 2)}
        rows.append(row)
    return {**counts, 'frames_right': frames_right, 'frames': frames_all, 'rows': rows}


def run(
    videos: Path | None, count: int, seed: int, work: Path, asked: int | None, say: Callable[[str], None] = print
) -> dict[str, Any]:
    work.mkdir(parents=True, exist_ok=True)
    real = pieces(videos, count * 2 // 3, work) if videos else {}
    clips = {**real, **photographs(count - len(real), seed, work)}
    say(f'{len(real)} pieces of videos, {len(clips) - len(real)} moving photographs')
    truth = make(work, clips, seed, asked)
    outcome = pair_folders(work / 'originals', work / 'downloads', work / 'pairs', scale=1, say=say)
    return {
        'clips': len(clips),
        'downloads': len(truth),
        'of_videos': len(real),
        'size': f'{SIZE[1]}x{SIZE[0]}',
        'frames_of_a_clip': FRAMES,
        'seed': seed,
        **judged(outcome, truth),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--clips', type=Path, help='folder of videos; without it all clips are moving photographs')
    parser.add_argument('--count', type=int, default=60)
    parser.add_argument('--asked', type=int, help='so many of the downloads are looked up among all originals')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--work', type=Path, help='folder for videos and pairs; the same command goes on there')
    parser.add_argument('-o', '--output', type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix='votes_pairing_') as folder:
        result = run(args.clips, args.count, args.seed, args.work or Path(folder), args.asked)
    if args.output:
        write_result(args.output, {'machine': describe(), **result})
    print(json.dumps({key: value for key, value in result.items() if key != 'rows'}, indent=1))


if __name__ == '__main__':
    main()
