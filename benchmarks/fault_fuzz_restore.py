"""Kills restorations with SIGKILL at random moments, over codecs and containers, and compares all that they wrote.

    python benchmarks/fault_fuzz_restore.py --kills 100 -o benchmarks/results/fault_fuzz_restore.json

For each pair of codec and container a clip of variable rate with sound is restored in a process that is killed after a
random time, started again and killed again, until it is done or was killed often enough. Then the packets of every
stream (content, number, first time, end) and the decoded frames with their times must be those of a run that was never
killed. A kill may also fall between the output's appearance and the end
of the process: the next run then makes it again.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import machine
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from votes.archs.contract import Window
from votes.restore import Settings, restore_video
from votes.restore.job import SUFFIX
from votes.video.survey import survey

CASES = (
    ('h264', '.mp4'), ('h264', '.mkv'), ('h264', '.mov'), ('h264', '.avi'), ('h265', '.mp4'), ('h265', '.mkv'),
    ('vp9', '.webm'), ('av1', '.mp4'), ('av1', '.webm'), ('ffv1', '.mkv'), ('ffv1', '.avi'), ('prores', '.mov'),
)  # fmt: skip
FRAMES, SEGMENT, SIZE = 36, 6, (60, 104)
MOST = 12  # kills of one output


class Enlarge(nn.Module):
    """The centre frame twice as large, slowly, so that kills fall everywhere."""

    sees, scale = Window(3), 2

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(0.01)
        return F.interpolate(x[:, 1], scale_factor=2, mode='bicubic')


def make_source(path: Path) -> None:
    """Moving noise at a variable rate, with a tone."""
    rng, at = np.random.default_rng(0), 0
    with av.open(str(path), 'w') as container:
        picture: Any = container.add_stream('libx264', rate=25)
        picture.height, picture.width, picture.pix_fmt = *SIZE, 'yuv420p'
        picture.codec_context.time_base = Fraction(1, 1000)
        sound: Any = container.add_stream('aac', rate=48000)
        noise = rng.integers(0, 256, (SIZE[0] + FRAMES, SIZE[1] + FRAMES, 3), np.uint8)
        for i in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(noise[i : i + SIZE[0], i : i + SIZE[1]]), 'rgb24')
            frame.pts, frame.time_base = at, Fraction(1, 1000)
            at += int(rng.choice((40, 40, 40, 80)))
            container.mux(picture.encode(frame))
        container.mux(picture.encode(None))
        for start in range(0, at * 48, 1024):
            tone = (np.sin(np.arange(start, start + 1024) / 20) * 0.2).astype(np.float32)
            part: Any = av.AudioFrame.from_ndarray(tone[None], 'fltp', 'mono')
            part.sample_rate, part.pts, part.time_base = 48000, start, Fraction(1, 48000)
            container.mux(sound.encode(part))
        container.mux(sound.encode(None))


def start(source: Path, target: Path, codec: str) -> int:
    """A process that restores; returns its number."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        torch.set_num_threads(1)
        how = Settings(codec=codec, segment=SEGMENT, tile=0)
        restore_video(Enlarge(), source, target, settings=how, progress='none')
        code = 0
    except BaseException as error:
        print(f'{target.name}: {error!r}', file=sys.stderr)
    finally:
        os._exit(code)


def ended(child: int, seconds: float) -> int | None:
    """The exit code of a process, or None where it still runs after so many seconds."""
    until = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= until:
            return None
        time.sleep(0.005)


def content(path: Path) -> dict[str, Any]:
    """Packets of every stream, and frames with their times."""
    found = survey(path, 0)
    digest = hashlib.sha256()
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            pixels = 'rgb24' if frame.format.is_rgb else frame.format.name
            digest.update(f'{frame.pts}'.encode() + frame.to_ndarray(format=pixels).tobytes())
    streams = {i: (s.packets, s.digest, s.first, s.end) for i, s in found.streams.items()}
    return {'streams': streams, 'frames': digest.hexdigest(), 'times': list(found.times)}


def undisturbed(source: Path, target: Path, codec: str) -> tuple[dict[str, Any], float]:
    """What an undisturbed run writes, and its seconds."""
    began = time.monotonic()
    code = ended(start(source, target, codec), 600)
    if code != 0:
        raise SystemExit(f'{target.name}: the undisturbed run ended with {code}')
    return content(target), time.monotonic() - began


def killed(source: Path, target: Path, codec: str, seconds: float, kills: int) -> list[dict[str, Any]]:
    """Runs until done, killed at most `kills` times; each kill."""
    found: list[dict[str, Any]] = []
    while True:
        child = start(source, target, codec)
        until = seconds * random.choice((0.5, 0.5, 1.0))  # often early, so that there are many; sometimes at the end
        wait = random.uniform(0.02, until) if len(found) < kills else 600.0
        code = ended(child, wait)
        if code == 0:
            return found
        if code is not None:
            raise SystemExit(f'{target.name}: a run that goes on ended with {code}')
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        job = target.with_name(target.name + SUFFIX)
        segments = len(list(job.glob('[0-9]*.json'))) if job.is_dir() else 0
        whole = target.exists() and job.is_dir()
        found.append({'after_s': round(wait, 2), 'segments': segments, 'output there': whole})
        if target.exists() and not job.is_dir():  # it was complete, only the process was not at its end
            return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--kills', type=int, default=100)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('-o', '--output', type=Path)
    args = parser.parse_args()
    random.seed(args.seed)
    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix='votes_fuzz_') as name:
        folder = Path(name)
        make_source(folder / 'in.mp4')
        whole: dict[tuple[str, str], tuple[dict[str, Any], float]] = {}
        number = 0
        while sum(len(row['each kill']) for row in rows.values()) < args.kills:
            codec, suffix = CASES[number % len(CASES)]
            if (codec, suffix) not in whole:
                whole[codec, suffix] = undisturbed(folder / 'in.mp4', folder / f'whole_{codec}{suffix}', codec)
            expected, seconds = whole[codec, suffix]
            target = folder / f'{number}_{codec}{suffix}'
            left = args.kills - sum(len(row['each kill']) for row in rows.values())
            kills = killed(folder / 'in.mp4', target, codec, seconds, min(MOST, left))
            row = rows.setdefault(f'{codec} in {suffix}', {'runs': 0, 'equal': 0, 'each kill': []})
            row['runs'] += 1
            row['equal'] += content(target) == expected
            row['each kill'] += kills
            print(f'{codec} in {suffix}: {len(kills)} kills, equal {row["equal"]} of {row["runs"]}', flush=True)
            number += 1
    total = sum(len(row['each kill']) for row in rows.values())
    runs, equal = (sum(row[key] for row in rows.values()) for key in ('runs', 'equal'))
    middle = sum(kill['segments'] > 0 for row in rows.values() for kill in row['each kill'])
    result = {
        'what': f'{total} kills with SIGKILL of `restore_video`, {FRAMES} frames, segments of {SEGMENT}, with sound',
        'machine': machine.describe(),
        'kills': total,
        'kills after the first finished segment': middle,
        'runs': runs,
        'runs whose packets, frames and times are those of an undisturbed run': equal,
        'by codec and container': rows,
    }
    if args.output:
        machine.write(args.output, result)
    print(f'{total} kills, {equal} of {runs} runs equal: {"good" if equal == runs else "BAD"}')
    raise SystemExit(0 if equal == runs else 1)


if __name__ == '__main__':
    main()
