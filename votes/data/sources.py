"""Frame sources: clips, sizes and frames, whole or cropped, no matter how they are stored."""

from __future__ import annotations

import contextlib
import fnmatch
import os
import re
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from votes.errors import UserError, explained
from votes.registry import SOURCES

Crop = tuple[int, int, int, int]  # top, left, height, width
Frame = NDArray[np.uint8]
SUFFIXES = ('.png', '.jpg', '.jpeg')
NUMBER = re.compile(r'(\d+)\D*\.\w+$')  # of a frame: the last digits before the suffix
PNG, JPEG = b'\x89PNG\r\n\x1a\n', b'\xff\xd8'  # how such files begin
AGAIN = 'copy or extract this frame again'


def kind_of(root: str | Path) -> str:
    """What lies at `root`, as the stores of the registry say; 'disk' (folders of pictures) if it is nothing else."""
    root = Path(root)
    names = [f'{root.name}/']
    names += [entry.name.lower() for entry in os.scandir(root) if not entry.is_dir()] if root.is_dir() else []
    told = ((kind, getattr(SOURCES.get(kind), 'told_by', ())) for kind in SOURCES.table)  # some are only named
    return next(kind for kind, patterns in told if any(fnmatch.filter(names, pattern) for pattern in patterns))


def open_source(root: str | Path, io_backend: dict | None = None) -> FrameSource:
    """The frame source at `root`: of the kind that `io_backend` names (``{type: lmdb}``, or module:Class of a user's
    own), else of what lies there.
    """
    kind = (io_backend or {}).get('type', 'auto')
    return SOURCES.get(kind_of(root) if kind == 'auto' else kind)(root)


def check_clip_name(clip: str, where: object) -> None:
    """A clip's name becomes a path below the folders that results and stores are written to.

    Raises:
        UserError: it would lead out of them.
    """
    parts = clip.replace('\\', '/').split('/')
    if not all(parts) or {'.', '..'} & set(parts) or '\0' in clip or re.match('[A-Za-z]:', clip):
        what = 'a clip whose name is not a folder below another'
        raise UserError(what, where=where, value=repr(clip[:80]), fix='000, or a/000')


class FrameSource(Protocol):
    """Named clips of frames."""

    def clips(self) -> list[str]:
        """Names, sorted."""

    def length(self, clip: str) -> int:
        """Frames of a clip."""

    def size(self, clip: str) -> tuple[int, int]:
        """Height and width of a clip's frames."""

    def read(self, clip: str, index: int, crop: Crop | None = None) -> Frame:
        """Frame `index` (from 0), or a crop (top, left, height, width) of it: uint8 RGB (H, W, 3).

        A crop that hangs over the right or the bottom edge comes back smaller.
        """


class KnownClips(ABC):
    """What frame sources have in common that know all their clips from the start.

    Attributes:
        told_by: how files are called of which one lies in such a folder, or, with / behind it, the folder.
        known: clip -> its frames, their height and width, and what else a source knows, in the order of names.
    """

    told_by: tuple[str, ...] = ()

    def __init__(self, root: str | Path):
        self.root = Path(root)
        self.known = self._find()

    @abstractmethod
    def _find(self) -> dict[str, Any]:
        """What `known` is to be."""

    def _listed(self, kind: str, suffixes: Sequence[str], told: Callable[[Path], tuple[str, Any]]) -> dict[str, Any]:
        """The files of the folder that end so; `told` gives a file's clip, and what is known of it.

        Raises:
            UserError: no such folder, none in it, or two of one name.
        """
        if not self.root.is_dir():
            raise UserError('no such folder', where=self.root.absolute())
        found: dict[str, Any] = {}
        for path in sorted(self.root.iterdir()):
            if path.suffix.lower() in suffixes and not path.name.startswith('.'):
                clip, known = told(path)
                if clip in found:
                    raise UserError(f'two {kind} of one name', where=path, value=clip)
                found[clip] = known
        if not found:
            fix = f'they end in {", ".join(suffixes)}'
            raise UserError(f'no {kind} in this folder', where=self.root.absolute(), fix=fix)
        return found

    def clips(self) -> list[str]:
        return list(self.known)

    def length(self, clip: str) -> int:
        return int(self._of(clip)[0])

    def size(self, clip: str) -> tuple[int, int]:
        height, width = self._of(clip)[1]
        return height, width

    def _of(self, clip: str) -> Any:
        if clip not in self.known:
            named = f'{len(self.known)} clips: {", ".join([*self.known][:5])}'
            raise UserError(f'no clip {clip!r}', where=self.root, value=named, fix='the same names for LQ and GT')
        return self.known[clip]


