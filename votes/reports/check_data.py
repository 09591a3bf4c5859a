"""`votes check-data`: what is wrong with the pairs of an option file, found before anything is trained on them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from votes.data.clip_lists import excluded_by, read_meta_info
from votes.data.pairs import ClipPairs
from votes.errors import UserError
from votes.options import DatasetOptions, load_options
from votes.options.yaml_file import read_option_file
from votes.video.colour import Colour

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


def check_option_file(path: str | Path, everything: bool = False) -> list[Finding]:
    """Looks through every dataset of an option file.

    Args:
        everything: reads all frames; otherwise the first 24 of each clip.

    Raises:
        UserError: the option file itself is wrong.
    """
    datasets = read_option_file(path).data.get('datasets')
    opt = load_options(path, mode='train' if isinstance(datasets, dict) and datasets.get('train') else 'test')
    found = []
    for name, data in opt.datasets.items():
        found += list(_check_dataset(name, data, opt.scale, everything))
    return found


def _check_dataset(name: str, data: DatasetOptions, scale: int, everything: bool) -> Iterator[Finding]:
    args = data.args
    exclude = excluded_by(args.get('val_partition'))
    for key in ('meta_val_file', 'meta_test_file'):
        exclude = exclude + list(read_meta_info(args[key]) if args.get(key) else [])
    try:
        pairs = ClipPairs(
            args['dataroot_gt'],
            args['dataroot_lq'],
            scale,
            meta_info_file=args.get('meta_info_file'),
            split=args.get('split'),
            exclude=exclude,
            io_backend=args.get('io_backend'),
            least=int(args.get('num_frame', 5)),
        )
    except UserError as error:
        yield Finding('error', name, 'all clips', error.what, str(error.details['fix'] or 'see above'))
        return
    for clip in pairs.names():
        count = pairs.lengths[clip] if everything else min(pairs.lengths[clip], SAMPLED)
        try:
            lq, gt = read_thumbs(pairs, clip, count)
        except UserError as error:
            yield Finding('error', name, clip, str(error).replace('\n', ' '), str(error.details['fix'] or 'replace it'))
            continue
        for level, text, fix in [*timing(lq, gt), *content(lq, gt)]:
            yield Finding(level, name, clip, text, fix)


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
    if len(set(values)) == 1 and values[0]:
        late = values[0] < 0
        yield (
            'error',
            f'LQ shows frame i {"after" if late else "before"} GT does: it is {abs(values[0])} frames '
            f'{"late" if late else "early"}',
            f'remove the first {abs(values[0])} frames of {"LQ" if late else "GT"} and renumber',
        )
    elif len(set(values)) > 1:
        place = next(i for (i, a), (_, b) in zip(known[1:], known, strict=False) if a != b)
        yield (
            'error',
            f'LQ and GT part at frame {place}: offsets {sorted(set(values))}; frames were dropped or inserted there',
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
    error = float(np.abs(lq - gt).mean())
    mse = float(((lq - gt) ** 2).mean())
    if mse < 1e-9:
        yield 'error', 'LQ equals GT', 'dataroot_lq names the original?'
        return
    if 10 * np.log10(255**2 / mse) > MANY_BITS:
        yield 'warning', 'LQ is the shrunk GT, hardly compressed', 'is this the folder that the platform made?'
    for name, other in suspects(gt).items():
        if error > 1.5 and float(np.abs(lq - other).mean()) < 0.5 * error:
            yield 'error', f'colours differ as by {name}', 'extract LQ and GT with the same matrix and range'


def suspects(rgb: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """What a picture looks like after the usual mistakes."""
    flat = np.rint(rgb.reshape(1, -1, 3)).astype(np.uint8)

    def through(written: Colour, read: Colour) -> NDArray[np.float32]:
        return read.to_rgb(written.to_yuv(flat)).reshape(rgb.shape).astype(np.float32)

    bt601, bt709 = Colour('bt601', False), Colour('bt709', False)
    return {
        'a BT.709 video read as BT.601': through(bt709, bt601),
        'a BT.601 video read as BT.709': through(bt601, bt709),
        'limited range read as full range': through(bt601, Colour('bt601', True)),
        'full range read as limited range': through(Colour('bt601', True), bt601),
    }


def _some(frames: list[int]) -> str:
    return ', '.join(map(str, frames[:5])) + (f' and {len(frames) - 5} more' if len(frames) > 5 else '')


def as_json(found: list[Finding]) -> dict[str, Any]:
    return {'may_train': may_train(found), 'findings': [asdict(f) for f in found]}


def may_train(found: list[Finding]) -> bool:
    return not any(f.level == 'error' for f in found)
