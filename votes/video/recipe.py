"""Degradations as recipes: what a platform does to a video, step by step, with real codecs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import cv2
import numpy as np
import torch
import torch.nn.functional as F
from av.error import FFmpegError
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from votes.errors import UserError
from votes.options.yaml_file import dotted, read_option_file
from votes.video import steps
from votes.video.degrade import Frames
from votes.video.encoders import steady_x264
from votes.video.metadata import TRUSTED_QP, TYPES, DecodedVideo, decode_with_metadata, quantisers
from votes.video.recipe_check import out_of_limits, refused

Kernel = Literal['ffmpeg_bicubic', 'matlab_bicubic', 'area', 'lanczos']
QP_OPTION = {'libx264': 'qp', 'libx265': None, 'libvpx-vp9': None, 'libsvtav1': 'qp', 'mpeg4': 'qscale'}


class Encoding(BaseModel):
    """One generation: a codec and how hard it compresses. Exactly one of qp, crf and kbps."""

    model_config = ConfigDict(extra='forbid')
    codec: Literal['libx264', 'libx265', 'libvpx-vp9', 'libsvtav1', 'mpeg4'] = 'libx264'
    qp: int | None = Field(default=None, ge=0, le=63)
    crf: int | None = Field(default=None, ge=0, le=63)
    kbps: int | None = Field(default=None, ge=1, le=2_000_000, description='average bitrate, kilobits a second')
    two_pass: bool = False
    preset: str | None = None
    gop: int | None = Field(default=None, ge=1, description='frames from key frame to key frame at most')
    bframes: int | None = Field(default=None, ge=0)
    rate: int = Field(default=25, ge=1, le=1000, description='frames a second')
    pix_fmt: Literal['yuv420p', 'yuv422p', 'yuv444p'] = 'yuv420p'
    params: str = Field(default='', description="more of the encoder's own parameters, a=1:b=2 (x264 and x265)")
    qp_cycle: list[int] | None = Field(
        default=None,
        min_length=2,
        max_length=64,
        description='quantisers of the first frames, which then repeat to the end (libx264 without B-frames)',
    )

    @model_validator(mode='after')
    def _one_measure(self) -> Encoding:
        if sum(value is not None for value in (self.qp, self.crf, self.kbps, self.qp_cycle)) != 1:
            raise ValueError('exactly one of qp, crf and kbps is needed (or qp_cycle)')
        if self.qp_cycle and (self.codec != 'libx264' or self.bframes != 0 or 'zones' in self.params):
            raise ValueError('qp_cycle needs libx264, bframes: 0, and no zones in params')
        if self.two_pass and (self.kbps is None or self.codec not in ('libx264', 'libx265')):
            raise ValueError('two_pass needs kbps, and libx264 or libx265')
        if self.qp is not None and self.codec == 'libvpx-vp9':
            raise ValueError('libvpx-vp9 takes crf or kbps')
        given = self.model_dump()
        problems = out_of_limits(self.codec, given)
        for qp in self.qp_cycle or ():
            problems += out_of_limits(self.codec, {'qp': qp})
        if problems:
            raise ValueError('; '.join(dict.fromkeys(problems)))
        return self

    def options(self, stats: Path | None = None, number: int = 0, frames: int = 2) -> dict[str, str]:
        """For the encoder; `stats` and `number` of one of two passes, `frames` of the whole clip."""
        own = [self.params] if self.params else []
        found: dict[str, str] = {'threads': '2'}  # x264 with one thread encodes differently: the same everywhere
        if self.qp is not None:
            name = QP_OPTION[self.codec]
            if name:
                found[name] = str(self.qp)
            else:
                own.append(f'qp={self.qp}')
        if self.qp_cycle:
            # x264 keeps a quantiser within what its ratios allow between I, P and B: as far apart as in the cycle
            own += ['qpstep=51:ipratio=1:pbratio=4', 'zones=' + '/'.join(self._zones(self.qp_cycle, frames))]
            found['qp'] = str(self.qp_cycle[0])
        elif self.codec == 'libx264' and self.qp is None and steady_x264():
            own.append(steady_x264())
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

    @staticmethod
    def _zones(cycle: list[int], frames: int) -> list[str]:
        return [f'{i},{i},q={cycle[i % len(cycle)]}' for i in range(frames)]

    def problems(self) -> list[str]:
        """What the encoder would refuse, ignore or clamp, tried on two small frames; a sentence each."""
        return refused(self.codec, self.pix_fmt, tuple(sorted(self.options().items())), self.params)


class Recipe(BaseModel):
    """Blur, noise, shrinking, then one generation of compression after the other."""

    model_config = ConfigDict(extra='forbid')
    name: str
    about: str = Field(default='', description='where the numbers come from')
    scale: int = Field(default=2, ge=1, le=8)
    kernel: Kernel = 'ffmpeg_bicubic'
    blur: float = Field(default=0, ge=0, le=100, description='sigma in pixels of the original')
    noise: float = Field(default=0, ge=0, le=255, description='sigma in 8-bit levels, after shrinking')
    frame_rate: tuple[int, int] | None = Field(default=None, description='[from, to] frames a second: drops or repeats')
    steps: list[dict[str, Any]] = Field(
        default_factory=list,
        description='done to the originals first, in this order: {type: a degradation, prob: how likely, its settings}',
    )
    generations: list[Encoding] = Field(description='encodings; [] where the steps are all')

    @model_validator(mode='after')
    def _positive(self) -> Recipe:
        wrong = steps.problems(self.steps)
        if not self.steps and not self.generations:
            wrong.append('generations or steps are needed')
        if wrong:
            raise ValueError('; '.join(wrong))
        if self.frame_rate and not all(1 <= rate <= 1000 for rate in self.frame_rate):
            raise ValueError('frame_rate is [from, to], both from 1 to 1000')
        return self

    @property
    def step(self) -> int:
        """Height and width of the originals are multiples of it."""
        return self.scale * (1 if all(g.pix_fmt == 'yuv444p' for g in self.generations) else 2)

    @property
    def grid(self) -> Literal['centre', 'origin']:
        """Where LQ pixels lie on GT: at the centres of their S x S pixels, or on every S-th pixel from the first."""
        return steps.grid(self.steps)

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
    else:
        for number, encoding in enumerate(recipe.generations):
            key = ('generations', number)
            place = file.place(key) or str(path)
            problems += [f'{place}: {dotted(key)}: {text}' for text in encoding.problems()]
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
        describe: without it the list of generations is empty.
        last: takes what the codec says about the last generation.
    """
    with tempfile.TemporaryDirectory(prefix='votes_degrade_') as folder:
        clip = Degradation(lambda: iter(frames), len(frames), frames[0].shape[:2], recipe, seed, Path(folder))
        degraded = list(clip.frames(describe))
        if last and recipe.generations:
            last(decode_with_metadata(clip.video, keep_frames=False))
    return degraded, clip.generations


