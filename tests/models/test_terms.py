"""Losses by name: what they compare."""

import pytest
import torch

from votes.archs.contract import Promise, Window, luma_of
from votes.errors import UserError
from votes.losses.pixel_loss import MSELoss
from votes.models.terms import Term


def test_warped_neighbours_are_compared_with_the_compressed_centre_frame():
    said = Promise('Net', Window(3))
    sample = {'lq': torch.rand(2, 3, 3, 4, 6), 'gt': torch.rand(2, 1, 3, 8, 12)}
    warped = torch.rand(2, 1, 2, 3, 4, 6)  # two pictures for each restored frame
    term = Term('l_mc', MSELoss(), output='warped', target='lq')
    (value,) = term.values({'out': sample['gt'], 'warped': warped}, sample, said, 2).values()
    expected = ((warped[:, 0] - sample['lq'][:, 1:2]) ** 2).mean()
    torch.testing.assert_close(value, expected)


def test_a_target_may_take_the_level_of_the_compressed_frames():
    lq, detail = torch.rand(2, 3, 3, 4, 6), torch.randn(2, 1, 3, 8, 12) / 9
    detail -= detail.mean((1, 3, 4), keepdim=True)
    centre = lq[:, 1:2].mean((3, 4), keepdim=True)
    sample = {'lq': lq, 'gt': centre + 0.25 + detail}
    term, plain = Term('l', MSELoss(), level=True), Term('l', MSELoss())
    (value,) = term.values({'out': centre + detail}, sample, Promise('Net', Window(3)), 2).values()
    assert value.item() < 1e-12
    (value,) = plain.values({'out': centre + detail}, sample, Promise('Net', Window(3)), 2).values()
    assert value.item() == pytest.approx(0.0625)


def test_a_guess_of_the_first_encode_is_compared_with_it():
    said = Promise('Net', Window(3))
    sample = {'gt': torch.rand(2, 1, 3, 4, 6), 'once': torch.rand(2, 1, 3, 4, 6)}
    term = Term('l_mid', MSELoss(), output='mid', target='once_luma')
    guess = luma_of(sample['once']) + 0.5
    (value,) = term.values({'out': sample['gt'], 'mid': guess}, sample, said, 1).values()
    assert value.item() == pytest.approx(0.25)
    with pytest.raises(UserError, match='dataroot_once'):
        term.values({'out': sample['gt'], 'mid': guess}, {'gt': sample['gt']}, said, 1)
