"""What the codec said about clips, stored beside their frames: ROOT/CLIP/{mv_past,qp,...}.npy."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from av.error import FFmpegError
from numpy.typing import NDArray
from torch import Tensor

from votes.archs.fields import FIELDS, reversed_in_time
from votes.archs.windows import CUT, PICKED, TYPES, Pick
from votes.checkpoint import read_record, sha256, whole_folder, write_record
from votes.data.sources import Crop
from votes.data.video_source import VideoSource
from votes.errors import UserError, explained, first_line, listed
from votes.video.metadata import FrameMetadata, each_frame, pqf_labels
from votes.video.scenes import SceneCuts

AGAIN = 'votes metadata makes it again'
RULE = 2  # of what is stored: a folder of another is made again. 1 had other frames of peak quality, and no cuts
CODEC_FIELDS = ('mv_past', 'mv_future', 'past_valid', 'future_valid', 'qp')  # those that are stored for cells


def write_metadata(folder: Path, frames: Iterable[FrameMetadata]) -> None:
    """Writes one clip's metadata, frame by frame; `folder` appears when it is complete."""
    types, sizes, means, moving, size = [], [], [], False, (0, 0)
    cuts = SceneCuts()
    with whole_folder(folder) as partial, contextlib.ExitStack() as opened:
        growing = ((name, contextlib.closing(_Growing(partial / f'{name}.npy'))) for name in CODEC_FIELDS)
        arrays = {name: opened.enter_context(array) for name, array in growing}
        for frame in frames:
            size = frame.size
            types.append(frame.type)
            sizes.append(frame.bytes)
            cuts.see(frame.small)
            moving = moving or bool(frame.past_valid.any() or frame.future_valid.any())
            means += [] if frame.qp is None else [float(frame.qp.mean())]
            for name, array in arrays.items():
                array.append(getattr(frame, name))
        opened.close()
        for name, array in arrays.items():
            if array.count < len(types) or (name != 'qp' and not moving):
                array.path.unlink()
        qp = np.array(means) if len(means) == len(types) else None
        pqf = pqf_labels(qp, np.array(sizes), cuts.found).tolist()
        about = {'rule': RULE, 'size': size, 'types': types, 'bytes': sizes, 'pqf': pqf, 'cuts': cuts.found}
        about['arrays'] = {path.stem: sha256(path) for path in sorted(partial.glob('*.npy'))}
        write_record(partial / 'frames.json', about)


class _Growing:
    """A NumPy file (T, ...) to which arrays of one shape are added until it is closed."""

    HEADER = 128  # bytes that NumPy's header of so few dimensions takes

    def __init__(self, path: Path):
        self.path, self.count = path, 0
        self.file = open(path, 'wb')  # noqa: SIM115 closed by close()
        self.file.write(bytes(self.HEADER))

    def append(self, values: NDArray[Any] | None) -> None:
        if values is not None:
            self.shape, self.kind = values.shape, np.lib.format.dtype_to_descr(values.dtype)
            self.file.write(values.tobytes())
            self.count += 1

    def close(self) -> None:
        if self.count:
            header = {'descr': self.kind, 'fortran_order': False, 'shape': (self.count, *self.shape)}
            self.file.seek(0)
            np.lib.format.write_array_header_1_0(self.file, header)  # type: ignore[arg-type]
            assert self.file.tell() == self.HEADER
        self.file.close()


