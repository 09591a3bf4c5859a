"""`votes prepare`: datasets as people download them into clips of frames, meta_info lists and splits."""

from __future__ import annotations

import argparse
import errno
import lzma
import re
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from votes import checkpoint
from votes.data.clip_lists import folds
from votes.data.degrading import degrade_source, write_clip
from votes.data.sources import FolderSource
from votes.data.tools.layouts import LAYOUTS, Clips, Layout, Places
from votes.data.tools.ldv_like import prepare_ldv_like
from votes.data.tools.open_clips import prepare_open_clips
from votes.data.tools.pack import MAKE_ROOM, need_room
from votes.errors import UserError, explained, listed
from votes.video.recipe import read_recipe

Say = Callable[[str], None]
OPEN, LDV = 'open-clips', 'ldv-like'


@dataclass
class Wish:
    """What a user asks for besides the data set's own layout."""

    lq: Path | None = None
    recipes: list[str] = field(default_factory=list)
    frames: int | None = None
    copy: bool = False
    test: int | None = None
    val: int | None = None
    folds: int | None = None
    seed: int = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    named = sorted([*LAYOUTS, OPEN, LDV])
    parser.add_argument('dataset', choices=named, help='what was downloaded; videos, ldv-like: your own')
    of_source = f'folder with the downloaded files, .zip files are unpacked; of {OPEN}: folder to make'
    parser.add_argument('source', type=Path, help=of_source)
    parser.add_argument('output', type=Path, nargs='?', help='folder to make; the same command goes on if stopped')
    parser.add_argument('--from', type=Path, dest='files', metavar='FILES', help=f'for {OPEN}: folder of its files')
    parser.add_argument('--lq', type=Path, help='for videos: folder of compressed videos of the same names')
    parser.add_argument('--recipe', action='append', default=[], metavar='R.yml', help='makes LQ frames by this recipe')
    parser.add_argument('--frames', type=int, help='at most so many frames of each clip')
    parser.add_argument('--copy', action='store_true', help='copy pictures; otherwise they are linked')
    parser.add_argument('--test', type=int, help='clips for testing, drawn with the seed')
    parser.add_argument('--val', type=int, help='clips for validation, drawn with the seed')
    parser.add_argument('--folds', type=int, help='so many splits whose test clips do not overlap')
    parser.add_argument('--seed', type=int, default=0, help='of what is drawn (default 0)')


def run(args: argparse.Namespace) -> None:
    if args.dataset == OPEN:
        if args.output:
            fix = f'votes prepare {OPEN} FOLDER --from FILES'
            raise UserError(f'{OPEN} takes one folder', value=args.output, fix=fix)
        prepare_open_clips(args.source, args.files, args.frames, args.recipe)
    elif args.output is None:
        raise UserError('where to?', fix=f'votes prepare {args.dataset} DOWNLOADS FOLDER')
    elif args.dataset == LDV:
        prepare_ldv_like(args.source, args.output, args.frames, args.test, args.val, args.seed)
    else:
        wish = Wish(args.lq, args.recipe, args.frames, args.copy, args.test, args.val, args.folds, args.seed)
        prepare(args.dataset, args.source, args.output, wish)


def prepare(dataset: str, source: Path, target: Path, wish: Wish, say: Say = print) -> None:
    """Makes target/[PART/]{HQ_frames,LQ_frames*}/CLIP/00000000.png and meta_info lists.

    Pictures are linked, or copied; videos are decoded. A clip's folder appears when it is complete.

    Raises:
        UserError: the files of this data set are not there, pairs are missing, or a split leaves nothing.
    """
    if not source.is_dir():
        raise UserError('no such folder', where=source.absolute())
    for recipe in wish.recipes:
        read_recipe(recipe)
    target.mkdir(parents=True, exist_ok=True)
    places = Places([source, _unpacked(source, target / 'unpacked', say)])
    for layout in LAYOUTS[dataset](places, wish.lq):
        write_layout(layout, target, wish, say)


def write_layout(layout: Layout, target: Path, wish: Wish, say: Say = print) -> None:
    """Writes the clips of a part of a data set, and its lists; see `prepare`."""
    folder = target / layout.folder
    counts = _counts(layout, wish.frames, say)
    for name, clips in {'HQ_frames': layout.gt, **layout.lq}.items():
        for number, (clip, count) in enumerate(counts.items(), 1):
            if not (folder / name / clip).is_dir():
                _write(clips, clip, count, folder / name / clip, wish.copy)
                say(f'{folder / name / clip}: {count} frames ({number}/{len(counts)})')
        if name in layout.grids:
            checkpoint.write_record(folder / name / 'manifest.json', {'grid': layout.grids[name]})
    made = [_degraded(folder, recipe, say) for recipe in wish.recipes]
    lists = _write_lists(folder, layout, counts, wish)
    _say_options(folder, [*layout.lq, *made], lists, say)


def _unpacked(source: Path, target: Path, say: Say) -> Path:
    """Every .zip of a folder, unpacked."""
    for path in sorted(source.glob('*.zip')):
        if not (target / path.name).is_dir():
            say(f'unpacking {path}')
            with checkpoint.whole_folder(target / path.name) as partial:
                _extract(path, partial)
    return target


