"""Pictures of an evaluation, for a page: input, output, GT, degradation map and error of a few frames."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from votes.checkpoint import with_infinity
from votes.data import VideoUVSSMTestDataset, build_test_set
from votes.data.sources import read_picture
from votes.errors import UserError
from votes.inference.evaluation import RESTORED
from votes.inference.frames import map_of_frame
from votes.models import build_model
from votes.options import Options, load_options
from votes.processes.devices import device_of
from votes.reports.sheet import ERROR_GAIN, heat

Image = NDArray[np.uint8]
CLIPS, FRAMES, WORST = 4, 10, 5
SIDE = 512  # pixels: larger frames are cut to their middle
QUALITY = 92  # of JPEG


@dataclass
class TestSet:
    """Pictures of one test set.

    Attributes:
        clips: clip -> frames, each {'index', 'psnr', 'pictures': {'input': data URI, ...}}.
        worst: the frames of lowest PSNR: {'clip', 'index', 'psnr', 'ssim', 'pictures'}.
        notes: what is not shown, and why.
    """

    name: str
    clips: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    worst: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def test_sets(folder: Path) -> list[TestSet]:
    """Pictures of every test set in a folder of `votes test`: outputs from the run, LQ and GT from its data."""
    results = with_infinity(json.loads((folder / 'results.json').read_text()))['results']
    opt = load_options(folder / 'options.yml', 'test', check_paths=False)
    found = []
    for key, data in opt.datasets.items():
        name = data.name or key
        if name not in results:
            continue
        shown = TestSet(name)
        found.append(shown)
        outputs = folder / 'visualization' / name
        if not outputs.is_dir():
            shown.notes.append('no pictures were saved: val.save_img: true does')
            continue
        try:
            dataset = build_test_set(data, opt.scale)
        except UserError as error:
            shown.notes.append(f'the data is not there any more: {error.what}')
            continue
        _fill(shown, results[name]['frames'], dataset, opt, outputs)
    return found


def _fill(
    shown: TestSet, frames: list[dict[str, Any]], dataset: VideoUVSSMTestDataset, opt: Options, outputs: Path
) -> None:
    sense = _sensing(opt, dataset, shown)
    suffix = f'_{opt.val.suffix}' if opt.val and opt.val.suffix else ''

    def described(frame: dict[str, Any]) -> dict[str, Any]:
        clip, index = frame['clip'], frame['index']
        output = read_picture(outputs / clip / f'{index:08d}{suffix}.png')
        dfm = None if sense is None else sense(clip, index)
        pictures = panels(dataset.pairs.lq.read(clip, index), output, dataset.pairs.read_gt(clip, index), dfm)
        about = {name: frame[RESTORED].get(name) for name in ('psnr', 'ssim')}
        return {'clip': clip, 'index': index, **about, 'pictures': pictures}

    names = list(dict.fromkeys(frame['clip'] for frame in frames))
    for clip in names[:CLIPS]:
        own = [frame for frame in frames if frame['clip'] == clip]
        picks = sorted({round(i * (len(own) - 1) / max(1, FRAMES - 1)) for i in range(FRAMES)})
        shown.clips[clip] = [described(own[i]) for i in picks]
    if len(names) > CLIPS:
        shown.notes.append(f'{CLIPS} of {len(names)} clips are shown')
    if 'psnr' in frames[0][RESTORED]:
        shown.worst = [described(f) for f in sorted(frames, key=lambda f: f[RESTORED]['psnr'])[:WORST]]


def _sensing(opt: Options, dataset: VideoUVSSMTestDataset, shown: TestSet) -> Callable[[str, int], Image] | None:
    """What makes the degradation map of a frame, if the run's network senses and its weights are there."""
    weights = opt.path.pretrain_network_g
    if not weights or not Path(weights).is_file():
        shown.notes.append('no degradation map: the weights are not there any more')
        return None
    model = build_model(opt, device_of(opt))
    if not model.said.senses:
        return None

    def sense(clip: str, index: int) -> Image:
        sensed = map_of_frame(model.net, dataset, clip, index, model.device)
        assert sensed is not None
        return heat(sensed[0, 0].double().cpu().numpy())

    return sense


def panels(lq: Image, output: Image, gt: Image, dfm: Image | None) -> dict[str, str]:
    """The pictures of one frame at the size of the output: name -> data URI."""
    if output.shape != gt.shape:  # stage 1 restores at the size of LQ
        gt = np.asarray(cv2.resize(gt, output.shape[1::-1], interpolation=cv2.INTER_AREA), np.uint8)

    def enlarged(image: Image) -> Image:
        return np.asarray(cv2.resize(image, output.shape[1::-1], interpolation=cv2.INTER_NEAREST), np.uint8)

    found = {'input': enlarged(lq), 'output': output, 'GT': gt}
    if dfm is not None:
        found['DFM'] = enlarged(dfm)
    error = np.abs(output.astype(float) - gt).mean(2) / 255
    found[f'error x {ERROR_GAIN}'] = heat(error * ERROR_GAIN)
    return {name: data_uri(middle(image)) for name, image in found.items()}


def middle(image: Image) -> Image:
    """The middle of a picture, at most 512 pixels wide and high."""
    top, left = (max(0, (n - SIDE) // 2) for n in image.shape[:2])
    return image[top : top + SIDE, left : left + SIDE]


def data_uri(image: Image) -> str:
    """RGB as a JPEG in a URI."""
    done, data = cv2.imencode('.jpg', cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    assert done
    return 'data:image/jpeg;base64,' + base64.b64encode(data.tobytes()).decode()
