"""How the data sets of the field lie on disk when they were downloaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from votes.data.clip_lists import PARTITIONS, read_meta_info
from votes.data.sources import FrameSource, folders_in, held, kind_of, open_source
from votes.errors import UserError, explained

Clips = dict[str, tuple[FrameSource, str]]  # name here -> where it is, and its name there
DEPTH = 4  # folders below the one that was named
LISTS = Path(__file__).parents[1] / 'meta_info'


@dataclass
class Layout:
    """A part of a data set: where its frames are, and how it is split.

    Attributes:
        folder: below the output.
        lq: folder of LQ frames -> clips.
        parts: the published split; empty for one that is drawn.
        sizes: test and validation clips of a drawn split.
        folds: how many splits are drawn for cross-validation.
        grids: folder of LQ frames -> 'centre' or 'origin', where their pixels lie on GT, if that is known.
    """

    gt: Clips
    lq: dict[str, Clips] = field(default_factory=dict)
    folder: str = ''
    parts: dict[str, list[str]] = field(default_factory=dict)
    sizes: tuple[int, int] = (10, 0)
    folds: int = 0
    grids: dict[str, str] = field(default_factory=dict)


class Places:
    """Folders in which something is looked for."""

    def __init__(self, roots: list[Path]):
        self.roots = [root for root in roots if root.is_dir()]

    def folders(self) -> Iterator[Path]:
        """Every folder, those that are less deep first; no folder of a clip's frames is entered."""
        level = list(self.roots)
        for _ in range(DEPTH + 1):
            yield from level
            level = [folder / name for folder in level for name in folders_in(folder)]

    def find(self, *names: str) -> Path | None:
        """The first folder of one of these names, whatever their case."""
        wanted = {name.lower() for name in names}
        return next((folder for folder in self.folders() if folder.name.lower() in wanted), None)

    def need(self, *names: str) -> Path:
        found = self.find(*names)
        if found is None:
            what, fix = f'no folder {" or ".join(names)}', 'name the folder that holds the downloaded files'
            raise UserError(what, where=self.roots[0], value=f'it holds {held(*self.roots)}', fix=fix)
        return found


def all_of(root: Path, rename: Callable[[str], str] = str) -> Clips:
    """Every clip of a frame source."""
    source = open_source(root)
    return {rename(clip): (source, clip) for clip in source.clips()}


def reds(places: Places, _: Path | None) -> list[Layout]:
    """train_sharp/000 ... and val_sharp/000 ..., which becomes 240 ...; test 240..269, validation REDS4."""
    gt = all_of(places.need('train_sharp'))
    val = places.find('val_sharp')
    if val is not None:
        gt |= all_of(val, lambda clip: f'{240 + int(clip):03d}')
    return [Layout(gt, parts=_split(gt, PARTITIONS['REDS4'], PARTITIONS['official']))]


def _split(gt: Clips, val: list[str], test: list[str]) -> dict[str, list[str]]:
    """Published lists, and the other clips for training."""
    return {'train': sorted(gt.keys() - {*val, *test}), 'val': val, 'test': test}


def uvssm(places: Places, _: Path | None) -> list[Layout]:
    """{WeChat,twitter,bilibili,Youtube}/{HQ*,LQ*}, frames or videos. WeChat: the published lists and five folds."""
    found = []
    for platform in ('WeChat', 'twitter', 'bilibili', 'Youtube'):
        folder = places.find(platform)
        if folder is None:
            continue
        sides = {}
        for side in ('HQ', 'LQ'):
            below = [name for name in folders_in(folder) if name.upper().startswith(side)]
            if not below:
                raise UserError(f'no folder {side}_frames', where=folder)
            sides[side] = all_of(folder / below[0])
        layout = Layout(sides['HQ'], {'LQ_frames': sides['LQ']}, folder=platform)
        if platform == 'WeChat':
            layout.sizes, layout.folds = (10, 4), 5
            val, test = (list(read_meta_info(LISTS / f'meta_info_UVSSMWeChat_{part}.txt')) for part in ('val', 'test2'))
            layout.parts = _split(layout.gt, val, test)
        found.append(layout)
    if not found:
        places.need('WeChat', 'twitter', 'bilibili', 'Youtube')
    return found


def ldv(places: Places, _: Path | None) -> list[Layout]:
    """Folders of videos, PART_KIND: training_raw, training_fixed-QP, validation_raw ...; raw is the original."""
    layout = Layout({}, parts={'train': [], 'val': [], 'test': []})
    for folder in places.folders():
        part = next((p for p in ('train', 'val', 'test') if folder.name.lower().startswith(p)), None)
        kind = folder.name.partition('_')[2].lower()
        if part is None or not kind or kind_of(folder) not in ('video', 'yuv'):
            continue
        clips = all_of(folder, lambda clip, part=part: f'{part}_{clip}')  # type: ignore[misc]
        if kind in ('raw', 'gt'):
            layout.gt |= clips
            layout.parts[part] += sorted(clips)
        else:
            layout.lq.setdefault(f'LQ_frames_{kind}', {}).update(clips)
    if not layout.gt:
        places.need('training_raw')
    return [layout]


