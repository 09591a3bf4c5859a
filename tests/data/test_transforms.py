"""Orientations of pictures and of the motion in them, on the CPU sample by sample and on the device in a batch."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import default_collate

from votes.data.transforms import orient, random_crop, random_turn
from votes.data.uvssm_dataset import UVSSMDataset

TURNS = st.tuples(st.booleans(), st.booleans(), st.booleans()).map(torch.tensor)


def inverse(turn):
    """Undoes `turn`: transposing first exchanges the two mirrors."""
    horizontal, vertical, transpose = turn.tolist()
    return torch.tensor([vertical, horizontal, True] if transpose else [horizontal, vertical, False])


def sample(seed, side=8):
    rng = torch.Generator().manual_seed(seed)
    return {
        'lq': torch.randint(0, 256, (3, 3, side, side), generator=rng, dtype=torch.uint8),
        'gt': torch.randint(0, 256, (3, 2 * side, 2 * side), generator=rng, dtype=torch.uint8),
        'mv_past': torch.randn(3, 2, side, side, generator=rng),
        'past_valid': torch.rand(3, 1, side, side, generator=rng) > 0.5,
        'key': 'a clip',
    }


@given(TURNS, st.integers(0, 99))
@settings(deadline=None)
def test_every_orientation_has_an_inverse(turn, seed):
    before = sample(seed)
    after = orient(orient(before, turn), inverse(turn))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[k], after[k]) for k in before if k != 'key')


@given(TURNS, st.integers(0, 99))
@settings(deadline=None)
def test_vectors_point_to_the_same_content(turn, seed):
    """The pixel that a vector leads to is the same one before and after."""
    rng = np.random.default_rng(seed)
    side = 6
    target = torch.from_numpy(rng.permutation(side * side)).view(side, side)  # where each pixel came from
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing='ij')
    vectors = torch.stack([target % side - x, target // side - y]).float()[None]
    names = torch.arange(side * side).view(1, 1, side, side)
    leads_to = names.flatten()[target.flatten()].view(1, 1, side, side)  # the name that the vector at a pixel finds
    after = orient({'mv_past': vectors, 'lq': names, 'gt': leads_to}, turn)
    moved = torch.stack([x, y]) + after['mv_past'][0]
    found = after['lq'][0, 0][moved[1].long(), moved[0].long()]
    assert torch.equal(found, after['gt'][0, 0])


@given(st.lists(TURNS, min_size=1, max_size=5))
@settings(deadline=None)
def test_a_batch_turns_as_its_samples_do(turns):
    samples = [sample(i) for i in range(len(turns))]
    batch = orient(default_collate(samples), torch.stack(turns))
    alone = default_collate([orient(s, t) for s, t in zip(samples, turns, strict=True)])
    assert all(torch.equal(batch[k], alone[k]) for k in batch if k != 'key')


@given(st.integers(1, 40), st.integers(1, 40), st.data())
def test_crops_are_inside_and_square(height, width, data):
    side = data.draw(st.integers(1, min(height, width)))
    top, left, *sides = random_crop(np.random.default_rng(data.draw(st.integers(0, 999))), (height, width), side)
    assert sides == [side, side]
    assert 0 <= top <= height - side
    assert 0 <= left <= width - side


def test_all_eight_orientations_and_their_switches():
    rng = np.random.default_rng(0)
    assert len({tuple(random_turn(rng, True, True).tolist()) for _ in range(200)}) == 8
    assert {tuple(random_turn(rng, False, True).tolist())[:2] for _ in range(50)} == {(False, False)}
    assert not any(random_turn(rng, True, False)[2] for _ in range(50))


@pytest.mark.parametrize('center_gt', [True, False])
def test_augmentation_left_to_the_device(pairs, center_gt):
    root = pairs()
    args = {'dataroot_gt': str(root / 'gt'), 'dataroot_lq': str(root / 'lq'), 'gt_size': 16, 'center_gt': center_gt}
    here, there = UVSSMDataset(**args), UVSSMDataset(**args, augment_on_device=True)
    keys = [(epoch, index) for epoch in range(4) for index in range(3)]
    wanted = default_collate([here[key] for key in keys])
    raw = default_collate([there[key] for key in keys])
    assert not torch.equal(raw['lq'], wanted['lq'])
    done = orient(raw, raw['turn'])
    assert torch.equal(done['lq'], wanted['lq'])
    assert torch.equal(done['gt'], wanted['gt'])


def test_training_is_the_same_either_way(place, capsys):
    from votes import checkpoint
    from votes.cli import main

    for name, on_device in (('here', False), ('there', True)):
        assert main(['train', '-opt', place(name=name, datasets__train__augment_on_device=on_device)]) == 0
    a, b = (checkpoint.load(f'experiments/{name}/models/net_g_latest.pth')['params'] for name in ('here', 'there'))
    assert all(torch.equal(a[k], b[k]) for k in a)
