"""Degradations as recipes: what a platform does to a video, step by step, with real codecs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from votes.errors import UserError, listed
from votes.options.yaml_file import dotted, read_option_file
from votes.video import draws, steps
from votes.video.convert import ONE_THREAD
from votes.video.degrade import Frames, encode
from votes.video.encoding import Encoding, activity_of
from votes.video.metadata import TRUSTED_QP, TYPES, quantisers
from votes.video.shrink import Kernel, emphasised, shrink


class Recipe(BaseModel):
    """Blur, noise, shrinking, then one generation of compression after the other.

    Any value but name and scale may be a distribution (see votes.video.draws). The recipe itself then has the middle of
    each, and `for_clip` gives the one of a clip.
    """

    model_config = ConfigDict(extra='forbid')
    name: str
    about: str = Field(default='', description='where the numbers come from')
    scale: int = Field(default=2, ge=1, le=8)
    kernel: Kernel = 'ffmpeg_bicubic'
    blur: float = Field(default=0, ge=0, le=100, description='sigma in pixels of the original')
    phase: tuple[float, float] = Field(
        default=(0, 0), description='right and down in pixels of the original: where shrinking takes its pixels from'
    )
    sharpen: float = Field(default=0, ge=-1, le=4, description='weight of unsharp masking after shrinking; < 0 smooths')
    noise: float = Field(default=0, ge=0, le=255, description='sigma in 8-bit levels, after shrinking')
    frame_rate: tuple[int, int] | None = Field(default=None, description='[from, to] frames a second: drops or repeats')
    bars: tuple[int, int, int, int] | None = Field(
        default=None,
        description='[above, left, below, right] pixels of LQ: black bars while it is coded, cut off again afterwards',
    )
    steps: list[dict[str, Any]] = Field(
        default_factory=list,
        description='done to the originals first, in this order: {type: a degradation, prob: how likely, its settings}',
    )
    generations: list[Encoding] = Field(description='encodings; [] where the steps are all')
    confidence: dict[str, float] = Field(
        default_factory=dict, description='of a measured recipe: place of a value -> how sure it is, 0 to 1'
    )
    drawn_from: dict[str, Any] | None = Field(default=None, description='the recipe as it was written, where it draws')

    @model_validator(mode='before')
    @classmethod
    def _middle(cls, data: Any) -> Any:
        if not isinstance(data, dict) or data.get('drawn_from') or not list(draws.places(data)):
            return data
        wrong = draws.problems(data)
        wrong += [f'{key} is the same for all clips' for key in ('name', 'scale') if draws.is_draw(data.get(key))]
        if wrong:
            raise ValueError('; '.join(wrong))
        return {**draws.middle(data), 'drawn_from': data}

    @model_validator(mode='after')
    def _positive(self) -> Recipe:
        wrong = steps.problems(self.steps)
        if not self.steps and not self.generations:
            wrong.append('generations or steps are needed')
        top, left, bottom, right = self.bars or (0, 0, 0, 0)
        if self.bars and (not self.generations or not all(0 <= n <= 8192 for n in self.bars)):
            wrong.append('bars are 0 to 8192 pixels, of a recipe with generations')
        elif self.step > self.scale and ((top + bottom) % 2 or (left + right) % 2):
            wrong.append('bars above and below, and left and right, are even together')
        if self.frame_rate and not all(1 <= rate <= 1000 for rate in self.frame_rate):
            wrong.append('frame_rate is [from, to], both from 1 to 1000')
        if wrong:
            raise ValueError('; '.join(wrong))
        for key, value, version in draws.ends(self.drawn_from or {}):
            try:
                Recipe(**version)
            except ValidationError as error:
                said = '; '.join(item['msg'].removeprefix('Value error, ') for item in error.errors())
                raise ValueError(f'{dotted(key)} may be drawn as {value!r}: {said}') from error
        return self

    def for_clip(self, seed: int, clip: str) -> Recipe:
        """The recipe of one clip: itself where nothing is drawn."""
        return Recipe(**draws.drawn(self.drawn_from, seed, clip)) if self.drawn_from else self

    def drawn(self, clip_recipe: Recipe) -> dict[str, Any]:
        """Place in this recipe -> what was drawn there for a clip."""
        data = clip_recipe.model_dump(mode='json')
        return draws.values(self.drawn_from, data) if self.drawn_from else {}

    def without(self, *names: str) -> Recipe:
        """The recipe with some of its values as they are where nothing is said, also where they are drawn."""
        drawn = self.drawn_from and {key: value for key, value in self.drawn_from.items() if key not in names}
        plain = {name: type(self).model_fields[name].default for name in names}
        return self.model_copy(update={**plain, 'drawn_from': drawn})

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

    def note(key: draws.Key, text: str) -> None:
        places = (file.place(key[:n]) for n in range(len(key), 0, -1))
        problems.append(f'{next(filter(None, places), path)}: {dotted(key)}{text}')

    try:
        recipe = Recipe(**file.data)
    except ValidationError as error:
        for item in error.errors():
            note(item['loc'], f': {item["msg"]} (value {item["input"]!r})')
    else:
        for number, encoding in enumerate(recipe.generations):
            for text in encoding.problems():
                note(('generations', number), f': {text}')
        for key, value, version in draws.ends(recipe.drawn_from or {}):
            said = [text for encoding in Recipe(**version).generations for text in encoding.problems()]
            for text in dict.fromkeys(said):
                note(key, f' may be drawn as {value!r}: {text}')
    if problems:
        raise UserError(listed(f'problems in {path}', problems, len(problems)))
    return recipe


@dataclass
class Generation:
    """What one encoding did: bytes of the file, kilobits a second, picture types in order, mean QP where known."""

    bytes: int
    kbps: float
    types: str
    qp: float | None


def degrade(frames: Frames, recipe: Recipe, seed: int = 0, *, describe: bool = True) -> tuple[Frames, list[Generation]]:
    """Frames (RGB uint8, H and W multiples of 2 * scale) -> degraded frames, and what each generation did.

    Args:
        seed: of the noise.
        describe: without it the list of generations is empty.
    """
    recipe = recipe.for_clip(seed, '')
    with tempfile.TemporaryDirectory(prefix='votes_degrade_') as folder:
        clip = Degradation(lambda: iter(frames), len(frames), frames[0].shape[:2], recipe, seed, Path(folder))
        return list(clip.frames(describe)), clip.generations


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
        video: the file of the last generation (of its first piece where the resolution switches), with bars.
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
        self.bars = recipe.bars or (0, 0, 0, 0)
        self.coded = self.size[0] + self.bars[0] + self.bars[2], self.size[1] + self.bars[1] + self.bars[3]
        self.generations: list[Generation] = []
        self._files: list[tuple[list[Path], Encoding]] = []
        self.video = folder / f'{len(recipe.generations) - 1}.mkv'

    def frames(self, describe: bool = True) -> Iterator[NDArray[np.uint8]]:
        """The degraded frames in order; with `describe` the generations are described on the way."""
        source: Callable[[], Iterable[NDArray[np.uint8]]] = self._prepared
        said: dict[int, Generation] = {}
        for number, encoding in enumerate(self.recipe.generations):
            files = self._coded(source, encoding, number)
            self._files.append((files, encoding))
            told = partial(said.__setitem__, number) if describe else None
            source = partial(_decoded, files, encoding, self.coded, told)
        count = 0
        for frame in source():
            yield self._cut(frame)
            count += 1
        if count != len(self.shown):
            raise UserError('the codec gave another number of frames', value=f'{count} of {len(self.shown)}')
        self.generations = [said[number] for number in sorted(said)]

    def once(self) -> Iterator[NDArray[np.uint8]]:
        """What the generation before the last showed, when all frames were taken."""
        return map(self._cut, _decoded(*self._files[-2], self.coded, None))

    def _cut(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A frame without its bars."""
        top, left, (height, width) = *self.bars[:2], self.size
        return frame[top : top + height, left : left + width] if any(self.bars) else frame

    def _coded(self, source: Callable[[], Iterable[NDArray[np.uint8]]], encoding: Encoding, number: int) -> list[Path]:
        """The files of one generation: one, or as many as there are pieces of different resolutions."""
        files, first = [], 0
        activity = activity_of(source(), encoding.follow.frames) if encoding.follow else None
        for piece, (count, size) in enumerate(encoding.pieces(len(self.shown), self.coded)):
            path = self.folder / (f'{number}_{piece}.mkv' if piece else f'{number}.mkv')

            def part(first: int = first, count: int = count) -> Iterator[NDArray[np.uint8]]:
                # to the source's end: an earlier generation is described after its last frame
                return (frame for i, frame in enumerate(source()) if first <= i < first + count)

            encode(part, path, encoding, size, count, activity)
            files.append(path)
            first += count
        return files

    def _prepared(self) -> Iterator[NDArray[np.uint8]]:
        """What the first encoder gets."""
        recipe, rng = self.recipe, np.random.default_rng(self.seed)
        # swscale shrinks within the conversion to YUV, as the ffmpeg program does
        in_encoder = recipe.kernel == 'ffmpeg_bicubic' and bool(recipe.generations)
        in_encoder = in_encoder and not (recipe.noise or recipe.sharpen or any(recipe.phase + self.bars))
        sizes = steps.Sizes((self.size[0] * recipe.scale, self.size[1] * recipe.scale), self.size)
        step = steps.drawn(recipe.steps, rng, sizes)
        for frame in _at(self.originals(), self.shown):
            if recipe.steps:
                frame = steps.on_frame(step, frame)
            if recipe.blur:
                frame = np.asarray(cv2.GaussianBlur(frame, (0, 0), recipe.blur), np.uint8)
            if not in_encoder:
                frame = shrink(frame, self.size, recipe.kernel, recipe.phase)
            if recipe.sharpen:
                frame = emphasised(frame, recipe.sharpen)
            if recipe.noise:
                noisy = np.rint(frame + rng.normal(0, recipe.noise, frame.shape))
                frame = np.clip(noisy, 0, 255).astype(np.uint8)
            if any(self.bars):
                frame = np.pad(frame, (self.bars[::2], self.bars[1::2], (0, 0)))
            yield frame


