"""Small clips with real texture, motion and compression, made from photographs that come with scikit-image."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from av import library_versions
from numpy.typing import NDArray
from skimage import data

from votes.checkpoint import check_target, whole_folder, write_record
from votes.data.degrading import write_clip
from votes.errors import UserError
from votes.video.degrade import encode_h264
from votes.video.encoding import Encoding
from votes.video.recipe import Recipe, degrade

Picture = NDArray[np.uint8]
SCALE, FRAMES, SIZE = 2, 40, 256  # of LQ; of a clip; pixels of its sides
PARALLAX = 'stereo_motorcycle'


class Scene(NamedTuple):
    """A clip: a photograph under a moving camera, with things that pass in front of it.

    Attributes:
        picture: name in skimage.data; each is used by one clip only.
        part: which part of the data set the clip belongs to.
        passing: photograph that the passing things are cut from, one that is no clip of another part.
        zoom: pixels of the clip for one of the photograph; below 1 the photograph is averaged down.
    """

    picture: str
    part: str
    passing: str | None = None
    zoom: float = 0.8


SCENES = [
    Scene('astronaut', 'train', 'coins'),
    Scene(PARALLAX, 'train', None, 0.75),
    Scene('brick', 'train'),
    Scene('camera', 'train', 'coins'),
    Scene('gravel', 'train', 'page'),
    Scene('immunohistochemistry', 'train'),
    Scene('hubble_deep_field', 'train', 'coins', 0.6),
    Scene('text', 'train', None, 1.5),
    Scene('grass', 'val', 'moon'),
    Scene('chelsea', 'test', 'colorwheel', 1.0),
    Scene('coffee', 'test', 'colorwheel'),
    Scene('rocket', 'test'),
]


def _load(name: str) -> Picture:
    found = getattr(data, name)()
    picture = np.asarray(found[0] if name == PARALLAX else found)
    return np.repeat(picture[..., None], 3, 2) if picture.ndim == 2 else np.ascontiguousarray(picture[..., :3])


def _smooth_noise(rng: np.random.Generator, frames: int, wavelength: float) -> NDArray[np.float64]:
    """(frames, 2) noise with standard deviation 1 that changes over about `wavelength` frames: a hand that shakes."""
    window = np.hanning(int(wavelength * 2) + 3)
    noise = rng.standard_normal((frames + len(window), 2))
    smooth = np.stack([np.convolve(noise[:, i], window, 'valid')[:frames] for i in range(2)], 1)
    return smooth / np.sqrt((window**2).sum())


def _camera(
    rng: np.random.Generator, frames: int, extent: tuple[int, int], zoom: float, size: int
) -> NDArray[np.float64]:
    """(frames, 2, 3) maps from clip pixels to photograph pixels: pan, zoom, rotation, shake, never over the edge."""
    time = np.linspace(-1, 1, frames)
    zooms = zoom * (1 + rng.uniform(-0.06, 0.06) * time)
    angles = np.radians(rng.uniform(-4, 4) * time + 0.15 * _smooth_noise(rng, frames, 6)[:, 0])
    cos, sin = np.cos(angles), np.sin(angles)
    reach = np.abs(cos) + np.abs(sin)
    zooms = np.maximum(zooms, 1.02 * size * reach / min(extent))
    half = size / 2 / zooms * reach
    room = np.maximum(0, np.array(extent)[::-1] / 2 - half[:, None] - 1)  # x, y
    heading = rng.uniform(0, 2 * np.pi)
    path = np.outer(time, [np.cos(heading), np.sin(heading)]) * rng.uniform(25, 45)
    path += 0.7 * _smooth_noise(rng, frames, 4)
    centre = np.array(extent)[::-1] / 2 + np.clip(path, -room, room)
    turns = np.array([[cos, -sin], [sin, cos]]).transpose(2, 0, 1) / zooms[:, None, None]
    return np.concatenate([turns, (centre - turns @ [size / 2, size / 2])[..., None]], 2)


def _view(picture: Picture, transform: NDArray[np.float64], size: int) -> Picture:
    """The photograph through a camera; drawn at twice the size and averaged, so that nothing flickers."""
    fine = transform.copy()
    fine[:, :2] /= 2
    fine[:, 2] -= fine[:, :2].sum(1) / 2
    drawn = cv2.warpAffine(
        picture, fine, (2 * size, 2 * size), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REFLECT
    )
    return np.asarray(cv2.resize(drawn, (size, size), interpolation=cv2.INTER_AREA), np.uint8)


def _parallax(frames: int) -> Callable[[int], Picture]:
    """Frame -> the motorcycle seen from between (and a little beyond) the two cameras: near things move more."""
    left, _, disparity = data.stereo_motorcycle()
    # depth that the sensor missed is filled from around it; soft edges keep the surface in one piece
    known = np.isfinite(disparity)
    filled = cv2.inpaint(
        np.where(known, disparity, 0).clip(0, 255).astype(np.uint8), (~known).astype(np.uint8), 5, cv2.INPAINT_TELEA
    )
    depth = cv2.bilateralFilter(cv2.dilate(filled, np.ones((5, 5), np.uint8)).astype(np.float32), 9, 20, 9)
    columns, rows = np.meshgrid(np.arange(left.shape[1], dtype=np.float32), np.arange(left.shape[0], dtype=np.float32))

    def picture(i: int) -> Picture:
        shift = 0.45 * np.sin(2 * np.pi * i / frames)
        moved = (columns + shift * (depth - depth.mean())).astype(np.float32)
        return np.asarray(cv2.remap(left, moved, rows, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT), np.uint8)

    return picture


def _passing(rng: np.random.Generator, picture: Picture, size: int, frames: int) -> Callable[[Picture, int], Picture]:
    """A round piece of a photograph that crosses the picture on its own way: (frame, i) -> the frame with the piece at
    its place in frame i, with sub-pixel accuracy and a soft rim.
    """
    side = int(rng.integers(size // 6, size // 4))
    top, left = (int(rng.integers(n - side)) for n in picture.shape[:2])
    angle = rng.uniform(0, 2 * np.pi)
    step = np.array([np.cos(angle), np.sin(angle)]) * rng.uniform(1.0, 3.0)
    start = size / 2 + rng.uniform(-30, 30, 2) - step * frames / 2
    rim = np.hypot(*(np.mgrid[:side, :side] - (side - 1) / 2)) / (side / 2)
    layers = picture[top : top + side, left : left + side], np.clip((0.95 - rim) * side / 4, 0, 1)

    def over(frame: Picture, i: int) -> Picture:
        x, y = start + step * i - side / 2
        move = np.array([[1, 0, x], [0, 1, y]])
        piece, mask = (cv2.warpAffine(x.astype(np.float32), move, (size, size), flags=cv2.INTER_LINEAR) for x in layers)
        return np.rint(frame * (1 - mask[..., None]) + piece * mask[..., None]).clip(0, 255).astype(np.uint8)

    return over


def draw_scene(scene: Scene, seed: int, frames: int, size: int) -> list[Picture]:
    """The original frames of a clip, RGB uint8 (size, size, 3): a pure function of its arguments."""
    rng = np.random.default_rng((seed, SCENES.index(scene)))
    photograph = _load(scene.picture)
    source = _parallax(frames) if scene.picture == PARALLAX else lambda i: photograph
    camera = _camera(rng, frames, photograph.shape[:2], scene.zoom, size)
    passing = [_passing(rng, _load(scene.passing), size, frames) for _ in range(2)] if scene.passing else []
    drawn = []
    for i in range(frames):
        frame = _view(source(i), camera[i], size)
        for over in passing:
            frame = over(frame, i)
        drawn.append(frame)
    return drawn


def make_demo_data(out: Path, *, seed: int = 0, qp: int = 28, overwrite: bool = False) -> None:
    """Writes OUT/UVSSM/demo/{HQ_frames,LQ_frames}/001/00000000.png ..., lists, a manifest and a compressed test video.

    LQ is the original at half its size through H.264 at quantiser `qp`. Photographs of test clips are in no other clip.
    The folder appears when it is complete; the same arguments give the same frames with the same encoder version.

    Raises:
        UserError: `out` exists (and not overwrite), or qp is out of range.
    """
    if not 0 <= qp <= 51:
        raise UserError('H.264 quantisers go from 0 to 51', value=qp)
    check_target(out, overwrite)
    if out.is_file() or any(parent.is_file() for parent in out.parents):
        raise UserError('a file stands where the folder should be', where=out)
    with whole_folder(out) as partial:
        _fill(partial, seed, qp)


def _fill(folder: Path, seed: int, qp: int) -> None:
    clips, lists = {}, folder / 'meta_info'
    lists.mkdir(parents=True)
    test_video = next(i for i, scene in enumerate(SCENES) if scene.part == 'test')
    for i, scene in enumerate(SCENES):
        name = f'{i + 1:03d}'
        original = draw_scene(scene, seed, FRAMES, SIZE)
        compressed, _ = degrade(original, Recipe(name=name, scale=SCALE, generations=[Encoding(qp=qp)]))
        write_clip(folder / 'UVSSM/demo/HQ_frames' / name, original)
        digest = write_clip(folder / 'UVSSM/demo/LQ_frames' / name, compressed)
        clips[name] = {'picture': scene.picture, 'part': scene.part, 'passing': scene.passing, 'lq_sha256': digest}
        if i == test_video:
            encode_h264(original, folder / 'test_clip.mp4', qp, (SIZE // SCALE, SIZE // SCALE), tone_hz=440)
        print(f'clip {name}: {scene.picture}, {scene.part}', flush=True)
    for suffix, parts in (('', ('train', 'val', 'test')), ('_val', ('val',)), ('_test', ('test',))):
        lines = [f'{name} {FRAMES}\n' for name, clip in clips.items() if clip['part'] in parts]
        (lists / f'meta_info_demo{suffix}.txt').write_text(''.join(lines))
    versions = {'libavcodec': library_versions['libavcodec'], 'opencv': cv2.__version__}
    versions |= {name: version(name) for name in ('av', 'scikit-image', 'numpy')}
    about = {'seed': seed, 'qp': qp, 'scale': SCALE, 'frames': FRAMES, 'size': SIZE}
    write_record(folder / 'manifest.json', {**about, 'clips': clips, 'versions': versions})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('output', type=Path, metavar='OUT', help='folder to make')
    parser.add_argument('--seed', type=int, default=0, help='of what is drawn (default 0)')
    parser.add_argument('--qp', type=int, default=28, help='H.264 quantiser of the compressed clips (0 to 51)')
    parser.add_argument('--overwrite', action='store_true', help='replace a folder that exists')


def run(args: argparse.Namespace) -> None:
    make_demo_data(args.output, seed=args.seed, qp=args.qp, overwrite=args.overwrite)