def _extract(path: Path, folder: Path) -> None:
    """Unpacks an archive.

    Raises:
        UserError: it is damaged (named with its first damaged file), locked, or larger than the room on the disk.
    """
    again = 'download it again'
    damaged = zipfile.BadZipFile, EOFError, NotImplementedError, UnicodeDecodeError, struct.error
    try:
        with explained('archive cannot be unpacked', *damaged, where=path, fix=again), zipfile.ZipFile(path) as archive:
            need_room(folder, sum(entry.file_size for entry in archive.infolist()), 'to unpack an archive', path)
            for entry in archive.infolist():
                if entry.flag_bits & 1:
                    raise UserError('archive with a password', where=path, fix='unpack it by hand into this folder')
                broken = zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError
                with explained('damaged archive', *broken, where=f'{path}: {entry.filename}', fix=again):
                    archive.extract(entry, folder)
    except OSError as error:
        fix = MAKE_ROOM if error.errno == errno.ENOSPC else again
        raise UserError('archive cannot be unpacked', where=path, value=error, fix=fix) from error


def _counts(layout: Layout, most: int | None, say: Say) -> dict[str, int]:
    """Frames of every clip that has all its parts."""
    sides = {'HQ_frames': layout.gt, **layout.lq}
    everywhere = {clip for clips in sides.values() for clip in clips}
    missing = [f'{clip} (of {name})' for name, clips in sides.items() for clip in sorted(everywhere - clips.keys())]
    if missing:
        where, value = layout.folder or None, ', '.join(missing[:10])
        raise UserError(f'{len(missing)} clips without a partner', where=where, value=value)
    counts: dict[str, int] = {}
    problems = []
    for clip in sorted(layout.gt):
        try:
            lengths = [source.length(name) for source, name in (clips[clip] for clips in sides.values())]
        except UserError as error:
            problems.append(f'{clip}: {error.line}')
            continue
        if len(set(lengths)) > 1:
            say(f'{clip}: {", ".join(map(str, lengths))} frames on its sides, the first {min(lengths)} are taken')
        counts[clip] = min([*lengths, most or lengths[0]])
    if problems:
        title = f'{len(problems)} of {len(layout.gt)} clips cannot be read:'
        raise UserError(listed(title, problems), fix='mend them or move them elsewhere')
    return counts


def _write(clips: Clips, clip: str, count: int, folder: Path, copy: bool) -> None:
    source, name = clips[clip]
    if not isinstance(source, FolderSource):
        write_clip(folder, (source.read(name, i) for i in range(count)))
        return
    with checkpoint.whole_folder(folder) as partial:
        for i, file in enumerate(source.files(name)[:count]):
            original, frame = source.root / name / file, partial / f'{i:08d}{Path(file).suffix.lower()}'
            if copy:
                shutil.copyfile(original, frame)
            else:
                frame.symlink_to(original.resolve())


def _degraded(folder: Path, recipe: str, say: Say) -> str:
    """LQ frames by a recipe; returns the folder's name, for the stock recipes of REDS the release's."""
    read = read_recipe(recipe)
    reds = re.fullmatch(r'reds_(x\d)_(qp\d+)', read.name)
    name = f'LQ_frames_{reds[2]}_{reds[1]}' if reds else f'LQ_frames_{read.name}'
    if not (folder / name / 'manifest.json').exists():
        degrade_source(folder / 'HQ_frames', folder / name, read, say=say)
    return name


def _write_lists(folder: Path, layout: Layout, counts: dict[str, int], wish: Wish) -> list[str]:
    """meta_info_{train,val,test}.txt and those of the folds; returns their names."""
    asked = wish.test, wish.val
    test, val = (size if n is None else n for size, n in zip(layout.sizes, asked, strict=True))
    drawn = not layout.parts or asked != (None, None)
    parts = folds(sorted(counts), 1, test, val, wish.seed)[0] if drawn else layout.parts
    lists = {f'meta_info_{part}.txt': clips for part, clips in parts.items()}
    number = layout.folds if wish.folds is None else wish.folds
    for k, fold in enumerate(folds(sorted(counts), number, test, val, wish.seed)):
        lists |= {f'meta_info_fold{k}_{part}.txt': clips for part, clips in fold.items()}
    for name, clips in lists.items():
        lines = [f'{clip} {counts[clip]}' for clip in clips if clip in counts]
        if lines:
            checkpoint.write_text(folder / name, '\n'.join(lines) + '\n')
    return [name for name in lists if (folder / name).is_file()]


def _say_options(folder: Path, lq: list[str], lists: list[str], say: Say) -> None:
    say(f'# {folder}: for the option file')
    say('datasets:')
    for section, part in (('train', 'train'), ('val', 'val' if 'meta_info_val.txt' in lists else 'test')):
        if f'meta_info_{part}.txt' in lists:
            say(f'  {section}:')
            say(f'    dataroot_gt: {folder / "HQ_frames"}')
            lq_frames = folder / lq[0] if lq else '~   # --recipe R.yml makes them, or degradation: R.yml'
            say(f'    dataroot_lq: {lq_frames}')
            say(f'    meta_info_file: {folder / f"meta_info_{part}.txt"}')
    for name in lq[1:]:
        say(f'# also {folder / name}')
    if extra := [name for name in lists if 'fold' in name]:
        say(f'# folds: {extra[0]} ... {extra[-1]}')
