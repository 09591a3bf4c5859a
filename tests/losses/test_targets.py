"""Targets against what OpenCV makes of them."""

import cv2
import numpy as np
import torch

from votes.losses.targets import gt_sharp, gt_sharp_small_area


def test_sharpened_as_by_opencv():
    picture = cv2.GaussianBlur(np.random.default_rng(0).random((60, 56, 3)).astype('float32'), (0, 0), 3)
    picture = (picture - picture.min()) / (picture.max() - picture.min())
    detail = picture - cv2.GaussianBlur(picture, (51, 51), 0)
    soft = cv2.GaussianBlur((np.abs(detail) * 255 > 10).astype('float32'), (51, 51), 0)
    expected = soft * np.clip(picture + 0.5 * detail, 0, 1) + (1 - soft) * picture
    ours = gt_sharp(torch.from_numpy(picture).permute(2, 0, 1)[None], 2)
    assert np.abs(expected - picture).max() > 0.05
    np.testing.assert_allclose(ours[0].permute(1, 2, 0).numpy(), expected, atol=1e-4)
    small = gt_sharp_small_area(torch.rand(1, 2, 3, 16, 20), 4)
    assert small.shape == (1, 2, 3, 4, 5)
