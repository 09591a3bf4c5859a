"""What is special about networks of single frames."""

import pytest
import torch

from votes.archs import build_network
from votes.archs.nlsn_arch import NLSN
from votes.archs.parts.blocks import enlarged
from votes.archs.san_arch import covariance, square_root
from votes.archs.vdsr_arch import VDSR
from votes.errors import UserError


def test_vdsr_adds_to_the_enlarged_frame():
    net = VDSR(num_feat=4, num_layer=2, upscale=3)
    torch.nn.init.zeros_(net.body[1][0].weight)
    torch.nn.init.zeros_(net.body[1][0].bias)
    x = torch.rand(1, 3, 5, 6)
    torch.testing.assert_close(net(x), enlarged(x, (15, 18)), rtol=0, atol=1e-5)


def test_rotations_of_sparse_attention():
    """Drawn anew in training, the same in evaluation; the hash chooses what is looked at, so they change the result."""
    torch.manual_seed(0)
    net = NLSN(num_feat=8, num_block=1, upscale=1, chunk_size=16, num_hashes=2, res_scale=1.0)
    x = torch.rand(1, 3, 12, 13)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))
    assert not torch.equal(net(x), net(x, rotations=torch.randn(1, 2, 2, 5)))


def test_square_root_of_a_covariance():
    x = torch.randn(2, 4, 500) * 20
    matrix = covariance(x)
    torch.testing.assert_close(matrix[0], torch.cov(x[0], correction=0), rtol=1e-4, atol=1e-2)
    root = square_root(matrix)
    torch.testing.assert_close(root @ root, matrix, rtol=0.05, atol=5)  # five iterations
    flat = torch.ones(1, 4, 9, requires_grad=True)
    square_root(covariance(flat)).sum().backward()
    assert flat.grad.isfinite().all()


@pytest.mark.parametrize(
    'options',
    [
        {'type': 'EDSR', 'upscale': 5},
        {'type': 'RDN', 'upscale': 1},
        {'type': 'RRDBNet', 'scale': 3},
        {'type': 'DUF', 'num_layer': 17},
        {'type': 'DUF', 'scale': 1},
        {'type': 'TOFlow', 'upscale': 5},
        {'type': 'VDSR', 'num_layer': 1},
    ],
)
def test_wrong_options_are_named(options):
    with pytest.raises(UserError, match=f'network {options["type"]} cannot be built') as error:
        build_network(options)
    assert 'not' in str(error.value)
