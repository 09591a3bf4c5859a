"""Evaluation of a model on a test set, split over ranks and equal to one process."""

from __future__ import annotations

import functools
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import default_collate

from votes import checkpoint
from votes.archs.contract import Causal, Clip, Promise, apply
from votes.data import VideoUVSSMTestDataset
from votes.data.sources import write_picture
from votes.inference.frames import piece_that_fits, restored_frames, to_float, to_image
from votes.inference.stream import Stream
from votes.models.restoration_model import RestorationModel
from votes.options import Spec
from votes.processes import distributed
from votes.registry import METRICS

RESTORED = 'restored'
ENLARGED = ('bilinear', 'bicubic')  # baselines that LQ is brought to GT's size by
FrameValues = dict[str, dict[str, float]]  # row ('bilinear', 'restored') -> metric -> value


def to_floats(frame: Tensor) -> NDArray[np.float32]:
    """(3, H, W), 1 is white -> float32 RGB (H, W, 3), 255 is white; neither clamped nor rounded."""
    return (frame.float() * 255).permute(1, 2, 0).cpu().numpy()


@dataclass
class Evaluation:
    """Metrics of every frame of one test set.

    Attributes:
        frames: (clip, index) -> row -> metric -> value.
        notes: what a reader of the numbers must know.
    """

    name: str
    frames: dict[tuple[str, int], FrameValues] = field(default_factory=dict)
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

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

    def table(self, best: dict[str, float] | None = None, lower: Collection[str] = ()) -> str:
        """Plain text: a line a metric with the baselines, now, best so far, and the gain over the last baseline.

        Args:
            lower: metrics of which a lower value is better.
        """
        baselines = [row for row in self.rows() if row != RESTORED]
        heads = ''.join(f'{"LQ " + row if row in ENLARGED else row:>14}' for row in baselines)
        lines = [f'{self.name:<16}{heads}{"now":>10}{"best":>10}{"now - " + baselines[-1]:>16}']
        for metric in self.metrics():
            base = [self.mean(row, metric) for row in baselines]
            now = self.mean(RESTORED, metric)
            top = (min if metric in lower else max)(now, (best or {}).get(metric, now))
            values = ''.join(f'{value:14.4f}' for value in base)
            lines.append(f'  {metric:<14}{values}{now:10.4f}{top:10.4f}{now - base[-1]:+16.4f}')
        return '\n'.join(lines)

    def as_dict(self) -> dict[str, Any]:
        """For a results file: means, means of clips, and every frame."""
        return {
            'mean': {row: {m: self.mean(row, m) for m in self.metrics()} for row in self.rows()},
            'clips': {row: {m: self.clips(row, m) for m in self.metrics()} for row in self.rows()},
            'frames': [{'clip': clip, 'index': index, **values} for (clip, index), values in self.frames.items()],
            'seconds': self.seconds,
            **({'notes': self.notes} if self.notes else {}),
        }


def evaluate(
    model: RestorationModel,
    dataset: VideoUVSSMTestDataset,
    name: str,
    metrics: Mapping[str, Spec],
    image_folder: Path | None = None,
    suffix: str = '',
    stop: Callable[[], bool] = lambda: False,
) -> Evaluation | None:
    """Restores every frame of `dataset` and measures it and its baselines, with the streams of `votes restore`.

    Ranks share the frames; of a network that sees whole clips, or whose state goes through them, the clips. The result
    is the same on every rank, in the order of frames, whatever the number of ranks. Networks that see clips are shown
    whole ones unless they do not fit into memory, which is said in `notes`.

    A test set that has `judge` is asked by it what the network makes of its samples, in place of metrics of frames.

    Args:
        image_folder: restored frames are written to image_folder/CLIP/INDEX[suffix].png.
        stop: asked before each frame; True on any rank gives it up, and the result is None.
    """
    if hasattr(dataset, 'judge'):
        return _judged(model, dataset, name, stop)
    started = time.monotonic()
    measures = {key: (METRICS.get(spec.type), spec.args) for key, spec in metrics.items()}
    mine: dict[tuple[str, int], FrameValues] = {}
    notes: list[str] = []
    with model.predicting() as net:
        stream = Stream(net, model.device)
        for clip, wanted in shares(dataset, model.said)[distributed.rank()].items():
            size, length = dataset.pairs.lq.size(clip), dataset.pairs.lengths[clip]
            piece, note = piece_that_fits(net, model.device, size, length)
            notes += [note] if note and note not in notes else []
            for index, restored, lq in restored_frames(stream, dataset, clip, wanted, piece):
                if stop():
                    break
                gt = model.target(to_float(dataset.gt(clip, index), model.device))
                shown = {**model.baselines(lq), RESTORED: restored}
                mine[clip, index] = {row: _measured(frame, gt, measures) for row, frame in shown.items()}
                if image_folder is not None:
                    write_image(image_folder / clip / f'{index:08d}{suffix}.png', to_image(restored))
    frames = _gathered(mine, dataset)
    told = list(dict.fromkeys(note for part in distributed.gather(notes) for note in part))
    return None if frames is None else Evaluation(name, frames, time.monotonic() - started, told)