def _at(frames: Iterable[NDArray[np.uint8]], shown: list[int]) -> Iterator[NDArray[np.uint8]]:
    """Frames at indices that do not fall."""
    wanted = iter(shown)
    index = next(wanted, None)
    for number, frame in enumerate(frames):
        while index == number:
            yield frame
            index = next(wanted, None)


def _decoded(
    files: list[Path], encoding: Encoding, size: tuple[int, int], describe: Callable[[Generation], None] | None
) -> Iterator[Any]:
    """Every frame of a generation, converted as ``ffmpeg -i IN OUT/%08d.png`` does, and enlarged where it was coded
    smaller; its description follows the last one."""
    types, means, bits = [], [], 0
    for path in files:
        with av.open(str(path)) as container:
            stream: Any = container.streams.video[0]
            trusted = stream.codec_context.name in TRUSTED_QP
            if describe and trusted:
                stream.codec_context.options = {'export_side_data': 'venc_params'}
            for packet in container.demux(stream):
                bits += 8 * packet.size
                for frame in packet.decode():
                    if describe:
                        types.append(TYPES.get(int(frame.pict_type), '?'))
                        told = quantisers(frame) if trusted else None
                        means += [] if told is None else [float(told.mean())]
                    whole = (frame.height, frame.width) == size
                    yield frame.to_ndarray(format='rgb24', **ONE_THREAD) if whole else _enlarged(frame, size)
    if describe and types:
        qp = round(float(np.mean(means)), 2) if len(means) == len(types) else None
        kbps = round(bits * encoding.rate / len(types) / 1000, 1)
        describe(Generation(sum(path.stat().st_size for path in files), kbps, ''.join(types), qp))


def _enlarged(frame: Any, size: tuple[int, int]) -> NDArray[np.uint8]:
    rgb = frame.reformat(size[1], size[0], 'rgb24', interpolation='BICUBIC', **ONE_THREAD)
    return np.asarray(rgb.to_ndarray(), np.uint8)
