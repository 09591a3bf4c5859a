"""Colours of real clips after a real codec: a confusion of matrices is found in each, and in none that has none."""

from pathlib import Path

import cv2
import pytest

from votes.data.tools.check_content import related
from votes.relation.colour import BT601_AS_709, BT709_AS_601
from votes.relation.looks import look
from votes.video.colour import Colour
from votes.video.read import VideoReader
from votes.video.recipe import Recipe, degrade

CLIPS = Path(__file__).resolve().parents[4] / 'shared' / 'clips' / 'originals'
NAMES = ['foreman_cif_intra_352x288.264', 'sam2_cups_1280x720.mp4', 'flower_1280x720.264', 'gopro_max_848x480.mp4']
BT601, BT709 = Colour('bt601', False), Colour('bt709', False)
COUNT, SIZE = 8, (288, 160)


@pytest.mark.parametrize('name', NAMES)
def test_a_confusion_of_matrices_in_a_real_clip(name):
    if not (CLIPS / name).is_file():
        pytest.skip('real clips are not here')
    gt = []
    with VideoReader(CLIPS / name, threads=1) as reader:
        for i, frame in enumerate(reader):
            if i % 3 == 0:
                gt.append(cv2.resize(frame.rgb, SIZE, interpolation=cv2.INTER_AREA))
            if len(gt) == COUNT:
                break
    recipe = Recipe(name='r', scale=2, kernel='area', generations=[{'qp': 32, 'preset': 'veryfast'}])
    lq = degrade(gt, recipe, describe=False)[0]

    def mistakes(frames):
        ours = look((i, float(i), frame) for i, frame in enumerate(frames))
        return related(ours, look((i, float(i), frame) for i, frame in enumerate(gt))).colours.mistakes()

    assert mistakes(lq) == []
    assert mistakes([BT601.to_rgb(BT709.to_yuv(frame)) for frame in lq]) == [BT709_AS_601]
    assert mistakes([BT709.to_rgb(BT601.to_yuv(frame)) for frame in lq]) == [BT601_AS_709]
