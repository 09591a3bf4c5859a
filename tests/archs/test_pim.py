"""Inference on patches: what overlaps is put together again."""

import pytest
import torch

from votes.archs import build_network
from votes.archs.contract import apply
from votes.archs.pim_arch import PIM


@pytest.mark.parametrize('size', [(72, 72), (85, 140), (134, 200)])
@pytest.mark.parametrize(('stride', 'rim'), [(62, 5), (72, 5), (30, 0)])
def test_every_pixel_comes_back(size, stride, rim):
    net = PIM(PIM.small['network'], stride, rim)
    net.network = torch.nn.Identity()
    x = torch.rand(2, 3, *size)
    torch.testing.assert_close(net(x), x)


def test_larger_output_and_weights_of_the_network_alone():
    inside = {'type': 'EDSR', 'num_feat': 4, 'num_block': 1, 'upscale': 2}
    net, alone = build_network({'type': 'PIM', 'network': inside}).eval(), build_network(inside).eval()
    net.load_state_dict(net.published_weights(alone.state_dict()))
    frames = torch.rand(1, 1, 3, 80, 75)
    with torch.no_grad():
        patched, whole = apply(net, {'lq': frames})['out'], apply(alone, {'lq': frames})['out']
    assert patched.shape == whole.shape
    torch.testing.assert_close(patched[..., :4, :4], whole[..., :4, :4])  # the corner is not at a patch's inner edge


def test_a_network_of_clips_is_refused():
    with pytest.raises(Exception, match='patches'):
        build_network({'type': 'PIM', 'network': {'type': 'BasicVSR', 'num_feat': 4, 'num_block': 1}})
