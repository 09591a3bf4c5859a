import pytest
import torch

from votes.losses.detail_loss import BandLoss, FourierLoss, GradientLoss
from votes.ops.blur import gaussian_blur


def test_fourier_loss_of_a_constant_is_in_one_coefficient():
    pred, target = torch.full((1, 3, 4, 6), 0.5), torch.zeros(1, 3, 4, 6)
    coefficients = 4 * 4 * 2  # of rfft2, real and imaginary
    assert FourierLoss(2)(pred, target).item() == pytest.approx(2 * 0.5 * 24 / coefficients)
    assert FourierLoss(norm='ortho')(pred, target).item() == pytest.approx(0.5 * 24**0.5 / coefficients)


def test_gradient_loss_of_a_ramp():
    ramp = torch.arange(6.0).expand(2, 3, 5, 6)
    assert GradientLoss()(ramp, torch.zeros_like(ramp)).item() == pytest.approx(8 / 2)  # nothing changes downwards
    assert GradientLoss()(ramp + 7, ramp).item() == 0


def test_bands_are_the_two_parts_of_a_difference():
    pred, target = torch.rand(2, 2, 3, 12, 10).double()
    low, high = (BandLoss(band, epsilon=1e-9).double() for band in ('low', 'high'))
    near = (gaussian_blur(pred - target, 5, 1.0)).float()
    torch.testing.assert_close(low(pred, target), near.abs().mean())
    torch.testing.assert_close(high(pred, target), ((pred - target).float() - near).abs().mean())


def test_one_channel_alone_has_its_edges_compared():
    pred, target = torch.rand(2, 1, 3, 8, 8)
    other = pred.clone()
    other[:, 0] += torch.rand(8, 8)
    loss = GradientLoss(channel=1)
    assert loss(pred, target) == loss(other, target)
    assert loss(pred, target) == pytest.approx(float(GradientLoss()(pred[:, 1:2], target[:, 1:2])))
