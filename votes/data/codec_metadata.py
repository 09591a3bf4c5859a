"""What the codec said about clips, stored beside their frames: ROOT/CLIP/{mv_past,qp,...}.npy."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from votes.archs.fields import FIELDS, reversed_in_time
from votes.checkpoint import write_json
from votes.data.sources import Crop
from votes.data.video_source import VideoSource
from votes.errors import UserError
from votes.video.metadata import DecodedVideo, decode_with_metadata, pqf_labels

CODEC_FIELDS = ('mv_past', 'mv_future', 'past_valid', 'future_valid', 'qp')  # those that are stored for cells


def write_metadata(folder: Path, video: DecodedVideo) -> None:
    """Writes one clip's metadata; `folder` appears when it is complete."""
    partial = folder.with_name(f'.{folder.name}.partial')
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name in CODEC_FIELDS:
        values = getattr(video, name)
        if values is not None:
            np.save(partial / f'{name}.npy', values)
    pqf = pqf_labels(video.qp, video.bytes).tolist()
    about = {'size': video.frames.shape[1:3], 'types': video.types, 'bytes': video.bytes.tolist(), 'pqf': pqf}
    write_json(partial / 'frames.json', about)
    partial.rename(folder)


def extract_metadata(videos: str | Path, target: str | Path) -> list[str]:
    """Writes the metadata of every video in a folder; a run that was stopped goes on. Returns a line a video.

    Raises:
        UserError: no videos there, or one cannot be read.
    """
    source, target, lines = VideoSource(videos), Path(target), []
    for clip in source.clips():
        if not (target / clip).is_dir():
            write_metadata(target / clip, decode_with_metadata(source.path(clip)))
        found = CodecMetadata(target)
        given = [name for name in CODEC_FIELDS if found.field(clip, name) is not None]
        lines.append(f'{clip}: {found.length(clip)} frames, {", ".join(given) or "picture types and bytes alone"}')
    return lines


class CodecMetadata:
    """Reads what `write_metadata` wrote, no more of it than a crop needs.

    Raises:
        UserError: no such folder or clip, or a clip with fewer frames or another size than expected.
    """

    def __init__(self, root: str | Path):
        self.root = Path(root)
        if not self.root.is_dir():
            raise UserError('no codec metadata', where=self.root, fix='votes metadata VIDEOS OUT')
        self._about: dict[str, dict[str, Any]] = {}

    def about(self, clip: str) -> dict[str, Any]:
        """'size', and 'types', 'bytes', 'pqf' of every frame."""
        if clip not in self._about:
            path = self.root / clip / 'frames.json'
            try:
                self._about[clip] = json.loads(path.read_text())
            except (OSError, ValueError) as error:
                raise UserError('codec metadata cannot be read', where=path, value=error) from error
        return self._about[clip]

    def length(self, clip: str) -> int:
        return len(self.about(clip)['types'])

    def field(self, clip: str, name: str) -> Any:
        """One field as it is stored, memory-mapped; None where the codec did not give it."""
        path = self.root / clip / f'{name}.npy'
        return np.load(path, mmap_mode='r') if path.is_file() else None

    def check(self, clip: str, frames: int, size: tuple[int, int]) -> None:
        """Whether it is of this clip of LQ frames."""
        about = self.about(clip)
        if len(about['types']) < frames or tuple(about['size']) != size:
            raise UserError(
                'codec metadata of another video',
                where=self.root / clip,
                value=f'{len(about["types"])} frames of {about["size"][1]}x{about["size"][0]}, '
                f'LQ has {frames} of {size[1]}x{size[0]}',
            )

    def read(self, clip: str, indices: list[int], crop: Crop) -> dict[str, Tensor]:
        """Metadata of T frames in a crop (top, left, h, w) of LQ pixels.

        Returns:
            'mv_past', 'mv_future': float32 (T, 2, h, w), x and y in pixels, 0 where there is none; 'past_valid',
            'future_valid': bool (T, 1, h, w); 'qp': float32 (T, 1, h, w), -1 where unknown; 'pict_type': uint8 (T,),
            ord('I'), ord('P'), ord('B') or ord('?'); 'pqf': bool (T,). Of frames in falling order past and future
            change places.
        """
        found = {name: self._dense(clip, name, indices, crop) for name in CODEC_FIELDS}
        if indices[-1] < indices[0]:  # the frames are in their order, what is past and future is not
            found = {name: x.flip(0) for name, x in reversed_in_time(found, 0).items()}
        about = self.about(clip)
        found['pict_type'] = torch.tensor([ord(about['types'][i]) for i in indices], dtype=torch.uint8)
        found['pqf'] = torch.tensor([about['pqf'][i] for i in indices])
        return found

    def peaks(self, clip: str) -> list[bool]:
        """Which frames are of peak quality."""
        return [bool(peak) for peak in self.about(clip)['pqf']]

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