def _measured(frame: Tensor, gt: Tensor, measures: Mapping[str, tuple[Callable[..., float], dict[str, Any]]]) -> Any:
    """Metric -> value of a frame (3, H, W); those that round to 8 bits are given these, others the output itself."""
    rounded = to_image(frame), to_image(gt)
    exact = functools.cache(lambda: (to_floats(frame), to_floats(gt)))
    return {
        key: measure(*(rounded if args.get('rounding', 'round') == 'round' else exact()), **args)
        for key, (measure, args) in measures.items()
    }


def _gathered(mine: dict[tuple[str, int], FrameValues], dataset: Any) -> dict[tuple[str, int], FrameValues] | None:
    """What all ranks measured, in the dataset's order; None where something is missing."""
    found = {key: values for part in distributed.gather(mine) for key, values in part.items()}
    return {key: found[key] for key in dataset.positions()} if len(found) == len(dataset) else None


def _judged(model: RestorationModel, dataset: Any, name: str, stop: Callable[[], bool]) -> Evaluation | None:
    """An evaluation by the dataset's own judgement of what the network returns for each of its samples; its positions
    are (kind of sample, number).
    """
    started, positions = time.monotonic(), dataset.positions()
    mine: dict[tuple[str, int], FrameValues] = {}
    with model.predicting() as net, torch.inference_mode():
        for number in range(distributed.rank(), len(dataset), distributed.world_size()):
            if stop():
                break
            sample = model.sample_of(default_collate([dataset[number]]))
            judgement = dataset.judge(apply(net, sample, said=model.said))
            mine[positions[number]] = {**dataset.baseline, RESTORED: judgement}
    frames = _gathered(mine, dataset)
    if frames is None:
        return None
    result = Evaluation(name, frames, time.monotonic() - started)
    for metric in result.metrics():
        kinds = result.clips(RESTORED, metric)
        result.notes.append(f'{metric}: ' + ', '.join(f'{kind} {value:.4f}' for kind, value in kinds.items()))
    return result


def shares(dataset: VideoUVSSMTestDataset, said: Promise) -> list[dict[str, set[int]]]:
    """Clip -> frames that each rank restores: runs of frames of like length, or whole clips where frames depend on all
    of a clip.
    """
    ranks, total = distributed.world_size(), len(dataset)
    found: list[dict[str, set[int]]] = [{} for _ in range(ranks)]
    starts: dict[str, int] = {}
    for number, (clip, _) in enumerate(dataset.positions()):
        starts.setdefault(clip, number)
    for number, (clip, index) in enumerate(dataset.positions()):
        place = starts[clip] if isinstance(said.sees, Clip | Causal) else number
        rank = next(r for r in range(ranks) if place < total * (r + 1) // ranks)
        found[rank].setdefault(clip, set()).add(index)
    return found


def write_image(path: Path, image: NDArray[np.uint8]) -> None:
    """Writes uint8 RGB (H, W, 3) as PNG; makes the folder where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with checkpoint.atomic_write(path) as temporary:
        write_picture(temporary, image)
