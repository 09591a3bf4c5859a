"""Ten synthetic platforms, paired and calibrated: is what was set found again?

python benchmarks/calibrate.py --clips CLIPS [--seed N] [--only NAME ...] [-o RESULT.json]

CLIPS is a folder of videos; five are brought to 256x160 by area, 48 frames each. A platform shrinks them by half, may
drop every second frame, frame them in black bars, use BT.709, and encodes once or twice; texts of encoders are removed
from its downloads. `votes pair` and `votes calibrate` get the originals and the downloads, under numbers for names.

Without --seed the platforms are `PLATFORMS` and the clips `SOURCES`: on these the estimator was developed. With --seed
ten platforms and five clips are drawn. With --only the other platforms of an earlier result are kept.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import machine
import numpy as np
from av.bitstream import BitStreamFilterContext

from votes.platforms.calibrate import calibrate
from votes.platforms.pairing import pair_folders
from votes.platforms.pairs import Frames, Pair, open_pairs
from votes.platforms.verify import verify
from votes.video.colour import Colour
from votes.video.draws import is_draw
from votes.video.encoding import Encoding
from votes.video.recipe import Degradation, Recipe
from votes.video.shrink import shrink

RESULT = Path(__file__).with_name('results') / 'calibrate.json'
SIZE, FRAMES, RATE = (160, 256), 48, 30
ENCODED = 32  # frames of a clip that searches encode
SOURCES = {
    'rooftop_360p_640x360.mp4': 0,
    'gopro_max_848x480.mp4': 0,
    'sam2_coffee_1280x720.mp4': 0,
    'sam2_juggle_1280x720.mp4': 0,
    'car_lane_960x540.mp4': 0,
}
TEXTS = {'libx264': 'filter_units=remove_types=6'}
# one kernel by two programs; at half the size OpenCV's bilinear is a mean of four pixels
SAME = {'swscale_bicubic': 'ffmpeg_bicubic', 'opencv_bilinear': 'area'}
LARGEST = 10_000_000  # bytes of a video that is drawn


@dataclass
class Platform:
    """What is done, and what has to be found."""

    kernel: str
    generations: list[dict[str, Any]]
    drops: bool = False
    bars: int = 0  # rows of black above and below
    bt709: str = ''  # 'tagged', or 'untagged': read as BT.601 by whoever believes the file


PLATFORMS = {
    'x264_crf_area': Platform('area', [{'crf': 27, 'preset': 'medium'}]),
    'x264_bitrate_bilinear_709': Platform('bilinear', [{'kbps': 130, 'preset': 'veryfast', 'gop': 24}], bt709='tagged'),
    'x264_qp_lanczos': Platform('lanczos', [{'qp': 31, 'preset': 'fast', 'gop': 12, 'bframes': 2}]),
    'x265_crf_bicubic': Platform('ffmpeg_bicubic', [{'codec': 'libx265', 'crf': 29, 'preset': 'fast', 'gop': 18}]),
    'x265_bitrate_matlab_drops': Platform(
        'matlab_bicubic', [{'codec': 'libx265', 'kbps': 80, 'preset': 'veryfast', 'gop': 10}], drops=True
    ),
    'vp9_crf_bilinear': Platform('bilinear', [{'codec': 'libvpx-vp9', 'crf': 38, 'gop': 20}]),
    'vp9_bitrate_bicubic_bars': Platform('ffmpeg_bicubic', [{'codec': 'libvpx-vp9', 'kbps': 110, 'gop': 16}], bars=16),
    'x264_twice_lanczos': Platform(
        'lanczos', [{'crf': 27, 'preset': 'fast'}, {'crf': 29, 'preset': 'veryfast', 'gop': 30}]
    ),
    'x265_after_x264_area_bars': Platform(
        'area', [{'crf': 28, 'preset': 'medium'}, {'codec': 'libx265', 'crf': 27, 'preset': 'medium'}], bars=16
    ),
    'x264_twice_matlab_drops_709': Platform(
        'matlab_bicubic',
        [{'crf': 27, 'preset': 'veryfast'}, {'kbps': 120, 'preset': 'slow', 'gop': 20}],
        drops=True,
        bt709='untagged',
    ),
}


def drawn(seed: int) -> dict[str, Platform]:
    """Ten platforms by chance: five with x264, three with x265, two with VP9; each of five kernels twice; three encode
    twice, three drop frames, three have bars, three use BT.709."""
    rng = np.random.default_rng(seed)
    kernels = rng.permutation(['area', 'bilinear', 'lanczos', 'ffmpeg_bicubic', 'matlab_bicubic'] * 2)
    codecs = rng.permutation(['libx264'] * 5 + ['libx265'] * 3 + ['libvpx-vp9'] * 2)
    twice, drops, bars, bt709 = (set(rng.choice(10, 3, replace=False).tolist()) for _ in range(4))
    found = {}
    for i, (kernel, codec) in enumerate(zip(kernels.tolist(), codecs.tolist(), strict=True)):
        first = _generation(rng, str(rng.choice(['libx264', 'libx265'])), i in drops, 'crf', (26, 30))
        last = _generation(rng, codec, i in drops)
        tagged = 'tagged' if codec == 'libx264' and rng.random() < 0.5 else 'untagged'
        generations = [{key: first[key] for key in ('codec', 'crf', 'preset')}, last] if i in twice else [last]
        platform = Platform(kernel, generations, i in drops, int(rng.integers(4, 13)) * 2 if i in bars else 0)
        platform.bt709 = tagged if i in bt709 else ''
        found[f'{seed}_{i}_{codec.removeprefix("lib")}'] = platform
    return found


def _generation(
    rng: np.random.Generator, codec: str, drops: bool, rule: str | None = None, crf: tuple[int, int] = (24, 33)
) -> dict[str, Any]:
    """Settings of an encoder; at least two groups of pictures, if not one without an end."""
    found: dict[str, Any] = {'codec': codec}
    vp9 = codec == 'libvpx-vp9'
    rule = rule or str(rng.choice(['crf', 'kbps'] if vp9 else ['qp', 'crf', 'kbps']))
    kbps = float(rng.uniform(80, 180)) * (1 if codec == 'libx264' else 0.75) * (0.65 if drops else 1)
    values: dict[str, Any] = {'qp': rng.integers(26, 35), 'kbps': kbps}
    values['crf'] = rng.integers(32, 47) if vp9 else rng.integers(*crf)
    found[rule] = int(values[rule])
    if rng.random() < 0.75:
        found['gop'] = int(rng.integers(8, 12 if drops else 24))
    preset, bframes = str(rng.choice(['veryfast', 'faster', 'fast', 'medium', 'slow'])), int(rng.choice([0, 1, 2, -1]))
    return found if vp9 else found | {'preset': preset} | ({} if bframes < 0 else {'bframes': bframes})


def drawn_clips(folder: Path, seed: int) -> dict[str, tuple[Path, int]]:
    """Five videos of a folder by chance, each with its first frame."""
    rng = np.random.default_rng((seed, 1))
    long_enough = {}
    for path in sorted(path for path in folder.iterdir() if path.is_file() and path.stat().st_size < LARGEST):
        with av.open(str(path)) as container:
            count = sum(packet.size > 0 for packet in container.demux(video=0))
        if count >= FRAMES:
            long_enough[path] = count
    chosen = rng.choice(len(long_enough), 5, replace=False)
    paths = [list(long_enough)[i] for i in sorted(chosen.tolist())]
    return {path.stem: (path, int(rng.integers(min(60, long_enough[path] - FRAMES) + 1))) for path in paths}


def frames_of(path: Path, first: int) -> Frames:
    """The middle of FRAMES frames of a video at SIZE."""
    height, width = SIZE
    found: Frames = []
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number < first:
                continue
            rgb = frame.to_ndarray(format='rgb24')
            times = min(rgb.shape[0] / height, rgb.shape[1] / width)
            h, w = int(height * times), int(width * times)
            top, left = (rgb.shape[0] - h) // 2, (rgb.shape[1] - w) // 2
            part = rgb[top : top + h, left : left + w]
            found.append(np.asarray(cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA), np.uint8))
            if len(found) == FRAMES:
                break
    return found


def treated(frames: Frames, platform: Platform) -> Iterator[np.ndarray]:
    """What the platform's encoder gets."""
    size = SIZE[0] // 2, SIZE[1] // 2
    bt601, bt709 = Colour('bt601', False), Colour('bt709', False)
    for frame in frames[:: 2 if platform.drops else 1]:
        small = shrink(frame, size, platform.kernel)  # type: ignore[arg-type]
        if platform.bars:
            small = np.pad(small, ((platform.bars, platform.bars), (0, 0), (0, 0)))
        if platform.bt709:  # the encoder writes BT.601: of these values it makes those of BT.709
            small = bt601.to_rgb(bt709.to_yuv(small))
        yield small


