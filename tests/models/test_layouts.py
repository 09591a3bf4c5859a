"""Memory layouts of networks."""

import torch

from votes.archs.parts.blocks import in_layout


def test_only_convolutions_of_pictures_change_their_layout():
    net = torch.nn.ModuleList([torch.nn.Conv2d(4, 4, 3), torch.nn.Conv3d(4, 4, 3)])
    before = {name: value.clone() for name, value in net.state_dict().items()}
    assert in_layout(net, torch.channels_last) is net
    assert net[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert net[1].weight.is_contiguous()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