class FolderSource(KnownClips):
    """``root/CLIP/NUMBER.png``: a folder a clip, a PNG or JPEG file a frame, numbered without gaps from any number.
    Where the first folder holds folders and no pictures, clips lie below it and are called SCENE/CLIP (Vimeo-90K).

    Hidden files and files that are no pictures are passed over. JPEGs are taken as stored, whatever their EXIF tag.

    Raises:
        UserError: no such folder, no clip in it, a gap in a clip's numbering, or (when read) a damaged picture.
    """

    told_by = ('*',)  # where there is nothing else

    def _find(self) -> dict[str, Any]:
        where = self.root.absolute()
        if not self.root.is_dir():
            raise UserError('dataset folder not found', where=where, fix=f'beside it: {held(where.parent)}')
        clips = folders_in(self.root)
        if clips and not _pictures(self.root / clips[0]) and folders_in(self.root / clips[0]):
            clips = [f'{scene}/{clip}' for scene in clips for clip in folders_in(self.root / scene)]
        if not clips:
            title, fix = 'no clips: a folder for each clip is expected', 'ROOT/001/00000000.png'
            raise UserError(title, where=where, value=f'it holds {held(where)}', fix=fix)
        return dict.fromkeys(clips)

    def _of(self, clip: str) -> Any:
        if super()._of(clip) is None:  # looked into when it is asked for
            with explained('clip cannot be read', OSError, where=self.root / clip):
                names = os.listdir(f'{self.root}/{clip}')
            names = [n for n in names if n.lower().endswith(SUFFIXES) and not n.startswith('.')]
            files = _in_order(names, self.root / clip)
            self.known[clip] = len(files), picture_size(f'{self.root}/{clip}/{files[0]}'), files
        return self.known[clip]

    def files(self, clip: str) -> list[str]:
        """Names of a clip's pictures in the order of frames."""
        return list(self._of(clip)[2])

    def read(self, clip: str, index: int, crop: Crop | None = None) -> Frame:
        _, (height, width), files = self._of(clip)
        path = self.root / clip / files[index]
        frame = read_picture(path)
        if frame.shape[:2] != (height, width):
            value = f'{frame.shape[1]}x{frame.shape[0]}, the first has {width}x{height}'
            raise UserError('frames of different sizes in a clip', where=path, value=value)
        return cropped(frame, crop)


class OneFolder(FolderSource):
    """A folder of pictures as the only clip, named as it is, whatever lies beside it."""

    def __init__(self, folder: Path):
        self.clip = folder.absolute().name
        super().__init__(folder.absolute().parent)

    def _find(self) -> dict[str, Any]:
        return {self.clip: None}


def _in_order(names: list[str], where: Path) -> list[str]:
    """Pictures by their numbers, of which none is missing."""
    numbers: dict[int, str] = {}
    for name in names:
        found = NUMBER.search(name)
        if not found:
            raise UserError('a frame without a number', where=where / name, fix='frames are named like 00000000.png')
        number = int(found[1])
        if number in numbers:
            raise UserError('two files for one frame', where=where, value=f'{numbers[number]}, {name}')
        numbers[number] = name
    if not numbers:
        raise UserError('a clip without frames', where=where, fix=f'pictures end in {", ".join(SUFFIXES)}')
    first, last = min(numbers), max(numbers)
    if missing := last - first + 1 - len(numbers):
        value = f'the first is number {next(n for n in range(first, last) if n not in numbers)}'
        fix = 'restore or renumber them: a gap is a jump in time'
        raise UserError(f'{missing} frames are missing', where=where, value=value, fix=fix)
    return [numbers[n] for n in sorted(numbers)]


def held(*folders: Path) -> str:
    """What lies in folders, for messages."""
    return ', '.join(sorted({p.name for f in folders if f.is_dir() for p in f.iterdir()})[:8]) or 'nothing'


def folders_in(root: Path) -> list[str]:
    """Names of the folders in one, sorted, without hidden ones."""
    with os.scandir(root) as entries:
        return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith('.'))


