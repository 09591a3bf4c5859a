"""Measurements of a study that are programs of their own: an option file in, a JSON file out."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from votes import checkpoint
from votes.data import VideoUVSSMTestDataset, build_test_set
from votes.inference.frames import piece_that_fits, restored_frames
from votes.inference.stream import Stream
from votes.models import RestorationModel, build_model
from votes.options import load_options
from votes.processes.devices import device_of
from votes.processes.program import add_overrides


def run_as_program(
    argv: list[str] | None,
    about: str,
    measure: Callable[[RestorationModel, VideoUVSSMTestDataset, Path], dict[str, Any]],
    said: Callable[[dict[str, Any]], str],
) -> int:
    """``-opt TEST.yml -o OUT.json [--set KEY=VALUE ...]``: writes what `measure` finds.

    Args:
        measure: what it finds on the first test set; pictures go into a folder.
        said: the line that is printed of it.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument('-opt', required=True)
    parser.add_argument('-o', '--output', type=Path, required=True)
    add_overrides(parser, 'change options')
    args = parser.parse_args(argv)
    opt = load_options(args.opt, 'test', args.overrides)
    model = build_model(opt, device_of(opt))
    first = next(data for key, data in opt.datasets.items() if key != 'train')
    found = measure(model, build_test_set(first, opt.scale, model.said), args.output.parent)
    checkpoint.write_json(args.output, found)
    print(said(found))
    return 0


def restored_clips(
    model: RestorationModel, dataset: VideoUVSSMTestDataset, *clips: str
) -> Iterator[tuple[str, int, Tensor, Tensor]]:
    """Clip, number, restored frame and LQ frame of all of these clips."""
    with model.predicting() as net:
        stream = Stream(net, model.device)
        for clip in clips:
            wanted = range(dataset.pairs.lengths[clip])
            piece, _ = piece_that_fits(net, model.device, dataset.pairs.lq.size(clip), len(wanted))
            for index, restored, lq in restored_frames(stream, dataset, clip, wanted, piece):
                yield clip, index, restored, lq
