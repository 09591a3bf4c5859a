"""Evaluation of a model on a test set, split over ranks and equal to one process."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from votes import checkpoint
from votes.data import VideoUVSSMTestDataset
from votes.models.restoration_model import RestorationModel
from votes.options import Spec
from votes.processes import distributed
from votes.registry import METRICS

RESTORED = 'restored'
FrameValues = dict[str, dict[str, float]]  # row ('bilinear', 'restored') -> metric -> value


def to_image(frame: Tensor) -> NDArray[np.uint8]:
    """(3, H, W) in [0, 1] -> uint8 RGB (H, W, 3), rounded."""
    return frame.detach().clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).cpu().numpy()


@dataclass
class Evaluation:
    """Metrics of every frame of one test set.

    Attributes:
        frames: (clip, index) -> row -> metric -> value.
    """

    name: str
    frames: dict[tuple[str, int], FrameValues] = field(default_factory=dict)
    seconds: float = 0.0

    def rows(self) -> list[str]:
        return list(next(iter(self.frames.values())))

    def metrics(self) -> list[str]:
        return list(next(iter(self.frames.values()))[RESTORED])

    def clips(self, row: str, metric: str) -> dict[str, float]:
        """Mean over the frames of each clip."""
        values = defaultdict(list)
        for (clip, _), frame in self.frames.items():
            values[clip].append(frame[row][metric])
        return {clip: fmean(found) for clip, found in values.items()}

    def mean(self, row: str, metric: str) -> float:
        """Mean over clips of the mean over frames."""
        return fmean(self.clips(row, metric).values())

    def table(self, best: dict[str, float] | None = None) -> str:
        """Plain text: a line a metric with the baselines, now, best so far, and the gain over the last baseline."""
        baselines = [row for row in self.rows() if row != RESTORED]
        lines = [
            f'{self.name:<16}'
            + ''.join(f'{"LQ " + row if row != "LQ" else row:>14}' for row in baselines)
            + f'{"now":>10}{"best":>10}{"now - " + baselines[-1]:>16}'
        ]
        for metric in self.metrics():
            base = [self.mean(row, metric) for row in baselines]
            now = self.mean(RESTORED, metric)
            top = max(now, (best or {}).get(metric, now))
            lines.append(
                f'  {metric:<14}'
                + ''.join(f'{v:14.4f}' for v in base)
                + f'{now:10.4f}{top:10.4f}{now - base[-1]:+16.4f}'
            )
        return '\n'.join(lines)

    def as_dict(self) -> dict[str, Any]:
        """For a results file: means, means of clips, and every frame."""
        return {
            'mean': {row: {m: self.mean(row, m) for m in self.metrics()} for row in self.rows()},
            'clips': {row: {m: self.clips(row, m) for m in self.metrics()} for row in self.rows()},
            'frames': [{'clip': clip, 'index': index, **values} for (clip, index), values in self.frames.items()],
            'seconds': self.seconds,
        }


def evaluate(
    model: RestorationModel,
    dataset: VideoUVSSMTestDataset,
    name: str,
    metrics: dict[str, Spec],
    image_folder: Path | None = None,
    suffix: str = '',
    stop: Callable[[], bool] = lambda: False,
) -> Evaluation | None:
    """Restores every frame of `dataset` and measures it and its baselines.

    Each rank takes a run of consecutive frames; the result is the same on every rank, in the order of frames.

    Args:
        image_folder: restored frames are written to image_folder/CLIP/INDEX[suffix].png.
        stop: asked before each frame; True on any rank gives it up, and the result is None.
    """
    started = time.monotonic()
    measures = {key: (METRICS.get(spec.type), spec.args) for key, spec in metrics.items()}
    rank, ranks = distributed.rank(), distributed.world_size()
    mine: dict[tuple[str, int], FrameValues] = {}
    for i in range(len(dataset) * rank // ranks, len(dataset) * (rank + 1) // ranks):
        if stop():
            break
        item = dataset[i]
        lq = model.to_float(item['lq']).unsqueeze(0)
        gt = to_image(model.target(model.to_float(item['gt']).unsqueeze(0))[0])
        images = {row: to_image(frame[0]) for row, frame in model.baselines(lq[:, lq.shape[1] // 2]).items()}
        images[RESTORED] = to_image(model.predict(lq)[0])
        mine[item['clip'], item['index']] = {
            row: {key: measure(image, gt, **args) for key, (measure, args) in measures.items()}
            for row, image in images.items()
        }
        if image_folder is not None:
            write_image(image_folder / item['clip'] / f'{item["index"]:08d}{suffix}.png', images[RESTORED])
    frames = {key: values for part in distributed.gather(mine) for key, values in part.items()}
    if len(frames) < len(dataset):
        return None
    return Evaluation(name, frames, time.monotonic() - started)


def write_image(path: Path, image: NDArray[np.uint8]) -> None:
    """Writes uint8 RGB (H, W, 3) as PNG; makes the folder where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with checkpoint.atomic_write(path) as temporary:
        if not cv2.imwrite(str(temporary), cv2.cvtColor(image, cv2.COLOR_RGB2BGR)):
            raise OSError(f'cannot write {path}')