class Degradation:
    """A clip on its way through a recipe, as video files in a folder; few of its frames are in memory at any time.

    Args:
        frames: gives the clip's frames, RGB uint8 (H, W, 3), as often as it is called (an encoder may need two passes).
        count: of them.
        size: H and W, multiples of 2 * scale.
        seed: of the noise.
        folder: for the files.

    Attributes:
        generations: what each did, when all frames were taken.
        video: the file of the last generation.
        shown: which original frame each degraded one shows.

    Raises:
        UserError: the size does not divide, or (while frames are taken) an encoder gives another number of them.
    """

    def __init__(
        self,
        frames: Callable[[], Iterable[NDArray[np.uint8]]],
        count: int,
        size: tuple[int, ...],
        recipe: Recipe,
        seed: int,
        folder: Path,
    ):
        if size[0] % recipe.step or size[1] % recipe.step:
            raise UserError(
                f'sizes must be multiples of {recipe.step} for scale {recipe.scale}',
                value=f'{size[1]}x{size[0]}',
                fix='crop the frames first, or pix_fmt: yuv444p',
            )
        self.originals, self.recipe, self.seed, self.folder = frames, recipe, seed, folder
        self.shown = recipe.shown(count)
        self.size = size[0] // recipe.scale, size[1] // recipe.scale
        self.generations: list[Generation] = []
        self.video = folder / f'{len(recipe.generations) - 1}.mkv'

    def frames(self, describe: bool = True) -> Iterator[NDArray[np.uint8]]:
        """The degraded frames in order; with `describe` the generations are described on the way."""
        source: Callable[[], Iterable[NDArray[np.uint8]]] = self._prepared
        said: dict[int, Generation] = {}
        for number, encoding in enumerate(self.recipe.generations):
            path = self.folder / f'{number}.mkv'
            encode(source, path, encoding, self.size, len(self.shown))

            def source(path: Path = path, encoding: Encoding = encoding, number: int = number) -> Any:
                return _decoded(path, encoding, (lambda g: said.update({number: g})) if describe else None)

        count = 0
        for frame in source():
            yield frame
            count += 1
        if count != len(self.shown):
            raise UserError('the codec gave another number of frames', value=f'{count} of {len(self.shown)}')
        self.generations = [said[number] for number in sorted(said)]

    def _prepared(self) -> Iterator[NDArray[np.uint8]]:
        """What the first encoder gets."""
        recipe, rng = self.recipe, np.random.default_rng(self.seed)
        # swscale shrinks within the conversion to YUV, as the ffmpeg program does
        in_encoder = recipe.kernel == 'ffmpeg_bicubic' and not recipe.noise and bool(recipe.generations)
        sizes = steps.Sizes((self.size[0] * recipe.scale, self.size[1] * recipe.scale), self.size)
        step = steps.drawn(recipe.steps, rng, sizes)
        for frame in _at(self.originals(), self.shown):
            if recipe.steps:
                frame = steps.on_frame(step, frame)
            if recipe.blur:
                frame = np.asarray(cv2.GaussianBlur(frame, (0, 0), recipe.blur), np.uint8)
            if not in_encoder:
                frame = shrink(frame, self.size, recipe.kernel)
            if recipe.noise:
                noisy = np.rint(frame + rng.normal(0, recipe.noise, frame.shape))
                frame = np.clip(noisy, 0, 255).astype(np.uint8)
            yield frame