def upload(frames: Frames, platform: Platform, target: Path) -> int:
    """Writes what the platform makes of a clip; returns the number of frames."""
    ready = list(treated(frames, platform))
    rate = RATE // 2 if platform.drops else RATE
    silent = {'params': 'info=0'}  # x265 writes its text into headers as well, where no filter takes it out
    generations = [{**g, 'rate': rate, **(silent if g.get('codec') == 'libx265' else {})} for g in platform.generations]
    whole: dict[str, Any] = {'name': 'platform', 'scale': 1, 'kernel': 'area', 'generations': generations}
    recipe = Recipe(**whole)
    with tempfile.TemporaryDirectory() as folder:
        passing = Degradation(lambda: iter(ready), len(ready), ready[0].shape[:2], recipe, 0, Path(folder))
        for _ in passing.frames(describe=False):
            continue
        codec = str(platform.generations[-1].get('codec', 'libx264'))
        rewritten(passing.video, target, TEXTS.get(codec), platform.bt709 == 'tagged')
    return len(ready)


def rewritten(source: Path, target: Path, bitstream_filter: str | None, bt709: bool) -> None:
    """The same stream without the encoder's text, perhaps tagged as BT.709."""
    filters = [bitstream_filter] if bitstream_filter else []
    filters += ['h264_metadata=colour_primaries=1:transfer_characteristics=1:matrix_coefficients=1'] if bt709 else []
    with av.open(str(source)) as read, av.open(str(target), 'w') as written:
        stream = read.streams.video[0]
        out = written.add_stream_from_template(stream)
        passed = BitStreamFilterContext(','.join(filters), stream, out) if filters else None
        for packet in read.demux(stream):
            if not packet.size:
                continue
            for kept in passed.filter(packet) if passed else [packet]:
                kept.stream = out
                written.mux(kept)


