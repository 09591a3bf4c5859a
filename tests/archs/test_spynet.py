"""Optical flow: files in both ways of naming, and frames of any size."""

import torch

from votes.archs.spynet_arch import SpyNet
from votes.checkpoint import load_network, save


def test_files_of_both_namings(tmp_path):
    torch.manual_seed(0)
    net, other = SpyNet(), SpyNet()
    bare = {key: value for key, value in net.state_dict().items() if 'module' in key}
    theirs = {}
    for key, value in bare.items():
        first, number, kind = key.rsplit('.', 2)
        theirs[f'{first}.{int(number) // 2}.conv.{kind}'] = value
    for content in ({'params': bare}, theirs):
        with torch.no_grad():
            other.basic_module[3].basic_module[4].weight.zero_()
        save(content, tmp_path / 'flow.pth')
        assert not load_network(other, tmp_path / 'flow.pth')
        assert all(torch.equal(value, other.state_dict()[key]) for key, value in net.state_dict().items())


def test_small_frames_and_bfloat16():
    torch.manual_seed(0)
    net = SpyNet()
    ref, supp = torch.rand(2, 1, 3, 20, 33)
    with torch.no_grad():
        flow = net(ref, supp)
        with torch.autocast('cpu', torch.bfloat16):
            again = net(ref, supp)
    assert flow.shape == (1, 2, 20, 33)
    assert torch.equal(flow, again)
