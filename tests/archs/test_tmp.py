import torch

from votes.archs.parts.motion_search import MotionSearch, sampled
from votes.archs.tmp_arch import ScaledGradient


def panning(frames, batch=2):
    """Keys of a picture that moves 5 to the right and 3 up each frame, (B, frames, 4, 32, 40)."""
    torch.manual_seed(0)
    wide = torch.rand(batch, 4, 80, 100)
    return torch.stack([wide[..., 3 * t : 3 * t + 32, 50 - 5 * t : 90 - 5 * t] for t in range(frames)], 1)


def distance(key, before, motion):
    return (key - sampled(before, motion)).square().sum(1)


def found(keys, seed=0):
    """Motion of the last of some frames, handed on from the first one's, which is nothing."""
    motion = torch.zeros(len(keys), 32, 40, 2, dtype=torch.long)
    for t in range(1, keys.shape[1]):
        motion = MotionSearch(keys[:, t], keys[:, t - 1], seed + t).find(motion)
    return motion


def test_motion_spreads_from_where_it_is_found():
    keys = panning(4)
    motion = found(keys)
    right = (motion == torch.tensor([-5, 3])).all(-1)[:, :-3, 5:]  # what was in the frame before
    assert right.float().mean() > 0.95
    assert torch.equal(found(keys), motion)
    torch.testing.assert_close(found(keys[1:]), motion[1:])  # no matter what else is in the batch


def test_motion_is_never_worse_than_what_it_starts_from():
    keys = torch.rand(1, 2, 3, 32, 40)
    before = torch.randint(-6, 7, (1, 32, 40, 2))
    motion = MotionSearch(keys[:, 1], keys[:, 0], 0).find(before)
    best = distance(keys[:, 1], keys[:, 0], motion)
    assert (best <= distance(keys[:, 1], keys[:, 0], before)).all()
    for shift, axis in ((1, 1), (-1, 1), (1, 2), (-1, 2)):
        beside = before.roll(shift, axis)
        inner = (slice(None), slice(1, -1), slice(1, -1))
        assert (best <= distance(keys[:, 1], keys[:, 0], beside))[inner].float().mean() > 0.9
    down, across = torch.meshgrid(torch.arange(32), torch.arange(40), indexing='ij')
    assert ((across + motion[..., 0]) >= 0).all()
    assert ((across + motion[..., 0]) < 40).all()
    assert ((down + motion[..., 1]) >= 0).all()
    assert ((down + motion[..., 1]) < 32).all()


def test_object_paths_write_where_things_went():
    """A bright thing in the frame before, whose own motion was known: it is found where it has gone to."""
    key, before = torch.zeros(1, 1, 32, 40), torch.zeros(1, 1, 32, 40)
    before[0, 0, 10, 10] = key[0, 0, 14, 17] = 1
    motion = torch.zeros(1, 32, 40, 2, dtype=torch.long)
    motion[0, 10, 10] = torch.tensor([-7, -4])
    search = MotionSearch(key, before, 0)
    search.best, search.distance = search.own.clone(), (search.key - search.before).square().sum(1)
    onward = torch.arange(32 * 40).view(1, 32, 40).clone()
    onward[0, 10, 10] = 14 * 40 + 17
    search._try_at(onward.flatten(1))
    assert search.best[0, 14 * 40 + 17] == 10 * 40 + 10
    assert search.distance[0, 14 * 40 + 17] == 0


def test_gradients_are_scaled():
    x = torch.ones(3, requires_grad=True)
    y = ScaledGradient(0.1)(x)
    assert torch.equal(y, x)
    (2 * y).sum().backward()
    torch.testing.assert_close(x.grad, torch.full((3,), 0.2))