def measure(name: str, platform: Platform, originals: Path, clips: dict[str, Frames], work: Path) -> dict[str, Any]:
    """Uploads, pairs and calibrates; what was found beside what was set."""
    downloads = work / 'downloads'
    downloads.mkdir(parents=True)
    suffix = '.webm' if 'vp9' in str(platform.generations[-1].get('codec', '')) else '.mkv'
    counts = {
        clip: upload(f, platform, downloads / f'{7 * i + 3}{suffix}') for i, (clip, f) in enumerate(clips.items())
    }
    started = time.process_time()
    pair_folders(originals, downloads, work / 'pairs', say=lambda line: None)
    pairs = open_pairs(work / 'pairs')
    found = calibrate(name, pairs, frames=ENCODED)
    seconds = time.process_time() - started
    check = verify(found.recipe, pairs, frames=ENCODED)
    last, real = found.recipe.generations[-1], Encoding(**platform.generations[-1])
    step = 4.1 if last.codec == 'libvpx-vp9' else 1  # indices of VP9 for one of its crf
    step_in_time = 2 if platform.drops else 1
    rule = next(n for n in ('qp', 'crf', 'kbps') if getattr(real, n) is not None)
    bframes = (3 if real.codec == 'libx264' else 4) if real.bframes is None else real.bframes
    right = {
        'codec': last.codec == real.codec,
        'scale': found.recipe.scale == 2,
        'frames': len(pairs) == len(clips) and all(_mapped(pair, step_in_time, counts[pair.name]) for pair in pairs),
        'frame_rate': found.recipe.frame_rate == ((RATE, RATE // 2) if platform.drops else None),
        'kernel': SAME.get(found.recipe.kernel, found.recipe.kernel) == SAME.get(platform.kernel, platform.kernel),
        'mean_qp': abs(check['recipe']['mean'].get('qp') or 0) / step <= 1 and last.codec == real.codec,
        'gop': last.gop == real.gop,
        'bframes': None if real.codec == 'libvpx-vp9' else last.bframes == bframes,  # VP9 has none
        'generations': len(found.recipe.generations) == len(platform.generations),
        'rule': getattr(last, rule) is not None,
        'preset': None if real.codec == 'libvpx-vp9' else last.preset == real.preset,  # nor these
    }
    return {
        'set': {'kernel': platform.kernel, 'generations': platform.generations, 'drops': platform.drops}
        | {'bars': platform.bars, 'bt709': platform.bt709},
        'right': right,
        'recipe': found.data,
        'drawn': [key for key, value in found.data['generations'][-1].items() if is_draw(value)],
        'kernels': found.kernels,
        'verification': {kind: check[kind]['mean'] for kind in ('recipe', 'generic')},
        'cpu_seconds': round(seconds, 1),
    }


def _mapped(pair: Pair, step: int, count: int) -> bool:
    """Whether each frame of a pair has its original one, and nearly all are there: repeated ones are left out."""
    shown = zip(pair.about['lq_frames'], pair.about['gt_frames'], strict=True)
    return all(gt == step * lq for lq, gt in shown) and len(pair.about['lq_frames']) >= 0.8 * count


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument('--clips', type=Path, required=True)
    parser.add_argument('--seed', type=int, help='draws platforms and clips')
    parser.add_argument('--only', nargs='*')
    parser.add_argument('-o', '--output', type=Path, default=RESULT)
    args = parser.parse_args()
    platforms = PLATFORMS if args.seed is None else drawn(args.seed)
    if unknown := set(args.only or ()) - set(platforms):
        parser.error(f'no such platform: {", ".join(sorted(unknown))}; there are {", ".join(platforms)}')
    known = args.only and args.output.is_file()
    before: dict[str, Any] = json.loads(args.output.read_text())['platforms'] if known else {}
    work = Path(tempfile.mkdtemp(prefix='votes_calibrate_'))
    try:
        sources = {Path(name).stem: (args.clips / name, first) for name, first in SOURCES.items()}
        sources = sources if args.seed is None else drawn_clips(args.clips, args.seed)
        clips = {name: frames_of(*place) for name, place in sources.items()}
        for name, frames in clips.items():
            (work / 'originals' / name).mkdir(parents=True)
            for i, frame in enumerate(frames):
                cv2.imwrite(str(work / 'originals' / name / f'{i:08d}.png'), frame[..., ::-1])
        for name in args.only or platforms:
            before[name] = measure(name, platforms[name], work / 'originals', clips, work / name)
            print(name, {key: value for key, value in before[name]['right'].items() if value is False} or 'all right')
            write(args.output, before, platforms, {name: first for name, (_, first) in sources.items()})
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return 0


def write(path: Path, results: dict[str, Any], platforms: Iterable[str], clips: dict[str, int]) -> None:
    """The result of all platforms that were measured so far."""
    done = {name: results[name] for name in platforms if name in results}
    tables = {key: [p['right'][key] for p in done.values()] for key in next(iter(done.values()))['right']}
    tables = {key: [value for value in found if value is not None] for key, found in tables.items()}
    content = {
        'what': f'{len(done)} synthetic platforms, {len(clips)} clips of {FRAMES} frames of {SIZE[1]}x{SIZE[0]} each',
        'machine': machine.describe(),
        'clips': clips,  # with their first frames
        'right': {key: f'{sum(found)} of {len(found)}' for key, found in tables.items()},
        'platforms': done,
    }
    machine.write(path, content)


if __name__ == '__main__':
    raise SystemExit(main())