def _at(frames: Iterable[NDArray[np.uint8]], shown: list[int]) -> Iterator[NDArray[np.uint8]]:
    """Frames at indices that do not fall."""
    wanted = iter(shown)
    index = next(wanted, None)
    for number, frame in enumerate(frames):
        while index == number:
            yield frame
            index = next(wanted, None)


def _decoded(path: Path, encoding: Encoding, describe: Callable[[Generation], None] | None) -> Iterator[Any]:
    """Every frame of a video, converted as ``ffmpeg -i IN OUT/%08d.png`` does; its description follows the last one."""
    types, means, size = [], [], 0
    with av.open(str(path)) as container:
        stream: Any = container.streams.video[0]
        trusted = stream.codec_context.name in TRUSTED_QP
        if describe and trusted:
            stream.codec_context.options = {'export_side_data': 'venc_params'}
        for packet in container.demux(stream):
            size += packet.size
            for frame in packet.decode():
                if describe:
                    types.append(TYPES.get(int(frame.pict_type), '?'))
                    told = quantisers(frame) if trusted else None
                    means += [] if told is None else [float(told.mean())]
                yield frame.to_ndarray(format='rgb24')
    if describe and types:
        qp = round(float(np.mean(means)), 2) if len(means) == len(types) else None
        kbps = round(8 * size * encoding.rate / len(types) / 1000, 1)
        describe(Generation(path.stat().st_size, kbps, ''.join(types), qp))


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


def encode(
    frames: Callable[[], Iterable[NDArray[np.uint8]]], path: Path, encoding: Encoding, size: tuple[int, int], count: int
) -> None:
    """Writes a video file of `count` frames, scaled to `size` on the way; twice where there are two passes."""
    stats = path.with_suffix('.stats') if encoding.two_pass else None
    for number in (1, 2) if stats else (0,):
        try:
            _encode_once(frames(), path, encoding, size, encoding.options(stats, number, count))
        except FFmpegError as error:
            raise UserError(
                f'{encoding.codec} refuses these frames', value=f'{size[1]}x{size[0]}, {count} frames: {error}'
            ) from error


def _encode_once(
    frames: Iterable[NDArray[np.uint8]], path: Path, encoding: Encoding, size: tuple[int, int], options: dict[str, str]
) -> None:
    with av.open(str(path), 'w') as container:
        stream: Any = container.add_stream(encoding.codec, rate=encoding.rate)
        stream.height, stream.width, stream.pix_fmt = *size, encoding.pix_fmt
        stream.options = options
        stream.thread_type = 'AUTO'  # else x264 cuts pictures into slices, which the ffmpeg program does not
        if encoding.codec == 'mpeg4' and encoding.qp is not None:
            stream.codec_context.qmin = stream.codec_context.qmax = encoding.qp
        for i, array in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(array, 'rgb24').reformat(
                size[1], size[0], encoding.pix_fmt, interpolation='BICUBIC'
            )
            frame.pts, frame.time_base = i, Fraction(1, encoding.rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
