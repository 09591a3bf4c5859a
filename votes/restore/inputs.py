"""What can be restored: a video file, raw YUV, or a folder of pictures."""

from __future__ import annotations

import contextlib
import glob
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path

from torch import Tensor

from votes.archs.contract import Promise
from votes.archs.fields import FIELDS
from votes.archs.windows import PICKED, TYPES, Pick
from votes.data.codec_metadata import CODEC_FIELDS, CodecMetadata, write_metadata
from votes.data.sources import SUFFIXES, OneFolder
from votes.data.video_source import VIDEO_SUFFIXES
from votes.errors import UserError
from votes.video.colour import UNSPECIFIED, Colour
from votes.video.metadata import each_frame
from votes.video.read import RATE, Reading, TimedFrame, VideoReader


class PictureReader(contextlib.AbstractContextManager['PictureReader']):
    """A folder of numbered pictures, with the attributes of a VideoReader."""

    index = rotation = 0
    aspect = survey = None
    bits, chroma, alpha = 8, '420', False

    def __init__(self, folder: Path, rate: Fraction | None):
        self.folder, self.rate = folder, rate or Fraction(RATE)
        self.time_base = 1 / self.rate
        self.source = OneFolder(folder)
        self.clip = self.source.clip
        self.frames_hint = self.source.length(self.clip)
        self.size = self.source.size(self.clip)
        self.colour = Colour.of(UNSPECIFIED, 1, *self.size)
        self.notes = [f'pictures are taken as {float(self.rate):g} frames a second: --rate changes it']
        self.corrupt: list[int] = []

    def __iter__(self) -> Iterator[TimedFrame]:
        for i in range(self.frames_hint):
            yield TimedFrame(partial(self.source.read, self.clip, i), i)

    def __exit__(self, *_: object) -> None:
        return None


Reader = VideoReader | PictureReader


def is_picture_folder(path: Path) -> bool:
    return path.is_dir() and any(p.suffix.lower() in SUFFIXES for p in path.iterdir())


def open_input(path: Path, reading: Reading) -> Reader:
    """Raises UserError where `path` is nothing that can be restored."""
    if path.is_dir():
        if not is_picture_folder(path):
            raise UserError('no pictures in this folder', where=path, fix='a folder of videos needs a folder as output')
        return PictureReader(path, reading.rate)
    return VideoReader(path, deep=True, tolerant=True, reading=reading)


def videos_of(pattern: str) -> list[Path]:
    """The videos that a folder or a glob pattern names, sorted; [] where it is one file or a folder of pictures."""
    path = Path(pattern)
    if path.is_dir() and not is_picture_folder(path):
        found = sorted(p for p in path.iterdir() if p.suffix.lower() in VIDEO_SUFFIXES and not p.name.startswith('.'))
        if not found:
            raise UserError('no videos in this folder', where=path.absolute(), fix=', '.join(VIDEO_SUFFIXES))
        return found
    if not path.exists() and any(c in pattern for c in '*?['):
        found = sorted(map(Path, glob.glob(pattern, recursive=True)))
        if not found:
            raise UserError('nothing matches', where=pattern)
        return found
    return []


class SideInformation:
    """What the codec says about the frames of a video, extracted into a temporary folder before the first frame.

    Of a codec that says nothing (HEVC, VP9, AV1: no motion vectors, no quantisers) a network is shown zeros that are
    marked as not valid, and quantisers of -1.

    Attributes:
        notes: what the network is shown in place of what the video does not tell.

    Raises:
        UserError: the source is no video file, or is shown turned, which motion vectors are not; or the network needs
            what the video does not tell.
    """

    def __init__(self, source: Path, said: Promise):
        wanted = ', '.join(said.inputs) or 'which frames to pick'
        unknown = [name for name in said.inputs if name not in CodecMetadata.FIELDS]
        if unknown:
            what = f'{said.name} reads what no video has'
            raise UserError(what, where=source, value=', '.join(unknown), fix='`votes test` with dataroot_dfm')
        if not source.is_file():
            raise UserError(f'{said.name} reads what a decoder knows ({wanted})', where=source, fix='a video file')
        self.folder = tempfile.TemporaryDirectory(prefix='votes_metadata_')
        write_metadata(Path(self.folder.name) / 'video', each_frame(source))
        self.metadata = CodecMetadata(self.folder.name)
        with VideoReader(source) as reader:
            size, codec = reader.size, reader.stream.codec_context.name
        if tuple(self.metadata.about('video')['size']) != size:
            raise UserError(f'{said.name} reads {wanted}, and this video is shown turned', where=source)
        self.names, self.size = said.inputs, size
        pick: Pick = getattr(said.sees, 'pick', 'peaks')
        self.marks = self.metadata.marks('video', pick)
        self.notes = self._substitutes(said, codec, pick)

    def _substitutes(self, said: Promise, codec: str, pick: Pick) -> list[str]:
        """What stands in for fields that the video does not tell, a line each."""
        lacks = [name for name in said.inputs if name in CODEC_FIELDS and self.metadata.field('video', name) is None]
        vectors = [name for name in lacks if FIELDS[name].kind == 'vectors']
        blind = [name for name in vectors if f'{name.removeprefix("mv_")}_valid' not in said.inputs]
        if blind:
            what = f'{said.name} needs {", ".join(blind)}, and cannot tell that there are none'
            fix = 'a video of H.264 or MPEG-4, or another network'
            raise UserError(what, value=f'{codec} gives no motion vectors', fix=fix)
        typeless = all(kind == '?' for kind in self.metadata.about('video')['types'])
        nothing_picked = getattr(said.sees, 'picks', False) and not any(mark & PICKED for mark in self.marks)
        shown = {
            f'no motion vectors ({codec}): {said.name} is shown zeros, marked as not valid': vectors,
            f'no quantisers ({codec}): {said.name} is shown -1, not known': 'qp' in lacks,
            f'no picture types ({codec}): {said.name} is shown that they are not known': (
                typeless and ('pict_type' in said.inputs or pick in TYPES)
            ),
            f'no frame is picked ({pick}): {said.name} is shown the frame itself in their place': nothing_picked,
        }
        return [note for note, so in shown.items() if so]

    def peak(self, number: int) -> int:
        """The marks of a frame: of peak quality, or of a picture type that is picked; the first of a scene."""
        return self.marks[number] if number < len(self.marks) else 0

    def read(self, number: int) -> dict[str, Tensor]:
        """The fields of a frame that the network reads, (1, ...)."""
        if not self.names:
            return {}
        found = self.metadata.read('video', [min(number, len(self.marks) - 1)], (0, 0, *self.size))
        return {name: found[name] for name in self.names}
