import pytest
import torch

from votes.archs import build_network, infer_options
from votes.archs.realviformer_arch import LayerNorm
from votes.registry import NETWORKS


def test_norms():
    x = torch.rand(2, 6, 3, 4)
    theirs = torch.nn.functional.layer_norm(x.movedim(1, -1), (6,)).movedim(-1, 1)
    torch.testing.assert_close(LayerNorm(6, 'WithBias')(x), theirs)
    free = LayerNorm(6, 'BiasFree')(x)
    torch.testing.assert_close(free - free.mean(1, keepdim=True), theirs)  # the mean is left
    assert not torch.allclose(free, theirs)


@pytest.mark.parametrize('expansion', [2, 2.66, 2.07])
@pytest.mark.parametrize('plain', [False, True])
def test_architecture_is_told_by_weights(expansion, plain):
    more = {'bias': True, 'LayerNorm_type': 'WithBias', 'ch_compress': False, 'masked': False, 'merge_head': 4}
    options = {**NETWORKS.get('RealViformer').small, 'num_blocks': [1, 2, 1, 2], 'ffn_expansion_factor': expansion}
    with torch.device('meta'):
        net = build_network({'type': 'RealViformer', **options, **(more if plain else {})})
        again = build_network(infer_options(net.state_dict()))
    assert {k: x.shape for k, x in again.state_dict().items()} == {k: x.shape for k, x in net.state_dict().items()}
