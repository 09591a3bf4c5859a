"""Figure 9 as a number: does the degradation feature map lie where the error is?

python -m votes.studies.dfm_error -opt TEST.yml -o OUT.json
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from votes import checkpoint
from votes.archs.parts.padding import to_multiple
from votes.archs.votes_arch import VOTES
from votes.data import build_test_set
from votes.errors import UserError
from votes.inference.evaluation import to_image, write_image
from votes.models import RestorationModel, build_model
from votes.options import Options, load_options
from votes.processes.devices import device_of
from votes.reports.sheet import heat

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
def measure(opt: Options, folder: Path) -> dict[str, Any]:
    """Correlation of the DFM with the errors of the restored frame and of LQ, over regions of every test frame.

    Errors are means over the channels of |x - GT|, at LQ size. Pictures of a few frames are written to `folder`.

    Raises:
        UserError: the network has no DFM.
    """
    dataset = build_test_set(next(data for key, data in opt.datasets.items() if key != 'train'), opt.scale)
    model = build_model(opt, device_of(opt))
    if not isinstance(model.net, VOTES) or not model.net.dfm:
        raise UserError('this network has no degradation map', value=opt.network_g.type, where=opt.name)
    frames = []
    shown = {int((i + 0.5) * len(dataset) / PICTURES) for i in range(PICTURES)}
    for i in range(len(dataset)):
        item = dataset[i]
        lq, gt = (model.to_float(item[key]).unsqueeze(0) for key in ('lq', 'gt'))
        dfm = degradation(model, lq)
        restored = model.predict(lq)
        bicubic = model.baselines(lq[:, lq.shape[1] // 2])['bicubic']
        errors = {
            name: F.interpolate((x - gt).abs().mean(1, keepdim=True), dfm.shape[-2:], mode='area')
            for name, x in (('restored', restored), ('lq', bicubic))
        }
        frames.append(
            {
                'clip': item['clip'],
                'index': item['index'],
                'dfm': float(dfm.mean()),
                **{name: correlation(regions(dfm), regions(error)) for name, error in errors.items()},
            }
        )
        if i in shown:
            panels = [to_image(restored[0]), heat(_large(dfm, gt)), heat(8 * _large(errors['restored'], gt))]
            name = f'{item["clip"]}_{item["index"]:08d}.png'
            write_image(folder / 'pictures' / name, np.concatenate(panels, 1))
    clips = {frame['clip'] for frame in frames}

    def mean(name: str) -> float:
        return fmean(fmean(f[name] for f in frames if f['clip'] == clip) for clip in clips)

    return {
        'what': f"Pearson's correlation of DFM and mean |error| over regions of {REGION}x{REGION} LQ pixels, "
        'mean over the frames of a clip, then over clips',
        'correlation': mean('restored'),
        'correlation_lq': mean('lq'),
        'frames': frames,
    }


def degradation(model: RestorationModel, lq: Tensor) -> Tensor:
    """The DFM (1, 1, h, w) of a window of any size, with the same padding as in prediction."""
    net = model.net
    assert isinstance(net, VOTES)
    height, width = lq.shape[-2:]
    return net.degradation_map(to_multiple(lq, int(net.multiple)))[..., :height, :width]


def _large(values: Tensor, like: Tensor) -> NDArray[np.float64]:
    return F.interpolate(values, like.shape[-2:], mode='nearest')[0, 0].double().cpu().numpy()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('-opt', required=True)
    parser.add_argument('-o', '--output', type=Path, required=True)
    parser.add_argument('--set', nargs='+', default=[], dest='overrides')
    args = parser.parse_args(argv)
    opt = load_options(args.opt, 'test', args.overrides)
    found = measure(opt, args.output.parent)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.write_json(args.output, found)
    print(f'correlation of DFM and error: {found["correlation"]:.3f} (of LQ: {found["correlation_lq"]:.3f})')
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
