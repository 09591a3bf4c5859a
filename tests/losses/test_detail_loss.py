import pytest
import torch

from votes.losses.detail_loss import FourierLoss, GradientLoss


def test_fourier_loss_of_a_constant_is_in_one_coefficient():
    pred, target = torch.full((1, 3, 4, 6), 0.5), torch.zeros(1, 3, 4, 6)
    coefficients = 4 * 4 * 2  # of rfft2, real and imaginary
    assert FourierLoss(2)(pred, target).item() == pytest.approx(2 * 0.5 * 24 / coefficients)
    assert FourierLoss(norm='ortho')(pred, target).item() == pytest.approx(0.5 * 24**0.5 / coefficients)


def test_gradient_loss_of_a_ramp():
    ramp = torch.arange(6.0).expand(2, 3, 5, 6)
    assert GradientLoss()(ramp, torch.zeros_like(ramp)).item() == pytest.approx(8 / 2)  # nothing changes downwards
    assert GradientLoss()(ramp + 7, ramp).item() == 0
