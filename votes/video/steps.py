"""Degradation steps of recipes. A step is drawn once for a clip; what it returns is done to each frame.

Each function takes `rng`, from which everything random is drawn, and `Sizes`, and the step's own settings. What it
returns takes and gives a frame (1, 3, H, W), float32 RGB, about [0, 1]. The order, ranges and probabilities that are
the defaults here are those of Real-ESRGAN's option files.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from votes.errors import UserError, explained
from votes.registry import DEGRADATIONS
from votes.video.blur import Kernel, bivariate_kernel, blur_and_pick, filter2d, padded_kernel, sharpened, sinc_kernel
from votes.video.jpeg import jpeg
from votes.video.noise import gaussian_noise, poisson_noise
from votes.video.resize import imresize

Step = Callable[[Tensor], Tensor]
Range = tuple[float, float]
KINDS = ('iso', 'aniso', 'generalized_iso', 'generalized_aniso', 'plateau_iso', 'plateau_aniso')
MODES = ('area', 'bilinear', 'bicubic')


@dataclass(frozen=True)
class Sizes:
    """(H, W) of the originals and of the outcome."""

    original: tuple[int, int]
    target: tuple[int, int]


def sharpen(rng: np.random.Generator, sizes: Sizes, *, weight: float = 0.5, threshold: float = 10) -> Step:
    """Unsharp masking of what is degraded afterwards (loss target `gt_sharp` compares with the like)."""
    return lambda x: sharpened(x, weight, threshold)


def blur(
    rng: np.random.Generator,
    sizes: Sizes,
    *,
    sizes_of_kernel: Sequence[int] = (7, 9, 11, 13, 15, 17, 19, 21),
    kinds: Sequence[str] = KINDS,
    kind_prob: Sequence[float] = (0.45, 0.25, 0.12, 0.03, 0.12, 0.03),
    sinc_prob: float = 0.1,
    sigma: Range = (0.2, 3),
    beta_generalized: Range = (0.5, 4),
    beta_plateau: Range = (1, 2),
) -> Step:
    """A kernel of one of `kinds`, or a sinc filter with probability `sinc_prob`."""
    size = int(rng.choice(np.asarray(sizes_of_kernel)))
    if rng.random() < sinc_prob:
        kernel = sinc_kernel(rng.uniform(math.pi / 3 if size < 13 else math.pi / 5, math.pi), size)
    else:
        kernel = _drawn_kernel(rng, size, kinds, kind_prob, sigma, (beta_generalized, beta_plateau))
    return _filter(padded_kernel(kernel, max(size, 21)))


def _drawn_kernel(
    rng: np.random.Generator,
    size: int,
    kinds: Sequence[str],
    probabilities: Sequence[float],
    sigma: Range,
    betas: tuple[Range, Range],
) -> Kernel:
    """In the public order: kind, sigma of x, then of y and the angle where they differ, the exponent."""
    weights = np.asarray(probabilities, float)
    kind = str(rng.choice(np.asarray(kinds), p=weights / weights.sum()))
    if kind not in KINDS:
        raise UserError('no such kind of blur', value=kind, fix=', '.join(KINDS))
    across = float(rng.uniform(*sigma))
    pair, theta = (across, across), 0.0
    if 'aniso' in kind:
        pair, theta = (across, float(rng.uniform(*sigma))), float(rng.uniform(-math.pi, math.pi))
    shape = kind.split('_')[0] if '_' in kind else 'gaussian'
    if shape == 'gaussian':
        return bivariate_kernel(size, pair, theta)
    low, high = betas[shape == 'plateau']
    beta = float(rng.uniform(low, 1) if rng.random() < 0.5 else rng.uniform(1, high))
    return bivariate_kernel(size, pair, theta, shape, beta)


def _filter(kernel: Kernel) -> Step:
    weights = torch.from_numpy(kernel)
    return lambda x: filter2d(x, weights)


def sinc(rng: np.random.Generator, sizes: Sizes, *, cutoff: Range = (math.pi / 3, math.pi)) -> Step:
    """Ringing at edges."""
    return _filter(sinc_kernel(float(rng.uniform(*cutoff)), int(rng.choice(np.arange(7, 22, 2)))))


def resize(
    rng: np.random.Generator,
    sizes: Sizes,
    *,
    up_down_keep: Sequence[float] = (0.2, 0.7, 0.1),
    factor: Range = (0.15, 1.5),
    modes: Sequence[str] = MODES,
    of: str = 'original',
) -> Step:
    """Larger, smaller or as it is, by a drawn mode on the grid of pixel centres, without antialiasing as published.

    Args:
        up_down_keep: how likely each is.
        factor: least and largest, of the size that `of` names: 'original' or 'target'.
    """
    which = int(rng.choice(3, p=np.asarray(up_down_keep) / sum(up_down_keep)))
    times = float(rng.uniform(1, factor[1]) if which == 0 else rng.uniform(factor[0], 1) if which == 1 else 1)
    base = sizes.original if of == 'original' else sizes.target
    size = max(1, round(base[0] * times)), max(1, round(base[1] * times))
    return _to(size, str(rng.choice(np.asarray(modes))))


def _to(size: tuple[int, int], mode: str) -> Step:
    if mode not in MODES:
        raise UserError('no such way to resize', value=mode, fix=', '.join(MODES))
    return lambda x: F.interpolate(x, size, mode=mode, **({} if mode == 'area' else {'align_corners': False}))


def to_target(rng: np.random.Generator, sizes: Sizes, *, modes: Sequence[str] = MODES) -> Step:
    """The size of the outcome."""
    return _to(sizes.target, str(rng.choice(np.asarray(modes))))


def noise(
    rng: np.random.Generator,
    sizes: Sizes,
    *,
    gaussian_prob: float = 0.5,
    sigma: Range = (1, 30),
    scale: Range = (0.05, 3),
    gray_prob: float = 0.4,
) -> Step:
    """Gaussian or Poisson noise of one strength for the clip, drawn anew for each frame."""
    gaussian, gray = rng.random() < gaussian_prob, float(rng.random() < gray_prob)
    strength = float(rng.uniform(*(sigma if gaussian else scale)))
    added = gaussian_noise if gaussian else poisson_noise
    return lambda x: (x + added(x.clamp(0, 1), strength, gray, rng)).clamp(0, 1)


def jpeg_compression(rng: np.random.Generator, sizes: Sizes, *, quality: Range = (30, 95)) -> Step:
    """Each frame as a JPEG of one quality."""
    drawn = float(rng.uniform(*quality))
    return lambda x: jpeg(x.clamp(0, 1), drawn)


def sinc_and_jpeg(rng: np.random.Generator, sizes: Sizes, *, sinc_prob: float = 0.8, quality: Range = (30, 95)) -> Step:
    """The end of the second order: to the target's size and ringing, then JPEG, or JPEG first; each as likely."""
    last = [to_target(rng, sizes), *([sinc(rng, sizes)] if rng.random() < sinc_prob else [])]
    coded = jpeg_compression(rng, sizes, quality=quality)
    return in_turn([*last, coded] if rng.random() < 0.5 else [coded, *last])


