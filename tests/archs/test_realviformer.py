import pytest
import torch

from votes.archs import build_network, infer_options
from votes.archs.realviformer_arch import LayerNorm, RealViformer
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


def test_attention_to_the_state_with_fewer_channels():
    """Layer by layer as the public code has it: the frame's features are joined as they came."""
    torch.manual_seed(0)
    net = RealViformer(**{**RealViformer.small, 'merge_head': 1, 'merge_compress': True, 'merge_compress_factor': 2})
    merge = net.attn_merge
    x, before = torch.rand(2, 1, 8, 6, 7)
    query, known = merge.norm_q(merge.compress_q(x)), merge.norm_kv(merge.compress_kv(before))
    assert query.shape == (1, 4, 6, 7)
    attended = merge.norm_out(merge.expand(merge.attn(query, known)))
    torch.testing.assert_close(merge(x, before), merge.ffn(torch.cat((x, attended), 1)))
    told = RealViformer.from_weights(net.state_dict())
    assert (told['merge_compress'], told['merge_compress_factor']) == (True, 2)
    assert 'merge_compress' not in RealViformer.from_weights(RealViformer(**RealViformer.small).state_dict())
    RealViformer(**told).load_state_dict(net.state_dict())
    for wrong in (1.5, 3):
        with pytest.raises(ValueError, match='whole number'):
            RealViformer(**{**RealViformer.small, 'merge_compress': True, 'merge_compress_factor': wrong})
