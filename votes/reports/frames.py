"""What evaluations did to each frame, for a page: input, outputs, GT, degradation maps, errors, and values."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from votes.data import VideoUVSSMTestDataset, build_test_set
from votes.data.sources import read_picture
from votes.errors import UserError
from votes.inference.evaluation import RESTORED
from votes.inference.frames import map_of_frame
from votes.models import build_model
from votes.options import Options, load_options
from votes.processes.devices import device_of
from votes.reports.compare import read_results
from votes.reports.pictures import Pictures
from votes.reports.protocol import lower_is_better
from votes.reports.sheet import OUTPUT, heat, panels

Image = NDArray[np.uint8]
WORST = 5  # frames of a network


@dataclass
class TestSet:
    """Frames of one test set, and what one or several networks made of them.

    Attributes:
        clips: clip -> frames, each {'index', 'pictures': {'input': number, ...}, 'values': {network: {metric: value}}}.
        worst: {'clip', 'place' (in the list of the clip's frames), 'network', 'text'}, the least gain first.
        metric, unit: what the curve shows, and what it is called.
        left, right: pictures that are compared at first.
        notes: what is not shown, and why.
    """

    name: str
    clips: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    worst: list[dict[str, Any]] = field(default_factory=list)
    metric: str = ''
    unit: str = ''
    left: str = 'input'
    right: str = OUTPUT
    notes: list[str] = field(default_factory=list)

    def for_page(self) -> dict[str, Any]:
        """As the page reads it: clips in a list, as the names of an object's members have no order of their own."""
        clips = [{'name': name, 'frames': frames} for name, frames in self.clips.items()]
        about = {key: getattr(self, key) for key in ('worst', 'metric', 'unit', 'left', 'right')}
        return {'clips': clips} | about


@dataclass
class Evaluated:
    """One network on one test set.

    Attributes:
        frames: (clip, index) -> row ('bicubic', 'restored') -> metric -> value.
        identity: what its data are recognised by; None if nothing is known.
    """

    label: str
    name: str
    folder: Path
    opt: Options
    data: Any
    frames: dict[tuple[str, int], dict[str, Any]]
    lower: set[str]
    identity: str | None

    def picture(self, clip: str, index: int) -> Path:
        suffix = f'_{self.opt.val.suffix}' if self.opt.val and self.opt.val.suffix else ''
        return self.folder / 'visualization' / self.name / clip / f'{index:08d}{suffix}.png'

    @property
    def metric(self) -> str:
        found = next(iter(self.frames.values()))[RESTORED]
        return 'psnr' if 'psnr' in found else next(iter(found))

    def curve(self) -> tuple[str, str]:
        """What is drawn of its frames, the gain where there is one, and what it is called."""
        called = self.metric.upper() if self.metric in ('psnr', 'ssim') else self.metric
        gained = 'gain' in self.values(next(iter(self.frames)))
        return ('gain', f'gain in {called}') if gained else (self.metric, called)

    def values(self, at: tuple[str, int]) -> dict[str, float]:
        """Its metrics at a frame, and under 'gain' that over the last baseline; positive is better."""
        frame, metric = self.frames[at], self.metric
        found = dict(frame[RESTORED])
        base = [row for row in frame if isinstance(frame[row], dict) and row != RESTORED and metric in frame[row]]
        if base and math.isfinite(gain := found[metric] - frame[base[-1]][metric]):
            found['gain'] = -gain if metric in self.lower else gain
        return found


def evaluated(label: str, folder: Path) -> list[Evaluated]:
    """What a folder of `votes test` holds, a test set each."""
    content = read_results(folder / 'results.json')
    opt = load_options(folder / 'options.yml', 'test', check_paths=False)
    found = []
    for key, data in opt.datasets.items():
        name = data.name or key
        if name in content['results']:
            frames = {(frame['clip'], frame['index']): frame for frame in content['results'][name]['frames']}
            identity = content['protocol'].get('data', {}).get(name, {}).get('sha256')
            lower = lower_is_better(content['protocol'])
            found.append(Evaluated(label, name, folder, opt, data, frames, lower, identity))
    return found


def test_sets(runs: Iterable[tuple[str, Path]], pictures: Pictures, every: int) -> list[TestSet]:
    """Pictures of every test set in folders of `votes test`: outputs from the runs, LQ and GT from their data.

    Runs on the same data, with outputs of one size, come into one set.

    Args:
        runs: what each is called, and its folder.
        every: only every so many frames of a clip, and the worst.
    """
    groups: dict[tuple[Any, ...], list[Evaluated]] = {}
    for label, folder in runs:
        for run in evaluated(f'output of {label}' if label in ('input', OUTPUT, 'GT') else label, folder):
            known = run.identity or f'unknown, of {label}'
            groups.setdefault((run.name, known, _size(run)), []).append(run)
    return [_shown(group, pictures, every) for group in groups.values()]


def _size(run: Evaluated) -> tuple[int, ...] | None:
    """Of its first output; None where none was saved."""
    first = run.picture(*next(iter(run.frames)))
    return read_picture(first).shape if first.is_file() else None


def _shown(runs: list[Evaluated], pictures: Pictures, every: int) -> TestSet:
    first = runs[0]
    labels = {OUTPUT if len(runs) == 1 else run.label: run for run in runs}
    shown = TestSet(first.name, right=next(iter(labels)))
    shown.metric, shown.unit = first.curve()
    if _size(first) is None:
        shown.notes.append('no pictures were saved: val.save_img: true does')
        return shown
    try:
        dataset = build_test_set(first.data, first.opt.scale)
    except UserError as error:
        shown.notes.append(f'the data is not there any more: {error.what}')
        return shown
    shown.left = runs[1].label if len(runs) > 1 else 'input'
    sense = {name: found for name, run in labels.items() if (found := _sensing(run, dataset, shown))}
    common = [at for at in first.frames if all(at in run.frames for run in runs)]
    if not common:
        shown.notes.append(f'no frame that all have: {", ".join(run.label for run in runs)}')
        return shown
    values = {at: {name: run.values(at) for name, run in labels.items()} for at in common}
    worst = list(_worst(values, shown.metric, first.lower))
    wanted = {at for at, _ in worst} | _every(common, every)
    for clip, index in common:
        if (clip, index) in wanted:
            outputs = {name: read_picture(run.picture(clip, index)) for name, run in labels.items()}
            maps = {name: found(clip, index) for name, found in sense.items()}
            images = panels(dataset.pairs.lq.read(clip, index), outputs, dataset.pairs.read_gt(clip, index), maps)
            frame = {'index': index, 'pictures': {name: pictures.add(image) for name, image in images.items()}}
            shown.clips.setdefault(clip, []).append(frame | {'values': values[clip, index]})
    if every > 1:
        shown.notes.append(f'one frame of {every} is shown, and the worst')
    shown.worst = [_pointed(shown, at, name, said(values[at][name], first.metric)) for at, name in worst]
    return shown


def _every(frames: list[tuple[str, int]], every: int) -> set[tuple[str, int]]:
    """Every so many frames of each clip."""
    clips: dict[str, list[tuple[str, int]]] = {}
    for at in frames:
        clips.setdefault(at[0], []).append(at)
    return {at for own in clips.values() for at in own[::every]}


def _pointed(shown: TestSet, at: tuple[str, int], network: str, text: str) -> dict[str, Any]:
    """One of the worst frames, as the page reads it."""
    clip, index = at
    place = next(i for i, frame in enumerate(shown.clips[clip]) if frame['index'] == index)
    whose = '' if network == OUTPUT else f'{network}, '
    return {'clip': clip, 'place': place, 'network': network, 'text': f'{clip}, frame {index}: {whose}{text}'}


def _worst(
    values: Mapping[tuple[str, int], Mapping[str, Mapping[str, float]]], metric: str, lower: set[str]
) -> Iterable[tuple[tuple[str, int], str]]:
    """Frames of the least gain, and whose; where there is no baseline, of the worst value."""
    sign = -1 if metric in lower else 1
    for name in next(iter(values.values())):
        known = [at for at in values if metric in values[at][name]]
        for at in sorted(known, key=lambda at: sign * values[at][name][metric])[:WORST]:
            yield at, name


def said(values: Mapping[str, float], metric: str) -> str:
    """'31.20 dB, gain +1.03' of a frame."""
    unit = ' dB' if metric == 'psnr' else ''
    gain = f', gain {values["gain"]:+.2f}' if 'gain' in values else ''
    return f'{values[metric]:.2f}{unit}{gain}' if unit else f'{metric} {values[metric]:.4f}{gain}'


def _sensing(run: Evaluated, dataset: VideoUVSSMTestDataset, shown: TestSet) -> Callable[[str, int], Image] | None:
    """What makes the degradation map of a frame, if the run's network senses and its weights are there."""
    weights = run.opt.path.pretrain_network_g
    if not weights or not Path(weights).is_file():
        shown.notes.append(f'{run.label}: no degradation map: the weights are not there any more')
        return None
    model = build_model(run.opt, device_of(run.opt))
    if not model.said.senses:
        return None

    def sense(clip: str, index: int) -> Image:
        sensed = map_of_frame(model.net, dataset, clip, index, model.device)
        assert sensed is not None
        return heat(sensed[0, 0].double().cpu().numpy())

    return sense
