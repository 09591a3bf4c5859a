import math

import pytest
import torch

from votes.models.lr_schedule import CosineAnnealingRestartLR, HoldThenCosineLR, MultiStepLR


def test_cosine_by_hand():
    schedule = CosineAnnealingRestartLR([10, 20], [1, 0.5], eta_min=1e-3)
    assert schedule(1.0, 0) == 1
    assert schedule(1.0, 5) == pytest.approx(1e-3 + 0.999 / 2)
    assert schedule(1.0, 10) == 1e-3, 'the last iteration of a period, as in BasicSR'
    assert schedule(1.0, 11) == pytest.approx(1e-3 + 0.5 * 0.999 * (1 + math.cos(math.pi / 20)) / 2)
    assert schedule(1.0, 20) == pytest.approx(1e-3 + 0.5 * 0.999 / 2)
    assert schedule(1.0, 30) == schedule(1.0, 99) == pytest.approx(1e-3)


def test_against_basicsr():
    """Its schedule as a formula of its own: the first period that ends at or after the iteration."""
    periods, weights, low = [50, 100, 150], [1, 0.5, 0.25], 1e-7
    ours = CosineAnnealingRestartLR(periods, weights, low)
    ends = [sum(periods[: n + 1]) for n in range(3)]
    for iteration in range(1, 301):
        index = next(n for n, end in enumerate(ends) if iteration <= end)
        begun = ends[index - 1] if index else 0
        wave = 0.5 * (1 + math.cos(math.pi * (iteration - begun) / periods[index]))
        assert ours(2e-4, iteration) == pytest.approx(low + weights[index] * (2e-4 - low) * wave, rel=1e-12)
    assert [ours(2e-4, n) for n in (50, 150)] == [low, low]


def test_against_torch():
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.3)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 50, eta_min=0.01)
    ours = CosineAnnealingRestartLR([50], [1], 0.01)
    for i in range(50):
        assert ours(0.3, i) == pytest.approx(optimizer.param_groups[0]['lr'])
        optimizer.step()
        theirs.step()


def test_multi_step():
    schedule = MultiStepLR([10, 20], 0.5)
    assert [schedule(1.0, i) for i in (0, 9, 10, 19, 20, 99)] == [1, 1, 0.5, 0.5, 0.25, 0.25]
    assert math.isclose(MultiStepLR([5])(2e-4, 5), 2e-5)
    falling = MultiStepLR([10, 20], [0.5, 0.4])
    assert [falling(1.0, i) for i in (9, 10, 20)] == [1, 0.5, 0.2]
    with pytest.raises(ValueError, match='2 milestones but 1'):
        MultiStepLR([10, 20], [0.5])


def test_restarts():
    schedule = MultiStepLR([10, 20, 30], 0.5, restarts=[0, 20], restart_weights=[1, 0.8])
    assert [schedule(1.0, i) for i in (0, 10, 19, 20, 29, 30)] == [1, 0.5, 0.5, 0.8, 0.8, 0.4]
    with pytest.raises(ValueError, match='1 restarts but 2'):
        MultiStepLR([10], restarts=[0], restart_weights=[1, 2])


def test_held_then_a_cosine():
    schedule = HoldThenCosineLR(10, 30, eta_min=0.1)
    assert [schedule(1.0, n) for n in (0, 10)] == [1, 1]
    assert schedule(1.0, 20) == pytest.approx(0.55)
    assert schedule(1.0, 30) == schedule(1.0, 99) == pytest.approx(0.1)
    with pytest.raises(ValueError, match='below'):
        HoldThenCosineLR(30, 30)
