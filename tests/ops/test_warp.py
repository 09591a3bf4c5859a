"""Warping by flow: by hand, and by the conventions of grid_sample."""

import pytest
import torch
import torch.nn.functional as F

from votes.ops.warp import flow_warp


def constant(dx: float, dy: float, height: int, width: int) -> torch.Tensor:
    return torch.tensor([dx, dy]).view(1, 2, 1, 1).expand(1, 2, height, width)


def test_by_hand():
    x = torch.arange(12.0).view(1, 1, 3, 4)
    right = flow_warp(x, constant(1, 0, 3, 4))
    assert right[0, 0].tolist() == [[1, 2, 3, 0], [5, 6, 7, 0], [9, 10, 11, 0]]
    down = flow_warp(x, constant(0, 1, 3, 4), padding='border')
    assert down[0, 0].tolist() == [[4, 5, 6, 7], [8, 9, 10, 11], [8, 9, 10, 11]]
    half = flow_warp(x, constant(-0.5, 0, 3, 4), padding='zeros')
    torch.testing.assert_close(half[0, 0, 1], torch.tensor([2, 4.5, 5.5, 6.5]))
    nearest = flow_warp(x, constant(0.4, 0.6, 3, 4), padding='border', mode='nearest')
    assert nearest[0, 0].tolist() == down[0, 0].tolist()


@pytest.mark.parametrize('padding', ['zeros', 'border', 'reflection'])
@pytest.mark.parametrize('corners', [True, False])
def test_no_motion_is_the_grid_of_torch(padding, corners):
    torch.manual_seed(0)
    x, flow = torch.rand(2, 3, 6, 9, dtype=torch.float64), 3 * torch.randn(2, 2, 6, 9, dtype=torch.float64)
    grid = F.affine_grid(torch.eye(2, 3, dtype=torch.float64).expand(2, 2, 3), [2, 3, 6, 9], align_corners=corners)
    step = torch.tensor([2 / (9 - corners), 2 / (6 - corners)], dtype=torch.float64)
    expected = F.grid_sample(x, grid + flow.permute(0, 2, 3, 1) * step, padding_mode=padding, align_corners=corners)
    torch.testing.assert_close(flow_warp(x, flow, padding, corners), expected)


def test_a_picture_of_one_pixel_and_places_in_bfloat16():
    one = torch.rand(1, 2, 1, 1)
    torch.testing.assert_close(flow_warp(one, constant(0, 0, 1, 1)), one)
    wide = torch.arange(400.0).view(1, 1, 1, 400)
    moved = flow_warp(wide, constant(1, 0, 1, 400).bfloat16(), padding='border')
    assert moved[0, 0, 0, 300] == 301
    assert moved.dtype == torch.float32
