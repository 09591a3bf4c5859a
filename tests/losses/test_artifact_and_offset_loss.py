"""LDL's map, and what keeps offsets of deformable convolutions in order."""

import pytest
import torch

from votes.losses.artifact_loss import LDLLoss, get_refined_artifact_map
from votes.losses.offset_loss import OffsetDeviationLoss, OffsetTVLoss


def test_the_map_is_the_variance_of_the_residual_where_the_average_is_better():
    torch.manual_seed(0)
    gt, output, ema = torch.rand(3, 2, 3, 9, 11)
    found = get_refined_artifact_map(gt, output, ema, 3)
    assert found.shape == (2, 1, 9, 11)
    residual = (gt - output).abs().sum(1)
    worse = residual >= (gt - ema).abs().sum(1)
    assert ((found[:, 0] > 0) == worse).all()
    y, x = worse[1, 1:-1, 1:-1].nonzero()[0].tolist()
    expected = residual[1, y : y + 3, x : x + 3].var() * residual[1].var() ** 0.2
    torch.testing.assert_close(found[1, 0, y + 1, x + 1], expected)


def test_ldl_compares_under_its_map():
    gt, output, ema = torch.rand(3, 1, 3, 9, 11)
    found = LDLLoss(loss_weight=2.0, ksize=5)(output, gt, ema)
    expected = 2 * (get_refined_artifact_map(gt, output, ema, 5) * (output - gt)).abs().mean()
    torch.testing.assert_close(found, expected)
    assert LDLLoss()(output, gt, output) > 0, 'equal residuals count'
    with pytest.raises(ValueError, match='odd'):
        LDLLoss(ksize=4)


def test_offsets_of_taps_that_move_alike_cost_nothing():
    alike = torch.tensor([1.5, -2.0]).repeat(9).view(1, 18, 1, 1).expand(1, 18, 4, 5).clone().requires_grad_()
    assert OffsetTVLoss()([alike]).item() == 0
    assert OffsetDeviationLoss()([alike]).item() == pytest.approx(0, abs=1e-8)
    apart = alike.detach().clone()
    apart[:, 0] += 9.0  # dy of the first of nine taps: its mean moves by 1
    apart.requires_grad_()
    assert OffsetDeviationLoss(loss_weight=1.0)([apart]).item() == pytest.approx((8 + 8 * 1) / 18)
    ramp = (alike.detach() + torch.arange(4.0).view(1, 1, 4, 1)).requires_grad_()
    assert OffsetTVLoss(loss_weight=1.0)([ramp, alike]).item() == pytest.approx(0.5)
    assert OffsetTVLoss()([ramp.detach()]).item() == 0, 'of convolutions that are frozen'