def extract_metadata(videos: str | Path, target: str | Path, say: Callable[[str], None] = print) -> None:
    """Writes the metadata of every video in a folder and says a line of each; a run that was stopped goes on. What
    an earlier version made is made again.

    Raises:
        UserError: no videos there; or, when all others are done, those that could not be read.
    """
    source, target = VideoSource(videos), Path(target)
    problems = []
    for clip in source.clips():
        try:
            stale = _stale(target, clip)
            if stale != '':
                write_metadata(target / clip, each_frame(source.path(clip)))
        except (UserError, FFmpegError, OSError, ValueError, RuntimeError, MemoryError) as error:
            problems.append(f'{source.path(clip)}: {str(error) or type(error).__name__}')
            say(f'{clip}: NOT READ, {first_line(error)}')
            continue
        found = CodecMetadata(target)
        given = [name for name in CODEC_FIELDS if found.field(clip, name) is not None]
        given += ['peak quality of labels'] if found.about(clip).get('labels') else []
        given = given or ['picture types and bytes alone']
        say(f'{clip}: {found.length(clip)} frames, {", ".join(given)}{stale or ""}')
    if problems:
        title = f'{len(problems)} of {len(source.clips())} videos could not be read:'
        fix = 'mend or remove them; the same command does what is missing'
        raise UserError(listed(title, problems, len(problems)), where=videos, fix=fix)


def _stale(target: Path, clip: str) -> str | None:
    """Why what is there of a clip is made again, '' where it is sound; None where there is nothing."""
    if not (target / clip).is_dir():
        return None
    found = CodecMetadata(target)
    try:
        for name in CODEC_FIELDS:
            found.field(clip, name)
        about = found.about(clip)
    except UserError:
        return '; was damaged, made again, its labels need --peaks again'
    labelled = ', its labels need --peaks again' if about.get('labels') else ''
    return '' if about.get('rule') == RULE else f'; made again, by the rules of today{labelled}'


def take_labels(root: str | Path, labels: str | Path) -> None:
    """Which frames are of peak quality, from LABELS/CLIP.txt in place of what the codec tells: a line a frame, 1 or 0
    (of a detector), or how good the frame is, from which it follows as of quantisers.

    Raises:
        UserError: a clip has no such file, or it is not of numbers, one a frame.
    """
    for clip in sorted(path.parent.name for path in Path(root).glob('*/frames.json')):
        file, path = Path(labels) / f'{clip}.txt', Path(root) / clip / 'frames.json'
        about = CodecMetadata(root).about(clip)
        count = len(about['types'])
        with explained('labels of peak quality cannot be read', OSError, ValueError, where=file):
            values = np.array([float(word) for word in file.read_text().split()])
        if len(values) != count or not np.isfinite(values).all():
            found = f'{len(values)}, {int(np.isfinite(values).sum())} of them finite'
            raise UserError(f'{count} numbers are needed, one a frame', where=file, value=found)
        told = set(values.tolist()) <= {0.0, 1.0}
        peaks = values == 1 if told else pqf_labels(-values, np.array(about['bytes']), about.get('cuts', ()))
        write_record(path, {**about, 'pqf': peaks.tolist(), 'labels': True})


