"""What a network costs and how steady its videos are: warping error, frames a second and memory on a test set.

python -m votes.studies.video_costs -opt TEST.yml -o OUT.json
"""

from __future__ import annotations

import time
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from votes.data import VideoUVSSMTestDataset
from votes.inference.frames import to_float, to_image
from votes.inference.tiles import LiveBytes
from votes.metrics.temporal import FLOW, warping_error
from votes.models import RestorationModel
from votes.studies.measuring import restored_clips, run_as_program


@torch.no_grad()
def measure(model: RestorationModel, dataset: VideoUVSSMTestDataset, folder: Path) -> dict[str, Any]:
    """Of every clip of the first test set, and their mean: 'warping_error' of the restored frames, mean squared
    difference of values in [0, 1] over pixels that GT's motion finds again, 'warping_error_bicubic' of the interpolated
    ones, 'frames_per_second' of restoring, reading included (without a GPU by what the processor spent on a thread of
    it: what else runs does not count); and 'peak_bytes' of tensors beside the weights, of the
    clip with the largest frames.
    """
    clips = {clip: _of_clip(model, dataset, clip) for clip in dataset.clips}
    names = next(iter(clips.values()))
    mean = {name: fmean(values[name] for values in clips.values()) for name in names}
    largest = max(dataset.clips, key=lambda clip: dataset.pairs.lq.size(clip)[0] * dataset.pairs.lq.size(clip)[1])
    with LiveBytes(model.best_net.parameters()) as counted:
        list(restored_clips(model, dataset, largest))
    mean['peak_bytes'] = counted.most
    return {'what': f'warping error: {FLOW}, motion of GT', 'mean': mean, 'clips': clips}


def _of_clip(model: RestorationModel, dataset: VideoUVSSMTestDataset, clip: str) -> dict[str, float]:
    started = _seconds(model.device)
    frames = list(restored_clips(model, dataset, clip))
    seconds = _seconds(model.device) - started
    pictures: dict[str, list[Any]] = {'': [], '_bicubic': [], 'gt': []}
    for _, index, restored, lq in frames:
        pictures[''].append(to_image(restored))
        pictures['_bicubic'].append(to_image(list(model.baselines(lq[None]).values())[-1][0]))
        pictures['gt'].append(to_image(model.target(to_float(dataset.gt(clip, index), model.device))))
    pairs = range(1, len(frames))
    found = {
        f'warping_error{kind}': fmean(
            warping_error(shown[i - 1], shown[i], (pictures['gt'][i - 1], pictures['gt'][i])) for i in pairs
        )
        for kind, shown in pictures.items()
        if kind != 'gt'
    }
    return {**found, 'frames_per_second': len(frames) / seconds}


def _seconds(device: torch.device) -> float:
    """The clock's, or on a CPU those that it spent on a thread of this process."""
    return time.process_time() / torch.get_num_threads() if device.type == 'cpu' else time.monotonic()


def said(found: dict[str, Any]) -> str:
    mean = found['mean']
    return f'warping error {mean["warping_error"]:.6f}, {mean["frames_per_second"]:.2f} frames a second'


def main(argv: list[str] | None = None) -> int:
    return run_as_program(argv, __doc__ or '', measure, said)


if __name__ == '__main__':
    raise SystemExit(main())
