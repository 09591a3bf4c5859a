"""What the weights that ship do for videos that they were not trained on, and how fast.

    votes prepare open-clips datasets/open_clips --from FILES
    python benchmarks/weights.py -o benchmarks/results/weights_cpu.json

Originals of the parts `val` and `test` are halved (bicubic) and encoded by the ffmpeg program's x264 for x2, encoded at
their size for x1, and restored as `votes restore` does it, in float32. Of x1, `input` is decoded as ffmpeg does it,
which takes a level of brightness, `exact` with RGB that is rounded. PSNR and SSIM are of Y (2 pixels cropped, mean
over frames), `flicker` is the standard deviation of PSNR over frames in dB, `warping` the warping error along the
original's motion, in 1e-4. With --whole, `best_share` of the result, the rest being the source, has the least squared
error, and `quantiser` is the mean one that `votes probe` sees. Speed and memory are those of `votes restore` on
640x360, in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import fmean
from typing import Any

import cv2
import machine
import numpy as np
import torch
from numpy.typing import NDArray

from votes.archs import load_pretrained
from votes.archs.contract import promise
from votes.archs.parts.blocks import enlarged
from votes.data.clip_lists import read_meta_info
from votes.data.packed_source import PackedSource
from votes.errors import UserError
from votes.metrics.psnr_ssim import LUMA, calculate_psnr, calculate_ssim
from votes.metrics.temporal import flow, fluctuation, sample, visible
from votes.restore import stream
from votes.video.probe import strength
from votes.video.read import Reading, VideoReader
from votes.weights import found

Frames = list[NDArray[np.uint8]]
QPS = {2: (18, 28, 33), 1: (12, 18, 23, 28, 33, 42)}
BORDER = 2
SPEED = (640, 360)


def encoded(frames: Frames, scale: int, qp: int, target: Path) -> Path:
    """The frames through the ffmpeg program: 1/scale of their size (its bicubic), x264 at a QP, 4:2:0."""
    height, width = frames[0].shape[:2]
    command = ['ffmpeg', '-loglevel', 'error', '-y', '-f', 'rawvideo', '-pix_fmt', 'rgb24', '-s', f'{width}x{height}']
    command += ['-r', '25', '-i', '-', '-s', f'{width // scale}x{height // scale}', '-vcodec', 'libx264']
    command += ['-qp', str(qp), '-pix_fmt', 'yuv420p', '-colorspace', 'smpte170m', '-threads', '2', str(target)]
    subprocess.run(command, input=np.stack(frames).tobytes(), check=True)
    return target


def bicubic(frame: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    x = torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 255
    return (enlarged(x, size)[0] * 255).round().byte().permute(1, 2, 0).numpy()


def lanczos(frame: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(frame, size[::-1], interpolation=cv2.INTER_LANCZOS4))


def measured(rows: dict[str, Frames], originals: Frames) -> dict[str, dict[str, float]]:
    """Row -> metric -> mean over frames. The warping error is that of votes.metrics, with each flow computed once."""
    found = {}
    for row, frames in rows.items():
        pairs = list(zip(frames, originals, strict=True))
        psnr = [calculate_psnr(a, b, BORDER, True) for a, b in pairs]
        found[row] = {
            'psnr': round(fmean(psnr), 4),
            'flicker': round(fluctuation(psnr), 4),
            'ssim': round(fmean(calculate_ssim(a, b, BORDER, True) for a, b in pairs), 5),
        }
    for row, value in warping(rows, originals).items():
        found[row]['warping'] = value
    return found


def warping(rows: dict[str, Frames], originals: Frames) -> dict[str, float]:
    """Row -> mean warping error along the motion of the originals, in 1e-4."""
    errors: dict[str, list[float]] = {row: [] for row in rows}
    for i in range(1, len(originals)):
        to_previous, back = flow(originals[i], originals[i - 1]), flow(originals[i - 1], originals[i])
        seen = visible(to_previous, back)
        for row, frames in rows.items():
            moved = sample(frames[i - 1], to_previous)
            counted = seen & np.isfinite(moved).all(2)
            difference = (frames[i].astype(np.float32) - moved)[counted] / 255
            errors[row].append(float((difference.astype(np.float64) ** 2).mean()) if counted.any() else 0.0)
    return {row: round(1e4 * fmean(values), 4) for row, values in errors.items()}


def decoded(video: Path, exact: bool = False) -> Frames:
    with VideoReader(video, threads=1, reading=Reading(exact=exact)) as reader:
        return [frame.rgb for frame in reader]


def quality(
    weights: str | torch.nn.Module, originals: Frames, scale: int, qp: int, folder: Path
) -> dict[str, dict[str, float]]:
    """Row -> metric -> mean over frames."""
    video = encoded(originals, scale, qp, folder / 'lq.mkv')
    lq = decoded(video)
    size = originals[0].shape[0], originals[0].shape[1]
    if scale == 1:
        rows = {'input': lq, 'exact': decoded(video, exact=True)}
    else:
        rows = {'bicubic': [bicubic(f, size) for f in lq], 'lanczos': [lanczos(f, size) for f in lq]}
    base = 'bicubic' if scale > 1 else 'exact'
    whole = not isinstance(weights, str)
    reading = Reading(exact=whole and scale == 1)
    rows['restored'] = [rgb for _, rgb in stream(video, weights, 'cpu', reading=reading)]
    found = measured(rows, originals)
    if whole:
        found[base]['quantiser'] = round(strength(video).quantiser, 1)
        found['restored']['best_share'] = best_share(rows[base], rows['restored'], originals)
    return found


def best_share(source: Frames, restored: Frames, originals: Frames) -> float:
    """How much of the result, the rest being the source, has the least squared error of Y."""
    lq, made, gt = (np.stack(frames) @ LUMA for frames in (source, restored, originals))
    return round(float(((gt - lq) * (made - lq)).mean() / ((made - lq) ** 2).mean()), 3)


def speed(weights: str, frames: int, threads: int, folder: Path) -> dict[str, Any]:
    """`votes restore` on a video of 640x360 in a process of its own: its own summary. The seconds of all cores together
    count also where other work slows it down, if it has one thread.
    """
    width, height = SPEED
    noise = np.random.default_rng(0)
    picture = cv2.resize(noise.integers(0, 256, (45, 80, 3), np.uint8), (width + 2 * frames, height + 2 * frames))
    video = encoded(
        [np.ascontiguousarray(picture[2 * i : 2 * i + height, 2 * i : 2 * i + width]) for i in range(frames)],
        1, 28, folder / 'speed.mp4',
    )  # fmt: skip
    target = folder / f'out_{weights}.mp4'
    program = (
        'import json, time, torch, votes\n'
        'before = time.process_time()\n'
        f's = votes.restore({str(video)!r}, {str(target)!r}, {weights!r}, device="cpu")\n'
        'spent = time.process_time() - before\n'
        'print(json.dumps({"frames_per_second": round(s.frames / s.seconds, 3),'
        ' "cpu_seconds_a_frame": round(spent / s.frames, 3),'
        ' "peak_GiB": round(s.peak_bytes / 2**30, 3), "threads": torch.get_num_threads(),'
        ' "from": list(s.size)[::-1], "to": list(s.new_size)[::-1]}))'
    )
    done = subprocess.run(
        [sys.executable, '-c', program],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {'OMP_NUM_THREADS': str(threads)},
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, default=Path('datasets/open_clips'))
    parser.add_argument('--parts', nargs='+', default=['test', 'val'])
    parser.add_argument('--frames', type=int, default=16, help='of each clip')
    parser.add_argument('--weights', nargs='+', default=['x2'], help='names, or files')
    parser.add_argument('--clips', nargs='+', help='instead of all of the parts; -o adds to what it holds of others')
    parser.add_argument('--qp', type=int, nargs='+', help='instead of those of the table')
    parser.add_argument('--speed', type=int, default=30, help='frames of the measurement of speed; 0 for none')
    parser.add_argument('--whole', action='store_true', help="all of the network's result, whatever the card says")
    parser.add_argument('--threads', type=int, default=os.cpu_count(), help='of the measurement of speed')
    parser.add_argument('--note', default='')
    parser.add_argument('-o', '--output', type=Path)
    args = parser.parse_args()
    if shutil.which('ffmpeg') is None:
        raise UserError('the ffmpeg program is needed', fix='install it, Debian: apt-get install ffmpeg')
    content: dict[str, Any] = {'what': (__doc__ or '').strip(), 'weights': {}}
    with tempfile.TemporaryDirectory(prefix='votes_weights_') as name:
        folder = Path(name)
        for weights in args.weights:
            path, card = found(weights)
            net = load_pretrained(str(path))
            shown = net if args.whole else weights
            about: dict[str, Any] = {'frames': args.frames} | ({'sha256': card.sha256} if card else {})
            about['clips'] = _clips(
                shown, promise(net).scale, args, folder, about.setdefault('warping_of_originals', {})
            )
            about['mean'] = _means(about['clips'])
            if args.speed:
                about['speed'] = speed(weights, args.speed, args.threads, folder)
            name = weights if card else path.name
            content['weights'][f'{name}, whole' if args.whole else name] = about
            print(json.dumps(about['mean'] | {'speed': about.get('speed')}, indent=1))
    content['machine'] = machine.describe() | ({'note': args.note} if args.note else {})
    if args.output:
        if args.output.is_file():
            content['weights'] = _with_before(content['weights'], json.loads(args.output.read_text()))
        machine.write(args.output, content)


def _with_before(weights: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """What was measured now, and before: of other weights, of the same ones on other clips, and of their speed."""
    for name, about in before['weights'].items():
        if name not in weights:
            weights[name] = about
        elif all(weights[name].get(key) == about.get(key) for key in ('sha256', 'frames')):
            clips = weights[name]['clips']
            merged = {part: about['clips'].get(part, {}) | clips.get(part, {}) for part in about['clips'] | clips}
            speeds = {key: value for key, value in about.items() if key == 'speed'}
            weights[name] = speeds | weights[name] | {'clips': merged, 'mean': _means(merged)}
            steady = weights[name]['warping_of_originals']
            for part, values in about['warping_of_originals'].items():
                steady[part] = values | steady.get(part, {})
    return weights


def _clips(
    weights: str | torch.nn.Module,
    scale: int,
    args: argparse.Namespace,
    folder: Path,
    steady: dict[str, dict[str, float]],
) -> dict[str, Any]:
    """PART -> clip -> QP -> row -> metric; into `steady` PART -> clip -> warping error of the originals themselves."""
    rows: dict[str, Any] = {}
    for part in args.parts:
        store = PackedSource(args.data / part / 'HQ_frames')
        for clip, count in read_meta_info(args.data / part / 'meta_info.txt').items():
            if args.clips and clip not in args.clips:
                continue
            originals = [store.read(clip, i) for i in range(min(count, args.frames))]
            steady.setdefault(part, {})[clip] = warping({'original': originals}, originals)['original']
            for qp in args.qp or QPS[scale]:
                found = quality(weights, originals, scale, qp, folder)
                rows.setdefault(part, {}).setdefault(clip, {})[str(qp)] = found
                print(part, clip, qp, {row: values['psnr'] for row, values in found.items()}, flush=True)
    return rows


def _means(parts: dict[str, Any]) -> dict[str, Any]:
    """PART -> QP -> row -> metric, the mean over clips."""
    means: dict[str, Any] = {}
    for part, clips in parts.items():
        first = next(iter(clips.values()))
        means[part] = {
            qp: {
                row: {metric: round(fmean(c[qp][row][metric] for c in clips.values()), 5) for metric in values}
                for row, values in rows.items()
            }
            for qp, rows in first.items()
        }
    return means


if __name__ == '__main__':
    try:
        main()
    except UserError as error:
        sys.exit(f'error: {error}')