def _pictures(root: Path) -> bool:
    return any(name.lower().endswith(SUFFIXES) for name in os.listdir(root))


def cropped(frame: Frame, crop: Crop | None) -> Frame:
    """The part (top, left, height, width) of a frame, or all of it."""
    if crop is None:
        return frame
    top, left, height, width = crop
    return frame[top : top + height, left : left + width]


def picture_size(path: Path | str) -> tuple[int, int]:
    """Height and width of a picture, see picture_header."""
    return picture_header(path)[0]


def picture_header(path: Path | str) -> tuple[tuple[int, int], int, bool]:
    """Height and width, bits of a channel and whether there are colours, from the header of a PNG or JPEG, which is not
    decoded. Of JPEGs 8 bits and colours are taken for granted.

    Raises:
        UserError: the file is neither, or ends within its header.
    """
    with explained('picture cannot be read', OSError, where=path), open(path, 'rb', buffering=0) as file:
        head = file.read(26)
        if head[:8] == PNG and len(head) == 26:
            width, height, bits, kind = struct.unpack('>IIBB', head[16:])
            return (height, width), max(8, bits), kind not in (0, 4)  # grey, grey with alpha
        size = _jpeg_size(file) if head[:2] == JPEG else None
    if size is None:
        raise UserError('damaged picture', where=path, value=f'it begins with {head[:8]!r}', fix=AGAIN)
    return size, 8, True


def _jpeg_size(file: BinaryIO) -> tuple[int, int] | None:
    """Height and width from the frame header (SOF); None if there is none."""
    file.seek(2)
    while len(segment := file.read(4)) == 4 and segment[0] == 0xFF:
        if segment[1] == 0xFF:  # fill byte: the marker begins one later
            file.seek(-3, os.SEEK_CUR)
        elif 0xC0 <= segment[1] <= 0xCF and segment[1] not in (0xC4, 0xC8, 0xCC):
            sides = file.read(5)[1:]
            return struct.unpack('>HH', sides) if len(sides) == 4 else None
        else:
            file.seek(int.from_bytes(segment[2:], 'big') - 2, os.SEEK_CUR)
    return None


def _whole(data: bytes) -> bool:
    """Whether a PNG's chunks lead to its end, or a JPEG's last scan has one.

    Some versions of OpenCV return what there is of a cut picture without a word, and OpenCV 5 allocates gigabytes for a
    chunk whose length is damaged.
    """
    if data[:8] != PNG:
        return data[:2] == JPEG and data.rfind(b'\xff\xd9') > data.rfind(b'\xff\xda')
    place = 8
    while place + 12 <= len(data) and data[place + 4 : place + 8] != b'IEND':
        place += 12 + int.from_bytes(data[place : place + 4], 'big')
    return place + 12 <= len(data)


def write_picture(path: Path, picture: NDArray[Any]) -> None:
    """Writes RGB (H, W, 3), or grey (H, W), of 8 or 16 bits as a PNG; raises UserError where it cannot be written."""
    if not cv2.imwrite(str(path), picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
        raise UserError('a picture cannot be written', where=path, fix='is the disk full?')


def read_picture(path: Path) -> Frame:
    """A picture file as decode_picture gives it.

    Raises:
        UserError: the file cannot be read or decoded.
    """
    with explained('picture cannot be read', OSError, where=path):
        data = np.fromfile(path, np.uint8)
    return decode_picture(data, path)


def decode_picture(data: NDArray[np.uint8], where: object) -> Frame:
    """A PNG or JPEG -> uint8 RGB (H, W, 3). 16-bit pictures are rounded to 8 bit, grey ones get three equal channels.

    Raises:
        UserError: the picture is damaged or has an alpha channel.
    """
    image: NDArray[Any] | None = None
    with contextlib.suppress(cv2.error):  # raised for a header with a size beyond all bounds
        image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if _whole(data.tobytes()) else None
    if image is None:
        raise UserError('damaged picture', where=where, value=f'{data.size} bytes', fix=AGAIN)
    if image.dtype == np.uint16:
        image = ((image.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    if image.ndim == 2:
        return np.repeat(image[:, :, None], 3, 2)
    if image.shape[2] != 3:
        value = f'{image.shape[2]} channels'
        raise UserError('picture has an alpha channel', where=where, value=value, fix='write frames as RGB')
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
