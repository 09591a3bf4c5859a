"""Discriminators: spectral normalisation as PyTorch has it, and sizes."""

import pytest
import torch
from torch import nn

from votes.archs.discriminator_arch import NormalisedConv, UNetDiscriminatorSN, VGGStyleDiscriminator
from votes.checkpoint import load_network, save
from votes.errors import UserError


@pytest.mark.filterwarnings('ignore')
def test_spectral_normalisation_is_that_of_pytorch():
    torch.manual_seed(0)
    ours = NormalisedConv(3, 4, 3)
    theirs = nn.utils.spectral_norm(nn.Conv2d(3, 4, 3, padding=1, bias=False))
    theirs.load_state_dict(ours.state_dict())
    x = torch.rand(2, 3, 6, 5)
    for _ in range(3):
        a, b = ours(x), theirs(x)
        torch.testing.assert_close(a, b)
        a.square().mean().backward()
        b.square().mean().backward()
        torch.testing.assert_close(ours.weight_orig.grad, theirs.weight_orig.grad)
        torch.testing.assert_close(ours.weight_u, theirs.weight_u)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))
    assert (
        torch.linalg.matrix_norm(
            (ours.weight_orig / torch.dot(ours.weight_u, ours.weight_orig.flatten(1) @ ours.weight_v)).flatten(1), 2
        )
        < 1.2
    )


def test_keys_of_the_newer_normalisation(tmp_path):
    net = UNetDiscriminatorSN(3, 4)
    names = {'weight_orig': 'original', 'weight_u': '0._u', 'weight_v': '0._v'}
    content = {}
    for key, value in net.state_dict().items():
        layer, kind = key.split('.')
        content[f'{layer}.parametrizations.weight.{names[kind]}' if kind in names else key] = value
    save(content, tmp_path / 'd.pth')
    other = UNetDiscriminatorSN(3, 4)
    assert not load_network(other, tmp_path / 'd.pth')
    assert torch.equal(other.conv3.weight_v, net.conv3.weight_v)


def test_sizes():
    assert UNetDiscriminatorSN(3, 2)(torch.rand(1, 3, 16, 24)).shape == (1, 1, 16, 24)
    with pytest.raises(UserError, match='multiples of 8'):
        UNetDiscriminatorSN(3, 2)(torch.rand(1, 3, 12, 24))
    net = VGGStyleDiscriminator(3, 2)
    assert net(torch.rand(2, 3, 128, 128)).shape == (2, 1)
    with pytest.raises(UserError, match='128 x 128'):
        net(torch.rand(2, 3, 64, 64))
