"""`votes prepare open-clips`: the clips that the shipped weights were trained on, from files that anyone can fetch.

The list (votes/data/open_clips.json) names each file by repository, path and commit, and knows it by its SHA-256.
Originals are what is left of a file after it was shrunk by averaging, so that little of its own compression shows.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from votes import checkpoint
from votes.data.degrading import write_clip
from votes.data.sources import SUFFIXES, Frame, read_picture
from votes.data.tools.pack import pack
from votes.data.tools.versions import make_versions
from votes.errors import UserError, listed
from votes.video.read import VideoReader
from votes.video.recipe import read_recipe

LIST = Path(__file__).parents[1] / 'open_clips.json'
FRAMES = 96  # of each clip at most, unless told
SHORT = 16  # of each clip, in the lists for looks in between
STEP = 4  # sizes are multiples of it: half of them is even, as 4:2:0 wants it
PARTS = ('train', 'val', 'test')
Say = Callable[[str], None]


@dataclass(frozen=True)
class OpenClip:
    """A file of the list.

    Attributes:
        clip: its name here.
        split: 'train', 'val' or 'test'; what shows the same scene is in one part.
        tier: of the file: A lossless, B high rate, C ordinary.
        shrink: each pixel of an original is the mean of so many by so many of the file; 1 leaves them.
        sha256: of the file; of a folder of pictures, of all their bytes in the order of their names.
        pictures: of a folder; 0 for a video.
    """

    clip: str
    split: Literal['train', 'val', 'test']
    tier: Literal['A', 'B', 'C']
    shrink: int
    sha256: str
    bytes: int
    repository: str
    path: str
    commit: str
    licence: str
    content: str
    stored: str
    pictures: int = 0

    @property
    def source(self) -> str:
        return f'{self.repository}:{self.path} @{self.commit}'


def open_clips() -> list[OpenClip]:
    """The list."""
    return [OpenClip(**row) for row in json.loads(LIST.read_text())]


def prepare_open_clips(
    target: Path, files: Path | None, frames: int | None = None, recipes: list[str] | None = None, say: Say = print
) -> None:
    """Makes target/{train,val,test}/HQ_frames (packed stores) with meta_info.txt, meta_info_short.txt of few frames of
    each clip; of recipes target/train/LQ_versions_xS. target/HQ_frames links to the pictures of all clips, for studies.

    The same call goes on where it was stopped.

    Args:
        files: folder with the files of the list, under any names; None says where they are to be had.
        frames: at most so many of each clip.
        recipes: recipe files, or folders of them: versions of LQ for training, which draws one for each sample.

    Raises:
        UserError: files of the list are missing, or are others.
    """
    clips = open_clips()
    if files is None:
        _say_where(clips, say)
        return
    found = _found(clips, files)
    several = _by_scale(recipes or [])
    for part in PARTS:
        folder = target / part
        counts = {}
        for clip in clips:
            if clip.split == part:
                counts[clip.clip] = _write(
                    clip, found[clip.clip], folder / 'pictures' / clip.clip, frames or FRAMES, say
                )
        if not (folder / 'HQ_frames').is_dir():
            pack(folder / 'pictures', folder / 'HQ_frames', say=say)
        together = target / 'HQ_frames'
        together.mkdir(exist_ok=True)
        for clip_name in counts:
            if not (together / clip_name).exists():
                (together / clip_name).symlink_to(Path('..', part, 'pictures', clip_name), target_is_directory=True)
        for name, limit in (('meta_info', frames or FRAMES), ('meta_info_short', SHORT)):
            lines = [f'{clip} {min(count, limit)}' for clip, count in sorted(counts.items())]
            checkpoint.write_text(folder / f'{name}.txt', '\n'.join(lines) + '\n')
    for scale, ways in several.items():
        make_versions(target / 'train' / 'pictures', target / 'train' / f'LQ_versions_x{scale}', ways, say)


def _write(clip: OpenClip, path: Path, folder: Path, most: int, say: Say) -> int:
    """Originals as pictures; returns how many there are."""
    if not folder.is_dir():
        write_clip(folder, itertools.islice(originals(clip, path), most))
        say(f'{folder}: {len(_pictures(folder))} frames')
    return len(_pictures(folder))


def _by_scale(recipes: list[str]) -> dict[int, list[str]]:
    """Recipe files, those of folders among them, by how much they shrink."""
    paths = [str(p) for r in recipes for p in (sorted(Path(r).glob('*.yml')) if Path(r).is_dir() else [Path(r)])]
    found: dict[int, list[str]] = {}
    for path in paths:
        found.setdefault(read_recipe(path).scale, []).append(path)
    return found


def _say_where(clips: list[OpenClip], say: Say) -> None:
    say('# fetch these files into one folder, then: votes prepare open-clips FOLDER --from THAT_FOLDER')
    for clip in clips:
        kind = f'{clip.pictures} pictures' if clip.pictures else f'{clip.bytes:,} bytes'
        say(f'{clip.clip}\t{clip.source}\t{kind}\tsha256 {clip.sha256}\t{clip.licence}')


def _pictures(folder: Path, count: int | None = None) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)[:count]


def _found(clips: list[OpenClip], root: Path) -> dict[str, Path]:
    """Name of a clip -> its file or folder below `root`, found by size and hash, whatever it is called."""
    if not root.is_dir():
        raise UserError('no such folder', where=root.absolute())
    by_size: dict[int, list[Path]] = {}
    folders: list[Path] = []
    for path in sorted(root.rglob('*')):
        if path.is_dir():
            folders.append(path)
        elif path.is_file():
            by_size.setdefault(path.stat().st_size, []).append(path)
    found, missing = {}, []
    for clip in clips:
        if clip.pictures:
            able = [p for p in [root, *folders] if len(_pictures(p)) >= clip.pictures]
            hits = [p for p in able if _digest(_pictures(p, clip.pictures)) == clip.sha256]
        else:
            hits = [p for p in by_size.get(clip.bytes, ()) if _digest([p]) == clip.sha256]
        if hits:
            found[clip.clip] = hits[0]
        else:
            missing.append(f'{clip.clip}: {clip.source}, sha256 {clip.sha256[:16]}...')
    if missing:
        title = f'{len(missing)} of {len(clips)} files of the list are not there, or are others:'
        fix = '`votes prepare open-clips FOLDER` says where each is to be had'
        raise UserError(listed(title, missing, len(missing)), where=root, fix=fix)
    return found


def _digest(files: list[Path]) -> str:
    """SHA-256 of files one after the other."""
    total = hashlib.sha256()
    for file in files:
        total.update(file.read_bytes())
    return total.hexdigest()


def originals(clip: OpenClip, path: Path) -> Iterator[Frame]:
    """The frames of a file, upright, averaged and cropped at the right and the bottom to multiples of 4: uint8 RGB."""
    for frame in _frames(clip, path):
        height, width = (n // clip.shrink // STEP * STEP for n in frame.shape[:2])
        part = np.ascontiguousarray(frame[: height * clip.shrink, : width * clip.shrink])
        yield part if clip.shrink == 1 else np.asarray(cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA))


def _frames(clip: OpenClip, path: Path) -> Iterator[Frame]:
    if clip.pictures:
        yield from (read_picture(file) for file in _pictures(path, clip.pictures))
        return
    with VideoReader(path) as reader:
        for frame in reader:
            yield frame.rgb


def page() -> str:
    """docs/open-clips.md."""
    head = """# Open clips

