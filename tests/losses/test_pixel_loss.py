import pytest
import torch

from votes.losses.pixel_loss import CharbonnierLoss, HuberLoss, L1Loss, PixelLoss, PSNRLoss, WeightedTVLoss
from votes.registry import LOSSES


@pytest.mark.parametrize('name', [name for name in LOSSES.names() if issubclass(LOSSES.get(name), PixelLoss)])
def test_registered_loss(name):
    """Zero gradient-wise for equal pictures, positive otherwise, float32 under autocast, reductions agree."""
    pred, target = torch.rand(2, 3, 4, 4, requires_grad=True), torch.rand(2, 3, 4, 4)
    cls = LOSSES.get(name)
    each = cls(reduction='none')(pred, target)
    assert each.shape == pred.shape
    torch.testing.assert_close(cls(reduction='sum')(pred, target), each.sum())
    torch.testing.assert_close(cls(loss_weight=3)(pred, target), 3 * each.mean())
    assert cls()(target, target) < 1e-5 < cls()(pred, target)
    cls()(pred, target).backward()
    assert pred.grad.isfinite().all()
    with torch.autocast('cpu', torch.bfloat16):
        assert cls()(pred.bfloat16(), target).dtype == torch.float32
    with pytest.raises(ValueError, match='reduction'):
        cls(reduction='avg')


def test_the_two_epsilons():
    zero = torch.zeros(1)
    assert CharbonnierLoss()(zero, zero) == pytest.approx(1e-6)
    assert CharbonnierLoss(eps=1e-4)(zero, zero) == pytest.approx(1e-2)
    assert CharbonnierLoss(epsilon=1e-3)(zero, zero) == pytest.approx(1e-3)
    with pytest.raises(ValueError, match='both'):
        CharbonnierLoss(eps=1e-12, epsilon=1e-3)


def test_l1_by_hand():
    assert L1Loss()(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 4.0])) == 1.5


def test_psnr_of_each_picture_counts_alike():
    target = torch.rand(2, 3, 4, 4) / 2
    pred = target + torch.tensor([0.1, 0.001]).view(2, 1, 1, 1)
    assert PSNRLoss()(pred, target).item() == pytest.approx(-(20 + 60) / 2, abs=0.05)
    assert PSNRLoss(loss_weight=2, luma=True)(pred, target) < 2 * PSNRLoss()(pred, target), 'Y has a narrower range'
    colours = target.clone()
    colours[:, 0] += 0.1
    colours[:, 1] -= 0.1 * 65.481 / 128.553
    assert PSNRLoss(luma=True)(colours, target) < -70 < PSNRLoss()(colours, target)


def test_weights_of_values():
    pred, target = torch.tensor([[[[1.0]], [[5.0]]]]), torch.zeros(1, 2, 1, 1)
    assert L1Loss()(pred, target, torch.tensor([[[[1.0]], [[3.0]]]])) == 4
    assert L1Loss()(pred, target, torch.tensor([[[[7.0]]]])) == 3
    assert L1Loss(reduction='sum')(pred, target, torch.tensor([[[[2.0]]]])) == 12


def test_variation_by_hand():
    picture = torch.tensor([[[[0.0, 1.0, 3.0], [2.0, 1.0, 0.0]]]])
    assert WeightedTVLoss()(picture) == pytest.approx(5 / 3 + 5 / 4)
    assert WeightedTVLoss(reduction='sum')(picture, weight=torch.tensor([[[[1.0, 0, 0], [0, 2, 9]]]])) == 2 + 1 + 2


def test_huber_by_hand():
    each = HuberLoss(reduction='none', delta=0.5)(torch.tensor([0.0, 0.4, -2.0]), torch.zeros(3))
    torch.testing.assert_close(each, torch.tensor([0.0, 0.08, 0.5 * (2 - 0.25)]))
