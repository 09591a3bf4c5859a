"""Degradations as recipes: what a platform does to a video, step by step, with real codecs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from votes.errors import UserError
from votes.options.yaml_file import dotted, read_option_file
from votes.video.degrade import Frames, decode
from votes.video.metadata import DecodedVideo, decode_with_metadata

Kernel = Literal['ffmpeg_bicubic', 'matlab_bicubic', 'area', 'lanczos']
QP_OPTION = {'libx264': 'qp', 'libx265': None, 'libvpx-vp9': None, 'libsvtav1': 'qp', 'mpeg4': 'qscale'}


class Encoding(BaseModel):
    """One generation: a codec and how hard it compresses. Exactly one of qp, crf and kbps."""

    model_config = ConfigDict(extra='forbid')
    codec: Literal['libx264', 'libx265', 'libvpx-vp9', 'libsvtav1', 'mpeg4'] = 'libx264'
    qp: int | None = Field(default=None, ge=0, le=63)
    crf: int | None = Field(default=None, ge=0, le=63)
    kbps: int | None = Field(default=None, ge=1, description='average bitrate, kilobits a second')
    two_pass: bool = False
    preset: str | None = None
    gop: int | None = Field(default=None, ge=1, description='frames from key frame to key frame at most')
    bframes: int | None = Field(default=None, ge=0)
    rate: int = Field(default=25, ge=1, description='frames a second')
    pix_fmt: Literal['yuv420p', 'yuv422p', 'yuv444p'] = 'yuv420p'
    params: str = Field(default='', description="more of the encoder's own parameters, a=1:b=2 (x264 and x265)")

    @model_validator(mode='after')
    def _one_measure(self) -> Encoding:
        if sum(value is not None for value in (self.qp, self.crf, self.kbps)) != 1:
            raise ValueError('exactly one of qp, crf and kbps is needed')
        if self.two_pass and (self.kbps is None or self.codec not in ('libx264', 'libx265')):
            raise ValueError('two_pass needs kbps, and libx264 or libx265')
        if self.params and self.codec not in ('libx264', 'libx265'):
            raise ValueError('params are for libx264 and libx265')
        if self.qp is not None and self.codec == 'libvpx-vp9':
            raise ValueError('libvpx-vp9 takes crf or kbps')
        return self

    def options(self, stats: Path | None = None, number: int = 0) -> dict[str, str]:
        """For the encoder; `stats` and `number` of one of two passes."""
        own = [self.params] if self.params else []
        found: dict[str, str] = {'threads': '2'}  # x264 with one thread encodes differently: the same everywhere
        if self.qp is not None:
            name = QP_OPTION[self.codec]
            if name:
                found[name] = str(self.qp)
            else:
                own.append(f'qp={self.qp}')
        if self.crf is not None:
            found |= {'crf': str(self.crf), **({'b': '0'} if self.codec == 'libvpx-vp9' else {})}
        if self.kbps is not None:
            found['b'] = f'{self.kbps}k'
        if self.preset:
            found['preset'] = self.preset
        if self.gop:
            found['g'] = str(self.gop)
        if self.bframes is not None:
            found['bf'] = str(self.bframes)
        if self.codec == 'libx265':
            own += ['log-level=none', 'pools=2', 'frame-threads=1']
        if stats is not None:
            own += [f'pass={number}', f'stats={stats}']
        if own and self.codec in ('libx264', 'libx265'):
            found[f'{self.codec[3:]}-params'] = ':'.join(own)
        return found


class Recipe(BaseModel):
    """Blur, noise, shrinking, then one generation of compression after the other."""

    model_config = ConfigDict(extra='forbid')
    name: str
    about: str = Field(default='', description='where the numbers come from')
    scale: int = Field(default=2, ge=1, le=8)
    kernel: Kernel = 'ffmpeg_bicubic'
    blur: float = Field(default=0, ge=0, description='sigma in pixels of the original')
    noise: float = Field(default=0, ge=0, description='sigma in 8-bit levels, after shrinking')
    frame_rate: tuple[int, int] | None = Field(default=None, description='[from, to] frames a second: drops or repeats')
    generations: list[Encoding] = Field(min_length=1)

    @model_validator(mode='after')
    def _positive(self) -> Recipe:
        if self.frame_rate and min(self.frame_rate) < 1:
            raise ValueError('frame_rate is [from, to], both 1 or more')
        return self

    def shown(self, count: int) -> list[int]:
        """Which of `count` original frames each frame of the outcome shows: the latest at its time."""
        if self.frame_rate is None:
            return list(range(count))
        old, new = self.frame_rate
        return [i * old // new for i in range(-(-count * new // old))]


def read_recipe(path: str | Path) -> Recipe:
    """A recipe from a YAML file (which may have a `base`).

    Raises:
        UserError: every problem of the file, with its line.
    """
    file = read_option_file(path)
    problems = list(file.problems)
    try:
        recipe = Recipe(**file.data)
    except ValidationError as error:
        for item in error.errors():
            key = tuple(item['loc'])
            place = next((file.place(key[:n]) for n in range(len(key), 0, -1) if file.place(key[:n])), str(path))
            problems.append(f'{place}: {dotted(key)}: {item["msg"]} (value {item["input"]!r})')
    if problems:
        raise UserError('\n'.join([f'problems in {path}', *(f'  {p}' for p in problems)]))
    return recipe


@dataclass
class Generation:
    """What one encoding did: bytes of the file, kilobits a second, picture types in order, mean QP where known."""

    bytes: int
    kbps: float
    types: str
    qp: float | None


def degrade(
    frames: Frames,
    recipe: Recipe,
    seed: int = 0,
    *,
    describe: bool = True,
    last: Callable[[DecodedVideo], None] | None = None,
) -> tuple[Frames, list[Generation]]:
    """Frames (RGB uint8, H and W multiples of 2 * scale) -> degraded frames, and what each generation did.

    Args:
        seed: of the noise.
        describe: without it the list of generations is empty, and each is decoded once instead of twice.
        last: takes what the codec says about the last generation.
    """
    frames = [frames[i] for i in recipe.shown(len(frames))]
    height, width = frames[0].shape[:2]
    even = 1 if all(g.pix_fmt == 'yuv444p' for g in recipe.generations) else 2
    if height % (even * recipe.scale) or width % (even * recipe.scale):
        raise UserError(
            f'sizes must be multiples of {even * recipe.scale} for scale {recipe.scale}',
            value=f'{width}x{height}',
            fix='crop the frames first, or pix_fmt: yuv444p',
        )
    size = height // recipe.scale, width // recipe.scale
    rng = np.random.default_rng(seed)
    if recipe.blur:
        frames = [np.asarray(cv2.GaussianBlur(f, (0, 0), recipe.blur), np.uint8) for f in frames]
    # swscale shrinks within the conversion to YUV, as the ffmpeg program does
    in_encoder = recipe.kernel == 'ffmpeg_bicubic' and not recipe.noise
    if not in_encoder:
        frames = [shrink(f, size, recipe.kernel) for f in frames]
    if recipe.noise:
        frames = [np.clip(np.rint(f + rng.normal(0, recipe.noise, f.shape)), 0, 255).astype(np.uint8) for f in frames]
    done = []
    with tempfile.TemporaryDirectory(prefix='votes_degrade_') as folder:
        for number, encoding in enumerate(recipe.generations):
            path = Path(folder) / f'{number}.mkv'
            encode(frames, path, encoding, size)
            frames = decode(path)
            if not describe:
                continue
            metadata = decode_with_metadata(path, keep_frames=False)
            count = path.stat().st_size
            qp = None if metadata.qp is None else round(float(metadata.qp.mean()), 2)
            kbps = round(8 * int(metadata.bytes.sum()) * encoding.rate / len(frames) / 1000, 1)
            done.append(Generation(count, kbps, ''.join(metadata.types), qp))
            if last and number + 1 == len(recipe.generations):
                last(metadata)
    return frames, done


def shrink(frame: NDArray[np.uint8], size: tuple[int, int], kernel: Kernel) -> NDArray[np.uint8]:
    """RGB (H, W, 3) -> (h, w, 3), rounded."""
    if frame.shape[:2] == size:
        return frame
    if kernel == 'matlab_bicubic':
        batch = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)[None].double()
        small = F.interpolate(batch, size, mode='bicubic', align_corners=False, antialias=True)
        return small[0].permute(1, 2, 0).round().clamp(0, 255).byte().numpy()
    if kernel == 'area':
        return np.asarray(cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA), np.uint8)
    name = {'lanczos': 'LANCZOS', 'ffmpeg_bicubic': 'BICUBIC'}[kernel]
    scaled = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), 'rgb24').reformat(
        size[1], size[0], 'rgb24', interpolation=name
    )
    return np.asarray(scaled.to_ndarray(), np.uint8)


def encode(frames: Frames, path: Path, encoding: Encoding, size: tuple[int, int]) -> None:
    """Writes a video file, scaled to `size` on the way; twice where there are two passes."""
    stats = path.with_suffix('.stats') if encoding.two_pass else None
    for number in (1, 2) if stats else (0,):
        with av.open(str(path), 'w') as container:
            stream: Any = container.add_stream(encoding.codec, rate=encoding.rate)
            stream.height, stream.width, stream.pix_fmt = *size, encoding.pix_fmt
            stream.options = encoding.options(stats, number)
            stream.thread_type = 'AUTO'  # else x264 cuts pictures into slices, which the ffmpeg program does not
            if encoding.codec == 'mpeg4' and encoding.qp is not None:
                stream.codec_context.qmin = stream.codec_context.qmax = max(1, min(31, encoding.qp))
            for i, array in enumerate(frames):
                frame = av.VideoFrame.from_ndarray(array, 'rgb24').reformat(
                    size[1], size[0], encoding.pix_fmt, interpolation='BICUBIC'
                )
                frame.pts, frame.time_base = i, Fraction(1, encoding.rate)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