def bicubic(rng: np.random.Generator, sizes: Sizes) -> Step:
    """BI: MATLAB's imresize to the size of the outcome."""
    return lambda x: imresize(x, sizes.target[0] / x.shape[-2])


def blur_down(rng: np.random.Generator, sizes: Sizes, *, sigma: float | None = None, taps: int = 13) -> Step:
    """BD: a Gaussian (sigma 0.4 S unless told), then every S-th pixel from the first."""
    times = sizes.original[0] // sizes.target[0]
    return lambda x: blur_and_pick(x, times, sigma or 0.4 * times, taps)


blur_down.grid = 'origin'  # type: ignore[attr-defined]


def in_turn(steps: Sequence[Step]) -> Step:
    def all_of_them(x: Tensor) -> Tensor:
        for step in steps:
            x = step(x)
        return x

    return all_of_them


def problems(steps: Sequence[dict[str, Any]]) -> list[str]:
    """What is wrong with the steps of a recipe: names and settings, a sentence each."""
    found = []
    for number, step in enumerate(steps):
        if 'type' not in step:
            found.append(f'steps[{number}] has no type')
            continue
        try:
            taken = inspect.signature(DEGRADATIONS.get(str(step['type']))).parameters
        except UserError as error:
            found.append(error.line)
            continue
        known = [name for name in (*taken, 'prob') if name not in ('rng', 'sizes')]
        unknown = [key for key in step if key not in known and key != 'type']
        if unknown:
            found.append(f'{step["type"]} has no {", ".join(unknown)}; it has {", ".join(known)}')
    return found


def grid(steps: Sequence[dict[str, Any]]) -> Literal['centre', 'origin']:
    """Where LQ pixels lie: at the centres of S x S pixels of GT, or on every S-th pixel from the first."""
    marked = [getattr(DEGRADATIONS.get(step['type']), 'grid', 'centre') for step in steps]
    return 'origin' if 'origin' in marked else 'centre'


def on_frame(step: Step, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGB uint8 (H, W, 3) -> what a step makes of it, rounded to 8 bits."""
    x = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)[None].float() / 255
    y = (step(x)[0] * 255).round().clamp(0, 255).byte()
    return np.ascontiguousarray(y.permute(1, 2, 0).numpy())


def drawn(steps: Sequence[dict[str, Any]], rng: np.random.Generator, sizes: Sizes) -> Step:
    """The steps of a recipe for one clip: {'type': name in DEGRADATIONS, 'prob': how likely it is done, settings}.

    Raises:
        UserError: a setting that a step does not have.
    """
    found = []
    for number, step in enumerate(steps):
        settings = {key: value for key, value in step.items() if key not in ('type', 'prob')}
        if rng.random() >= step.get('prob', 1.0):
            continue
        with explained('a degradation step cannot be used', TypeError, ValueError, where=f'steps[{number}]'):
            found.append(DEGRADATIONS.get(step['type'])(rng, sizes, **settings))
    return in_turn(found)
