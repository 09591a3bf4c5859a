"""A network trained for two steps by the command itself, on one and on two processes, resumed, and given a video."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import yaml

from votes import checkpoint
from votes.archs import build_network, load_pretrained
from votes.archs.contract import Promise
from votes.data.codec_metadata import write_metadata
from votes.data.degrading import write_clip
from votes.errors import UserError
from votes.processes.program import called
from votes.restore import Settings, restore_video
from votes.video.degrade import encode_h264
from votes.video.metadata import each_frame
from votes.video.read import VideoReader

FRAMES, SIZE = 6, (48, 64)
STEPS = 2


@lru_cache(maxsize=2)
def moving(count: int, size: tuple[int, int]) -> list[Any]:
    """Smooth pictures that move, RGB."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    shades = [(columns / 9, 5), (rows / 7, 3), ((rows + columns) / 11, 4)]
    return [
        np.stack([128 + 100 * np.sin(place + i / speed) for place, speed in shades], -1).astype(np.uint8)
        for i in range(count)
    ]


def write_data(folder: Path, scale: int, frames: int = FRAMES) -> None:
    """folder/{gt,lq,metadata} with two clips that an encoder has damaged, and folder/video.mp4."""
    video = folder / 'video.mp4'
    encode_h264(moving(frames, SIZE), video, 32)
    gt = [
        cv2.resize(f, (SIZE[1] * scale, SIZE[0] * scale), interpolation=cv2.INTER_CUBIC) for f in moving(frames, SIZE)
    ]
    for clip in ('000', '001'):
        with VideoReader(video) as reader:
            write_clip(folder / 'lq' / clip, (frame.rgb for frame in reader))
        write_clip(folder / 'gt' / clip, gt)
        write_metadata(folder / 'metadata' / clip, each_frame(video))


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """The working folder for a while, with what programs print kept for the error."""
    before, said = os.getcwd(), io.StringIO()
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            yield
    except Exception as error:
        error.add_note(said.getvalue()[-2000:])
        raise
    finally:
        os.chdir(before)


class Trial:
    """Training of one network on tiny data.

    Args:
        folder: to work in.
        options: of the network, with `type`.
        said: what it promises.
    """

    def __init__(self, folder: Path, options: dict[str, Any], said: Promise):
        self.folder, self.options, self.said = folder, options, said
        self.prepared = False

    def checks(self, ranks: int) -> list[tuple[str, Callable[[], None]]]:
        """Name and check, in an order that later ones rely on."""
        found = [(str(check.__doc__), check) for check in (self.trains, self.resumes)]
        if ranks > 1:
            found.append((f'it trains two steps on {ranks} processes', lambda: self.trains_together(ranks)))
        return [*found, (str(self.restores.__doc__), self.restores)] if self.said.restores else found

    def option_file(self, name: str) -> str:
        """Writes the option file of a run; data are made for the first one."""
        scale = self.said.scale
        if not self.prepared:
            write_data(self.folder, scale, max(FRAMES, self.said.frames()))
            self.prepared = True
        side = -(-max(16, self.said.smallest) // self.said.multiple) * self.said.multiple
        roots = {'dataroot_gt': 'gt', 'dataroot_lq': 'lq', 'codec_metadata': 'metadata'}
        path = {}
        if getattr(build_network(self.options), 'trained_before', ()):  # what an earlier stage would have trained
            torch.manual_seed(0)
            path['pretrain_network_g'] = 'start.pth'
            checkpoint.save({'params': build_network(self.options).state_dict()}, self.folder / 'start.pth')
        content = {
            'name': name,
            'model_type': 'RestorationModel',
            'scale': scale,
            'num_gpu': 0,
            'datasets': {
                'train': {
                    'type': 'UVSSMDataset',
                    **roots,
                    'gt_size': side * scale,
                    'batch_size_per_gpu': 1,
                    'num_worker_per_gpu': 0,
                }
            },
            'network_g': self.options,
            'path': path,
            'train': {'optim_g': {'type': 'Adam', 'lr': 1e-4}, 'total_iter': STEPS, 'pixel_opt': {'type': 'L1Loss'}},
            'logger': {'print_freq': 1, 'save_checkpoint_freq': 1, 'use_tb_logger': False},
        }
        (self.folder / f'{name}.yml').write_text(yaml.safe_dump(content))
        return f'{name}.yml'

    def _train(self, name: str) -> Path:
        from votes import train  # here: a network can be looked at without the loop that trains it

        file = self.option_file(name)
        with inside(self.folder):
            if called(train, ['-opt', file]) != 0:
                raise UserError('training ended with an error')
        return self.folder / 'experiments' / name

    def trains(self) -> None:
        """it trains two steps by the command, and its weights change"""
        models = self._train('one') / 'models'
        first, last = (checkpoint.read_weights(models / f'net_g_{n}.pth') for n in (1, STEPS))
        if not any(not torch.equal(first[key], value) for key, value in last.items()):
            raise UserError('the second step changed nothing')

    def resumes(self) -> None:
        """a run that was interrupted after a step ends with the same weights"""
        run = self.folder / 'experiments' / 'one'
        whole = checkpoint.read_weights(run / 'models' / f'net_g_{STEPS}.pth')
        for path in [*run.glob(f'models/net_*_{STEPS}.pth'), *run.glob(f'training_states/{STEPS}.*')]:
            path.unlink()
        again = checkpoint.read_weights(self._train('one') / 'models' / f'net_g_{STEPS}.pth')
        apart = [key for key, value in whole.items() if not torch.equal(again[key], value)]
        if apart:
            raise UserError('the weights differ', value=', '.join(apart[:4]))

    def trains_together(self, ranks: int) -> None:
        """Two steps under `votes launch`."""
        file = self.option_file('several')
        command = [sys.executable, '-m', 'votes.cli', 'launch', '--nproc', str(ranks), 'train', '-opt', file]
        paths = os.pathsep.join(p or os.getcwd() for p in sys.path)
        environment = {**os.environ, 'PYTHONPATH': paths, 'OMP_NUM_THREADS': '1'}
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True)
        if done.returncode:
            lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
            raise UserError('training ended with an error', value='\n'.join(lines[-12:]))

    def restores(self) -> None:
        """its checkpoint comes back, and restores a video, with nothing else given"""
        net = load_pretrained(str(self.folder / 'experiments' / 'one' / 'models' / 'net_g_latest.pth'))
        target = self.folder / 'restored.mkv'
        settings = replace(Settings(), codec='ffv1')
        count = restore_video(net, self.folder / 'video.mp4', target, settings=settings, progress='none').frames
        with VideoReader(target) as reader:
            expected = tuple(n * self.said.scale for n in SIZE)
            if reader.size != expected or sum(1 for _ in reader) != count:
                raise UserError('the video is not whole', value=f'{reader.size} instead of {expected}')
