"""A picture to look at: LQ, DFM, restored, GT and error of a few frames."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from votes.checkpoint import check_target
from votes.data import VideoUVSSMTestDataset, build_test_set
from votes.errors import UserError
from votes.inference.evaluation import write_image
from votes.inference.frames import map_of_frame, restored_frames, to_float, to_image
from votes.inference.stream import Stream
from votes.metrics.psnr_ssim import calculate_psnr
from votes.models import RestorationModel, build_model
from votes.options import load_options
from votes.processes.devices import device_of

Image = NDArray[np.uint8]
Place = tuple[str, int]  # clip, frame
TITLE_HEIGHT = 22
ERROR_GAIN = 8
OUTPUT = 'output'  # what the output of a network alone is called


def heat(values: NDArray[np.float64]) -> Image:
    """Values in [0, 1] (H, W) -> RGB, dark to bright."""
    coloured = cv2.applyColorMap(np.round(values.clip(0, 1) * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    return np.asarray(cv2.cvtColor(coloured, cv2.COLOR_BGR2RGB), np.uint8)


def panels(lq: Image, outputs: Mapping[str, Image], gt: Image, maps: Mapping[str, Image]) -> dict[str, Image]:
    """The pictures of one frame at the size of the outputs, by name."""
    size = next(iter(outputs.values())).shape[1::-1]
    if gt.shape[1::-1] != size:  # stage 1 restores at the size of LQ
        gt = np.asarray(cv2.resize(gt, size, interpolation=cv2.INTER_AREA), np.uint8)

    def enlarged(image: Image) -> Image:
        return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_NEAREST), np.uint8)

    def named(what: str, name: str) -> str:
        return what if name == OUTPUT else f'{what}, {name}'

    found = {'input': enlarged(lq), **outputs, 'GT': gt}
    found |= {named('DFM', name): enlarged(dfm) for name, dfm in maps.items()}
    for name, output in outputs.items():
        error = np.abs(output.astype(float) - gt).mean(2) / 255
        found[named(f'error x {ERROR_GAIN}', name)] = heat(error * ERROR_GAIN)
    return found


def _titled(image: Image, title: str) -> Image:
    bar = np.full((TITLE_HEIGHT, image.shape[1], 3), 255, np.uint8)
    cv2.putText(bar, title, (4, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate((bar, image))


def _row(model: RestorationModel, stream: Stream, dataset: VideoUVSSMTestDataset, at: Place, side: int | None) -> Image:
    """One frame's panels side by side: its middle, `side` LQ pixels wide and high, or all of it."""
    clip, index = at
    scale, size = model.opt.scale, dataset.pairs.lq.size(clip)
    height, width = (min(side or n, n) for n in size)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    part = restored_frames(stream, dataset, clip, {index}, 1, (top, left, height, width))
    _, picture, compressed = next(part)
    original = dataset.gt(clip, index)[:, top * scale : (top + height) * scale, left * scale : (left + width) * scale]
    gt = to_image(model.target(to_float(original, model.device)))
    restored = to_image(picture)
    sensed = map_of_frame(stream.net, dataset, clip, index, model.device)
    maps, titles = {}, {'input': f'LQ {clip}/{index:08d}'}
    if sensed is not None:
        dfm = sensed[0, 0, top : top + height, left : left + width].double().cpu().numpy()
        maps[OUTPUT], titles['DFM'] = heat(dfm), f'DFM, mean {dfm.mean():.2f}'
    titles[OUTPUT] = f'restored, {calculate_psnr(restored, gt, 2, test_y_channel=True):.2f} dB'
    shown = panels(to_image(compressed), {OUTPUT: restored}, gt, maps)
    titles |= {name: name for name in shown if name not in titles}
    return np.concatenate([_titled(shown[name], title) for name, title in titles.items()], 1)


def spread(dataset: VideoUVSSMTestDataset, count: int) -> list[Place]:
    """So many frames of a test set, from all over it."""
    places = dataset.positions()
    return [places[int((i + 0.5) * len(places) / count)] for i in range(count)]


def draw_rows(
    model: RestorationModel, dataset: VideoUVSSMTestDataset, output: Path, count: int, side: int | None = None
) -> None:
    """Writes a PNG with a row for each of `count` frames spread over a test set, see `_row`."""
    with model.predicting() as net:
        stream = Stream(net, model.device)
        write_image(output, _stack([_row(model, stream, dataset, at, side) for at in spread(dataset, count)]))


def _stack(rows: list[Image]) -> Image:
    width = max(row.shape[1] for row in rows)
    white = [np.full((row.shape[0], width - row.shape[1], 3), 255, np.uint8) for row in rows]
    return np.concatenate([np.concatenate(pair, 1) for pair in zip(rows, white, strict=True)])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('-opt', required=True, metavar='FILE.yml', help='test option file')
    parser.add_argument('-o', '--output', type=Path, required=True, help='PNG to write')
    parser.add_argument('--frames', type=int, default=3, help='how many frames, spread over the test set')
    parser.add_argument('--overwrite', action='store_true', help='replace an output that exists')


def run(args: argparse.Namespace) -> None:
    if args.frames < 1 or args.output.suffix.lower() not in ('.png', '.jpg'):
        raise UserError('a sheet has frames and is a .png or .jpg', value=f'{args.frames} frames, {args.output}')
    check_target(args.output, args.overwrite)
    opt = load_options(args.opt, mode='test')
    model = build_model(opt, device_of(opt))
    data = next(data for key, data in opt.datasets.items() if key != 'train')
    draw_rows(model, build_test_set(data, opt.scale, model.said), args.output, args.frames)
    print(args.output)
