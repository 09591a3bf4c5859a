"""VMAF, through an ffmpeg program that was built with libvmaf."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from votes.errors import UserError

RATE = 25  # frames a second, which change nothing


def programs() -> list[str]:
    """The machine's ffmpeg, and the one that the wheel imageio-ffmpeg brings."""
    found = [shutil.which('ffmpeg')]
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        found.append(get_ffmpeg_exe())
    except (ImportError, RuntimeError, OSError):
        pass
    return list(dict.fromkeys(program for program in found if program))


@cache
def has_filter(program: str, name: str) -> bool:
    """Whether an ffmpeg program was built with a filter."""
    try:
        said = subprocess.run([program, '-hide_banner', '-filters'], capture_output=True, text=True, check=False).stdout
    except OSError:
        return False
    return f' {name} ' in said


def find_ffmpeg(name: str = 'libvmaf') -> str | None:
    """The first ffmpeg program here that has this filter: Debian's and Ubuntu's have no libvmaf, the wheel's has."""
    return next((program for program in programs() if has_filter(program, name)), None)


def vmaf(frames: Iterable[NDArray[np.uint8]], reference: Iterable[NDArray[np.uint8]]) -> list[float]:
    """VMAF of every frame, by the default model of libvmaf (vmaf_v0.6.1), on 4:2:0 frames. RGB uint8 (H, W, 3).

    Raises:
        UserError: there is no ffmpeg, or it was built without libvmaf.
    """

    def pictures(frames: Iterable[NDArray[np.uint8]]) -> Iterator[av.VideoFrame]:
        return (av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), 'rgb24') for frame in frames)

    return vmaf_of_frames(pictures(frames), pictures(reference), 'yuv420p')


def vmaf_of_frames(frames: Iterable[av.VideoFrame], reference: Iterable[av.VideoFrame], pixels: str) -> list[float]:
    """VMAF of every frame, of frames that are stored as they are where their format is `pixels`; see vmaf."""
    program = find_ffmpeg()
    if program is None:
        raise UserError(
            'VMAF needs an ffmpeg program with the filter libvmaf',
            value=f'without it: {", ".join(programs()) or "there is no ffmpeg"}',
            fix='pip install imageio-ffmpeg, which has it',
        )
    with tempfile.TemporaryDirectory(prefix='votes_vmaf_') as name:
        folder = Path(name)
        for file, pictures in (('distorted.mkv', frames), ('reference.mkv', reference)):
            _write_lossless(folder / file, pictures, pixels)
        log = folder / 'vmaf.json'
        command = [program, '-v', 'error', '-i', str(folder / 'distorted.mkv'), '-i', str(folder / 'reference.mkv')]
        command += ['-lavfi', f'libvmaf=log_fmt=json:log_path={log}', '-f', 'null', '-']
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode or not log.is_file():
            raise UserError('ffmpeg could not measure VMAF', where=program, value=done.stderr.strip()[-300:])
        return [float(frame['metrics']['vmaf']) for frame in json.loads(log.read_text())['frames']]


def _write_lossless(path: Path, frames: Iterable[av.VideoFrame], pixels: str) -> None:
    with av.open(str(path), 'w') as container:
        stream: Any = container.add_stream('ffv1', rate=RATE)
        stream.pix_fmt = pixels
        for number, frame in enumerate(frames):
            if number == 0:
                stream.height, stream.width = frame.height, frame.width
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
