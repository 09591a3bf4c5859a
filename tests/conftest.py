"""Small clips on disk, for tests of every room."""

from pathlib import Path

import cv2
import numpy as np
import pytest


def write_clip(folder: Path, frames: int, size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Random frames as PNG; returns them, RGB uint8 (T, H, W, 3)."""
    folder.mkdir(parents=True)
    clip = np.random.default_rng(seed).integers(0, 256, (frames, *size, 3), dtype=np.uint8)
    for i, frame in enumerate(clip):
        cv2.imwrite(str(folder / f'{i:08d}.png'), frame[..., ::-1])
    return clip


@pytest.fixture
def pairs(tmp_path):
    """Makes gt/ and lq/ with clips of given (frames, LQ size); returns the root."""

    def make(clips=((6, (16, 20)), (8, (16, 16)), (7, (24, 16))), scale=2, root=tmp_path) -> Path:
        for i, (frames, size) in enumerate(clips):
            write_clip(root / 'lq' / f'{i:03d}', frames, size, seed=i)
            write_clip(root / 'gt' / f'{i:03d}', frames, (size[0] * scale, size[1] * scale), seed=100 + i)
        return root

    return make
