"""`votes check-data`: what is wrong with the pairs of an option file, found before anything is trained on them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from votes import checkpoint
from votes.data.clip_lists import excluded_by, read_meta_info
from votes.data.degrading import OnTheFly
from votes.data.pairs import ClipPairs
from votes.data.sources import FolderSource, picture_kind
from votes.data.tools.check_content import same_pictures, still_and_blank, wrong_colours
from votes.errors import UserError
from votes.options import DatasetOptions, load_options
from votes.options.yaml_file import read_option_file
from votes.registry import DATASETS

REACH = 5  # frames that LQ and GT may be apart and still be recognised
THUMB = 48  # pixels: width of the pictures that are compared
SAMPLED = 24  # frames of a clip that are read unless all are asked for
MANY_BITS = 48.0  # dB: LQ that is so close to the shrunk GT was hardly compressed


@dataclass
class Finding:
    """One thing that was found. An 'error' means that training on this data makes no sense."""

    level: str
    dataset: str
    clip: str
    text: str
    fix: str

    def __str__(self) -> str:
        return f'{self.level}: {self.dataset}, {self.clip}: {self.text}\n    {self.fix}'


def check_option_file(path: str | Path, everything: bool = False, good: Path | None = None) -> list[Finding]:
    """Looks through every dataset of an option file.

    Args:
        everything: reads all frames; otherwise the first 24 of each clip.
        good: takes a meta_info list of the training clips in which no error was found.

    Raises:
        UserError: the option file itself is wrong.
    """
    datasets = read_option_file(path).data.get('datasets')
    opt = load_options(path, mode='train' if isinstance(datasets, dict) and datasets.get('train') else 'test')
    found = []
    for name, data in opt.datasets.items():
        found += list(_check_dataset(name, data, opt.scale, everything, good if name == 'train' else None))
    return found


def _check_dataset(
    name: str, data: DatasetOptions, scale: int, everything: bool, good: Path | None
) -> Iterator[Finding]:
    args = data.args
    kept = excluded_by(args.get('val_partition')) if args.get('test_mode') else None
    exclude = excluded_by(args.get('val_partition')) if kept is None else []
    for key in ('meta_val_file', 'meta_test_file'):
        exclude = exclude + list(read_meta_info(args[key]) if args.get(key) else [])
    degradation = args.get('degradation')
    try:
        pairs = ClipPairs(
            args['dataroot_gt'],
            args.get('dataroot_lq'),
            scale,
            meta_info_file=args.get('meta_info_file'),
            split=args.get('split'),
            exclude=exclude,
            only=kept,
            middle_gt=getattr(DATASETS.get(data.type), 'middle_gt', False),
            io_backend=args.get('io_backend'),
            least=int(args.get('num_frame', 5)),
            degradation=[degradation] if isinstance(degradation, str) else degradation,
            tolerant=True,
        )
    except UserError as error:
        yield Finding('error', name, 'all clips', error.what, str(error.details['fix'] or 'see above'))
        return
    spoilt = set(pairs.problems)
    for clip, problem in pairs.problems.items():
        yield Finding('error', name, clip, problem, _remedy(pairs, clip, scale))
    for clip in pairs.names():
        for level, text, fix in _check_clip(pairs, clip, everything, int(args.get('gt_size', 0)) // scale):
            spoilt |= {clip} if level == 'error' else set()
            yield Finding(level, name, clip, text, fix)
    clean = [f'{clip} {pairs.lengths[clip]}' for clip in pairs.names() if clip not in spoilt]
    if good and spoilt and clean:
        with checkpoint.atomic_write(good) as temporary:
            temporary.write_text('\n'.join(clean) + '\n')
        fix = f'in the option file: datasets.{name}.meta_info_file: {good}'
        yield Finding('note', name, f'{len(clean)} clips', 'have no error', fix)


def _remedy(pairs: ClipPairs, clip: str, scale: int) -> str:
    """What to change for a clip that is no pair."""
    try:
        lq, gt = (source.size(clip) for source in (pairs.lq, pairs.gt))
    except UserError:
        return 'mend or remove it, or leave it out: --write-list GOOD.txt'
    pairs_of_sides = list(zip(gt, lq, strict=True))
    ratio = round(gt[0] / lq[0])
    if ratio not in (0, scale) and all(abs(g - n * ratio) < ratio for g, n in pairs_of_sides):
        return f'in the option file: scale: {ratio}'
    return 'leave it out: --write-list GOOD.txt writes a meta_info_file of the others'


def _check_clip(pairs: ClipPairs, clip: str, everything: bool, crop: int) -> Iterator[tuple[str, str, str]]:
    """(level, what, what to do)."""
    smallest = min(pairs.lq.size(clip))
    if crop > smallest:
        yield 'error', 'gt_size is larger than its frames', f'gt_size: {smallest // 4 * 4 * pairs.scale} or less'
    yield from depths(pairs, clip)
    if isinstance(pairs.lq, OnTheFly):
        return  # what is made from GT belongs to it
    if pairs.middle_gt and pairs.gt.length(clip) == 1:
        return  # one frame says nothing about time
    count = pairs.lengths[clip] if everything else min(pairs.lengths[clip], SAMPLED)
    try:
        lq, gt = read_thumbs(pairs, clip, count)
    except UserError as error:
        yield 'error', str(error).replace('\n', ' '), str(error.details['fix'] or 'replace it')
        return
    timed = list(timing(lq, gt))
    yield from timed
    yield from still_and_blank(lq, gt)
    yield from content(lq, gt)
    if not timed:
        yield from same_pictures(pairs, clip, count)


def depths(pairs: ClipPairs, clip: str) -> Iterator[tuple[str, str, str]]:
    """Pictures of more than 8 bits, and grey ones beside coloured ones: (level, what, what to do)."""
    kinds = {}
    for side, source in (('LQ', pairs.lq), ('GT', pairs.gt)):
        if isinstance(source, FolderSource):
            kinds[side] = picture_kind(source.root / clip / source.files(clip)[0])
    for side, (bits, _) in kinds.items():
        if bits > 8:
            yield 'warning', f'{side} has {bits} bits a channel, 8 are used', 'nothing, or write it with 8 bits'
    if len({coloured for _, coloured in kinds.values()}) == 2:
        grey = next(side for side, (_, coloured) in kinds.items() if not coloured)
        yield 'error', f'{grey} is grey and the other is not', 'extract both with their colours'


def read_thumbs(pairs: ClipPairs, clip: str, count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The first `count` frames of LQ and GT brought to one small size, float RGB (T, h, w, 3)."""
    height, width = pairs.lq.size(clip)
    size = min(THUMB, width), max(1, round(height * min(THUMB, width) / width))

    def small(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.asarray(cv2.resize(frame.astype(np.float32), size, interpolation=cv2.INTER_AREA), np.float32)

    lq = np.stack([small(pairs.lq.read(clip, i)) for i in range(count)])
    gt = np.stack([small(pairs.read_gt(clip, i)) for i in range(count)])
    return lq, gt


def timing(lq: NDArray[np.float32], gt: NDArray[np.float32]) -> Iterator[tuple[str, str, str]]:
    """Frames that are shifted, dropped or repeated in LQ: (level, what, what to do)."""
    offsets = frame_offsets(lq.mean(3), gt.mean(3))
    known = [(i, offset) for i, offset in enumerate(offsets) if offset is not None]
    repeated = [i for i in range(1, len(lq)) if (lq[i] == lq[i - 1]).all() and np.abs(gt[i] - gt[i - 1]).mean() > 0.5]
    if repeated:
        yield (
            'error',
            f'LQ repeats a frame at {_some(repeated)} where GT moves',
            'match the frames again, or drop the clip',
        )
    if not known:
        return
    values = [offset for _, offset in known]
    sure = f'{len(known)} of {len(lq)} frames could be placed'
    if len(set(values)) == 1 and values[0]:
        late = values[0] < 0
        yield (
            'error',
            f'LQ shows frame i {"after" if late else "before"} GT does: it is {abs(values[0])} frames '
            f'{"late" if late else "early"} ({sure}, and all agree)',
            f'remove the first {abs(values[0])} frames of {"LQ" if late else "GT"} and renumber',
        )
    elif len(set(values)) > 1:
        place = next(i for (i, a), (_, b) in zip(known[1:], known, strict=False) if a != b)
        yield (
            'error',
            f'LQ and GT part at frame {place}: offsets {sorted(set(values))}; frames were dropped or inserted there '
            f'({sure})',
            'match the frames again, cut the clip before that frame, or drop it',
        )


def frame_offsets(lq: NDArray[np.float32], gt: NDArray[np.float32]) -> list[int | None]:
    """For each LQ frame (T, h, w) how far away the GT frame is that it shows; None where nothing moves enough."""
    offsets: list[int | None] = []
    for i, frame in enumerate(lq):
        near = range(max(0, i - REACH), min(len(gt), i + REACH + 1))
        errors = {j: float(np.abs(frame - gt[j]).mean()) for j in near}
        best = min(errors, key=lambda j: errors[j])
        others = [error for j, error in errors.items() if j != best]
        sure = bool(others) and min(others) > 1.1 * errors[best] + 0.05
        # at the ends the right frame may be outside of what was read
        inside = REACH <= i < len(lq) - REACH and abs(best - i) < REACH
        offsets.append(best - i if sure and inside else None)
    return offsets


def content(lq: NDArray[np.float32], gt: NDArray[np.float32]) -> Iterator[tuple[str, str, str]]:
    """LQ that is GT, and colours that were read with another matrix or range."""
    mse = float(((lq - gt) ** 2).mean())
    if mse < 1e-9:
        yield 'error', 'LQ equals GT', 'dataroot_lq names the original?'
        return
    if 10 * np.log10(255**2 / mse) > MANY_BITS:
        yield 'warning', 'LQ is the shrunk GT, hardly compressed', 'is this the folder that the platform made?'
    yield from wrong_colours(lq, gt)


def _some(frames: list[int]) -> str:
    return ', '.join(map(str, frames[:5])) + (f' and {len(frames) - 5} more' if len(frames) > 5 else '')


def as_json(found: list[Finding]) -> dict[str, Any]:
    return {'may_train': may_train(found), 'findings': [asdict(f) for f in found]}


def may_train(found: list[Finding]) -> bool:
    return not any(f.level == 'error' for f in found)