class CodecMetadata:
    """Reads what `write_metadata` wrote, no more of it than a crop needs.

    Raises:
        UserError: no such folder or clip, or a clip with fewer frames or another size than expected.
    """

    FIELDS = (*CODEC_FIELDS, 'pict_type', 'pqf', 'scene')

    def __init__(self, root: str | Path):
        self.root = Path(root)
        if not self.root.is_dir():
            raise UserError('no codec metadata', where=self.root, fix='votes metadata VIDEOS OUT')
        self._about: dict[str, dict[str, Any]] = {}
        self._whole: set[Path] = set()

    def about(self, clip: str) -> dict[str, Any]:
        """'size', 'types', 'bytes', 'pqf' of every frame, 'cuts', the first frames of scenes, 'labels' where a file
        told 'pqf', 'rule', see RULE, and 'arrays', the SHA-256 of each file of a field that is there.
        """
        if clip not in self._about:
            path = self.root / clip / 'frames.json'
            with explained('codec metadata cannot be read', ValueError, where=path, fix=AGAIN):
                self._about[clip] = read_record(path, unsigned=True)
        return self._about[clip]

    def length(self, clip: str) -> int:
        return len(self.about(clip)['types'])

    def field(self, clip: str, name: str) -> Any:
        """One field as it is stored, memory-mapped; None where the codec did not give it. Its file is verified once.

        Raises:
            UserError: the file is not what was written, or is gone.
        """
        path = self.root / clip / f'{name}.npy'
        known = self.about(clip).get('arrays', {})  # none of a version before
        if name in known and path not in self._whole:
            if not path.is_file() or sha256(path) != known[name]:
                raise UserError('codec metadata cannot be read: another checksum', where=path, fix=AGAIN)
            self._whole.add(path)
        return np.load(path, mmap_mode='r') if path.is_file() else None

    def check(self, clip: str, frames: int, size: tuple[int, int]) -> None:
        """Whether it is of this clip of LQ frames."""
        count, (height, width) = self.length(clip), self.about(clip)['size']
        if count < frames or (height, width) != size:
            value = f'{count} frames of {width}x{height}, LQ has {frames} of {size[1]}x{size[0]}'
            raise UserError('codec metadata of another video', where=self.root / clip, value=value)

    def read(self, clip: str, indices: list[int], crop: Crop) -> dict[str, Tensor]:
        """Metadata of T frames in a crop (top, left, h, w) of LQ pixels.

        Returns:
            'mv_past', 'mv_future': float32 (T, 2, h, w), x and y in pixels, 0 where there is none; 'past_valid',
            'future_valid': bool (T, 1, h, w); 'qp': float32 (T, 1, h, w), -1 where unknown; 'pict_type': uint8 (T,),
            ord('I'), ord('P'), ord('B') or ord('?'); 'pqf': bool (T,); 'scene': int64 (T,), a number of the
            clip's. Of frames in falling order past and future change places.
        """
        found = {name: self._dense(clip, name, indices, crop) for name in CODEC_FIELDS}
        if indices[-1] < indices[0]:  # the frames are in their order, what is past and future is not
            found = {name: x.flip(0) for name, x in reversed_in_time(found, 0).items()}
        about = self.about(clip)
        found['pict_type'] = torch.tensor([ord(about['types'][i]) for i in indices], dtype=torch.uint8)
        found['pqf'] = torch.tensor([about['pqf'][i] for i in indices])
        found['scene'] = torch.tensor([sum(cut <= i for cut in about.get('cuts', ())) for i in indices])
        return found

    def marks(self, clip: str, pick: Pick = 'peaks') -> list[int]:
        """Which frames are of peak quality, or of the picture types that are picked (see archs.contract.Window), and
        which begin a scene: marks as of archs.windows.
        """
        about = self.about(clip)
        picked = [kind in TYPES[pick] for kind in about['types']] if pick in TYPES else about['pqf']
        cuts = about.get('cuts', ())
        return [PICKED * bool(peak) | CUT * (i in cuts) for i, peak in enumerate(picked)]

    def _dense(self, clip: str, name: str, indices: list[int], crop: Crop) -> Tensor:
        """A field's cells spread over the pixels that they cover."""
        stored, (top, left, height, width), cell = self.field(clip, name), crop, FIELDS[name].cell
        vectors, valid = name.startswith('mv'), name.endswith('valid')
        if stored is None:
            shape = len(indices), 2 if vectors else 1, height, width
            return torch.full(shape, FIELDS[name].blank, dtype=torch.bool if valid else torch.float32)
        rows, columns = ((np.arange(start, start + n) // cell) for start, n in ((top, height), (left, width)))
        part = np.stack([stored[i][rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] for i in indices])
        part = part[:, rows - rows[0]][:, :, columns - columns[0]]
        part = part.transpose(0, 3, 1, 2) if vectors else part[:, None]
        return torch.from_numpy(np.ascontiguousarray(part, dtype=bool if valid else np.float32))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('videos', type=Path, help='folder of video files')
    parser.add_argument('output', type=Path, help="folder for what their codec says: a dataset's codec_metadata")
    told = 'LABELS/CLIP.txt tell the frames of peak quality: a line a frame, 1 or 0, or how good it is'
    parser.add_argument('--peaks', type=Path, metavar='LABELS', help=told)


def run(args: argparse.Namespace) -> None:
    extract_metadata(args.videos, args.output)
    if args.peaks is not None:
        take_labels(args.output, args.peaks)
