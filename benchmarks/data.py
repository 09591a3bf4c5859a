"""Training samples a second and core, by how the frames are stored.

    python benchmarks/data.py -o benchmarks/results/data_cpu.json

The paper's sample, five LQ crops of 64x64 and one GT crop of 128x128 out of frames of 960x540 and 1920x1080, from clips
that are made here of scikit-image's photographs. Files are read from the page cache, and once more with the cache
dropped before every sample (posix_fadvise), which is what a data set larger than memory sees at its worst.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import av
import cv2
import machine
import numpy as np
from numpy.typing import NDArray
from skimage import data as photographs

from votes.data.sources import read_picture
from votes.data.tools.pack import pack
from votes.data.tools.speed import measure
from votes.data.uvssm_dataset import UVSSMDataset

CLIPS, FRAMES = 4, 12


def picture(name: str, size: tuple[int, int]) -> NDArray[np.uint8]:
    """A photograph large enough to pan over."""
    image = getattr(photographs, name)()
    factor = 1.15 * max(size[0] / image.shape[0], size[1] / image.shape[1])
    enlarged = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    grain = np.random.default_rng(0).normal(0, 3, enlarged.shape[:2])[..., None]  # enlarging leaves no fine texture
    return np.clip(enlarged + grain, 0, 255).astype(np.uint8)


def write_clips(root: Path, size: tuple[int, int]) -> None:
    """PNG folders and H.264 videos of the same panning clips."""
    (root / 'video').mkdir(parents=True)
    for clip, name in enumerate(('astronaut', 'chelsea', 'coffee', 'rocket')[:CLIPS]):
        whole = picture(name, size)
        folder = root / 'png' / f'{clip:03d}'
        folder.mkdir(parents=True)
        with av.open(str(root / 'video' / f'{clip:03d}.mp4'), 'w') as container:
            stream: Any = container.add_stream('libx264', rate=25, options={'qp': '28'})
            stream.height, stream.width = size
            for i in range(FRAMES):
                frame = np.ascontiguousarray(whole[3 * i : 3 * i + size[0], 4 * i : 4 * i + size[1]])
                cv2.imwrite(str(folder / f'{i:08d}.png'), frame[..., ::-1])
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, 'rgb24')))
            container.mux(stream.encode(None))


def forget(root: Path) -> None:
    """Drops the files below `root` from the page cache."""
    for path in root.rglob('*'):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def cold(dataset: UVSSMDataset, roots: list[Path], count: int) -> float:
    """Samples a second, each after the cache was dropped."""
    total = 0.0
    for i in range(count):
        for root in roots:
            forget(root)
        started = time.perf_counter()
        dataset[9 + i, i % len(dataset)]
        total += time.perf_counter() - started
    return count / total


def tile_speed(root: Path, seconds: float) -> dict[str, float]:
    """What was weighed against raw frames: reading the crops of a sample out of 64x64 tiles, raw and as PNG."""
    rng = np.random.default_rng(0)
    frame = read_picture(next(root.rglob('*.png')))
    height, width = (n // 64 * 64 for n in frame.shape[:2])
    tiles = frame[:height, :width].reshape(height // 64, 64, width // 64, 64, 3).swapaxes(1, 2).copy()
    encoded = [[cv2.imencode('.png', tile)[1] for tile in row] for row in tiles]
    rates = {}
    for name in ('raw tiles', 'PNG tiles'):
        started, count = time.perf_counter(), 0
        while time.perf_counter() - started < seconds:
            for side in (64,) * 5 + (128,):
                y, x = (int(rng.integers(n - side)) for n in (height, width))
                rows = [
                    np.concatenate(
                        [
                            tiles[r, c] if name == 'raw tiles' else cv2.imdecode(encoded[r][c], 1)
                            for c in range(x // 64, (x + side - 1) // 64 + 1)
                        ],
                        1,
                    )
                    for r in range(y // 64, (y + side - 1) // 64 + 1)
                ]
                np.array(np.concatenate(rows)[y % 64 : y % 64 + side, x % 64 : x % 64 + side])
            count += 1
        rates[name] = round(count / (time.perf_counter() - started), 1)
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seconds', type=float, default=5)
    parser.add_argument('-o', '--output', type=Path, required=True)
    args = parser.parse_args()
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix='votes_data_') as name:
        root = Path(name)
        for part, size in (('lq', (540, 960)), ('gt', (1080, 1920))):
            write_clips(root / part, size)
            for kind in ('lmdb', 'packed'):
                pack(root / part / 'png', root / part / kind, kind, say=lambda line: None)
        for kind in ('png', 'lmdb', 'packed', 'video'):
            roots = [root / part / kind for part in ('lq', 'gt')]
            dataset = UVSSMDataset(str(roots[1]), str(roots[0]), gt_size=128, scale=2)
            speed = measure(dataset, args.seconds)
            stored = sum(p.stat().st_size for r in roots for p in r.rglob('*') if p.is_file())
            results[kind] = {
                'samples_per_second': round(speed.samples_per_second, 1),
                'share_reading_lq': round(speed.reading_lq, 3),
                'share_reading_gt': round(speed.reading_gt, 3),
                'cold_samples_per_second': round(cold(dataset, roots, 5 if kind == 'png' else 20), 1),
                'bytes_per_frame_pair': round(stored / CLIPS / FRAMES),
            }
            print(kind, results[kind], flush=True)
        recipe = Path(__file__).resolve().parents[1] / 'options' / 'degrade' / 'reds_x2_qp28.yml'
        made = UVSSMDataset(str(root / 'gt' / 'packed'), degradation=str(recipe), gt_size=128, scale=2)
        rate = round(measure(made, args.seconds).samples_per_second, 1)
        results['packed GT, LQ made by x264 on the fly'] = {'samples_per_second': rate}
        tiles = tile_speed(root / 'gt' / 'png', args.seconds / 2)
    ratio = results['packed']['samples_per_second'] / results['png']['samples_per_second']
    content = {
        'what': 'samples a second on one core: 5 LQ crops 64x64 of 960x540, 1 GT crop 128x128 of 1920x1080, augmented',
        'machine': machine.describe(),
        'sources': results,
        'packed over png': round(ratio, 1),
        'reading alone, weighed against raw frames': tiles,
    }
    machine.write(args.output, content)
    print(f'packed frames are {ratio:.0f} times as fast as PNG')


if __name__ == '__main__':
    main()
