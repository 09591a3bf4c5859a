import pytest
import torch

from votes.archs import build_network
from votes.archs.contract import apply, luma_of


def test_maps_lie_channel_by_channel_and_are_sampled_in_place_at_zero_offsets():
    net = build_network({'type': 'STDF', 'radius': 1, 'in_nc': 3, 'nf': 4, 'nb': 1, 'fused_nf': 3, 'qe_nb': 2})
    net.qenet = torch.nn.Identity()
    for parameter in net.ffnet.parameters():
        torch.nn.init.zeros_(parameter)
    with torch.no_grad():
        for channel in range(3):
            net.ffnet.deform_conv.weight[channel, 3 * channel + 1, 1, 1] = 1  # the centre frame's
    x = torch.rand(1, 3, 3, 8, 12)
    torch.testing.assert_close(net(x), 1.5 * x[:, 1])  # masks are a half


@pytest.mark.parametrize('radius', [1, 3])
def test_luma_alone_is_restored(radius):
    net = build_network({'type': 'STDF', 'radius': radius, 'nf': 4, 'fused_nf': 4, 'qe_nf': 4, 'qe_nb': 2})
    lq = torch.rand(1, 2 * radius + 1, 3, 11, 13)
    result = apply(net, {'lq': lq})
    assert result['luma'].shape == (1, 1, 1, 11, 13)
    change = result['out'][:, 0] - lq[:, radius]
    assert change.abs().max() > 1e-4
    torch.testing.assert_close(luma_of(result['out']), result['luma'])
    torch.testing.assert_close(change, change[:, :1].expand_as(change), atol=1e-5, rtol=0)  # grey: colours are kept


def test_parameters_of_the_paper():
    counts = {(3, 1): 364510, (1, 1): 329842, (3, 3): 486714, (1, 3): 382710}
    for (radius, channels), count in counts.items():
        net = build_network({'type': 'STDF', 'radius': radius, 'in_nc': channels})
        assert sum(p.numel() for p in net.parameters()) == count
