"""What pairs say beside the kernel: where it samples, sharpening, noise, chroma, earlier encodings."""

import cv2
import pytest
from test_calibrate import moving

from votes.platforms.generations import earlier_generation
from votes.platforms.kernels import Crop, changed, kernel_of, phase_of, sharpening_of
from votes.platforms.synthesis import made_by
from votes.platforms.traces import chroma_siting, noise_of
from votes.video.recipe import Recipe

PLAIN = Recipe(name='p', scale=2, kernel='area', generations=[{'qp': 22, 'preset': 'veryfast', 'bframes': 0}])


def crops(recipe, count=4):
    """Two clips that a recipe made."""
    return [
        Crop(str(seed), gt, made_by(recipe, gt, stream=False).frames)
        for seed in (1, 2)
        for gt in [moving(count, seed=seed)]
    ]


@pytest.mark.parametrize('kernel', ['lanczos', 'nearest'])
def test_the_kernel_although_another_was_assumed(kernel):
    made = crops(changed(PLAIN, kernel=kernel))
    found, table = kernel_of(changed(PLAIN, generations=[{'qp': 24, 'preset': 'fast', 'bframes': 0}]), made)
    assert found.value == kernel
    assert table[kernel] == 1
    assert min(value for name, value in table.items() if name != kernel) > 1.05


def test_phase_and_sharpening():
    assert phase_of(PLAIN, crops(PLAIN)).value == [0, 0]
    assert phase_of(PLAIN, crops(changed(PLAIN, phase=[0.5, 0.5]))).value == [0.5, 0.5]
    assert sharpening_of(PLAIN, crops(PLAIN)).value == 0
    assert sharpening_of(PLAIN, crops(changed(PLAIN, sharpen=0.7))).value == 0.7
    assert sharpening_of(PLAIN, crops(changed(PLAIN, sharpen=-0.4))).value == -0.4


def test_noise():
    quiet = [cv2.GaussianBlur(frame, (0, 0), 4) for frame in moving(3)]

    def found(recipe):
        return noise_of(PLAIN, [Crop('x', quiet, made_by(recipe, quiet, stream=False).frames)]).value

    assert found(PLAIN) == 0
    assert found(changed(PLAIN, noise=8)) == 8


def test_where_chroma_lies():
    made = crops(PLAIN)
    assert chroma_siting(PLAIN, made).value == 'centre'
    left = [{**PLAIN.generations[0].model_dump(exclude_none=True), 'chroma_siting': 'left'}]
    found = chroma_siting(PLAIN, crops(changed(PLAIN, generations=left)))
    assert found.value == 'left'
    assert '+0.' in found.why


def test_an_earlier_encoding():
    """More is lost than one encoding takes; the stand-in for the earlier one loses as much."""
    last = {'qp': 30, 'preset': 'veryfast', 'bframes': 0}
    one = changed(PLAIN, generations=[last])
    count, crf = earlier_generation(one, crops(one))
    assert (count.value, crf) == (1, None)
    two = changed(PLAIN, generations=[{'crf': 30, 'preset': 'veryfast'}, last])
    count, crf = earlier_generation(one, crops(two))
    assert count.value == 2
    assert abs(crf.value - 30) <= 4
    blurred = changed(PLAIN, generations=[last], sharpen=-0.5)
    assert earlier_generation(one, crops(blurred))[0].value == 1, 'smoothing is no encoding'