def tested(places: Places, _: Path | None) -> list[Layout]:
    """GT/{calendar,city,foliage,walk} (Vid4) or GT/{archpeople,...} (UDM10), beside it BIx4, BDx4; all for testing."""
    gt_folder = places.need('GT', 'HR')
    gt = all_of(gt_folder)
    beside = {name: gt_folder.parent / name for name in ('BIx4', 'BDx4', 'LR')}
    lq = {f'LQ_frames_{name}': all_of(path) for name, path in beside.items() if path.is_dir()}
    grids = {'LQ_frames_BIx4': 'centre', 'LQ_frames_BDx4': 'origin'}
    return [Layout(gt, lq, parts={'test': sorted(gt)}, grids={name: grids[name] for name in lq if name in grids})]


def reds4(places: Places, _: Path | None) -> list[Layout]:
    """The clips 000, 011, 015 and 020 of train_sharp (or GT), with those of sharp_bicubic where it is; for testing."""
    gt = _only(all_of(places.need('train_sharp', 'GT')), PARTITIONS['REDS4'])
    small = places.find('sharp_bicubic', 'train_sharp_bicubic')
    lq = {}
    if small is not None:
        below = small / 'X4' if (small / 'X4').is_dir() else small
        lq = {'LQ_frames_BIx4': _only(all_of(below), PARTITIONS['REDS4'])}
    return [Layout(gt, lq, parts={'test': sorted(gt)}, grids=dict.fromkeys(lq, 'centre'))]


def _only(clips: Clips, names: list[str]) -> Clips:
    missing = [name for name in names if name not in clips]
    if missing:
        raise UserError('clips are missing', value=', '.join(missing[:10]), fix='the whole data set is needed')
    return {name: clips[name] for name in names}


def mfqe(places: Places, _: Path | None) -> list[Layout]:
    """train_108 and test_18, each with raw/ and CODEC/QP.. of raw videos, CLIP_WIDTHxHEIGHT_FRAMES.yuv.

    Frames become RGB. Networks of luma need none of this: their option files name the folders of raw videos.
    """
    layout = Layout({}, parts={'val': []})
    for part, name in (('train', 'train_108'), ('test', 'test_18')):
        folder = places.need(name)
        gt = {f'{part}_{clip}': place for clip, place in all_of(folder / 'raw').items()}
        layout.gt |= gt
        layout.parts[part] = sorted(gt)
        for coded in sorted(p for p in folder.glob('*/*') if p.is_dir() and p.parent.name != 'raw'):
            below = f'LQ_frames_{coded.parent.name}_{coded.name}'
            clips = {f'{part}_{clip}': place for clip, place in all_of(coded).items()}
            layout.lq.setdefault(below, {}).update(clips)
    return [layout]


def vimeo90k(places: Places, _: Path | None) -> list[Layout]:
    """sequences/00001/0001/im1.png ... im7.png with sep_trainlist.txt and sep_testlist.txt; a clip is 00001_0001."""
    sequences = places.need('sequences')
    parts: dict[str, list[str]] = {}
    for part in ('train', 'test'):
        path = sequences.parent / f'sep_{part}list.txt'
        with explained('a published list is missing', OSError, where=path, fix='it comes with vimeo_septuplet.zip'):
            parts[part] = path.read_text().replace('/', '_').split()
    gt = all_of(sequences, lambda clip: clip.replace('/', '_'))
    return [Layout(_only(gt, [clip for part in parts.values() for clip in part]), parts=parts)]


def videos(places: Places, lq: Path | None) -> list[Layout]:
    """A folder of videos, raw YUV or folders of pictures, and one of compressed videos of the same names or none.

    Videos may lie in folders below, and be called as cameras and phones do: 'holiday/VID 1 (2).MOV' becomes
    holiday_VID_1_(2), as lists cannot hold spaces.
    """
    gt = videos_below(places.roots[0])
    tenth = max(1, len(gt) // 10) if len(gt) > 1 else 0
    return [Layout(gt, {'LQ_frames': videos_below(lq)} if lq else {}, sizes=(tenth, tenth if len(gt) > 3 else 0))]


def videos_below(root: Path) -> Clips:
    """Videos, raw YUV or folders of pictures in a folder and those below it, by names without spaces."""
    if not root.is_dir():
        raise UserError('no such folder', where=root.absolute(), fix='a folder of videos')
    found: Clips = {}
    with_videos = [folder for folder in Places([root]).folders() if kind_of(folder) in ('video', 'yuv')]
    for folder in with_videos:
        below = '_'.join(folder.relative_to(root).parts)
        for clip, place in all_of(folder).items():
            name = '_'.join(f'{below} {clip}'.split())
            if name in found:
                raise UserError('two videos of one name', where=folder, value=name, fix='rename one of them')
            found[name] = place
    return found or all_of(root, lambda clip: '_'.join(clip.split()))


LAYOUTS: dict[str, Callable[[Places, Path | None], list[Layout]]] = {
    **{layout.__name__: layout for layout in (reds, uvssm, ldv, mfqe, reds4, vimeo90k, videos)},
    **dict.fromkeys(('udm10', 'vid4'), tested),
}
