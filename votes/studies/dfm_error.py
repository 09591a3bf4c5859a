"""Figure 9 as a number: does the degradation feature map lie where the error is?

python -m votes.studies.dfm_error -opt TEST.yml -o OUT.json
"""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from votes.data import VideoUVSSMTestDataset
from votes.errors import UserError
from votes.inference.evaluation import write_image
from votes.inference.frames import map_of_frame, to_float, to_image
from votes.models import RestorationModel
from votes.reports.sheet import heat, spread
from votes.studies.measuring import restored_clips, run_as_program

REGION = 16  # LQ pixels: the side of the regions whose means are compared
PICTURES = 3


def correlation(first: Tensor, second: Tensor) -> float:
    """Pearson's correlation of two maps of one shape; 0 where one of them is constant."""
    a, b = (x.double().flatten() - x.double().mean() for x in (first, second))
    scale = float(a.norm() * b.norm())
    return float(a @ b) / scale if scale else 0.0


def regions(values: Tensor) -> Tensor:
    """(1, 1, h, w) -> means over regions of 16 x 16 pixels."""
    side = min(REGION, *values.shape[-2:])
    return F.avg_pool2d(values, side)


@torch.no_grad()
def measure(model: RestorationModel, dataset: VideoUVSSMTestDataset, folder: Path) -> dict[str, Any]:
    """Correlation of the DFM with the errors of the restored frame and of LQ, over regions of every test frame.

    Errors are means over the channels of |x - GT|, at LQ size. Pictures of a few frames are written to `folder`.

    Raises:
        UserError: the network has no DFM.
    """
    if not model.said.senses:
        raise UserError('this network has no degradation map', value=model.opt.network_g.type, where=model.opt.name)
    frames: list[dict[str, Any]] = []
    shown = spread(dataset, PICTURES)
    for clip, index, unclamped, lq in restored_clips(model, dataset, *dataset.clips):
        restored = unclamped.clamp(0, 1)
        gt = to_float(dataset.gt(clip, index), model.device)[None]
        dfm = map_of_frame(model.best_net, dataset, clip, index, model.device)
        assert dfm is not None
        bicubic = list(model.baselines(lq[None]).values())[-1]
        errors = {
            name: F.interpolate((x - gt).abs().mean(1, keepdim=True), dfm.shape[-2:], mode='area')
            for name, x in (('restored', restored[None]), ('lq', bicubic))
        }
        alike = {name: correlation(regions(dfm), regions(error)) for name, error in errors.items()}
        frames.append({'clip': clip, 'index': index, 'dfm': float(dfm.mean()), **alike})
        if (clip, index) in shown:
            panels = [to_image(restored), heat(_large(dfm, gt)), heat(8 * _large(errors['restored'], gt))]
            write_image(folder / 'pictures' / f'{clip}_{index:08d}.png', np.concatenate(panels, 1))
    clips = {
        name: {clip: fmean(f[key] for f in frames if f['clip'] == clip) for clip in dataset.clips}
        for name, key in (('correlation', 'restored'), ('correlation_lq', 'lq'))
    }
    return {
        'what': f"Pearson's correlation of DFM and mean |error| over regions of {REGION}x{REGION} LQ pixels, "
        'mean over the frames of a clip, then over clips',
        **{name: fmean(values.values()) for name, values in clips.items()},
        'clips': clips,
        'frames': frames,
    }


def _large(values: Tensor, like: Tensor) -> NDArray[np.float64]:
    return F.interpolate(values, like.shape[-2:], mode='nearest')[0, 0].double().cpu().numpy()


def said(found: dict[str, Any]) -> str:
    return f'correlation of DFM and error: {found["correlation"]:.3f} (of LQ: {found["correlation_lq"]:.3f})'


def main(argv: list[str] | None = None) -> int:
    return run_as_program(argv, __doc__ or '', measure, said)


if __name__ == '__main__':
    raise SystemExit(main())
