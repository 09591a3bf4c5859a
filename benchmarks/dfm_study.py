"""The pictures of docs/studies/dfm.md and its numbers, of a run of `votes reproduce dfm`.

python benchmarks/dfm_study.py studies/dfm

Writes benchmarks/results/study_dfm.json, with how well each stored map agrees with the true error, and
docs/studies/dfm_maps.jpg, dfm_gains.svg and dfm_curves.svg; then the tables of the documentation.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import fmean
from typing import Any

import cv2
import numpy as np
import tables
from matplotlib.figure import Figure
from numpy.typing import NDArray

from votes.archs.parts.dfm import map_of_difference
from votes.data.clip_lists import read_meta_info
from votes.data.sources import FolderSource
from votes.options.shipped import shipped
from votes.reports.sheet import heat
from votes.studies.dfm_error import correlation, regions

PAGE = tables.ROOT / 'docs' / 'studies'
MAPS = ('dsm_25', 'dsm_100', 'dsm_400', 'shuffled', 'neighbours', 'error')
SHOWN = (('qp28/gopro_max', 3), ('qp33/bedroom', 3))
HEIGHT = 150  # pixels of a panel


def as_map(source: FolderSource, clip: str, index: int) -> Any:
    """A stored difference as a map, per sample: (1, 1, h, w)."""
    import torch

    return map_of_difference(torch.from_numpy(source.read(clip, index)[None, None, ..., 0].copy()))


def agreement(folder: Path) -> dict[str, float]:
    """Map -> correlation with the true error over regions of 16 x 16 pixels, mean over test frames, then clips."""
    sources = {name: FolderSource(folder / 'data' / 'maps' / name) for name in MAPS}
    found: dict[str, list[float]] = {name: [] for name in MAPS}
    for clip, length in read_meta_info(shipped() / 'studies' / 'dfm' / 'test.txt').items():
        for name, source in sources.items():
            pairs = [(as_map(source, clip, i), as_map(sources['error'], clip, i)) for i in range(length)]
            found[name].append(fmean(correlation(regions(a), regions(b)) for a, b in pairs))
    return {name: fmean(values) for name, values in found.items()}


def pictures(folder: Path) -> None:
    """LQ and the maps of two frames, a frame a line."""
    lines = []
    for clip, index in SHOWN:
        panels = [FolderSource(folder / 'data' / 'LQ').read(clip, index)]
        for name in ('dsm_25', 'dsm_400', 'shuffled', 'neighbours', 'error'):
            values = as_map(FolderSource(folder / 'data' / 'maps' / name), clip, index)[0, 0].double().numpy()
            panels.append(heat(values))
        lines.append(np.concatenate([_sized(panel) for panel in panels], 1))
    width = min(line.shape[1] for line in lines)
    picture = np.concatenate([line[:, :width] for line in lines])
    cv2.imwrite(str(PAGE / 'dfm_maps.jpg'), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])


def _sized(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    size = round(picture.shape[1] * HEIGHT / picture.shape[0]), HEIGHT
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_NEAREST), np.uint8)


def curves(study: dict[str, Any]) -> None:
    """Training loss of each way to modulate less that of zeros, mean over seeds."""
    figure = Figure(figsize=(6.5, 3), layout='constrained')
    axis = figure.subplots()
    ways: dict[str, dict[int, list[float]]] = {}
    runs = {name: run for name, run in study['runs'].items() if run.get('training') and run['state'] == 'done'}
    for name, run in runs.items():
        way, _, seed = name.rpartition('_')
        zeros = runs.get(f'zeros_{seed}')
        if zeros is None or way in ('zeros', 'dsm'):
            continue
        for row, base in zip(run['training'], zeros['training'], strict=False):
            ways.setdefault(way, {}).setdefault(row['iter'], []).append(row['loss'] / base['loss'] - 1)
    for way, points in ways.items():
        axis.plot(list(points), [100 * fmean(values) for values in points.values()], 'o-', ms=3, label=way)
    axis.axhline(0, color='grey', lw=0.8)
    axis.set(xlabel='iteration', ylabel='training loss over that of zeros, %')
    axis.legend(fontsize=6, ncols=2)
    figure.savefig(PAGE / 'dfm_curves.svg', metadata={'Date': None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('study', type=Path, help='studies/dfm')
    folder = parser.parse_args().study
    tables.take_study(folder)
    path = tables.RESULTS / 'study_dfm.json'
    study = {**json.loads(path.read_text()), 'agreement': agreement(folder)}
    tables.machine.write(path, study)
    PAGE.mkdir(exist_ok=True)
    (PAGE / 'dfm_gains.svg').write_bytes((folder / 'dfm.svg').read_bytes())
    pictures(folder)
    curves(study)


if __name__ == '__main__':
    main()
