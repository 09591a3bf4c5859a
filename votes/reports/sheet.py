"""A picture to look at: LQ, DFM, restored, GT and error of a few frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from votes.archs.votes_arch import VOTES
from votes.data import VideoUVSSMTestDataset, build_test_set
from votes.inference.evaluation import to_image, write_image
from votes.metrics.psnr_ssim import calculate_psnr
from votes.models import RestorationModel, build_model
from votes.options import load_options
from votes.processes.devices import device_of

Image = NDArray[np.uint8]
TITLE_HEIGHT = 22
ERROR_GAIN = 8


def heat(values: NDArray[np.float64]) -> Image:
    """Values in [0, 1] (H, W) -> RGB, dark to bright."""
    coloured = cv2.applyColorMap(np.round(values.clip(0, 1) * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    return np.asarray(cv2.cvtColor(coloured, cv2.COLOR_BGR2RGB), np.uint8)


def _titled(image: Image, title: str) -> Image:
    bar = np.full((TITLE_HEIGHT, image.shape[1], 3), 255, np.uint8)
    cv2.putText(bar, title, (4, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate((bar, image))


def _row(model: RestorationModel, item: dict) -> Image:
    """One frame's panels side by side."""
    lq = model.to_float(item['lq']).unsqueeze(0)
    gt = to_image(model.target(model.to_float(item['gt']).unsqueeze(0))[0])
    restored = to_image(model.predict(lq)[0])

    def enlarge(image: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(cv2.resize(image, (gt.shape[1], gt.shape[0]), interpolation=cv2.INTER_NEAREST))

    compressed = to_image(lq[0, lq.shape[1] // 2])
    panels: dict[str, Image] = {}
    panels[f'LQ {item["clip"]}/{item["index"]:08d}'] = enlarge(compressed)
    if isinstance(model.net, VOTES):
        even = lq[..., : lq.shape[-2] // 4 * 4, : lq.shape[-1] // 4 * 4]
        dfm = model.net.degradation_map(even)[0, 0].double().cpu().numpy()
        panels[f'DFM, mean {dfm.mean():.2f}'] = heat(enlarge(dfm))
    error = np.abs(restored.astype(float) - gt).mean(2) / 255
    panels[f'restored, {calculate_psnr(restored, gt, 2, test_y_channel=True):.2f} dB'] = restored
    panels['GT'] = gt
    panels[f'error x {ERROR_GAIN}'] = heat(error * ERROR_GAIN)
    return np.concatenate([_titled(image, title) for title, image in panels.items()], 1)


def _crop(item: dict, side: int, scale: int) -> dict:
    """The middle of a sample of a test set, `side` LQ pixels wide and high."""
    height, width = item['lq'].shape[-2:]
    top, left = max(0, (height - side) // 2), max(0, (width - side) // 2)
    lq = item['lq'][..., top : top + side, left : left + side]
    gt = item['gt'][..., top * scale : (top + side) * scale, left * scale : (left + side) * scale]
    return {**item, 'lq': lq, 'gt': gt}


def make_preview(model: RestorationModel, dataset: VideoUVSSMTestDataset, output: Path, count: int = 2) -> None:
    """Writes a PNG of the same crops of `dataset` each time, to see how training gets on."""
    picks = [int((i + 0.5) * len(dataset) / count) for i in range(count)]
    write_image(output, _stack([_row(model, _crop(dataset[i], 96, model.opt.scale)) for i in picks]))


def _stack(rows: list[Image]) -> Image:
    width = max(row.shape[1] for row in rows)
    white = [np.full((row.shape[0], width - row.shape[1], 3), 255, np.uint8) for row in rows]
    return np.concatenate([np.concatenate(pair, 1) for pair in zip(rows, white, strict=True)])


def make_sheet(option_file: str | Path, output: Path, count: int = 3) -> None:
    """Writes a PNG with a row for each of `count` frames spread over the first test set of a test option file."""
    opt = load_options(option_file, mode='test')
    dataset = build_test_set(next(data for key, data in opt.datasets.items() if key != 'train'), opt.scale)
    model = build_model(opt, device_of(opt))
    picks = [int((i + 0.5) * len(dataset) / count) for i in range(count)]
    write_image(output, _stack([_row(model, dataset[i]) for i in picks]))
