"""A loss along the motion between frames."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from votes.archs.contract import Causal, Promise
from votes.errors import UserError
from votes.losses.temporal_loss import WarpingLoss, visible
from votes.metrics import temporal
from votes.models.terms import Term


@pytest.fixture(scope='module')
def moving():
    """(1, 3, 3, 64, 80): a picture of which two pixels a frame come in at the right."""
    torch.manual_seed(0)
    picture = F.interpolate(torch.rand(1, 3, 12, 14), (64, 96), mode='bicubic', align_corners=False).clamp(0, 1)
    return torch.stack([picture[..., 2 * t : 2 * t + 80] for t in range(3)], 1)


def test_it_is_the_warping_error(moving):
    """Of frames with noise that is new in each; OpenCV's slower flow gives the metric, hence the tolerance."""
    noisy = (moving + 0.1 * torch.randn_like(moving)).clamp(0, 1)
    frames, guide = ((x[0] * 255).round().byte().permute(0, 2, 3, 1).numpy() for x in (noisy, moving))
    wanted = sum(temporal.warping_error(*frames[t : t + 2], tuple(guide[t : t + 2])) for t in (0, 1)) / 2
    assert WarpingLoss()(noisy, moving).item() == pytest.approx(wanted, rel=0.1)
    assert WarpingLoss()(moving, moving) < 0.1 * wanted


def test_noise_that_moves_along_costs_nothing(moving):
    wrong = moving.flip(2)
    noisy = wrong.clone().requires_grad_()
    WarpingLoss()(noisy, moving).backward()
    assert WarpingLoss()(wrong, moving) < 2e-3, 'other colours, the same motion'
    assert noisy.grad.isfinite().all()
    assert noisy.grad.abs().max() > 0


def test_pixels_that_leave_or_whose_motion_does_not_return_are_not_counted():
    motion = torch.zeros(1, 2, 8, 8)
    motion[:, 0, :, 4:] = 6  # leaves to the right
    seen = visible(motion, torch.zeros_like(motion))
    assert seen[..., :4].all()
    assert not seen[..., 4:].any()
    motion = torch.full((1, 2, 8, 8), 2.0)
    assert visible(motion, -motion)[..., :6, :6].all()
    assert not visible(motion, motion).any()


def test_loss_and_metric_see_the_same_pixels(moving):
    """Motions are made eighths of pixels, which OpenCV keeps, and no whole ones: at a whole one it counts the last row
    and column as outside.
    """
    first, second = ((moving[0, t] * 255).round().byte().permute(1, 2, 0).numpy() for t in (2, 0))
    motions = [np.floor(temporal.flow(*pair) * 4) / 4 + 0.125 for pair in ((first, second), (second, first))]
    wanted = temporal.visible(*motions)
    seen = visible(*(torch.from_numpy(motion).permute(2, 0, 1).unsqueeze(0) for motion in motions))
    assert 0.5 < wanted.mean() < 0.96, 'four columns have left'
    assert (seen[0, 0].numpy() == wanted).all()


def test_as_a_term_it_sees_clips(moving):
    said = Promise('Net', Causal())
    term = Term('l_warp', WarpingLoss(loss_weight=2))
    (value,) = term.values({'out': moving.flip(2)}, {'gt': moving}, said, 1).values()
    torch.testing.assert_close(value, 2 * WarpingLoss()(moving.flip(2), moving))
    with pytest.raises(UserError, match='one comes out'):
        term.values({'out': moving[:, :1]}, {'gt': moving[:, :1]}, said, 1)