For who wants to train or measure on real videos that anyone may fetch.

Made by `python -m votes.data.tools.open_clips > docs/open-clips.md` from votes/data/open_clips.json.

Real videos in public repositories: what the weights that ship were trained, chosen and measured on
([weights.md](weights.md)). None of them is part of this project. Fetch the files (a clone of the repository at that
commit, or `https://raw.githubusercontent.com/REPOSITORY/COMMIT/PATH`; of bedroom the first 100 pictures) into one
folder, under any names, then

```bash
votes prepare open-clips datasets/open_clips --from FOLDER_OF_FILES --recipe options/degrade/open_x2
```

finds each by its SHA-256 and makes originals of it: upright, at most 96 frames, every pixel the mean of `shrink` by
`shrink` pixels of the file where that was compressed itself, cropped to multiples of 4. Parts are split by source, not
by frame. With recipes, LQ versions of the training part are made, of which training draws one for each sample.
"""
    rows = ['| clip | part | tier | stored | shrink | content | source | licence | SHA-256 |', '|' + '---|' * 9]
    for part in PARTS:
        for clip in sorted(open_clips(), key=lambda c: c.clip):
            if clip.split == part:
                cells = [clip.clip, part, clip.tier, clip.stored, str(clip.shrink), clip.content]
                rows.append('| ' + ' | '.join([*cells, f'`{clip.source}`', clip.licence, f'`{clip.sha256}`']) + ' |')
    tail = """
Tiers: A lossless, B high rate, C ordinary. The hash of a folder of pictures is that of all their bytes in the order of
their names. Licences are those of the repositories; a clip's own makers may have other rights.
"""
    return head + '\n' + '\n'.join(rows) + '\n' + tail


if __name__ == '__main__':
    print(page(), end='')
