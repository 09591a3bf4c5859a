"""VMAF, through an ffmpeg program that was built with libvmaf."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from votes.errors import UserError


def find_ffmpeg() -> str | None:
    """The machine's ffmpeg, or the one that the wheel imageio-ffmpeg brings."""
    program = shutil.which('ffmpeg')
    if program is None:
        try:
            from imageio_ffmpeg import get_ffmpeg_exe

            program = get_ffmpeg_exe()
        except (ImportError, RuntimeError, OSError):
            return None
    return program


def vmaf(frames: Iterable[NDArray[np.uint8]], reference: Iterable[NDArray[np.uint8]], rate: int = 25) -> list[float]:
    """VMAF of every frame, by the default model of libvmaf (vmaf_v0.6.1), on 4:2:0 frames. RGB uint8 (H, W, 3).

    Raises:
        UserError: there is no ffmpeg, or it was built without libvmaf.
    """
    program = find_ffmpeg()
    if program is None:
        raise UserError('VMAF needs the ffmpeg program', fix='install ffmpeg, or pip install imageio-ffmpeg')
    filters = subprocess.run([program, '-hide_banner', '-filters'], capture_output=True, text=True, check=False).stdout
    if ' libvmaf ' not in filters:
        raise UserError('this ffmpeg was built without libvmaf', where=program, fix='one that has the filter libvmaf')
    with tempfile.TemporaryDirectory(prefix='votes_vmaf_') as name:
        folder = Path(name)
        for file, pictures in (('distorted.mkv', frames), ('reference.mkv', reference)):
            _write_lossless(folder / file, pictures, rate)
        log = folder / 'vmaf.json'
        command = [program, '-v', 'error', '-i', str(folder / 'distorted.mkv'), '-i', str(folder / 'reference.mkv')]
        command += ['-lavfi', f'libvmaf=log_fmt=json:log_path={log}', '-f', 'null', '-']
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode or not log.is_file():
            raise UserError('ffmpeg could not measure VMAF', where=program, value=done.stderr.strip()[-300:])
        return [float(frame['metrics']['vmaf']) for frame in json.loads(log.read_text())['frames']]


def _write_lossless(path: Path, frames: Iterable[NDArray[np.uint8]], rate: int) -> None:
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('ffv1', rate=rate)
        stream.pix_fmt = 'yuv420p'
        for number, frame in enumerate(frames):
            if number == 0:
                stream.height, stream.width = frame.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), 'rgb24')))
        container.mux(stream.encode(None))
