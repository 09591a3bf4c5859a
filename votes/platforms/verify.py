"""A recipe against the platform: originals through it, beside the real downloads and beside a generic recipe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from votes.platforms.generations import block_grid
from votes.platforms.pairs import Frames, Pair
from votes.platforms.synthesis import apart, luma, made_by, psnr
from votes.video.bitstream import Bitstream
from votes.video.recipe import Recipe

FRAMES = 32
BANDS = 8  # of the spectrum, from the coarsest to the finest

COLUMNS = {
    'qp': 'mean QP less that of the download',
    'qp_frames': 'mean |QP difference| of a frame',
    'bits': 'bits, times those of the download',
    'psnr': 'dB to the download',
    'spectrum': 'mean |dB difference| of its bands',
    'blockiness': 'less that of the download',
    'types': 'share of frames of the same type',
}


def verify(
    recipe: Recipe, pairs: Sequence[Pair], generic: Recipe | None = None, frames: int = FRAMES, seed: int = 0
) -> dict[str, Any]:
    """For each clip and in the mean: how what a recipe makes differs from the download, see COLUMNS.

    Returns:
        'recipe' and 'generic': {'clips': {clip: {column: number}}, 'mean': {column: number}}.
    """
    found: dict[str, Any] = {'frames': frames, 'seed': seed}
    kinds = {'recipe': recipe, 'generic': generic or generic_recipe(pairs)}
    for kind, one in kinds.items():
        plain = one.without('frame_rate', 'bars')  # pairs have the frames that are shown, and bars of their own
        clips = {pair.name: _compared(plain, pair, frames, seed) for pair in pairs}
        mean = {name: _mean([row.get(name) for row in clips.values()]) for name in COLUMNS}
        found[kind] = {'name': one.name, 'clips': clips, 'mean': mean}
    return found


def _mean(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return round(float(np.mean(there)), 4) if there else None


def generic_recipe(pairs: Sequence[Pair]) -> Recipe:
    """What is assumed where nothing was measured: bicubic, x264 with a crf of 28."""
    rate = max(1, round(pairs[0].stream.rate)) if pairs[0].stream else 25
    generation: dict[str, Any] = {'codec': 'libx264', 'crf': 28, 'rate': rate}
    data: dict[str, Any] = {'name': 'generic', 'scale': pairs[0].scale, 'generations': [generation]}
    return Recipe(**data)


def _compared(recipe: Recipe, pair: Pair, frames: int, seed: int) -> dict[str, float | None]:
    lq = pair.frames(frames)[1]
    made = made_by(recipe, pair.framed(frames), seed, pair.name)
    (top, left), (height, width) = pair.borders[:2], lq[0].shape[:2]
    shown = [np.ascontiguousarray(frame[top : top + height, left : left + width]) for frame in made.frames]
    row: dict[str, float | None] = {
        'psnr': round(psnr(apart(shown, lq)), 3),
        'spectrum': round(float(np.abs(spectrum(shown) - spectrum(lq)).mean()), 3),
        'blockiness': round(block_grid(shown)[8] - block_grid(lq)[8], 4),
    }
    if pair.stream is not None and made.stream is not None:
        row |= _streams(made.stream, pair.shown(), len(lq))
    return row


def _streams(made: Bitstream, real: Bitstream, count: int) -> dict[str, float | None]:
    ours, theirs = made.frames[:count], real.frames[:count]
    bits = [sum(frame.bytes for frame in side) for side in (ours, theirs)]
    types = [a.type == b.type for a, b in zip(ours, theirs, strict=False)]
    row: dict[str, float | None] = {
        'bits': round(bits[0] / max(1, bits[1]), 3),
        'types': round(float(np.mean(types)), 3) if types else None,
    }
    same_units = made.codec == real.codec
    pairs = [(a.qp, b.qp) for a, b in zip(ours, theirs, strict=False) if a.qp is not None and b.qp is not None]
    if same_units and pairs:
        difference = np.array([a - b for a, b in pairs])
        row |= {'qp': round(float(difference.mean()), 3), 'qp_frames': round(float(np.abs(difference).mean()), 3)}
    return row


def spectrum(frames: Frames) -> np.ndarray:
    """Power of luma in BANDS rings of frequency, dB; the mean of the picture is left out."""
    total = np.zeros(BANDS)
    for frame in frames:
        grey = luma(frame)
        height, width = grey.shape
        window = np.hanning(height)[:, None] * np.hanning(width)
        power = np.abs(np.fft.rfft2((grey - grey.mean()) * window)) ** 2
        radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
        ring = np.minimum((radius / 0.5 * BANDS).astype(int), BANDS - 1)
        total += np.bincount(ring.ravel(), power.ravel(), BANDS) / np.maximum(1, np.bincount(ring.ravel(), None, BANDS))
    return np.asarray(10 * np.log10(total / len(frames) + 1e-3))


def as_table(found: dict[str, Any]) -> str:
    """Both recipes side by side, a line a column."""
    lines = [f'{"":34}{found["recipe"]["name"][:14]:>14}{found["generic"]["name"][:14]:>14}']
    for name, text in COLUMNS.items():
        cells = [found[kind]['mean'].get(name) for kind in ('recipe', 'generic')]
        shown = ''.join(f'{"-" if cell is None else f"{cell:.3f}":>14}' for cell in cells)
        lines.append(f'{name + ": " + text:48.48}{shown}')
    lines[0] = ' ' * 14 + lines[0]
    return '\n'.join(lines)
